"""Who may say what: a sender is the pod that has its address, whatever it claims to be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from .addresses import address as spelt
from .target import Pod

__all__ = ["Claim", "Identities", "Reason", "Refused"]

Reason = Literal["unknown_sender", "foreign_identity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Who a sender says it is; what it does not say is empty.

    Args:
        namespace: Attribute `k8s.namespace.name`.
        name: Attribute `k8s.pod.name`.
        uid: Attribute `k8s.pod.uid`.
        service: Attribute `service.name`; it tells apart only what runs outside of Kubernetes.
    """

    namespace: str = ""
    name: str = ""
    uid: str = ""
    service: str = ""


class Refused(Exception):
    """A sender may not say this; the text tells people why.

    Args:
        reason: unknown_sender: no pod of this node has its address. foreign_identity: it claims to
            be another pod than those that have it, or does not say which of them.
        text: A sentence for people.
    """

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason: Reason = reason


class Identities:
    """The pods of this node, by address.

    The address alone decides which pods a sender can be; a claim only chooses among them. Pods in
    the network of their node share its addresses, with each other and with all that runs there,
    so that each of them could speak for the others: no more than that can be told.

    `update` belongs to one thread; any may call the rest.

    Args:
        pods: Those that are known at first.
    """

    def __init__(self, pods: Iterable[Pod] = ()) -> None:
        self._at: dict[str, tuple[Pod, ...]] = {}
        self.update(pods)

    def update(self, pods: Iterable[Pod]) -> None:
        """Replace the known pods."""
        at: dict[str, dict[tuple[str, str, str], Pod]] = {}
        for pod in pods:
            for text in pod.addresses:
                if written := spelt(text):
                    at.setdefault(written, {})[pod.labels] = pod
        self._at = {written: tuple(sharing.values()) for written, sharing in at.items()}

    def knows(self, address: str) -> bool:
        """Return whether a pod of this node has this address."""
        return spelt(address) in self._at

    def claimed(self, address: str, claim: Claim) -> Pod:
        """Return the pod that a sender is.

        Args:
            address: Of the other end of its connection.
            claim: Who it says it is.

        Raises:
            Refused: It is none of this node's, or not the one that it claims to be.
        """
        written = spelt(address)
        sharing = self._at.get(written)
        if sharing is None:
            raise Refused("unknown_sender", f"no pod of this node has the address {written!r}")
        is_shared = len(sharing) > 1 or sharing[0].host_network
        fitting = [pod for pod in sharing if _fits(pod, claim)]
        if is_shared:
            fitting = [pod for pod in fitting if _is_named(pod, claim)]
        if len(fitting) == 1:
            return fitting[0]
        raise Refused("foreign_identity", _why(written, sharing, is_shared=is_shared))


def _fits(pod: Pod, claim: Claim) -> bool:
    """Return whether nothing that is claimed contradicts what is known."""
    pairs = zip((claim.namespace, claim.name, claim.uid), pod.labels, strict=True)
    return all(said in ("", known) for said, known in pairs)


def _is_named(pod: Pod, claim: Claim) -> bool:
    """Return whether the claim means this pod, and not just any."""
    if pod.uid:
        return pod.uid == claim.uid or pod.name == claim.name
    # Outside of Kubernetes a target's name is what its operator chose, as is a service's.
    return pod.name in (claim.name, claim.service)


def _why(address: str, sharing: tuple[Pod, ...], *, is_shared: bool) -> str:
    if not is_shared:
        [pod] = sharing
        who = "/".join(part for part in (pod.namespace, pod.name) if part)
        return f"the address {address} is that of {who}, which the resource does not claim to be"
    how = "k8s.pod.uid" if sharing[0].uid else "service.name"
    return (
        f"{address} is shared, so the resource must name the sender; set "
        f"OTEL_RESOURCE_ATTRIBUTES={how}=…"
    )
