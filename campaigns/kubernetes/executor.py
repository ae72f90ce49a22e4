"""The kubernetes executor: a scenario's service as a Deployment, for one trial."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import TrialError
from ..design import PlannedTrial
from ..endpoint import reach_endpoint
from ..executor import RunningService
from ..spec import Endpoint
from .cluster import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    EVENTS,
    PODS,
    SERVICES,
    Cluster,
    Refused,
)
from .deployment import CONTAINER, manifest, object_name, selector
from .forward import forwarded
from .pod import RunningPod, identity_of, kubelet_version
from .stage import Stage
from .states import Trouble, is_ready, last_event, refusal, summary, trouble

__all__ = ["deploy"]

_KINDS = {one.kind: one for one in (CONFIG_MAPS, DEPLOYMENTS, SERVICES)}
_AGAIN_S = 0.25
_MAY_PASS_S = 15.0
"""What may be over in a moment, such as a node that is full, has so long to be so."""
_REACH_S = 10.0
_PORT = 8080


@contextlib.contextmanager
def deploy(
    planned: PlannedTrial, stage: Stage, *, batch_wait_s: float, startup_max_s: float
) -> Iterator[RunningService]:
    """Start the service of a trial, wait until it is ready, and remove it when the block ends.

    Args:
        planned: The trial.
        stage: Where.
        batch_wait_s: Longest wait for others of a batch.
        startup_max_s: How long it may take to become ready.

    Raises:
        TrialError: When it does not become ready, with what the cluster says of its pod; when
            there is no way to it; when Prometheus knows nothing of it.
    """
    objects = manifest(
        stage.spec,
        planned.configuration,
        campaign=stage.campaign,
        trial=planned.number,
        batch_wait_s=batch_wait_s,
        owner=stage.owner,
    )
    try:
        began_s = time.monotonic()
        for one in objects:
            stage.cluster.create(_KINDS[one["kind"]], one)
        pod = _wait_ready(stage, planned.number, startup_max_s)
        startup_s = time.monotonic() - began_s
        identity = identity_of(pod)
        running = RunningPod(
            identity,
            stage.cluster,
            stage.prometheus,
            kubelet_version(stage.cluster, identity.node),
        )
        with _way(stage, running) as base:
            found = _reached(stage, base, planned.configuration.model)
            running.wait_told(startup_max_s)
            yield RunningService(
                pid=None, url=found.url, startup_s=startup_s, binary=found.binary, pod=running
            )
    except BaseException:
        # What ended it is to be told; what stays goes with the campaign's own ConfigMap.
        with contextlib.suppress(TrialError):
            stage.clear(planned.number)
        raise
    stage.clear(planned.number)


@contextlib.contextmanager
def _way(stage: Stage, pod: RunningPod) -> Iterator[str]:
    port = int(stage.spec.values.get("port", _PORT))
    if stage.spec.reach == "pod_ip":
        address = pod.identity.ip
        yield f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
        return
    with forwarded(
        stage.spec.namespace, pod.identity.name, port, context=stage.spec.context
    ) as base:
        yield base


def _reached(stage: Stage, base: str, model: str) -> RunningService:
    try:
        return reach_endpoint(Endpoint(url=base), model, startup_max_s=_REACH_S)
    except TrialError as error:
        raise TrialError(
            f"pod at {base}",
            found=error.found,
            expected=f"a ready pod that answers for {model} within {_REACH_S:g} s",
            remedy="pods cannot be reached from this machine? `kubernetes.reach: port_forward` "
            "goes through the API server, or run the campaign on a node"
            if stage.spec.reach == "pod_ip"
            else "see the pod's log",
        ) from None


def _wait_ready(stage: Stage, trial: int, limit_s: float) -> Mapping[str, Any]:
    """Return the pod once it is ready; what cannot become so is told at once."""
    cluster, began_s = stage.cluster, time.monotonic()
    pods: list[Mapping[str, Any]] = []
    while (waited_s := time.monotonic() - began_s) < limit_s:
        pods = cluster.list(PODS, labels=selector(stage.campaign, trial))
        for pod in pods:
            if is_ready(pod):
                return pod
            found = trouble(pod)
            if found is not None and not (
                found.may_pass and waited_s < min(_MAY_PASS_S, limit_s / 2)
            ):
                raise _explained(cluster, pod, found)
        if not pods and waited_s > 1.0:
            _check_allowed(stage, trial)
        time.sleep(_AGAIN_S)
    if not pods:
        raise _error(f"Deployment of trial {trial}", f"no pod within {limit_s:g} s", None, None)
    told = f"{summary(pods[0])} after {limit_s:g} s"
    raise _error(
        f"pod {pods[0]['metadata']['name']}",
        told,
        _newest_event(cluster, pods[0]),
        "trial.startup_max_s allows it more time",
    )


def _check_allowed(stage: Stage, trial: int) -> None:
    name = object_name(stage.campaign, str(trial))
    said = refusal(stage.cluster.get(DEPLOYMENTS, name))
    if said is not None:
        raise _error(
            f"Deployment {name}",
            said,
            None,
            "see the quotas and policies of the namespace, and kubernetes.resources",
        )


def _explained(cluster: Cluster, pod: Mapping[str, Any], found: Trouble) -> TrialError:
    name = str(pod["metadata"]["name"])
    told = found.found
    if found.is_crash:
        line = _last_line(cluster, pod)
        told += f"; its last line: {line}" if line else ""
    return _error(f"pod {name}", told, _newest_event(cluster, pod), found.remedy)


def _last_line(cluster: Cluster, pod: Mapping[str, Any]) -> str | None:
    name = str(pod["metadata"]["name"])
    for previous in (True, False):
        try:
            lines = cluster.log(name, CONTAINER, previous=previous).strip().splitlines()
        except Refused:
            continue
        if lines:
            return lines[-1]
    return None


def _newest_event(cluster: Cluster, pod: Mapping[str, Any]) -> str | None:
    """Return the newest event of a pod; `None` where there is none, or we may not look."""
    try:
        return last_event(
            cluster.list(EVENTS, fields=f"involvedObject.uid={pod['metadata']['uid']}")
        )
    except Refused:
        return None


def _error(subject: str, found: str, event: str | None, remedy: str | None) -> TrialError:
    # Often the event says the same.
    new = event is not None and event.partition(": ")[2] not in found
    return TrialError(
        subject,
        found=f"{found}; newest event: {event}" if new else found,
        expected="a pod that becomes ready",
        remedy=remedy,
    )
