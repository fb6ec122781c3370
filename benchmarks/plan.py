"""How long and how often everything is measured, on which cores, and with which files."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.requestfile import write_requests
from benchmarks.workload import CHECKPOINT, DIRECTIONS, Work

METHODS = {"compress": "Compress", "decompress": "Decompress"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """Who runs where."""

    server: int
    generator: int
    all: frozenset[int]

    @classmethod
    def of_this_machine(cls) -> "Cores":
        """The first core for the server, the second, if there is one, for the generator."""
        usable = sorted(os.sched_getaffinity(0))
        return cls(server=usable[0], generator=usable[:2][-1], all=frozenset(usable))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one run measures with."""

    directory: Path
    """For requests, models and logs."""
    work: Work
    seconds: float = 2.0
    """Of each burst of load, after the warm-up."""
    warm_up: float = 0.5
    repeats: int = 3
    overload_seconds: float = 60.0
    overload_images: int = 64
    """In each call of the overload."""
    cores: Cores = field(default_factory=Cores.of_this_machine)

    def requests(self, direction: str, images: int, *, stream: bool = False) -> Path:
        """The file of requests of so many images each."""
        path = self.directory / f"{'stream' if stream else 'unary'}-{direction}-{images}"
        if not path.exists():
            make = self.work.stream if stream else self.work.unary
            write_requests(path, make(direction, images))
        return path

    def models(self) -> Path:
        """A directory with the one model that is measured."""
        directory = self.directory / "models"
        directory.mkdir(exist_ok=True)
        if not (directory / CHECKPOINT.name).exists():
            shutil.copy(CHECKPOINT, directory)
        return directory

    @property
    def patience(self) -> float:
        """Seconds after which a burst, or one in each direction, is given up."""
        return 120 + 2 * (self.seconds + self.warm_up)

    def burst(self) -> list[str]:
        """The generators' and the bare codec's flags of time."""
        return ["--seconds", str(self.seconds), "--warm-up", str(self.warm_up)]


__all__ = ["DIRECTIONS", "METHODS", "Cores", "Plan"]
