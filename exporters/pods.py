"""Which pods are on this node, without the API server: control groups and names of log folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from ..errors import SourceUnavailable
from ..profiler.cgroup import cpu_root_below
from .pod_groups import GroupFinder
from .pod_names import PodNames

__all__ = ["Pod", "PodFinder"]

_REMEDY = "mount the node's control groups there for reading, or name their folder by --cgroupfs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod that has a control group now.

    Args:
        uid: The kubelet's name for it: a static pod's is 32 hexadecimal digits.
        namespace: `None` while no log folder tells it.
        name: The same.
        groups: Its topmost control groups, none below another: their CPU times add up to its own.
        containers: Names of its containers by id, those that ended but left a log as well.
    """

    uid: str
    namespace: str | None
    name: str | None
    groups: tuple[Path, ...]
    containers: Mapping[str, str]


class PodFinder:
    """Looks for the pods of this node.

    A look lists a few folders. The whole tree of control groups is searched once a minute, and
    when a folder that held pods is gone; names are read when there is something new.

    Args:
        cgroupfs: Where control groups are mounted, usually `/sys/fs/cgroup`.
        pod_logs: Where pods log, usually `/var/log/pods`.
        container_logs: Where logs of containers are linked to, usually `/var/log/containers`.
        clock: Monotonic seconds.

    Raises:
        SourceUnavailable: No hierarchy that counts CPU time is mounted there.
        SourceForbidden: It may not be looked at.

    Attributes:
        problems: What could not be read, by reason, added up over all looks: a reason that goes
            on growing is there now. `name_unknown` counts pods without a name; `cgroup_*`,
            `pod_logs_*` and `container_logs_*` are folders that are missing, forbidden or failed;
            `*_unparsed` are names that tell nothing; `*_too_many` and `*_cut` are limits of ours.
    """

    def __init__(
        self,
        cgroupfs: Path,
        pod_logs: Path,
        container_logs: Path,
        *,
        clock: Callable[[], float],
    ) -> None:
        try:
            root = cpu_root_below(cgroupfs)
        except SourceUnavailable as error:
            raise SourceUnavailable(error.subject, found=error.found, remedy=_REMEDY) from error
        self.problems: Counter[str] = Counter()
        self._clock = clock
        self._groups = GroupFinder(root, clock=clock, problems=self.problems)
        self._names = PodNames(pod_logs, container_logs, problems=self.problems)
        self._pods: Mapping[str, Pod] = {}

    def look(self) -> Mapping[str, Pod]:
        """Return the pods that have a control group now, by uid; nothing makes it raise."""
        groups = self._groups.look()
        self._names.update(groups.keys(), self._clock())
        pods: dict[str, Pod] = {}
        for uid, paths in groups.items():
            # The order in which a folder lists them is not the same at each look.
            topmost = tuple(paths) if len(paths) == 1 else tuple(sorted(paths))
            namespace, name = self._names.name(uid) or (None, None)
            containers = self._names.containers(uid)
            pod = self._pods.get(uid)
            if (
                pod is None
                or pod.groups != topmost
                or pod.name != name
                or pod.containers is not containers
            ):
                pod = Pod(
                    uid=uid,
                    namespace=namespace,
                    name=name,
                    groups=topmost,
                    containers=containers,
                )
            pods[uid] = pod
        self._pods = MappingProxyType(pods)
        return self._pods
