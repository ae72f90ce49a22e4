"""Why a pod does not become ready, from what the API server says of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Trouble", "is_ready", "last_event", "refusal", "summary", "trouble"]

_HOPELESS = {
    "CreateContainerConfigError": "the chart's values name something that is not there",
    "CreateContainerError": "see the container runtime's log on the node",
    "ErrImageNeverPull": "load the image on the node, or let it be pulled",
    "ImagePullBackOff": "push the image to where the node finds it, and name it in "
    "kubernetes.image; a registry that asks who you are needs values.image.pullSecrets",
    "InvalidImageName": "write kubernetes.image as REGISTRY/NAME:TAG",
    "RunContainerError": "see the container runtime's log on the node",
}
"""States that waiting does not change, and what does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a pod does not become ready.

    Args:
        reason: Kubernetes' word for it.
        found: That and what it says.
        remedy: What to do.
        is_crash: The container ended: its log says why.
        may_pass: It may be over in a moment.
    """

    reason: str
    found: str
    remedy: str
    is_crash: bool = False
    may_pass: bool = False


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Tell whether a pod takes requests."""
    return any(one["type"] == "Ready" and one["status"] == "True" for one in _conditions(pod))


def trouble(pod: Mapping[str, Any]) -> Trouble | None:
    """Return what keeps a pod from becoming ready; `None`: nothing but time, so far."""
    for one in _conditions(pod):
        if one["type"] == "PodScheduled" and one["status"] == "False":
            return Trouble(
                reason=str(one.get("reason", "Unschedulable")),
                found=f"{one.get('reason', 'Unschedulable')}: {one.get('message', '')}".strip(" :"),
                remedy="see factors.node and kubernetes.nodes, kubernetes.resources, and the "
                "nodes' taints (values.tolerations)",
                may_pass=True,
            )
    for status in pod.get("status", {}).get("containerStatuses", ()):
        waiting = status.get("state", {}).get("waiting", {})
        reason = str(waiting.get("reason", ""))
        if reason in _HOPELESS:
            return Trouble(
                reason=reason,
                found=f"{reason}: {waiting.get('message', '')}".strip(" :"),
                remedy=_HOPELESS[reason],
            )
        ended = _ended(status)
        if ended is not None:
            return Trouble(
                reason=reason or "Error",
                found=f"{reason or 'the container ended'} ({ended})",
                remedy="see its last line of log; kubernetes.resources may give it more memory",
                is_crash=True,
            )
    phase = pod.get("status", {}).get("phase")
    if phase == "Failed":
        said = f"{pod['status'].get('reason', 'Failed')}: {pod['status'].get('message', '')}"
        return Trouble(reason="Failed", found=said.strip(" :"), remedy="see the node's state")
    return None


def _ended(status: Mapping[str, Any]) -> str | None:
    for state in (status.get("state", {}), status.get("lastState", {})):
        ended = state.get("terminated")
        if ended:
            return f"{ended.get('reason', 'ended')}, exit code {ended.get('exitCode')}"
    return None


def refusal(deployment: Mapping[str, Any]) -> str | None:
    """Return why a Deployment may not have its pod, for instance by a quota; `None`: it may."""
    for one in _conditions(deployment):
        if one["type"] == "ReplicaFailure" and one["status"] == "True":
            return f"{one.get('reason', 'ReplicaFailure')}: {one.get('message', '')}"
    return None


def summary(pod: Mapping[str, Any]) -> str:
    """Return how far a pod has come, for people."""
    unmet = [one["type"] for one in _conditions(pod) if one["status"] != "True"]
    waits = [
        f"waiting: {status['state']['waiting'].get('reason', 'no reason')}"
        for status in pod.get("status", {}).get("containerStatuses", ())
        if "waiting" in status.get("state", {})
    ]
    told = [f"phase {pod.get('status', {}).get('phase', 'unknown')}", *waits]
    return ", ".join(told + ([f"not {' or '.join(unmet)}"] if unmet else []))


def last_event(events: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the newest warning of some events, else the newest event; `None` without any."""

    def when(event: Mapping[str, Any]) -> tuple[bool, str]:
        moment = event.get("lastTimestamp") or event.get("eventTime") or ""
        return event.get("type") == "Warning", str(moment)

    if not events:
        return None
    newest = max(events, key=when)
    return f"{newest.get('reason', '')}: {' '.join(str(newest.get('message', '')).split())}"


def _conditions(of: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = of.get("status", {}).get("conditions", ())
    return found
