"""Who a control group belongs to, read from its path alone; nothing here looks at a folder.

The paths are those of the kubelet's cgroupfs and systemd drivers, of containerd, CRI-O, Docker,
Podman, ECS and Cloud Foundry. See cgroups(7) for the lines of `/proc/<pid>/cgroup`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ..errors import SourceFailed, SourceForbidden

__all__ = [
    "GroupKind",
    "GroupName",
    "is_like_pod",
    "is_pods_folder",
    "parse_group",
    "parse_line",
    "pod_in_name",
    "pod_of_process",
]

_HEX = re.compile(r"[0-9a-f]{64}")
_UID = (
    r"[0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}"
    r"|[0-9a-f]{32}"  # a static pod's: the hash of its manifest
)
_POD = re.compile(
    rf"pod(?P<plain>{_UID})"
    rf"|(?:.*-)?kubepods(?:-[a-z]+)?-pod(?P<slice>{_UID})\.slice(?::(?P<runtime>[^:]+):(?P<id>.*))?"
)
_LIKE_POD = re.compile(r"(?:.+-)?pod.+")
_PODS_FOLDER = re.compile(
    r"besteffort|burstable|(?:.*-)?kubepods(?:-besteffort|-burstable)?(?:\.slice)?"
)
_CONTAINER = re.compile(r"(?:(?P<runtime>.+)-)?(?P<id>[0-9a-f]{64})(?P<unit>\.scope)?")
_BAD_ID = re.compile(r"(?:.+-)?[0-9a-f]+(?:\.scope)?")
_FARGATE = re.compile(r"[0-9a-f]{32}-[0-9]+")
_GARDEN = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){4,6}")
_UNITS = (".mount", ".scope", ".service", ".slice")

_RUNTIMES = {
    "cri-containerd": "containerd",
    "crio": "crio",
    "docker": "docker",
    "libpod": "podman",
    "nerdctl": "containerd",
}
"""What runtimes put before a container's id, and who they are."""
_ONLY_KUBERNETES = {"cri-containerd", "crio"}

_DELETED = " (deleted)"
"""What the kernel adds to the path of a group that was removed under a zombie."""


class GroupKind(StrEnum):
    """What a control group is."""

    CONTAINER = "container"
    STATIC = "container_static_pod"
    """A container of a pod that the node itself defines: its uid is a hash without dashes."""
    NESTED = "container_nested_child"
    """A group that a container made within its own."""
    HIDDEN = "container_no_uid"
    """A container of some pod; a cgroup namespace hides which."""
    FOREIGN = "container_not_k8s"
    """A container that no kubelet started, or what is within."""
    POD = "pod_only"
    HELPER = "pod_helper"
    """In a pod, but no container: what watches one, or mounts for it."""
    BAD_ID = "pod_bad_id"
    """In a pod, and named like a container, whose id is none."""
    NONE = "no_match"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupName:
    """What the path of a control group tells.

    Args:
        pod_uid: With dashes; a static pod's is 32 hexadecimal digits. `None`: in no pod.
        container_id: As its runtime calls it; `None`: in no container.
        runtime: Such as "containerd", where the path tells.
        driver: "systemd", "cgroupfs", or "cgroupfs-with-systemd-paths", where the path tells.
        kind: What the group is.
    """

    pod_uid: str | None = None
    container_id: str | None = None
    runtime: str | None = None
    driver: str | None = None
    kind: GroupKind = GroupKind.NONE


_NOTHING = GroupName()


def pod_in_name(name: str) -> str | None:
    """Return the uid of the pod whose group has this name, without its parents; else `None`."""
    match = _POD.fullmatch(name)
    return None if match is None else _uid(match)


def is_pods_folder(name: str) -> bool:
    """Tell whether a group of this name is one in which a kubelet puts its pods' groups."""
    return _PODS_FOLDER.fullmatch(name) is not None


def is_like_pod(name: str) -> bool:
    """Tell whether a group of this name, beside those of pods, seems to be a pod's as well."""
    return _LIKE_POD.fullmatch(name) is not None


def _uid(match: re.Match[str]) -> str:
    # systemd reads a dash in a slice's name as a parent, so that the kubelet writes "_" instead.
    return str(match["plain"] or match["slice"]).replace("_", "-")


def parse_group(path: str) -> GroupName:
    """Tell whose a control group is; any text is taken, and most of it is nobody's.

    Of several pods within each other, the outermost is told: it is the one whose kubelet is the
    node's own. Of several containers without a pod, the innermost.
    """
    parts = path.removesuffix(_DELETED).split("/")
    for index, part in enumerate(parts):
        match = _POD.fullmatch(part)
        if match is not None:
            return _in_pod(match, parts[index + 1 :])
    return _outside(parts)


def parse_line(line: str) -> GroupName:
    """Tell whose the group in a line of `/proc/<pid>/cgroup` is: `number:controllers:path`.

    A path may hold colons. What is no such line is nobody's.
    """
    number, _, rest = line.strip("\n").partition(":")
    _, sign, path = rest.partition(":")
    return parse_group(path) if sign and number.isdigit() else _NOTHING


def _in_pod(match: re.Match[str], below: list[str]) -> GroupName:
    uid = _uid(match)
    if match["id"] is not None:  # the container's group, named after the pod's
        runtime, driver = _RUNTIMES.get(match["runtime"]), "cgroupfs-with-systemd-paths"
        found = match["id"] if _HEX.fullmatch(match["id"]) else None
        kind = _kind(uid, below) if found else GroupKind.BAD_ID
        return GroupName(pod_uid=uid, container_id=found, runtime=runtime, driver=driver, kind=kind)
    driver = "systemd" if match["slice"] else "cgroupfs"
    if not below:
        return GroupName(pod_uid=uid, driver=driver, kind=GroupKind.POD)
    name, *deeper = below
    if name.endswith(_UNITS):
        driver = "systemd"
    container = _CONTAINER.fullmatch(name)
    if container is not None and not (container["runtime"] or "").endswith("conmon"):
        return GroupName(
            pod_uid=uid,
            container_id=container["id"],
            runtime=_RUNTIMES.get(container["runtime"] or ""),
            driver=driver,
            kind=_kind(uid, deeper),
        )
    started = (who for prefix, who in _RUNTIMES.items() if name.startswith(f"{prefix}-"))
    bad = container is None and _BAD_ID.fullmatch(name) is not None
    kind = GroupKind.BAD_ID if bad else GroupKind.HELPER
    return GroupName(pod_uid=uid, runtime=next(started, None), driver=driver, kind=kind)


def _kind(uid: str, deeper: list[str]) -> GroupKind:
    if deeper:
        return GroupKind.NESTED
    return GroupKind.CONTAINER if "-" in uid else GroupKind.STATIC


def _outside(parts: list[str]) -> GroupName:
    """Look for a container that is in no pod, from the innermost group on."""
    for index in range(len(parts) - 1, 0, -1):
        found = _foreign(parts[:index], parts[index], parts[index + 1 :])
        if found is not None:
            return found
    return _NOTHING


def _foreign(above: list[str], name: str, below: list[str]) -> GroupName | None:
    runtime: str | None = None
    driver: str | None = None
    found, kind = name, GroupKind.FOREIGN
    match = _CONTAINER.fullmatch(name)
    if match is not None and match["runtime"] in _RUNTIMES:
        found, runtime = match["id"], _RUNTIMES[match["runtime"]]
        driver = "systemd" if match["unit"] else "cgroupfs"
        if match["runtime"] in _ONLY_KUBERNETES:
            kind = GroupKind.HIDDEN
    elif _HEX.fullmatch(name) and above[-1] == "docker":
        runtime = "docker"
        # What the container runs may have another driver than what runs it: the path tells both.
        driver = None if any(part.endswith(_UNITS) for part in below) else "cgroupfs"
    elif "ecs" in above and _HEX.fullmatch(name):
        runtime = "ecs"
    elif "ecs" in above and _FARGATE.fullmatch(name):
        runtime = "ecs-fargate"
    elif above[-1] == "garden" and _GARDEN.fullmatch(name):
        runtime = "garden"
    else:
        return None
    return GroupName(container_id=found, runtime=runtime, driver=driver, kind=kind)


def pod_of_process(proc: Path, pid: int) -> str | None:
    """Return the uid of the pod a process is in, from `<proc>/<pid>/cgroup`.

    Returns:
        `None` when the process is gone, or in no pod.

    Raises:
        SourceForbidden: The process is there, and its groups may not be read.
        SourceFailed: They cannot be read.
    """
    path = proc / f"{pid}/cgroup"
    try:
        text = path.read_text(errors="replace")
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return None
    except PermissionError as error:
        raise SourceForbidden(
            f"control groups {path}", remedy="run as root, or mount procfs without 'hidepid'"
        ) from error
    except OSError as error:
        raise SourceFailed(f"control groups {path}", found=error.strerror) from error
    # One of version 1's hierarchies may leave out what the others tell: any that tells will do.
    uids = (parse_line(line).pod_uid for line in text.split("\n"))
    return next((uid for uid in uids if uid is not None), None)
