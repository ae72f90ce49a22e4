"""The machine's stated power: frequency, waking up, and machines that are drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulery.profiler.simulator.machine import Machine, random_machine


def test_frequency_falls_with_busy_cores() -> None:
    """A lone core runs at turbo, all together at base, and more than all is no slower."""
    machine = Machine(cores=8, turbo_ratio=1.2)
    ratios = machine.frequency_ratio(np.array([0.0, 4.0, 8.0, 9.0]))
    assert ratios == pytest.approx([1.2, 1.1, 1.0, 1.0])


def test_waking_up_costs_once() -> None:
    """A package at rest pays nothing for being awake; with one busy core nearly all."""
    awake_w = Machine(wake_w=6.0).wake_power_w(np.array([0.0, 0.4, 2.0, 8.0]))
    assert awake_w == pytest.approx([0.0, 6 * (1 - np.exp(-1)), 6 * (1 - np.exp(-5)), 6.0])


@given(st.integers(0, 2**32 - 1), st.integers(1, 2), st.booleans())
def test_drawn_machines_are_possible(seed: int, sockets: int, gpu: bool) -> None:
    """Every drawn machine draws more under load than at rest, and has room below its limit."""
    machine = random_machine(np.random.default_rng(seed), sockets=sockets, gpu=gpu)
    assert machine == random_machine(np.random.default_rng(seed), sockets=sockets, gpu=gpu)
    full_w = machine.cores * machine.core_w
    assert 0.1 < machine.idle_w / full_w < 0.4
    assert 0.1 <= machine.wake_w / machine.idle_w <= 0.8
    # The most memory-bound consumers of any scenario leave room for their cores.
    uncore_w = 0.5 * 3.5 * machine.dram_w * machine.cores
    assert machine.limit_w > machine.idle_w + machine.wake_w + uncore_w
    assert machine.turbo_ratio >= 1.0
    assert (machine.gpu_idle_w > 0) is gpu
    assert (machine.gpu_w > 0) is gpu
    assert machine.sockets == sockets
