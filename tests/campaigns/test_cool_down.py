"""Cooling down: over a simulated machine that heats and cools, and over played readings."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from joulery.campaigns.cool_down import CoolDown, Power, Temperature
from joulery.profiler.meter import EnergyMeter
from joulery.profiler.sources.powercap import Powercap
from joulery.profiler.thermal import Thermometer
from joulery.profiler.work import NodeCpu

from ..profiler.fakes import Ticker
from .warm import WarmMachine

BEGINS_S, ENDS_S = 10.0, 30.0


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[WarmMachine]:
    """Return a machine that is at rest for ten seconds, and then busy for twenty."""
    machine = WarmMachine(tmp_path, begins_s=BEGINS_S, ends_s=ENDS_S)
    with machine.tree:
        yield machine


def sensor(machine: WarmMachine) -> Temperature:
    """Return the gauge of its temperature, read from its files."""
    return Temperature(name="processor", read=Thermometer(machine.sys).read_c, tolerance_c=3.0)


def played(values: Iterable[float | None]) -> Temperature:
    """Return a gauge of a temperature that plays these."""
    some = iter(values)
    return Temperature(name="played", read=lambda: next(some), tolerance_c=3.0)


def cooling() -> CoolDown:
    """Return a cool-down whose time is as fast as it likes."""
    ticker = Ticker()
    return CoolDown(ticker, ticker.advance)


def test_a_warm_machine_is_waited_for(machine: WarmMachine) -> None:
    """After twenty busy seconds it takes so long that it is within 3 °C of where it was."""
    cool_down = CoolDown(lambda: machine.tree.node.now_s, machine.advance)
    cold_c = machine.celsius
    cool_down.wait([sensor(machine)], max_s=30)
    machine.advance_to(ENDS_S)
    hot_c = machine.celsius
    assert hot_c > cold_c + 20
    waited_s = cool_down.wait([sensor(machine)], max_s=30)
    assert waited_s is not None
    assert 2 < waited_s < 10
    assert cold_c < machine.celsius <= cold_c + 3


def test_a_cool_machine_costs_one_reading(machine: WarmMachine) -> None:
    """Who is as cool as before the first trial is not waited for at all."""
    machine.advance_to(ENDS_S + 30)
    cool_down = CoolDown(lambda: machine.tree.node.now_s, machine.advance)
    first_s = cool_down.wait([sensor(machine)], max_s=30)
    assert first_s == pytest.approx(2.25, abs=0.01)  # nothing to compare with: its trend is seen
    assert cool_down.wait([sensor(machine)], max_s=30) == 0.0


def test_it_waits_no_longer_than_it_may(machine: WarmMachine) -> None:
    """A machine that goes on cooling is waited for up to the limit, and 0 means not at all."""
    machine.advance_to(ENDS_S)
    cool_down = CoolDown(lambda: machine.tree.node.now_s, machine.advance)
    assert cool_down.wait([sensor(machine)], max_s=0) is None
    assert cool_down.wait([sensor(machine)], max_s=1) == pytest.approx(1.0, abs=0.25)


def test_what_cools_no_more_is_cool_enough() -> None:
    """A machine that stays warmer than it was, or warms up by itself, is not waited for long."""
    cool_down = cooling()
    assert cool_down.wait([played([40.0] * 99)], max_s=30) == 2.25
    assert cool_down.wait([played([60.0] * 99)], max_s=30) == 2.25
    assert cool_down.wait([played(itertools.count(60.0, 0.5))], max_s=30) == 2.25
    # It falls for five seconds and a half, then its trend is looked at.
    falling = [60.0 - n // 2 for n in range(22)] + [49.0] * 99
    waited_s = cool_down.wait([played(falling)], max_s=30)
    assert waited_s == pytest.approx(7.25, abs=0.75)


def test_unknown_is_no_wait() -> None:
    """Without a gauge, or with one that tells nothing, nothing was waited for, and it is said."""
    cool_down = cooling()
    assert cool_down.wait([], max_s=30) is None
    assert cool_down.wait([played([None])], max_s=30) is None
    assert cool_down.wait([played([60.0, 59.0, None])], max_s=30) == 0.5


def test_two_gauges_share_one_limit() -> None:
    """Processor and GPU are looked at one after the other, within the same seconds."""
    cool_down = cooling()
    gauges = [
        Temperature(name=name, read=itertools.count(90, -1).__next__, tolerance_c=3.0)
        for name in ("processor", "gpu")
    ]
    assert cool_down.wait(gauges, max_s=4) == 4.0


def test_power_stands_in_for_temperature(machine: WarmMachine) -> None:
    """Measured power that falls as the machine stops leaking is waited for until it agrees."""
    meter = EnergyMeter(
        [Powercap(machine.sys)],
        clock=machine.tree.clock,
        interval_s=None,
        work=NodeCpu(machine.tree.host),
    )

    def power_w() -> float | None:
        with meter.window("cool_down") as window:
            machine.advance(0.25)
        return window.result.power_w

    machine.advance_to(ENDS_S)
    with meter:
        cool_down = CoolDown(machine.tree.clock)
        hot_w = power_w()
        assert hot_w is not None
        waited_s = cool_down.wait([Power(read=power_w)], max_s=30)
        assert waited_s is not None
        assert 0.5 <= waited_s < 30
        cold_w = power_w()
        assert cold_w is not None
        assert cold_w < 0.99 * hot_w
        assert cool_down.wait([Power(read=power_w)], max_s=30) == pytest.approx(0.25)
