"""What trainings leave in folders of images, told from the images; and one training a folder."""

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kompakt_training.errors import TrainingError
from kompakt_training.image_files import unreadable
from kompakt_training.state import STATE_FILE

LOSSES_FILE = "loss_curves.png"
PICTURES_FILE = "reconstructions.png"


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The files in and below a folder, in the order of their names, without those of runs."""

    paths: Sequence[Path]
    num_runs: int
    """Folders of runs that were left out."""
    skipped: Sequence[str]
    """What could not be looked into, and links to folders, which are not followed: name and why."""


def files_below(folder: Path, *, own: Sequence[Path] = ()) -> Files:
    """The files in and below ``folder``, without the folders of runs.

    Those are what holds a training's state, and ``own``, folders of a run that may not have begun:
    it finds the same images when it goes on. Of ``folder`` itself, if it is one, only a run's
    pictures are left out.
    """
    root = folder.resolve()
    known = {
        folder / out.relative_to(root)
        for out in (path.resolve() for path in own)
        if out.is_relative_to(root)
    }
    found: list[Path] = []
    skipped: list[str] = []
    num_runs = 0

    def skip(error: OSError) -> None:
        skipped.append(f"{Path(os.fsdecode(error.filename)).name}: {unreadable(error)}")

    for top, names, file_names in os.walk(folder, onerror=skip):
        here = Path(top)
        if here in known or STATE_FILE in file_names:
            if here == folder:
                file_names = [n for n in file_names if n not in (LOSSES_FILE, PICTURES_FILE)]
            else:
                num_runs += 1
                names.clear()
                continue
        names.sort()
        links = [name for name in names if (here / name).is_symlink()]
        skipped += [f"{name}: a link to a folder, which is not followed" for name in links]
        for path in map(here.joinpath, file_names):
            try:
                if path.is_file():
                    found.append(path)
            except OSError as exc:
                skip(exc)
    return Files(paths=sorted(found), num_runs=num_runs, skipped=skipped)


def would_count(file: Path, folder: Path) -> bool:
    """Whether a file, if it were there, would be of those in and below ``folder``."""
    root, parent = folder.resolve(), file.parent.resolve()
    between = [path for path in (parent, *parent.parents) if root in path.parents]
    in_run = any((path / STATE_FILE).is_file() for path in between)
    return not in_run and parent.is_relative_to(root)


def runs_note(num_runs: int) -> str:
    """That so many folders of runs were left out; empty for none."""
    folders = "folder of a run" if num_runs == 1 else "folders of runs"
    return f"{num_runs} {folders} left out" if num_runs else ""


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other trainings out of a run's folder, until this process ends at the latest.

    Raises TrainingError if one is in it. A file system without locks keeps none out.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise TrainingError(
                f"another training is under way in {folder}: wait for its end, or give another "
                "--out"
            ) from exc
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(descriptor)
