"""Pods as the API server tells them, for tests: with all that is in the way of what is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["NODE", "pod_json"]

NODE = "edge-1"


def pod_json(
    name: str = "recommender-5d9c7b8f6d-x7k2p",
    *,
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    ports: Sequence[tuple[str, int]] = (("http", 8000), ("grpc", 8001), ("metrics", 8002)),
    addresses: Sequence[str] = ("10.42.0.17",),
    phase: str = "Running",
    uid: str = "",
    version: int = 1,
    terminating: bool = False,
    host_network: bool = False,
    ready: bool = True,
) -> dict[str, Any]:
    """Return one pod, in the form and with the fields that `kubectl get pod --output json` has."""
    metadata: dict[str, Any] = {
        "annotations": {"kubernetes.io/config.seen": "2026-01-01T00:00:00Z", **(annotations or {})},
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "generateName": "recommender-5d9c7b8f6d-",
        "labels": {"app": "recommender", "pod-template-hash": "5d9c7b8f6d", **(labels or {})},
        "managedFields": [{"manager": "kubelet", "operation": "Update", "fieldsV1": {"f:a": {}}}],
        "name": name,
        "namespace": "shop",
        "resourceVersion": str(version),
        "uid": uid or f"uid-of-{name}",
    }
    if terminating:
        metadata["deletionTimestamp"] = "2026-01-01T01:00:00Z"
    container = {
        "name": "server",
        "image": "registry.example/server:1",
        "env": [{"name": "KEY", "value": "secret"}],
        "ports": [{"name": n, "containerPort": p, "protocol": "TCP"} for n, p in ports],
        "resources": {},
    }
    spec: dict[str, Any] = {"nodeName": NODE, "containers": [container], "restartPolicy": "Always"}
    if host_network:
        spec["hostNetwork"] = True
    status: dict[str, Any] = {"phase": phase, "qosClass": "BestEffort", "hostIP": "192.0.2.10"}
    moment = "2026-01-01T00:00:00Z"
    status["conditions"] = [
        {"type": kind, "status": str(is_so), "lastProbeTime": None, "lastTransitionTime": moment}
        for kind, is_so in (("Initialized", True), ("Ready", ready), ("PodScheduled", True))
    ]
    if addresses:
        status["podIP"] = addresses[0]
        status["podIPs"] = [{"ip": one} for one in addresses]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": spec,
        "status": status,
    }
