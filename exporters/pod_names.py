"""What pods and their containers are called, from the folders in which the kubelet keeps logs.

The kubelet names a pod's folder `<namespace>_<pod>_<uid>`, and links to each container's log by
`<pod>_<namespace>_<container>-<id>.log`; none of these names holds a "_" itself. Logs are not read.
"""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Mapping, Set
from pathlib import Path
from types import MappingProxyType

__all__ = ["PodNames"]

_AGAIN_S = 60.0
_SETTLED_S = 1.0
"""A folder's time has steps of some milliseconds: what comes within one is seen by looking again
until it is surely over."""
_MOST_NAMES = 20_000

_LABEL = "[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_POD = rf"{_LABEL}(?:\.{_LABEL})*"
_FOLDER = re.compile(rf"({_LABEL})_({_POD})_([-0-9A-Za-z.]+)")
_LOG = re.compile(rf"({_POD})_({_LABEL})_({_LABEL})-([0-9a-f]{{64}})\.log")

_NONE: Mapping[str, str] = MappingProxyType({})


class _Folder:
    """A folder's entries, to be read again when it may have changed."""

    def __init__(self, path: Path, subject: str, problems: Counter[str]) -> None:
        self._path = path
        self._subject = subject
        self._problems = problems
        self._changed_ns = -1
        self._changed_s = self._read_s = 0.0

    def is_news(self, now_s: float) -> bool:
        """Tell whether names may be other ones than when they were read."""
        try:
            changed_ns = self._path.stat().st_mtime_ns
        except OSError:
            return True  # reading it tells why
        if changed_ns != self._changed_ns:
            self._changed_ns, self._changed_s = changed_ns, now_s
        return now_s - self._changed_s <= _SETTLED_S or now_s - self._read_s >= _AGAIN_S

    def read(self, now_s: float) -> list[os.DirEntry[str]]:
        """Return what is in it; what cannot be read is counted, and leaves nothing."""
        try:
            with os.scandir(self._path) as entries:
                found = list(itertools.islice(entries, _MOST_NAMES))
        except OSError as error:
            self._problems[f"{self._subject}_{_reason(error)}"] += 1
            return []
        if len(found) == _MOST_NAMES:
            self._problems[f"{self._subject}_too_many"] += 1
        self._read_s = now_s
        return found


def _reason(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "forbidden"
    return "missing" if isinstance(error, FileNotFoundError | NotADirectoryError) else "failed"


class PodNames:
    """Names of the pods that are there now, and of their containers.

    Args:
        pod_logs: Usually `/var/log/pods`.
        container_logs: Usually `/var/log/containers`.
        problems: Where what cannot be read is counted, by reason.
    """

    def __init__(self, pod_logs: Path, container_logs: Path, *, problems: Counter[str]) -> None:
        self._problems = problems
        self._pods = _Folder(pod_logs, "pod_logs", problems)
        self._logs = _Folder(container_logs, "container_logs", problems)
        self._names: dict[str, tuple[str, str]] = {}
        self._containers: dict[str, Mapping[str, str]] = {}
        self._owners: dict[str, str | None] = {}
        """The uid that each log's link names, so that a link is read once."""
        self._uids: Set[str] = frozenset()

    def name(self, uid: str) -> tuple[str, str] | None:
        """Return a pod's namespace and name, or `None` while no folder tells them."""
        return self._names.get(uid)

    def containers(self, uid: str) -> Mapping[str, str]:
        """Return the names of a pod's containers by id, those that ended but left a log as well."""
        return self._containers.get(uid, _NONE)

    def update(self, uids: Set[str], now_s: float) -> None:
        """Learn what is new; only pods with these uids are kept.

        Args:
            uids: Those of the pods that are there now.
            now_s: Monotonic seconds.
        """
        news = uids != self._uids
        if news:
            self._uids = frozenset(uids)
            self._names = {uid: name for uid, name in self._names.items() if uid in uids}
        unnamed = uids - self._names.keys()
        if unnamed and (self._pods.is_news(now_s) or news):
            self._read_names(unnamed, now_s)
        if uids and (self._logs.is_news(now_s) or news):
            self._read_containers(now_s)
        nameless = len(uids - self._names.keys())
        if nameless:
            self._problems["name_unknown"] += nameless

    def _read_names(self, unnamed: Set[str], now_s: float) -> None:
        for entry in self._pods.read(now_s):
            match = _FOLDER.fullmatch(entry.name)
            if match is None:
                self._problems["pod_log_unparsed"] += 1
            elif match[3] in unnamed:
                self._names[match[3]] = match[1], match[2]

    def _read_containers(self, now_s: float) -> None:
        found: dict[str, dict[str, str]] = {}
        owners: dict[str, str | None] = {}
        uids = {name: uid for uid, name in self._names.items()}
        for entry in self._logs.read(now_s):
            match = _LOG.fullmatch(entry.name)
            if match is None:
                # One too long for the file system was cut, and tells no whole id.
                self._problems["container_log_unparsed"] += 1
                continue
            pod, namespace, container, container_id = match.groups()
            known = self._owners.get(entry.name)
            owners[entry.name] = known or _owner(entry)
            # A pod made anew under its old name has another uid, which only the link tells.
            uid = owners[entry.name] or uids.get((namespace, pod))
            if uid is not None and uid in self._uids:
                found.setdefault(uid, {})[container_id] = container
        self._owners = owners
        self._containers = {uid: MappingProxyType(names) for uid, names in found.items()}


def _owner(entry: os.DirEntry[str]) -> str | None:
    """Return the uid in where a log's link leads: `<namespace>_<pod>_<uid>/<container>/<n>.log`."""
    try:
        folders = Path(entry.path).readlink().parts
    except OSError:
        return None  # no link, or gone
    match = _FOLDER.fullmatch(folders[-3]) if len(folders) >= 3 else None
    return None if match is None else match[3]
