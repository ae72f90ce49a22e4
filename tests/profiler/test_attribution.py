"""Shares of energy: they always add up, and their intervals hold what is true."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulery.profiler.attribution import (
    Attribution,
    IdlePolicy,
    attribute,
    attribute_window,
    observe_window,
)
from joulery.profiler.ledger import Ledger
from joulery.profiler.meter import EnergyMeter, WindowResult
from joulery.profiler.power_model import PowerModel
from joulery.profiler.quantities import Energy, Provenance
from joulery.profiler.sources import Domain, Kind

from .fakes import PlayedCpu, PlayedSource, Ticker

POLICIES: list[IdlePolicy] = ["none", "time_share", "request", "reservation"]
NAMES = st.sampled_from(["service", "generator", "pod-a", "pod-b"])


def energy(value_j: float, width: float = 0.0, kind: Provenance = Provenance.MEASURED) -> Energy:
    """Return an energy with a relative half-width."""
    return Energy(
        value_j=value_j,
        low_j=value_j * (1 - width),
        high_j=value_j * (1 + width),
        provenance=kind,
    )


def taught(*points: tuple[float, float], duration_s: float = 5.0) -> PowerModel:
    """Return a model of one CPU that saw these pairs of utilisation and watts, nobody named."""
    model = PowerModel(1.0)
    for load, power_w in points:
        model.observe(power_w=power_w, duration_s=duration_s, work_s={}, busy_s=load * duration_s)
    return model


@given(
    total_j=st.floats(0, 1e6),
    width=st.floats(0, 0.9),
    provenance=st.sampled_from(list(Provenance)),
    duration_s=st.floats(0.01, 1e4),
    points=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 500)), min_size=1, max_size=6),
    work_s=st.dictionaries(NAMES, st.floats(0, 1e4)),
    busy_s=st.floats(0, 2e4),
    policy=st.sampled_from(POLICIES),
)
def test_the_parts_add_up_to_the_whole(
    total_j: float,
    width: float,
    provenance: Provenance,
    duration_s: float,
    points: list[tuple[float, float]],
    work_s: Mapping[str, float],
    busy_s: float,
    policy: IdlePolicy,
) -> None:
    """Whatever is measured and whoever worked, idle, system and parts sum to the energy."""
    whole = energy(total_j, width, provenance)
    shares = {name: 0.9 / len(work_s) for name in work_s}
    found = attribute(
        whole,
        duration_s=duration_s,
        model=taught(*points),
        work_s=work_s,
        busy_s=busy_s,
        idle_policy=policy,
        shares=shares,
    )
    everything = [found.idle, found.system, *found.parts.values()]
    assert math.isclose(
        math.fsum(e.value_j for e in everything), total_j, abs_tol=1e-9, rel_tol=1e-9
    )
    estimated = provenance is Provenance.ESTIMATED
    for part in everything:
        assert 0 <= part.low_j <= part.value_j <= part.high_j
        assert part.high_j <= max(whole.high_j, part.value_j)
        assert part.provenance is (Provenance.ESTIMATED if estimated else Provenance.APPORTIONED)


def shared(policy: IdlePolicy, shares: Mapping[str, float] | None = None) -> Attribution:
    """Share 100 J over 10 s, 4 W of them idle, among two who did 3 s and 1 s of 6 s of work."""
    return attribute(
        energy(100.0),
        duration_s=10.0,
        model=taught((0.0, 4.0), (0.5, 10.0), duration_s=60.0),
        work_s={"a": 3.0, "b": 1.0},
        busy_s=6.0,
        idle_policy=policy,
        shares=shares,
    )


@pytest.mark.parametrize(
    ("policy", "shares", "idle_j", "system_j", "a_j", "b_j"),
    [
        ("none", None, 40.0, 20.0, 30.0, 10.0),
        ("time_share", None, 0.0, 40 / 3, 50.0, 50 / 3),
        ("request", {"a": 1.0, "b": 3.0}, 0.0, 20.0, 40.0, 40.0),
        ("reservation", {"a": 0.25, "b": 0.5}, 10.0, 20.0, 40.0, 30.0),
    ],
)
def test_who_bears_the_idle_energy(
    policy: IdlePolicy,
    shares: Mapping[str, float] | None,
    idle_j: float,
    system_j: float,
    a_j: float,
    b_j: float,
) -> None:
    """Active energy goes by work; idle energy stays, or goes by work, requests or reservations."""
    found = shared(policy, shares)
    if policy == "time_share":
        system_j, a_j, b_j = 100 * 2 / 6, 50.0, 100 / 6
    values = [e.value_j for e in (found.idle, found.system, found.parts["a"], found.parts["b"])]
    assert values == pytest.approx([idle_j, system_j, a_j, b_j], abs=0.6)


def test_policies_need_their_shares() -> None:
    """A share for each consumer, together no more than the device, is the caller's duty."""
    with pytest.raises(ValueError, match="needs a share"):
        shared("request", {"a": 1.0})
    with pytest.raises(ValueError, match="more than the whole"):
        shared("reservation", {"a": 0.6, "b": 0.6})


def test_named_work_may_exceed_the_kernels_count() -> None:
    """When nanoseconds of the named exceed the kernel's ticks, they share all and none is lost."""
    found = attribute(
        energy(10.0),
        duration_s=1.0,
        model=taught((0.0, 4.0)),
        work_s={"a": 0.9, "b": 0.3},
        busy_s=1.0,
    )
    assert found.system.value_j == 0.0
    assert found.parts["a"].value_j == pytest.approx(4.5, rel=0.01)


def test_the_intervals_hold_the_truth() -> None:
    """In 95 % of simulated devices with noisy meters, the service's interval holds its energy."""
    rng = np.random.default_rng(3)
    held, widths = [], []
    for _ in range(300):
        idle_w, slope_w, noise_w = rng.uniform(5, 50), rng.uniform(5, 80), 0.4
        model = PowerModel(2.0)
        for load in (0.0, 0.02, 0.5, 0.0, 0.7):
            power_w = idle_w + slope_w * load + rng.normal(scale=noise_w)
            work_s = {"service": load * 2 * 5.0}
            model.observe(
                power_w=max(power_w, 0.0), duration_s=5.0, work_s=work_s, busy_s=load * 2 * 5.0
            )
        load, share = rng.uniform(0.2, 0.9), rng.uniform(0.2, 0.9)
        true_j = share * slope_w * load * 20.0
        total_j = (idle_w + slope_w * load) * 20.0
        busy_s = 2 * 20.0 * load
        found = attribute(
            energy(total_j * (1 + rng.normal(scale=0.005)), 0.01),
            duration_s=20.0,
            model=model,
            work_s={"service": share * busy_s},
            busy_s=busy_s + rng.uniform(-0.01, 0.01),
        ).parts["service"]
        held.append(found.low_j <= true_j <= found.high_j)
        widths.append((found.high_j - found.low_j) / found.value_j)
    assert np.mean(held) >= 0.95
    assert np.median(widths) < 0.8


def test_noise_around_the_idle_power_evens_out() -> None:
    """A consumer that hardly works is not charged with every upward swing of the idle power."""
    rng = np.random.default_rng(5)
    model, ledger = PowerModel(8.0), Ledger()
    for _ in range(600):
        model.observe(power_w=rng.normal(100.0, 2.0), duration_s=1.0, work_s={}, busy_s=0.0)
    owed_j, swings_j = 0.0, 0.0
    fit = model.fit()
    assert fit is not None
    for _ in range(600):
        power_w = rng.normal(100.0, 2.0)
        swings_j += max(0.0, power_w - fit.idle.value_w)
        lap = attribute(
            energy(power_w),
            duration_s=1.0,
            model=model,
            work_s={"pod": 0.01},
            busy_s=0.01,
            owed_j=owed_j,
        )
        owed_j = lap.owed_j
        ledger.add(lap, 1.0)
    assert ledger.parts["pod"].value_j < 0.5 * swings_j


def test_an_untaught_model_shares_nothing() -> None:
    """Without any observation nobody's part is known."""
    with pytest.raises(ValueError, match="at least one observation"):
        attribute(energy(1.0), duration_s=1, model=PowerModel(1.0), work_s={}, busy_s=1)


CPU = Domain(
    name="cpu",
    kind=Kind.CPU,
    form="counter",
    provenance=Provenance.MEASURED,
    max_power_w=500,
)
GPU = Domain(
    name="gpu",
    kind=Kind.GPU,
    form="counter",
    provenance=Provenance.MEASURED,
    max_power_w=500,
)


@pytest.fixture
def windows() -> tuple[WindowResult, WindowResult]:
    """Return an idle window (10 W CPU, 30 W GPU) and a loaded one (50 W, 130 W), 10 s each."""
    clock, work = Ticker(), PlayedCpu()
    rows = [(0.0, 0.0), (0.0, 0.0), (100.0, 300.0), (100.0, 300.0), (600.0, 1600.0)]
    meter = EnergyMeter([PlayedSource((CPU, GPU), rows)], clock=clock, interval_s=None, work=work)
    spent = {"service": 0.0}
    with meter, meter.consumers({"service": lambda: spent["service"], "other": lambda: 0.0}):
        with meter.window("idle") as idle:
            clock.advance(10.0)
        with meter.window("load") as load:
            clock.advance(10.0)
            spent["service"] = 8.0
            work.busy_s = 10.0
    return idle.result, load.result


@pytest.mark.parametrize("owner", ["service", None])
def test_each_kind_goes_by_its_own_work(
    windows: tuple[WindowResult, WindowResult], owner: str | None
) -> None:
    """CPU energy goes by CPU seconds, a GPU's to its owner, or to the system without one."""
    models: dict[Kind, PowerModel] = {}
    idle, load = windows
    observe_window(models, idle)
    observe_window(models, load, loaded=True)
    found = attribute_window(load, models, owner=owner)
    assert found is not None
    cpu_j, gpu_j = 400.0, 1000.0
    owned_j = gpu_j if owner else 0.0
    assert found.parts["service"].value_j == pytest.approx(0.8 * cpu_j + owned_j, rel=0.01)
    assert found.parts["other"].value_j == 0.0
    assert found.system.value_j == pytest.approx(0.2 * cpu_j + gpu_j - owned_j, rel=0.01)
    assert found.idle.value_j == pytest.approx(400.0, rel=0.01)
    assert found.total.value_j == pytest.approx(1800.0)


def test_what_is_not_known_is_not_shared(windows: tuple[WindowResult, WindowResult]) -> None:
    """Without an idle model for a kind there is no attribution, rather than half of one."""
    idle, load = windows
    models: dict[Kind, PowerModel] = {}
    assert attribute_window(load, models) is None
    observe_window(models, idle)
    del models[Kind.GPU]
    assert attribute_window(load, models) is None
