"""CPU time of this machine's real pods, read from their control groups for the mirror alone.

It shares no code with what the mirror judges: a mistake there must not be a mistake of the truth.
Kernel documents: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/cpuacct.rst. The groups'
names are the kubelet's, with its cgroupfs driver and its systemd driver.
"""

from __future__ import annotations

import errno
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import SourceFailed, SourceForbidden, SpecError

__all__ = ["Kubepods"]

_TOP = re.compile(r"(?:.+-)?kubepods(?:\.slice)?")
_QUALITY = re.compile(r"(?:.+-)?(?:guaranteed|burstable|besteffort)(?:\.slice)?")
_POD = re.compile(r"(?:.+-)?pod(?P<uid>[0-9A-Za-z][0-9A-Za-z_-]*)(?:\.slice)?")
_V1_ROOTS = ("cpuacct", "cpu,cpuacct", "cpuacct,cpu")
_USAGE = b"usage_usec "
_READ_BYTES = 128
_GONE = {errno.ENODEV, errno.ENOENT}


@dataclass(slots=True, eq=False, kw_only=True)
class _Group:
    """One control group whose file is open: what it had used at the last look, in its unit."""

    path: Path
    file: int
    used: int = 0
    step: int = 0

    def everyone(self) -> list[_Pod]:
        """Return all pods in it."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the file."""
        os.close(self.file)


@dataclass(slots=True, eq=False, kw_only=True)
class _Pod(_Group):
    """A pod's group."""

    uid: str

    def everyone(self) -> list[_Pod]:
        return [self]


@dataclass(slots=True, eq=False, kw_only=True)
class _Branch(_Group):
    """A group of pods, and of further branches; `names` is all its folder held."""

    names: set[str] = field(default_factory=set)
    pods: dict[str, _Pod] = field(default_factory=dict)
    branches: dict[str, _Branch] = field(default_factory=dict)

    def everyone(self) -> list[_Pod]:
        below = [pod for branch in self.branches.values() for pod in branch.everyone()]
        return [*self.pods.values(), *below]

    def close(self) -> None:
        os.close(self.file)
        for one in (*self.branches.values(), *self.pods.values()):
            one.close()


class Kubepods:
    """The work of each pod of this machine, from look to look; files stay open meanwhile.

    What a pod did after the last look before it ended is what its parent group counted more than
    those that are left. Where several ended at once it is shared by their work before.

    Args:
        cgroupfs: Where control groups are mounted, in version 1 that of `cpuacct` or the folder
            above; or a group in which `kubepods` is.

    Raises:
        SpecError: No control groups that count CPU time are there.
    """

    def __init__(self, cgroupfs: Path) -> None:
        self._root, self._name = _hierarchy(cgroupfs)
        self._unit_s = 1e-9 if self._name == "cpuacct.usage" else 1e-6
        self._tops: dict[str, _Branch] = {}

    @property
    def found(self) -> bool:
        """Whether there was a group of pods at the last look."""
        return bool(self._tops)

    def look(self, most_s: float) -> dict[str, float]:
        """Return what each pod did since the last look, in CPU seconds by uid.

        Args:
            most_s: More than this nobody can have done since then. A pod that is seen for the
                first time with more was there before, and counts from now.

        Raises:
            SourceForbidden: A group may not be read.
            SourceFailed: A group cannot be read, or answers nonsense.
        """
        most = int(most_s / self._unit_s)
        steps: dict[str, float] = defaultdict(float)
        names = {name for name in _listed(self._root) or () if _TOP.fullmatch(name)}
        for name in self._tops.keys() - names:
            self._tops.pop(name).close()
        for name in sorted(names - self._tops.keys()):
            if (file := self._open(self._root / name)) is not None:
                self._tops[name] = _Branch(path=self._root / name, file=file)
        for name, top in list(self._tops.items()):
            if self._grow(top, most, steps) is None:
                self._tops.pop(name).close()
        return {uid: step * self._unit_s for uid, step in steps.items()}

    def _grow(self, branch: _Branch, most: int, steps: dict[str, float]) -> int | None:
        """Add what the pods below did; return what the branch counts more, `None` if it ended."""
        names = _listed(branch.path)
        step = None if names is None else self._step(branch, most)
        if names is None or step is None:
            return None
        ended = list(self._follow(branch, names)) if names != branch.names else []
        known = 0
        for name, one in list(branch.branches.items()):
            below = self._grow(one, most, steps)
            if below is None:
                ended += self._forget(branch, name)
            known += below or 0
        for name, pod in list(branch.pods.items()):
            did = self._step(pod, most)
            if did is None:
                ended += self._forget(branch, name)
                continue
            known += did
            steps[pod.uid] += did
        _share(min(max(step - known, 0), most), ended, steps)
        return step

    def _follow(self, branch: _Branch, names: set[str]) -> Iterator[_Pod]:
        """Open what is new in a branch, and yield the pods that are no longer there."""
        for name in sorted((branch.pods.keys() | branch.branches.keys()) - names):
            yield from self._forget(branch, name)
        for name in sorted(names - branch.names):
            pod, path = _POD.fullmatch(name), branch.path / name
            if pod is None and not _QUALITY.fullmatch(name):
                continue
            if (file := self._open(path)) is None:
                names.discard(name)
            elif pod is not None:
                # The systemd driver writes the dashes of a uid as underscores.
                uid = pod["uid"].replace("_", "-")
                branch.pods[name] = _Pod(path=path, file=file, uid=uid)
            else:
                branch.branches[name] = _Branch(path=path, file=file)
        branch.names = names

    def _forget(self, branch: _Branch, name: str) -> list[_Pod]:
        """Let a group go that ended, and return the pods that ended with it."""
        branch.names.discard(name)  # the same name may come again
        one = branch.branches.pop(name, None) or branch.pods.pop(name)
        one.close()
        return one.everyone()

    def _open(self, path: Path) -> int | None:
        """Open the file of a group that counts, or return `None` when the group ended."""
        try:
            return os.open(path / self._name, os.O_RDONLY | os.O_CLOEXEC)
        except PermissionError as error:
            raise SourceForbidden(f"control group {path}", remedy="run as root") from error
        except OSError as error:
            if error.errno in _GONE | {errno.ENOTDIR}:
                return None
            many = error.errno in {errno.EMFILE, errno.ENFILE}
            raise SourceFailed(
                f"control group {path}",
                found=error.strerror,
                remedy="one file stays open per pod: raise 'ulimit -n'" if many else None,
            ) from error

    def _step(self, group: _Group, most: int) -> int | None:
        """Return what a group used since it was read last, or `None` when it ended."""
        try:
            text = os.pread(group.file, _READ_BYTES, 0)
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise SourceFailed(f"control group {group.path}", found=error.strerror) from error
        try:
            used = int(text if self._unit_s == 1e-9 else text.split(_USAGE, 1)[1].split(b"\n")[0])
        except (ValueError, IndexError) as error:
            raise SourceFailed(
                f"control group {group.path}",
                place=self._name,
                found=repr(text[:40].decode(errors="replace")),
                expected="its CPU time",
            ) from error
        step = max(used - group.used, 0)
        if group.used == 0 and step > most:
            step = 0
        group.used, group.step = max(group.used, used), step
        return step

    def close(self) -> None:
        """Close all files."""
        while self._tops:
            self._tops.popitem()[1].close()

    def __enter__(self) -> Kubepods:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _hierarchy(cgroupfs: Path) -> tuple[Path, str]:
    """Return the root of the groups that count CPU time, and the name of their file."""
    for root in (*(cgroupfs / name for name in _V1_ROOTS), cgroupfs):
        if (root / "cpuacct.usage").exists() or (root != cgroupfs and root.is_dir()):
            return root, "cpuacct.usage"
    if (cgroupfs / "cgroup.controllers").exists():
        return cgroupfs, "cpu.stat"
    raise SpecError(
        f"--mirror {cgroupfs}",
        found="no control groups that count CPU time" if cgroupfs.is_dir() else "no such folder",
        expected="where they are mounted, with cpuacct or cgroup.controllers in it",
        remedy="on most machines that is /sys/fs/cgroup",
    )


def _listed(path: Path) -> set[str] | None:
    """Return the names in a folder, or `None` when it is gone."""
    try:
        return set(os.listdir(path))  # noqa: PTH208 - names only, many times a second
    except OSError as error:
        if error.errno in _GONE:
            return None
        if error.errno in {errno.EACCES, errno.EPERM}:
            raise SourceForbidden(f"control group {path}", remedy="run as root") from error
        raise SourceFailed(f"control group {path}", found=error.strerror) from error


def _share(lost: int, ended: list[_Pod], steps: dict[str, float]) -> None:
    """Give what nobody who is left did to those that ended, by what they did before."""
    whole = sum(pod.step for pod in ended)
    for pod in ended:
        steps[pod.uid] += lost * (pod.step / whole if whole > 0 else 1 / len(ended))
