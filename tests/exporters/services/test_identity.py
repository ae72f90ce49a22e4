"""Who a sender is: what its address allows, and what its claim chooses among."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulery.exporters.services.identity import Claim, Identities, Refused
from joulery.exporters.services.target import Pod

A = Pod(namespace="n", name="a", uid="uid-a", addresses=("10.0.0.1", "fd00::1"))
B = Pod(namespace="n", name="b", uid="uid-b", addresses=("10.0.0.2",))
HOST = Pod(namespace="n", name="h", uid="uid-h", addresses=("192.0.2.7",), host_network=True)
HOST2 = Pod(namespace="m", name="h", uid="uid-h2", addresses=("192.0.2.7",), host_network=True)
BARE = Pod(namespace="", name="video", uid="", addresses=("127.0.0.1",))
BARE2 = Pod(namespace="", name="audio", uid="", addresses=("127.0.0.1",))

claims = st.builds(
    Claim,
    namespace=st.sampled_from(["", "n", "m"]),
    name=st.sampled_from(["", "a", "b", "h", "video", "audio"]),
    uid=st.sampled_from(["", "uid-a", "uid-b", "uid-h", "uid-h2", "uid-x"]),
    service=st.sampled_from(["", "a", "video", "audio"]),
)


def refusal(pods: tuple[Pod, ...], address: str, claim: Claim) -> str:
    """Return why a sender is refused."""
    with pytest.raises(Refused) as caught:
        Identities(pods).claimed(address, claim)
    assert str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize("address", ["10.0.0.1", "::ffff:10.0.0.1", "fd00:0::1", "fd00::1%eth0"])
@pytest.mark.parametrize(
    "claim",
    [
        Claim(),
        Claim(uid="uid-a"),
        Claim(name="a", namespace="n"),
        Claim(namespace="n", name="a", uid="uid-a", service="whatever"),
    ],
)
def test_the_address_is_enough(address: str, claim: Claim) -> None:
    """A sender is the pod that has its address, however that is written, if it claims no other."""
    assert Identities([A, B]).claimed(address, claim) is A


@pytest.mark.parametrize(
    "claim",
    [
        Claim(uid="uid-b"),
        Claim(name="b"),
        Claim(namespace="m"),
        Claim(namespace="n", name="a", uid="uid-b"),
    ],
)
def test_nobody_speaks_for_another(claim: Claim) -> None:
    """A claim that contradicts the address is refused, in each of its parts."""
    assert refusal((A, B), "10.0.0.1", claim) == "foreign_identity"


@pytest.mark.parametrize("address", ["10.0.0.9", "", "nonsense", "::1"])
def test_strangers_are_unknown(address: str) -> None:
    """An address that no pod has is refused, whatever it claims."""
    identities = Identities([A, B])
    assert not identities.knows(address)
    assert refusal((A, B), address, Claim(uid="uid-a")) == "unknown_sender"


def test_the_network_of_the_node_needs_a_name() -> None:
    """Pods with the node's addresses must say which they are, also if there is only one of them."""
    both = (A, HOST, HOST2)
    assert Identities(both).claimed("192.0.2.7", Claim(uid="uid-h")) is HOST
    assert Identities(both).claimed("192.0.2.7", Claim(name="h", namespace="m")) is HOST2
    assert Identities([HOST]).claimed("192.0.2.7", Claim(name="h")) is HOST
    assert refusal((HOST,), "192.0.2.7", Claim()) == "foreign_identity"
    assert refusal((HOST,), "192.0.2.7", Claim(namespace="n")) == "foreign_identity"
    assert refusal(both, "192.0.2.7", Claim(name="h")) == "foreign_identity"
    assert refusal(both, "192.0.2.7", Claim(uid="uid-a")) == "foreign_identity"
    assert refusal((HOST,), "192.0.2.7", Claim(service="h")) == "foreign_identity"


def test_bare_machines() -> None:
    """Without Kubernetes a lone target needs no claim; several at one address need a name."""
    assert Identities([BARE]).claimed("127.0.0.1", Claim(service="unknown_service")) is BARE
    both = Identities([BARE, BARE2])
    assert both.claimed("127.0.0.1", Claim(service="audio")) is BARE2
    assert both.claimed("127.0.0.1", Claim(name="video", service="unknown_service")) is BARE
    assert refusal((BARE, BARE2), "127.0.0.1", Claim()) == "foreign_identity"
    assert refusal((BARE, BARE2), "127.0.0.1", Claim(service="other")) == "foreign_identity"


def test_pods_are_replaced() -> None:
    """What is updated takes the place of all that was known; an address may go to another pod."""
    identities = Identities([A])
    heir = Pod(namespace="n", name="c", uid="uid-c", addresses=("10.0.0.1", "no address"))
    identities.update([heir, B])
    assert identities.claimed("10.0.0.1", Claim()) is heir
    assert not identities.knows("fd00::1")


@given(st.sets(st.sampled_from([A, B, HOST, HOST2, BARE, BARE2])), claims, st.data())
def test_a_sender_is_never_elsewhere(pods: set[Pod], claim: Claim, data: st.DataObject) -> None:
    """Whatever is claimed, a sender is a pod that has its address and fits the claim, or none."""
    every = sorted({text for pod in (A, B, HOST, BARE) for text in pod.addresses})
    address = data.draw(st.sampled_from(every))
    identities = Identities(pods)
    assert identities.knows(address) == any(address in pod.addresses for pod in pods)
    try:
        pod = identities.claimed(address, claim)
    except Refused:
        return
    assert pod in pods
    assert address in pod.addresses
    assert claim.uid in ("", pod.uid)
    assert claim.name in ("", pod.name)
