"""Where the control groups of pods are: found once, looked at often, searched for again seldom.

Whose a group is stands in `cgroup_path`; what a pod is called stands in `pod_names`.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .cgroup_path import is_like_pod, is_pods_folder, pod_in_name

__all__ = ["GroupFinder"]

_SEARCH_AGAIN_S = 60.0
_SEARCH_EMPTY_S = 5.0
"""How seldom the whole tree is searched: where there are pods, and where none was found yet."""
_MOST_FOLDERS = 20_000
_MOST_ENTRIES = 20_000
_DEEPEST = 10
"""How far a search goes; a kubelet within a container within a slice is about six groups down."""
_DEEPEST_PODS_FOLDER = 4
_RUNTIMES = ("containerd", "crio", "cri-o", "docker", "k3s", "rke2")
"""Services in whose own group containers may be; there the groups of a pod come and go."""


@dataclass(slots=True)
class _Shelf:
    """A folder whose subfolders are groups of pods, or such folders again."""

    path: str
    only_pods: bool
    known: dict[str, _Thing] = field(default_factory=dict)
    """What each name in it is, so that a name is read once; names that went are forgotten."""


@dataclass(frozen=True, slots=True)
class _PodGroup:
    uid: str
    path: Path


@dataclass(frozen=True, slots=True)
class _Unreadable:
    """A group beside those of pods, whose name tells no pod."""


_Thing = _PodGroup | _Shelf | _Unreadable | None
_UNREADABLE = _Unreadable()
_NEW = _Unreadable()


class GroupFinder:
    """Finds the topmost groups of every pod; what is below a pod's group is that pod's.

    Args:
        root: The hierarchy that counts CPU time.
        clock: Monotonic seconds.
        problems: Where what cannot be read is counted, by reason.
    """

    def __init__(self, root: Path, *, clock: Callable[[], float], problems: Counter[str]) -> None:
        self._root = str(root)
        self._clock = clock
        self._problems = problems
        self._shelves: dict[str, _Shelf] = {}
        self._search_s = clock()

    def look(self) -> Mapping[str, Sequence[Path]]:
        """Return the groups that are there now, by uid of the pod; none is below another."""
        now_s = self._clock()
        searched = now_s >= self._search_s
        if searched:
            self._search(now_s)
        found, whole = self._look_at_shelves()
        if not whole and not searched:
            self._search(now_s)
            found, _ = self._look_at_shelves()
        if not found:
            self._search_s = min(self._search_s, now_s + _SEARCH_EMPTY_S)
        return found

    def _look_at_shelves(self) -> tuple[dict[str, list[Path]], bool]:
        """Return the groups by uid, and whether every shelf is still there."""
        found: dict[str, list[Path]] = {}
        there = [self._look_at(shelf, found, 0) for shelf in self._shelves.values()]
        return found, all(there)

    def _look_at(self, shelf: _Shelf, found: dict[str, list[Path]], depth: int) -> bool:
        """Add the groups in a folder to those found; return whether the folder is there."""
        known, now = shelf.known, dict[str, _Thing]()
        try:
            with os.scandir(shelf.path) as entries:
                for entry in itertools.islice(entries, _MOST_ENTRIES):
                    name = entry.name
                    thing = known.get(name, _NEW)
                    if thing is _NEW:
                        thing = _identify(entry, shelf, depth)
                    now[name] = thing
                    if thing is None:
                        continue
                    if isinstance(thing, _PodGroup):
                        found.setdefault(thing.uid, []).append(thing.path)
                    elif isinstance(thing, _Shelf):
                        self._look_at(thing, found, depth + 1)
                    else:
                        self._problems["pod_group_unparsed"] += 1
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            self._count(error)
        if len(now) == _MOST_ENTRIES:
            self._problems["groups_too_many"] += 1
        shelf.known = now
        return True

    def _count(self, error: OSError) -> None:
        forbidden = isinstance(error, PermissionError)
        self._problems["cgroup_forbidden" if forbidden else "cgroup_failed"] += 1

    def _search(self, now_s: float) -> None:
        """Walk the tree for folders in which pods are, or may come to be."""
        self._search_s = now_s + _SEARCH_AGAIN_S
        shelves: dict[str, _Shelf] = {}
        waiting, looked = deque([(self._root, 0)]), 0
        while waiting and looked < _MOST_FOLDERS:
            path, depth = waiting.popleft()
            looked += 1
            folders = self._folders(path)
            # The root and the services of runtimes may get pods at any time.
            is_shelf = depth == 0 or _is_runtime(path) or any(map(pod_in_name, folders))
            if is_shelf:
                shelves[path] = self._shelf(path)
            for name in folders:
                below = f"{path}/{name}"
                if pod_in_name(name) is not None:
                    continue
                if not is_pods_folder(name):
                    if depth < _DEEPEST:
                        waiting.append((below, depth + 1))
                elif not is_shelf:  # else it is looked at with the shelf it is on
                    shelves[below] = self._shelf(below)
        if waiting:
            self._problems["cgroup_search_cut"] += 1
        self._shelves = shelves

    def _shelf(self, path: str) -> _Shelf:
        known = self._shelves.get(path)
        return known or _Shelf(path, is_pods_folder(path.rpartition("/")[2]))

    def _folders(self, path: str) -> list[str]:
        try:
            with os.scandir(path) as entries:
                some = itertools.islice(entries, _MOST_ENTRIES)
                return [entry.name for entry in some if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return []
        except OSError as error:
            self._count(error)
            return []


def _identify(entry: os.DirEntry[str], shelf: _Shelf, depth: int) -> _Thing:
    name = entry.name
    if not entry.is_dir(follow_symlinks=False):
        return None  # one of the kernel's files
    uid = pod_in_name(name)
    if uid is not None:
        return _PodGroup(uid, Path(entry.path))
    if is_pods_folder(name):
        return _Shelf(entry.path, only_pods=True) if depth < _DEEPEST_PODS_FOLDER else None
    return _UNREADABLE if shelf.only_pods and is_like_pod(name) else None


def _is_runtime(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.endswith(".service") and any(runtime in name for runtime in _RUNTIMES)
