"""CPU time of a pod: that of its control groups, through all their ends and beginnings."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..errors import SourceError, SourceFailed, SourceUnavailable
from ..profiler.cgroup import CgroupCpu

__all__ = ["PodCpu"]


class PodCpu:
    """CPU seconds of a pod so far; one file stays open for each of its groups.

    A group that ends leaves its last seconds in the total, and one that comes later, or anew at
    the same path, adds its own from its beginning. What a group used between the last call and
    its end is lost. Files are opened by `cpu_s`, which also says when that fails.

    Args:
        groups: The pod's groups, none below another.

    Attributes:
        last_s: The latest CPU seconds that were read.
    """

    def __init__(self, groups: Iterable[Path]) -> None:
        self.last_s = 0.0
        self._ended_s = 0.0
        self._groups: tuple[Path, ...] = ()
        self._readers: dict[Path, CgroupCpu] = {}
        self._closed = False
        self.follow(groups)

    def follow(self, groups: Iterable[Path]) -> None:
        """Count these groups as well, from the next call of `cpu_s` on.

        Those counted so far stay until they end, whether they are among these or not.
        """
        self._groups = tuple(groups)

    def cpu_s(self) -> float:
        """Return the CPU seconds of the pod since its groups were made; the value never falls.

        Raises:
            SourceUnavailable: None of its groups is left, or this was closed; `last_s` stays.
            SourceForbidden: One of its groups may not be read; nothing is said of the others.
            SourceFailed: One of its groups answers nonsense; the same.
        """
        reader = self._readers.get(self._groups[0]) if len(self._groups) == 1 else None
        if reader is not None and len(self._readers) == 1:  # nearly always, and hundreds of them
            try:
                self.last_s = max(self.last_s, self._ended_s + reader.cpu_s())
                return self.last_s
            except SourceUnavailable:
                pass  # it has ended; is there another by now?
        if self._closed:
            raise SourceUnavailable("control groups of a pod", found="a closed reader")
        trouble: SourceError | None = None
        for path, reader in list(self._readers.items()):
            try:
                reader.cpu_s()
            except SourceUnavailable:
                self._end(path)
            except SourceError as error:
                trouble = error
        for path in self._groups:
            if path not in self._readers:
                try:
                    self._begin(path)
                except SourceError as error:
                    trouble = error
        if trouble is not None:
            raise trouble
        if not self._readers:
            raise SourceUnavailable(
                "control groups of a pod", place=self._where(), found="none that is left"
            )
        read_s = sum(reader.last_s for reader in self._readers.values())
        # Parts that were added in another order may differ by their rounding.
        self.last_s = max(self.last_s, self._ended_s + read_s)
        return self.last_s

    def _begin(self, path: Path) -> None:
        """Open a group; one that is not there has ended, and is no trouble.

        Raises:
            SourceError: It is there, and cannot be read.
        """
        try:
            self._readers[path] = CgroupCpu(path)
        except SourceUnavailable as error:
            if path.is_dir():  # the group is there, and what it should tell is not
                raise SourceFailed(
                    error.subject, found=error.found, expected=error.expected, remedy=error.remedy
                ) from error

    def _end(self, path: Path) -> None:
        reader = self._readers.pop(path)
        reader.close()
        self._ended_s += reader.last_s

    def _where(self) -> str | None:
        return str(self._groups[0]) if self._groups else None

    def close(self) -> None:
        """Close the files; `last_s` stays."""
        self._closed = True
        for path in list(self._readers):
            self._end(path)

    def __enter__(self) -> PodCpu:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
