"""A campaign's place in a cluster: one ConfigMap owns all that its trials put there.

Whoever deletes it removes all. It says who runs the campaign, so that two runs of one name do not
remove each other's pods; a runner that was killed leaves its word, and the next one sees that.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psutil

from ...errors import TrialError
from ...profiler.host import Host, boot_id
from .cluster import CONFIG_MAPS, Cluster, Refused
from .deployment import CAMPAIGN_LABEL, MANAGER, label_value, object_name, selector
from .prometheus import Prometheus
from .spec import KubernetesSpec
from .sweep import sweep

__all__ = ["TOKEN", "Stage", "open_stages"]

TOKEN = "JOULERY_PROMETHEUS_TOKEN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where the trials of a scenario run.

    Args:
        campaign: Name of the campaign.
        spec: What the user says of it.
        cluster: The namespace.
        prometheus: Who tells of energy.
        owner: Reference to the ConfigMap, for whatever is put there.
    """

    campaign: str
    spec: KubernetesSpec
    cluster: Cluster
    prometheus: Prometheus
    owner: Mapping[str, Any]

    def clear(self, trial: int) -> None:
        """Remove what a trial has put there, and wait until it is gone."""
        sweep(self.cluster, selector(self.campaign, trial))


@contextlib.contextmanager
def open_stages(
    campaign: str, parts: Mapping[str, KubernetesSpec], note: Callable[[str], None]
) -> Iterator[Mapping[str, Stage]]:
    """Take the places of a campaign, and leave nothing there in the end, however that comes.

    Args:
        campaign: Its name.
        parts: What the user says, by scenario.
        note: Told what an earlier run had left.

    Raises:
        TrialError: When somebody else runs it there, or a cluster refuses.
    """
    with contextlib.ExitStack() as stack:
        owned: dict[tuple[str | None, str], tuple[Cluster, Mapping[str, Any]]] = {}
        stages = {}
        for scenario, spec in parts.items():
            place = (spec.context, spec.namespace)
            if place not in owned:
                cluster = stack.enter_context(Cluster(spec.namespace, context=spec.context))
                owned[place] = cluster, stack.enter_context(_owning(cluster, campaign, note))
            prometheus = Prometheus(spec.prometheus_url, token=os.environ.get(TOKEN))
            stack.callback(prometheus.close)
            stages[scenario] = Stage(
                campaign=campaign,
                spec=spec,
                cluster=owned[place][0],
                prometheus=prometheus,
                owner=owned[place][1],
            )
        yield stages


@contextlib.contextmanager
def _owning(
    cluster: Cluster, campaign: str, note: Callable[[str], None]
) -> Iterator[Mapping[str, Any]]:
    _refuse_second(cluster, campaign)
    removed = sweep(cluster, selector(campaign))
    if removed:
        note(f"an earlier run had left, and this one removed: {', '.join(removed)}")
    made = cluster.create(CONFIG_MAPS, _config_map(campaign))
    try:
        yield {
            "apiVersion": CONFIG_MAPS.version,
            "kind": CONFIG_MAPS.kind,
            "name": made["metadata"]["name"],
            "uid": made["metadata"]["uid"],
        }
    except BaseException:
        # What ended it is to be told; what stays is removed by the next run.
        with contextlib.suppress(TrialError):
            sweep(cluster, selector(campaign))
        raise
    sweep(cluster, selector(campaign))


def _config_map(campaign: str) -> dict[str, Any]:
    return {
        "apiVersion": CONFIG_MAPS.version,
        "kind": CONFIG_MAPS.kind,
        "metadata": {
            "name": object_name(campaign, "campaign"),
            "labels": {**MANAGER, CAMPAIGN_LABEL: label_value(campaign)},
        },
        "data": {
            "host": socket.gethostname(),
            "boot": boot_id(Host()),
            "pid": str(os.getpid()),
            "began": str(psutil.Process().create_time()),
        },
    }


def _refuse_second(cluster: Cluster, campaign: str) -> None:
    try:
        said = cluster.get(CONFIG_MAPS, object_name(campaign, "campaign")).get("data", {})
    except Refused as refused:
        if refused.status == 404:
            return
        raise
    if _has_ended(said):
        return
    raise TrialError(
        f"campaign {campaign}",
        place=f"namespace {cluster.namespace}",
        found=f"process {said.get('pid')} on {said.get('host')}, which runs it already",
        expected="one runner at a time",
        remedy=f"wait for it, or give this campaign another name; if it is gone, "
        f"`joulery campaign clean {campaign}` removes what it left",
    )


def _has_ended(runner: Mapping[str, str]) -> bool:
    """Tell whether a runner is known to have ended; of another machine nobody here knows it."""
    if runner.get("host") != socket.gethostname():
        return False
    if runner.get("boot") != boot_id(Host()):
        return True
    try:
        return str(psutil.Process(int(runner["pid"])).create_time()) != runner.get("began")
    except (psutil.NoSuchProcess, KeyError, ValueError):
        return True
