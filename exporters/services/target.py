"""One AI service on this node: who it is, and where it may be asked."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Pod", "Target"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """Who a service is; outside of Kubernetes a named target with `uid` empty.

    Args:
        namespace: Of the pod.
        name: Of the pod.
        uid: Of the pod.
        addresses: Its IP addresses, as text.
        host_network: It shares the addresses of the node, with others.
    """

    namespace: str
    name: str
    uid: str
    addresses: tuple[str, ...] = ()
    host_network: bool = False

    @property
    def labels(self) -> tuple[str, str, str]:
        """The labels that every metric of it has."""
        return self.namespace, self.name, self.uid


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where one service of a pod may be asked.

    Args:
        pod: Whose service it is.
        url: Of its metrics; its host is an address of the pod. Empty: it is not scraped.
        dialect: Name of its dialect; empty: told by what it serves.
        model: For a server that names none.
        variant: Likewise.
        golden: Name of the golden set that it is probed with; empty: none.
        infer_url: Base URL of its Open Inference Protocol; empty: it is not probed.
        certain: Somebody said that it is an AI service. Else only a port's name, or what is said
            to Prometheus, made it look like one: a scrape of no known dialect then means that it
            is none, and is nobody's mistake.
        is_ready: Its pod takes traffic. While it does not, it is not probed. No part of who it is.
    """

    pod: Pod
    url: str = ""
    dialect: str = ""
    model: str = ""
    variant: str = ""
    golden: str = ""
    infer_url: str = ""
    certain: bool = True
    is_ready: bool = field(default=True, compare=False)
