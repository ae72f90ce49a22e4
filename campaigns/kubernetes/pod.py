"""A pod that is measured: who it is, and what the exporter of its node tells of it."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import TrialError
from ...profiler.window import WindowResult
from .cluster import NODES, PODS, Cluster, Refused
from .deployment import CONTAINER
from .energy import NODE_METRICS, POD_METRICS, PodEnergy, newest_s, pod_energy, same_exporter
from .prometheus import Prometheus, Series

__all__ = [
    "PodIdentity",
    "RunningPod",
    "identity_of",
    "kubelet_version",
    "scrape_interval_s",
    "told_of",
]

_AGAIN_S = 1.0
_BEFORE_S = 300.0
"""So far before a window samples are looked for."""
_LATE_S = 15.0
"""An exporter's cycle, and what Prometheus takes to store a scrape, take no longer."""
_UNKNOWN_INTERVAL_S = 60.0
_SCRAPES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PodIdentity:
    """Who a pod is.

    Args:
        name: Its name.
        uid: Its UID, which no other one ever has.
        node: The node.
        ip: Its address.
        image: The image that was asked for.
        image_digest: The one that runs, as the node knows it.
        restarts: How often its container began anew.
    """

    name: str
    uid: str
    node: str
    ip: str
    image: str
    image_digest: str | None
    restarts: int


def identity_of(pod: Mapping[str, Any]) -> PodIdentity:
    """Return who a pod is that runs."""
    status = _service_of(pod)
    return PodIdentity(
        name=pod["metadata"]["name"],
        uid=pod["metadata"]["uid"],
        node=pod["spec"]["nodeName"],
        ip=pod["status"]["podIP"],
        image=status["image"],
        image_digest=_digest(status.get("imageID", "")),
        restarts=status["restartCount"],
    )


def _service_of(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the status of the service's container; meshes put others beside it."""
    found: Sequence[Mapping[str, Any]] = pod["status"].get("containerStatuses", ())
    return next((one for one in found if one["name"] == CONTAINER), {"restartCount": -1})


def _digest(image_id: str) -> str | None:
    """Return the digest in a runtime's word for an image, such as `docker.io/a@sha256:0f…`."""
    before, found, digest = image_id.rpartition("sha256:")
    return found + digest if digest or before else None


def kubelet_version(cluster: Cluster, node: str) -> str | None:
    """Return the version of a node's kubelet; `None` where we may not ask."""
    try:
        return str(cluster.get(NODES, node)["status"]["nodeInfo"]["kubeletVersion"])
    except Refused as refused:
        if refused.status == 403:
            return None
        raise


def scrape_interval_s(prometheus: Prometheus, target: Mapping[str, str] | None = None) -> float:
    """Return the time between two scrapes of exporters, the longest; a minute if it cannot tell."""
    series = prometheus.raw(
        f"joulery_exporter_last_cycle_timestamp_seconds{_matching(target or {})}",
        since_s=time.time() - 2 * _BEFORE_S,
    )
    steps = [
        sorted(later - earlier for (earlier, _), (later, _) in itertools.pairwise(s))
        for s in (one.samples for one in series)
        if len(s) > 1
    ]
    return max((step[len(step) // 2] for step in steps), default=_UNKNOWN_INTERVAL_S)


def _matching(labels: Mapping[str, str], names: str = "", **more: str) -> str:
    """Return a selector of series by labels and, as a regular expression, by name."""
    wanted = [f"{name}={json.dumps(value)}" for name, value in (*labels.items(), *more.items())]
    wanted += [f'__name__=~"{names}"'] if names else []
    return "{" + ",".join(wanted) + "}"


def told_of(
    prometheus: Prometheus, target: Mapping[str, str], uid: str, *, since_s: float
) -> list[Series]:
    """Return all that an exporter told of a pod and of its node.

    Args:
        prometheus: Who has it.
        target: Job and instance of the exporter.
        uid: The pod's.
        since_s: From when on, in Unix seconds.

    Raises:
        TrialError: When Prometheus does not answer.
    """
    return [
        series
        for metrics, of in ((POD_METRICS, {"uid": uid}), (NODE_METRICS, {}))
        for series in prometheus.raw(
            _matching(target, names="|".join(metrics), **of), since_s=since_s
        )
    ]


class RunningPod:
    """A pod that is measured.

    Args:
        identity: Who it is.
        cluster: Where.
        prometheus: Who tells of it.
        kubelet: Version of its node's kubelet, if known.
    """

    def __init__(
        self, identity: PodIdentity, cluster: Cluster, prometheus: Prometheus, kubelet: str | None
    ) -> None:
        self.identity = identity
        self._cluster, self._prometheus, self._kubelet = cluster, prometheus, kubelet
        self._target: Mapping[str, str] = {}
        self._interval_s = _UNKNOWN_INTERVAL_S
        self._exporter: str | None = None

    def wait_told(self, patience_s: float) -> None:
        """Wait until Prometheus knows of the pod's energy: from then on windows may begin.

        Args:
            patience_s: How long at least; a scrape is waited for in any case.

        Raises:
            TrialError: When it does not.
        """
        until_s = time.monotonic() + max(
            patience_s, _SCRAPES * scrape_interval_s(self._prometheus) + _LATE_S
        )
        while not (series := self._prometheus.now(self._of_pod())):
            if time.monotonic() > until_s:
                raise self._untold()
            time.sleep(_AGAIN_S)
        self._target = same_exporter(series)
        self._interval_s = scrape_interval_s(self._prometheus, self._target)
        build = self._prometheus.now(f"joulery_exporter_build_info{_matching(self._target)}")
        self._exporter = build[0].labels.get("version") if build else None

    def _of_pod(self) -> str:
        return "joulery_pod_energy_joules_total" + _matching({"uid": self.identity.uid})

    def _untold(self) -> TrialError:
        node = self.identity.node
        told = {one.labels.get("node", "") for one in self._prometheus.now("joulery_node_info")}
        here = node in told
        return TrialError(
            f"energy of pod {self.identity.name}",
            place=f"node {node}",
            found=f"an exporter of the node in {self._prometheus.url}, and no energy of the pod"
            if here
            else f"no exporter of the node in {self._prometheus.url}, but of "
            f"{', '.join(sorted(told)) or 'none'}",
            expected="joulery_pod_energy_joules_total with its UID",
            remedy="its log and joulery_exporter_problems_total say what it cannot read"
            if here
            else "install exporters/chart so that its DaemonSet covers the node, and let "
            "Prometheus scrape it",
        )

    def facts(self) -> dict[str, Any]:
        """Return the columns that say who it is."""
        return {
            "pod_uid": self.identity.uid,
            "pod_node": self.identity.node,
            "image": self.identity.image,
            "image_digest": self.identity.image_digest,
            "kubelet_version": self._kubelet,
            "exporter_version": self._exporter,
        }

    def measured(self, window: WindowResult) -> PodEnergy:
        """Return what was told of a window that has just ended, once it is told.

        Raises:
            TrialError: When the pod is not what it was, or Prometheus does not answer.
        """
        self._check_same()
        offset_s = time.monotonic() - time.time()
        start_s, end_s = window.start_s - offset_s, window.end_s - offset_s
        error_s = self._prometheus.clock_error_s()
        until_s = time.monotonic() + _SCRAPES * self._interval_s + _LATE_S
        while True:
            series = told_of(
                self._prometheus, self._target, self.identity.uid, since_s=start_s - _BEFORE_S
            )
            newest = newest_s(series)
            if (newest is not None and newest >= end_s + error_s) or time.monotonic() > until_s:
                break
            time.sleep(_AGAIN_S)
        return pod_energy(series, start_s, end_s, clock_error_s=error_s, offset_s=offset_s)

    def _check_same(self) -> None:
        """See that it is the pod that it was: one that began anew was not measured alone."""
        name = f"pod {self.identity.name}"
        try:
            now = self._cluster.get(PODS, self.identity.name)
        except Refused as refused:
            if refused.status != 404:
                raise
            raise TrialError(name, found="that it is gone", expected="that it stays") from None
        status = _service_of(now)
        if now["metadata"]["uid"] != self.identity.uid or (
            status["restartCount"] != self.identity.restarts
        ):
            ended = status.get("lastState", {}).get("terminated", {})
            raise TrialError(
                name,
                found=f"that its container began anew ({ended.get('reason', 'no reason')})",
                expected="one that runs through the trial",
                remedy="kubernetes.resources may give it more memory",
            )
