"""Why a pod does not become ready, from states as the API server tells them."""

from __future__ import annotations

from typing import Any

import pytest

from joulery.campaigns.kubernetes.pod import identity_of
from joulery.campaigns.kubernetes.states import is_ready, last_event, refusal, summary, trouble


def _pod(*statuses: dict[str, Any], phase: str = "Pending", **conditions: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "p"},
        "status": {
            "phase": phase,
            "conditions": [{"type": t, "status": s} for t, s in conditions.items()],
            "containerStatuses": list(statuses),
        },
    }


def _waiting(reason: str, message: str = "", **last: Any) -> dict[str, Any]:
    return {
        "restartCount": 0,
        "state": {"waiting": {"reason": reason, "message": message}},
        "lastState": last,
    }


_ENDED = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}


@pytest.mark.parametrize(
    ("status", "found", "remedy", "is_crash"),
    [
        (
            _waiting("ImagePullBackOff", 'Back-off pulling image "a:1"'),
            'ImagePullBackOff: Back-off pulling image "a:1"',
            "kubernetes.image",
            False,
        ),
        (_waiting("InvalidImageName"), "InvalidImageName", "REGISTRY/NAME:TAG", False),
        (
            _waiting("CreateContainerConfigError", 'secret "x" not found'),
            'CreateContainerConfigError: secret "x" not found',
            "values",
            False,
        ),
        (
            _waiting("CrashLoopBackOff", "back-off 10s", **_ENDED),
            "CrashLoopBackOff (OOMKilled, exit code 137)",
            "more memory",
            True,
        ),
        ({"state": _ENDED}, "the container ended (OOMKilled, exit code 137)", "memory", True),
    ],
)
def test_hopeless_states(status: dict[str, Any], found: str, remedy: str, is_crash: bool) -> None:
    """What waiting does not change is told, with what does."""
    told = trouble(_pod(status, PodScheduled="True", Ready="False"))
    assert told is not None
    assert (told.found, told.is_crash, told.may_pass) == (found, is_crash, False)
    assert remedy in told.remedy


def test_a_pod_without_a_node() -> None:
    """The scheduler's reason is told, after a while only: a node may become free."""
    pod = _pod()
    pod["status"]["conditions"] = [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/3 nodes are available: 3 Insufficient cpu.",
        }
    ]
    told = trouble(pod)
    assert told is not None
    assert told.may_pass
    assert told.found == "Unschedulable: 0/3 nodes are available: 3 Insufficient cpu."
    assert "tolerations" in told.remedy


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing", "ErrImagePull"])
def test_states_that_pass(reason: str) -> None:
    """A pod that is on its way is waited for, and how far it came can be told."""
    pod = _pod(_waiting(reason), PodScheduled="True", Ready="False", ContainersReady="False")
    assert trouble(pod) is None
    assert not is_ready(pod)
    assert summary(pod) == f"phase Pending, waiting: {reason}, not Ready or ContainersReady"


def test_a_ready_pod() -> None:
    """A pod that takes requests has no trouble; one that was evicted has."""
    running = {"state": {"running": {}}, "lastState": {}, "restartCount": 0}
    assert is_ready(_pod(running, phase="Running", Ready="True"))
    assert trouble(_pod(running, phase="Running", Ready="True")) is None
    assert trouble({"status": {}}) is None
    evicted = _pod(phase="Failed") | {}
    evicted["status"] |= {"reason": "Evicted", "message": "low on memory"}
    told = trouble(evicted)
    assert told is not None
    assert told.found == "Evicted: low on memory"


def test_a_deployment_that_may_not_have_its_pod() -> None:
    """A quota or policy that refuses the pod is found on the Deployment."""
    message = 'pods "p" is forbidden: exceeded quota: small'
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"}
    told = refusal({"status": {"conditions": [condition | {"message": message}]}})
    assert told == f"FailedCreate: {message}"
    assert refusal({"status": {}}) is None


def test_the_newest_event() -> None:
    """A warning is worth more than what came after it; some events have but an `eventTime`."""
    events = [
        {"type": "Normal", "reason": "Pulled", "message": "b", "lastTimestamp": "2026-01-01T3"},
        {"type": "Warning", "reason": "Failed", "message": "a\n a", "eventTime": "2026-01-01T2"},
        {"type": "Warning", "reason": "Failed", "message": "old", "lastTimestamp": "2026-01-01T1"},
    ]
    assert last_event(events) == "Failed: a a"
    assert last_event([]) is None


@pytest.mark.parametrize(
    ("image_id", "digest"),
    [
        ("docker.io/library/a@sha256:0f", "sha256:0f"),
        ("docker-pullable://a@sha256:0f", "sha256:0f"),
        ("sha256:0f", "sha256:0f"),
        ("", None),
    ],
)
def test_who_a_pod_is(image_id: str, digest: str | None) -> None:
    """The service's container is meant, whatever is beside it; runtimes word digests apart."""
    proxy = {"name": "proxy", "image": "mesh:1", "imageID": "sha256:ff", "restartCount": 3}
    service = {"name": "service", "image": "a:1", "imageID": image_id, "restartCount": 0}
    pod = _pod(proxy, service, phase="Running", Ready="True")
    pod["metadata"] |= {"uid": "u-1"}
    pod["status"]["podIP"] = "10.244.0.9"
    found = identity_of(pod | {"spec": {"nodeName": "edge-a"}})
    assert (found.name, found.uid, found.node, found.ip) == ("p", "u-1", "edge-a", "10.244.0.9")
    assert (found.image, found.image_digest, found.restarts) == ("a:1", digest, 0)
