"""The simulated node: its truth is conserved, stated by hand, and the same for the same seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from joulery.profiler.simulator.load import Consumer
from joulery.profiler.simulator.machine import Machine
from joulery.profiler.simulator.node import Node

PLAIN = Machine(
    cores=4,
    idle_w=10.0,
    wake_w=0.0,
    core_w=5.0,
    turbo_ratio=1.0,
    limit_w=1000.0,
    leakage_w_per_k=0.0,
    dram_idle_w=3.0,
    dram_w=2.0,
    noise_ratio=0.0,
)
"""Ten watts at rest, and five for each busy core."""


def always(name: str, busy: float, **changes: object) -> Consumer:
    """Return a consumer that always has more to do than so many cores can."""
    return replace(Consumer(name=name, busy=10 * busy, cores=busy, memory=0.0), **changes)  # type: ignore[arg-type]


def run(machine: Machine, *consumers: Consumer, seconds: float = 100.0, seed: int = 1) -> Node:
    """Return a node that ran for so long."""
    node = Node(machine, consumers, seed=seed)
    node.advance(seconds)
    return node


def watts(node: Node, domain: str) -> list[float]:
    """Return what each consumer drew on average."""
    return [float(part_j) / node.now_s for part_j in node.truth.active_j[domain]]


def test_cores_draw_what_they_state() -> None:
    """On a plain machine each busy core draws its power, times its work's intensity."""
    node = run(PLAIN, always("a", 1.0), always("b", 2.0, intensity=1.5))
    assert node.truth.idle_j["package-0"] == pytest.approx(1000.0)
    assert watts(node, "package-0") == pytest.approx([5.0, 15.0], rel=0.01)
    assert node.truth.total_j("package-0") == pytest.approx(3000.0, rel=0.01)
    assert node.cpu_s == pytest.approx([100.0, 200.0], rel=0.01)


def test_memory_draws_in_its_own_domain_and_half_in_the_package() -> None:
    """Traffic of a core draws 2 W per unit of intensity in memory, and half of that beside it."""
    node = run(PLAIN, always("a", 1.0, memory=3.0))
    assert watts(node, "dram-0") == pytest.approx([6.0], rel=0.01)
    assert watts(node, "package-0") == pytest.approx([5.0 + 3.0], rel=0.01)
    assert node.truth.idle_j["dram-0"] == pytest.approx(300.0)
    assert node.misses == pytest.approx([300.0], rel=0.01)


def test_frequency_raises_power_and_cycles() -> None:
    """One of four busy cores runs 15 % faster: it draws 1.15 to the power more, and counts so."""
    machine = replace(PLAIN, turbo_ratio=1.2, frequency_power=2.0)
    node = run(machine, always("a", 1.0, instructions=0.5))
    assert watts(node, "package-0") == pytest.approx([5.0 * 1.15**2], rel=0.01)
    assert node.cycles == pytest.approx([115.0], rel=0.01)
    assert node.instructions == pytest.approx([57.5], rel=0.01)


def test_waking_up_is_borne_by_those_who_work() -> None:
    """What being awake costs is shared as the dynamic power is."""
    node = run(replace(PLAIN, wake_w=8.0), always("a", 1.0), always("b", 3.0))
    assert watts(node, "package-0") == pytest.approx([5.0 + 2.0, 15.0 + 6.0], rel=0.01)


def test_a_package_never_passes_its_limit() -> None:
    """At its limit a package slows its cores down until it fits: less power, fewer cycles."""
    machine = replace(PLAIN, limit_w=20.0, frequency_power=2.0)
    node = run(machine, always("a", 4.0))
    assert watts(node, "package-0") == pytest.approx([10.0], rel=0.01)
    assert node.cpu_s == pytest.approx([400.0], rel=0.01)
    assert node.cycles == pytest.approx([400.0 * 0.5**0.5], rel=0.01)


def test_warm_silicon_leaks() -> None:
    """After a while at 20 W a package of 0.5 K/W leaks for the 10 K that it is warmer."""
    machine = replace(PLAIN, leakage_w_per_k=0.1, kelvin_per_w=0.5, thermal_s=10.0)
    node = run(machine, always("a", 4.0), seconds=200.0)
    before_j = node.truth.active_j["package-0"].copy()
    node.advance(100.0)
    late_w = (node.truth.active_j["package-0"] - before_j) / 100.0
    assert late_w == pytest.approx([20.0 + 0.1 * 0.5 * 20.0], rel=0.01)
    assert before_j[0] < 200.0 * late_w[0] * 0.999


def test_warmth_that_is_left_is_nobodys() -> None:
    """When the last consumer ends, what its warmth still leaks counts as idle."""
    machine = replace(PLAIN, leakage_w_per_k=0.1, kelvin_per_w=0.5, thermal_s=40.0)
    node = run(machine, always("a", 4.0, ends_s=100.0))
    active_j, idle_j = node.truth.active_j["package-0"].copy(), node.truth.idle_j["package-0"]
    node.advance(100.0)
    assert node.truth.active_j["package-0"] == pytest.approx(active_j)
    left_j = 0.1 * 0.5 * 20.0 * 40.0  # of the power, times the time constant
    assert node.truth.idle_j["package-0"] - idle_j == pytest.approx(1000 + left_j, rel=0.02)


def test_sockets_are_apart() -> None:
    """Who is bound draws on one socket, who is not on both, and idle is each socket's own."""
    machine = replace(PLAIN, sockets=2)
    bound, free = always("bound", 1.0, socket=1), always("free", 2.0)
    node = run(machine, bound, free)
    assert node.domains == ("package-0", "dram-0", "package-1", "dram-1")
    assert watts(node, "package-0") == pytest.approx([0.0, 5.0], rel=0.01)
    assert watts(node, "package-1") == pytest.approx([5.0, 5.0], rel=0.01)
    assert node.truth.idle_j["package-0"] == node.truth.idle_j["package-1"]


def test_an_accelerator_is_shared_by_time() -> None:
    """The accelerator draws its idle power and its dynamic power by busy time, and no CPU."""
    machine = replace(PLAIN, gpu_idle_w=20.0, gpu_w=100.0)
    one = always("one", 0.25, device="gpu")
    two = always("two", 0.5, device="gpu", intensity=0.8)
    node = run(machine, one, two)
    assert watts(node, "gpu") == pytest.approx([25.0, 40.0], rel=0.01)
    assert node.truth.idle_j["gpu"] == pytest.approx(2000.0)
    assert watts(node, "package-0") == [0.0, 0.0]
    assert list(node.on_gpu) == [True, True]


def test_noise_changes_power_and_not_its_mean() -> None:
    """Power wanders by its noise around what load explains; work is the same."""
    quiet, noisy = (
        run(replace(PLAIN, noise_ratio=ratio, noise_s=1.0), always("a", 2.0), seconds=2000.0)
        for ratio in (0.0, 0.1)
    )
    assert (noisy.cpu_s == quiet.cpu_s).all()
    assert watts(noisy, "package-0") != watts(quiet, "package-0")
    assert watts(noisy, "package-0") == pytest.approx(watts(quiet, "package-0"), rel=0.02)


def drawn_j(node: Node) -> NDArray[np.float64]:
    """Return what each consumer drew so far, in all domains."""
    total_j: NDArray[np.float64] = np.sum(list(node.truth.active_j.values()), axis=0)
    return total_j


CONSUMERS = st.lists(
    st.builds(
        Consumer,
        name=st.uuids().map(str),
        busy=st.floats(0.01, 12.0),
        cores=st.floats(0.5, 8.0),
        request_s=st.floats(0.001, 0.5),
        intensity=st.floats(0.5, 1.5),
        memory=st.floats(0.0, 3.0),
        starts_s=st.floats(0.0, 5.0),
        ends_s=st.floats(5.0, 20.0),
        on_s=st.sampled_from([0.0, 1.0]),
        off_s=st.floats(0.1, 2.0),
        socket=st.sampled_from([None, 0, 1]),
        device=st.sampled_from(["cpu", "cpu", "gpu"]),
    ),
    min_size=1,
    max_size=6,
)


@given(CONSUMERS, st.integers(0, 2**32 - 1), st.lists(st.floats(0.01, 3.0), max_size=5))
def test_work_fits_on_the_machine(
    consumers: list[Consumer], seed: int, times_s: list[float]
) -> None:
    """Nobody works backwards or more than the machine can, and everyone's energy is no less."""
    machine = replace(Machine(), sockets=2, cores=4, gpu_idle_w=10.0, gpu_w=90.0, limit_w=400.0)
    node = Node(machine, consumers, seed=seed)
    for seconds in times_s:
        before, active_j = node.cpu_s.copy(), drawn_j(node)
        then_s = node.now_s
        node.advance(seconds)
        passed_s = node.now_s - then_s
        assert passed_s == pytest.approx(seconds, abs=node.tick_s / 2 + 1e-9)
        step_s = node.cpu_s - before
        assert (step_s >= 0).all()
        most_s = passed_s * (1 + 1e-9) + 1e-12
        assert step_s[~node.on_gpu].sum() <= 2 * machine.cores * most_s
        assert step_s[node.on_gpu].sum() <= most_s
        assert (step_s <= np.array([one.cores for one in consumers]) * most_s).all()
        more_j = drawn_j(node) - active_j
        assert (more_j >= 0).all()
        assert (more_j[step_s == 0] == 0).all()


def test_the_same_seed_is_the_same_node() -> None:
    """Everything chance decides comes from the seed, and another seed decides otherwise."""
    consumers = [Consumer(name="a", busy=1.0, on_s=2.0, off_s=1.0), Consumer(name="b", busy=0.5)]
    one, same, other = (run(Machine(), *consumers, seed=seed) for seed in (1, 1, 2))
    assert (one.cpu_s == same.cpu_s).all()
    assert one.truth.total_j("package-0") == same.truth.total_j("package-0")
    assert (one.cpu_s != other.cpu_s).all()


def cut(machine: Machine, *consumers: Consumer) -> tuple[Node, Node]:
    """Return two nodes after ten seconds, one of which went there in tenths."""
    whole, pieces = (Node(machine, consumers, seed=5) for _ in range(2))
    whole.advance(10.0)
    for _ in range(100):
        pieces.advance(0.1)
    assert pieces.now_s == whole.now_s
    return whole, pieces


def test_how_time_is_cut_does_not_matter_to_steady_work() -> None:
    """Work of those that are always on, and its power without noise, are the same in pieces."""
    machine = replace(Machine(), noise_ratio=0.0)
    whole, pieces = cut(machine, Consumer(name="a", busy=1.0), Consumer(name="b", busy=0.5))
    assert pieces.cpu_s == pytest.approx(whole.cpu_s, rel=1e-9)
    for domain in whole.domains:
        assert pieces.truth.active_j[domain] == pytest.approx(whole.truth.active_j[domain])


def test_how_time_is_cut_deals_bursts_and_noise_anew() -> None:
    """Bursts and noise draw from chance by the piece: other figures of the same kind."""
    bursty = Consumer(name="a", busy=1.0, on_s=1.0, off_s=1.0)
    whole, pieces = cut(Machine(), bursty, Consumer(name="b", busy=0.5))
    assert pieces.cpu_s[1] == pytest.approx(whole.cpu_s[1], rel=1e-9)
    assert pieces.cpu_s[0] != whole.cpu_s[0]
    assert pieces.truth.total_j("dram-0") != whole.truth.total_j("dram-0")
