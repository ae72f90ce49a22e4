"""Removes what carries a campaign's label, and waits until nothing of it is left."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import TrialError
from .cluster import CONFIG_MAPS, DEPLOYMENTS, PODS, SERVICES, Cluster

__all__ = ["sweep"]

_KINDS = (DEPLOYMENTS, SERVICES, CONFIG_MAPS)
"""What is made; pods and what stands between are collected with it."""
_AGAIN_S = 0.5
_GRACE_S = 5
"""A pod that answers nobody has nothing to finish."""
_LONGEST_S = 180.0


def sweep(cluster: Cluster, labels: str) -> list[str]:
    """Remove everything that labels select, and wait for the end of its pods.

    Args:
        cluster: Where.
        labels: A selector.

    Returns:
        What was removed, such as `deployment.apps/joulery-traffic-3`.

    Raises:
        TrialError: When something stays.
    """
    removed = []
    for kind in _KINDS:
        for one in cluster.list(kind, labels=labels):
            name, namespace = one["metadata"]["name"], one["metadata"]["namespace"]
            if cluster.delete(kind, name, namespace=namespace):
                removed.append(f"{kind.kind} {namespace}/{name}")
    until_s = time.monotonic() + _LONGEST_S
    hurried: set[str] = set()
    while left := [*cluster.list(DEPLOYMENTS, labels=labels), *cluster.list(PODS, labels=labels)]:
        for one in left:
            if "containers" in one["spec"]:
                _hurry(cluster, one, hurried)
        if time.monotonic() > until_s:
            names = ", ".join(str(one["metadata"]["name"]) for one in left)
            raise TrialError(
                names,
                found=f"still there {_LONGEST_S:g} s after it was deleted",
                expected="that it ends",
                remedy="see `kubectl describe pod`, and whether their node is up",
            )
        time.sleep(_AGAIN_S)
    return removed


def _hurry(cluster: Cluster, pod: Mapping[str, Any], hurried: set[str]) -> None:
    """Let a pod that is to go do so soon; one whose containers have ended goes at once.

    Its kubelet may leave it for another minute, and nothing of it runs any more.
    """
    metadata = pod["metadata"]
    if "deletionTimestamp" not in metadata:
        return  # else another one would take its place
    name, namespace = metadata["name"], metadata["namespace"]
    ended = list(_ended(pod))
    if ended and all(ended):
        cluster.delete(PODS, name, namespace=namespace, grace_s=0)
    elif metadata["uid"] not in hurried:
        hurried.add(metadata["uid"])
        cluster.delete(PODS, name, namespace=namespace, grace_s=_GRACE_S)


def _ended(pod: Mapping[str, Any]) -> Iterator[bool]:
    for status in pod.get("status", {}).get("containerStatuses", ()):
        yield "terminated" in status.get("state", {})
