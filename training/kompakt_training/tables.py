"""Tables as CSV files."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from kompakt_codec.files import write_whole
from kompakt_training.errors import TrainingError
from kompakt_training.state import HistoryRow


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows that share the first one's columns, the file whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue().encode())


def read_history(path: Path) -> list[HistoryRow]:
    """Read a run's history.csv. Raises TrainingError if it is missing or malformed."""
    try:
        with path.open(newline="") as file:
            rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
        if not rows or not rows[0].keys() >= {"epoch", "train_loss", "val_loss"}:
            raise ValueError("it has no losses")
        return rows
    except (OSError, TypeError, ValueError) as exc:
        raise TrainingError(f"{path}: not the history of a run: {exc}") from exc
