"""What can be known before the first trial: rights, names, values, clocks, exporters.

It looks, and changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from ...errors import SpecError, TrialError
from ..campaign import Campaign
from ..configuration import Configuration
from .cluster import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    NAMESPACES,
    NODES,
    PODS,
    SERVICES,
    Cluster,
    Refused,
)
from .deployment import manifest, node_labels
from .pod import scrape_interval_s
from .prometheus import Prometheus
from .spec import KubernetesSpec
from .stage import TOKEN

__all__ = ["check", "check_clusters", "check_exporters"]

_WANTED = (
    *(
        (verb, one)
        for one in (CONFIG_MAPS, DEPLOYMENTS)
        for verb in ("get", "list", "create", "delete")
    ),
    *((verb, SERVICES) for verb in ("list", "create", "delete")),
    *((verb, PODS) for verb in ("get", "list", "delete")),
)
_LEAST_SCRAPES = 2.0
_GOOD_SCRAPES = 10
_CLOCK_S = 1.0
"""Windows are shorter than what more would leave of their energy."""


def check_clusters(campaign: Campaign) -> None:
    """See, for each scenario that is measured in a cluster, that it can be.

    Raises:
        SpecError: When what the user wrote cannot be.
        TrialError: When something is missing, forbidden or out of reach.
    """
    for name, spec in campaign.clusters.items():
        if campaign.data[name] is not None:
            raise SpecError(
                "--data",
                found=f"data of your own for {name}, which is measured in a cluster",
                expected="the data that ships, as the image has models for no other",
            )
        planned = (one.configuration for one in campaign.plan.trials)
        check(
            campaign.spec.name,
            spec,
            dict.fromkeys(one for one in planned if one.scenario == name),
            batch_wait_s=campaign.part(name).batch_wait_s,
            window_s=campaign.spec.trial.window_s,
        )


def check(
    campaign: str,
    spec: KubernetesSpec,
    configurations: Iterable[Configuration],
    *,
    batch_wait_s: float,
    window_s: float,
) -> None:
    """See that trials can run and that their energy will be told.

    Args:
        campaign: Name of the campaign.
        spec: Where.
        configurations: What is measured there.
        batch_wait_s: Longest wait for others of a batch.
        window_s: How long a window is.

    Raises:
        SpecError: When what the user wrote cannot be.
        TrialError: When something is missing, forbidden or out of reach.
    """
    known = list(configurations)
    # Helm takes its time, and levels of other factors are numbers, checked before.
    for one in {(one.model, one.provider, one.node): one for one in known}.values():
        manifest(spec, one, campaign=campaign, trial=1, batch_wait_s=batch_wait_s, owner=None)
    with Cluster(spec.namespace, context=spec.context) as cluster:
        _namespace(cluster, spec.namespace)
        _rights(cluster, spec)
        nodes = _nodes(cluster, spec, [one.node for one in known])
    prometheus = Prometheus(spec.prometheus_url, token=os.environ.get(TOKEN))
    try:
        check_exporters(prometheus, nodes)
        _clock(prometheus)
        _scrapes(prometheus, window_s)
    finally:
        prometheus.close()


def _namespace(cluster: Cluster, name: str) -> None:
    try:
        cluster.get(NAMESPACES, name)
    except Refused as refused:
        if refused.status == 404:
            raise SpecError(
                "kubernetes",
                place="namespace",
                found=f"'{name}', which the cluster does not have",
                expected="a namespace that is there",
                remedy=f"`kubectl create namespace {name}`",
            ) from None
        if refused.status != 403:  # who may not look may still be allowed to work in it
            raise


def _rights(cluster: Cluster, spec: KubernetesSpec) -> None:
    wanted = [(verb, one.group, one.plural) for verb, one in _WANTED]
    wanted.append(("get", "", "pods/log"))
    if spec.reach == "port_forward":
        wanted += [("get", "", "pods/portforward"), ("create", "", "pods/portforward")]
    missing = cluster.forbidden(wanted)
    if missing:
        raise TrialError(
            f"cluster{f' of context {spec.context}' if spec.context else ''}",
            place=f"namespace {spec.namespace}",
            found=f"forbidden: {', '.join(missing)}",
            expected="the right to run a trial",
            remedy="let your user or service account do it by a Role and RoleBinding; "
            "docs/kubernetes.md has one",
        )


def _nodes(
    cluster: Cluster, spec: KubernetesSpec, levels: Iterable[str | None]
) -> Mapping[str | None, frozenset[str]]:
    """Return the nodes that each level may mean; nothing where we may not list nodes."""
    found: dict[str | None, frozenset[str]] = {}
    for level in dict.fromkeys(levels):
        labels = ",".join(f"{k}={v}" for k, v in node_labels(spec, level).items())
        try:
            nodes = cluster.list(NODES, labels=labels or None)
        except Refused as refused:
            if refused.status == 403:
                return {}
            raise
        if not nodes:
            raise SpecError(
                "kubernetes",
                place=f"factors.node '{level}'" if level else "nodes",
                found=f"no node with the labels {labels}" if labels else "no node at all",
                expected="a node that the cluster has",
                remedy="`kubectl get nodes --show-labels` lists them; kubernetes.nodes gives "
                "labels to a name",
            )
        found[level] = frozenset(str(one["metadata"]["name"]) for one in nodes)
    return found


def check_exporters(prometheus: Prometheus, nodes: Mapping[str | None, frozenset[str]]) -> None:
    """See that Prometheus knows exporters, and of each level that names nodes one at least.

    Args:
        prometheus: The server.
        nodes: The nodes that each level may mean; `None` is the scheduler's choice.

    Raises:
        TrialError: When it does not.
    """
    told = {one.labels.get("node", "") for one in prometheus.now("joulery_node_info")}
    if not told:
        raise TrialError(
            f"Prometheus {prometheus.url}",
            found="no joulery_node_info",
            expected="that it scrapes the energy exporters",
            remedy="`helm install joulery exporters/chart` installs them; its notes say how "
            "Prometheus finds them",
        )
    for level, names in nodes.items():
        if level is not None and not names & told:
            raise TrialError(
                f"energy exporter of node {', '.join(sorted(names))}",
                found=f"only those of {', '.join(sorted(told))} in {prometheus.url}",
                expected=f"one on each node of the level '{level}'",
                remedy="see whether the exporter's DaemonSet tolerates the node's taints, and "
                "whether Prometheus reaches it",
            )


def _clock(prometheus: Prometheus) -> None:
    error_s = prometheus.clock_error_s()
    if error_s > _CLOCK_S:
        raise TrialError(
            f"clock of Prometheus {prometheus.url}",
            found=f"{error_s:.1f} s from this machine's",
            expected=f"less than {_CLOCK_S:g} s",
            remedy="synchronise this machine, the nodes and the server by NTP",
        )


def _scrapes(prometheus: Prometheus, window_s: float) -> None:
    interval_s = scrape_interval_s(prometheus)
    if window_s < _LEAST_SCRAPES * interval_s:
        raise SpecError(
            "trial",
            place="window_s",
            found=f"{window_s:g} s, and a scrape of the exporters each {interval_s:g} s",
            expected=f"at least {_LEAST_SCRAPES * interval_s:g} s",
            remedy=f"{_GOOD_SCRAPES * interval_s:g} s make the interval's share of the energy "
            "about a fifth; or let Prometheus scrape more often",
        )
