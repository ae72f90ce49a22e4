"""CPU time of a control group, from the group's own file; nothing here looks at a process.

Kernel documents: Documentation/admin-guide/cgroup-v2.rst (`cpu.stat`) and cgroup-v1/cpuacct.rst.
Which group belongs to whom, its reader must know.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from ..errors import SourceFailed, SourceForbidden, SourceUnavailable
from .host import Host

__all__ = [
    "CgroupCpu",
    "cpu_root",
    "cpu_root_below",
    "own_group",
    "parse_cpu_stat",
    "parse_cpuacct",
    "parse_groups",
]

_READ_BYTES = 4096
_GONE = {errno.ENODEV, errno.ENOENT}
"""What the kernel answers for a group that was removed: the file is open, or is opened."""

_V1_ROOTS = ("cpuacct", "cpu,cpuacct", "cpuacct,cpu")
_V1_REMEDY = "version 1 counts under cpuacct, not under cpu: give the group's folder there"


def parse_cpu_stat(text: str) -> float:
    """Read the CPU seconds in version 2's `cpu.stat`, where `usage_usec` is in microseconds.

    Raises:
        SourceFailed: When there is none; version 1's file of that name only counts throttling.
    """
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "usage_usec":
            return _count(value, "cpu.stat") / 1e6
    raise SourceFailed("cpu.stat", found=_brief(text), expected="a line 'usage_usec'")


def parse_cpuacct(text: str) -> float:
    """Read the CPU seconds in version 1's `cpuacct.usage`, which is in nanoseconds.

    Raises:
        SourceFailed: When the text is no count.
    """
    return _count(text, "cpuacct.usage") / 1e9


def _count(text: str, subject: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdigit()):
        raise SourceFailed(subject, found=_brief(text), expected="a count of 0 or more")
    return int(text)


def _brief(text: str) -> str:
    return repr(text[:80]) if text else "nothing"


def parse_groups(text: str) -> Mapping[str, str]:
    """Read `/proc/<pid>/cgroup`: the group's path by controller, "" standing for version 2.

    Lines are `number:controllers:path`, see cgroups(7); a path may hold colons.
    """
    groups: dict[str, str] = {}
    for line in text.splitlines():
        number, sign, rest = line.partition(":")
        controllers, again, path = rest.partition(":")
        if sign and again and number.isdigit():
            groups |= dict.fromkeys(controllers.split(","), path)
    return groups


def cpu_root(host: Host) -> Path:
    """Return the folder under which groups have their CPU time.

    Version 1 has it under `cpuacct`, also where version 2 is mounted beside (hybrid).

    Raises:
        SourceUnavailable: When no such hierarchy is mounted.
    """
    return cpu_root_below(host.sys / "fs/cgroup")


def cpu_root_below(root: Path) -> Path:
    """Return the same where control groups are mounted elsewhere than in `/sys/fs/cgroup`.

    Args:
        root: Where version 2 is mounted, or what the hierarchies of version 1 are mounted below.

    Raises:
        SourceUnavailable: When no hierarchy that counts CPU time is mounted there.
        SourceForbidden: When that may not be looked at.
    """
    try:
        if _is_there(root / "cgroup.controllers"):
            return root
        for name in _V1_ROOTS:
            if _is_there(root / name):
                return root / name
    except PermissionError as error:
        raise SourceForbidden(
            f"control groups {root}", remedy="run as a user who may look into that folder"
        ) from error
    raise SourceUnavailable(f"control groups {root}", found="no hierarchy that counts CPU time")


def _is_there(path: Path) -> bool:
    try:
        path.stat()  # unlike exists(), it tells "forbidden" in every version of Python
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def own_group(host: Host, pid: int | str = "self") -> Path:
    """Return the folder of the group a process is in, where its CPU time is counted.

    Raises:
        SourceUnavailable: When the process is gone, or has no such group.
    """
    path = host.proc / f"{pid}/cgroup"
    try:
        groups = parse_groups(path.read_text())
    except OSError as error:
        raise SourceUnavailable(f"control group {path}", found=error.strerror) from error
    root = cpu_root(host)
    name = groups.get("cpuacct", groups.get(""))
    if name is None:
        raise SourceUnavailable(f"control group {path}", found="no group that counts CPU time")
    return root / name.lstrip("/")


class CgroupCpu:
    """CPU seconds of one control group and all below it; the file stays open and is read again.

    A group that ends takes its file along: `cpu_s` then says so, and `last_s` stays. What it used
    after the last call is lost, so the last call should be late.

    Args:
        path: The group's folder: in version 2 the group, in version 1 its folder under `cpuacct`.

    Raises:
        SourceUnavailable: There is no such group, or its folder does not count CPU time.
        SourceForbidden: It may not be read.
        SourceFailed: It cannot be opened, or answers nonsense.

    Attributes:
        resolution_s: Smallest step of the seconds.
        last_s: The latest CPU seconds that were read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last_s = 0.0
        self._file = -1
        try:
            self._parse = self._choose()
            self.cpu_s()
        except BaseException:
            self.close()
            raise
        self.resolution_s = 1e-6 if self._parse is parse_cpu_stat else 1e-9

    def _choose(self) -> Callable[[str], float]:
        """Open the file that counts: version 1's first, for beside it stands another `cpu.stat`."""
        if self._open("cpuacct.usage"):
            return parse_cpuacct
        if not self._open("cpu.stat"):
            is_group = self.path.is_dir()
            what = "neither cpu.stat nor cpuacct.usage" if is_group else "no such group"
            raise SourceUnavailable(f"control group {self.path}", found=what)
        if "usage_usec" not in self._text():
            raise SourceUnavailable(
                f"control group {self.path}",
                found="a cpu.stat without usage_usec",
                expected="cpuacct.usage",
                remedy=_V1_REMEDY,
            )
        return parse_cpu_stat

    def _open(self, name: str) -> bool:
        """Open one of the group's files, or return that it has no such file."""
        try:
            self._file = os.open(self.path / name, os.O_RDONLY | os.O_CLOEXEC)
        except PermissionError as error:
            raise SourceForbidden(
                f"control group {self.path / name}",
                remedy="run as a user who may read it: root, or the owner of the group",
            ) from error
        except OSError as error:
            if error.errno in _GONE | {errno.ENOTDIR}:
                return False
            raise self._failed(error) from error
        return True

    def _failed(self, error: OSError) -> SourceFailed:
        many = error.errno in {errno.EMFILE, errno.ENFILE}
        return SourceFailed(
            f"control group {self.path}",
            found=error.strerror,
            remedy="one file stays open per group: raise 'ulimit -n'" if many else None,
        )

    def cpu_s(self) -> float:
        """Return the CPU seconds of the group since it was made; the value never falls.

        Raises:
            SourceUnavailable: The group is gone, or this reader is closed; `last_s` stays.
            SourceFailed: The file answers nonsense.
        """
        self.last_s = max(self.last_s, self._parse(self._text()))
        return self.last_s

    def _text(self) -> str:
        if self._file < 0:
            raise SourceUnavailable(f"control group {self.path}", found="a closed reader")
        try:
            return os.pread(self._file, _READ_BYTES, 0).decode(errors="replace")
        except OSError as error:
            if error.errno in _GONE:
                raise SourceUnavailable(
                    f"control group {self.path}", found="a group that has ended"
                ) from error
            raise self._failed(error) from error

    def close(self) -> None:
        """Close the file; `last_s` stays."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> CgroupCpu:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
