"""A clock and a source that play what a test writes down."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from joulery.errors import SourceError
from joulery.profiler.sources import Domain, Reading
from joulery.profiler.work import CpuTotals, NodeCpu

__all__ = ["DrawnSource", "PlayedCpu", "PlayedSource", "Ticker", "write_stat"]


class Ticker:
    """A clock that stands still until it is told to move."""

    def __init__(self, now_s: float = 100.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds


class PlayedSource:
    """A source that gives one row of values, or one error, at each sample."""

    def __init__(
        self,
        domains: tuple[Domain, ...],
        samples: Iterable[tuple[float, ...] | SourceError],
        name: str = "played",
    ) -> None:
        self.name, self.domains = name, domains
        self._samples: Iterator[tuple[float, ...] | SourceError] = iter(samples)

    def sample(self) -> tuple[Reading, ...]:
        """Return the next row, or raise the next error."""
        row = next(self._samples)
        if isinstance(row, SourceError):
            raise row
        return tuple(map(Reading, self.domains, row))


class DrawnSource:
    """A source whose readings follow the clock, or whatever else a test computes them from."""

    def __init__(self, readings: Mapping[Domain, Callable[[], float]], name: str = "drawn") -> None:
        self.name, self.domains = name, tuple(readings)
        self._readings = readings

    def sample(self) -> tuple[Reading, ...]:
        """Return each domain's reading of now; one that raises is left out, if another does not."""
        rows, errors = [], []
        for domain, read in self._readings.items():
            try:
                rows.append(Reading(domain, read()))
            except SourceError as error:
                errors.append(error)
        if not rows:
            raise errors[0]
        return tuple(rows)


def write_stat(proc: Path, busy_s: float, *, now_s: float, cpus: int = 2) -> None:
    """Write a `/proc/stat` of 100 ticks a second whose CPUs were busy for so long together."""
    per_cpu = "".join(f"cpu{n} 0 0 0 0 0 0 0 0 0 0\n" for n in range(cpus))
    rest = round(100 * (cpus * now_s - busy_s))
    (proc / "stat").write_text(f"cpu  1 2 3 {rest - 7 - 5} 7 0 0 5 0 0\n{per_cpu}btime 1\n")


class PlayedCpu(NodeCpu):
    """A node of two CPUs whose busy seconds a test sets."""

    def __init__(self) -> None:
        super().__init__()
        self.busy_s = 0.0

    def totals(self) -> CpuTotals:
        """Return what the test set."""
        return CpuTotals(busy_s=self.busy_s, cpus=2)
