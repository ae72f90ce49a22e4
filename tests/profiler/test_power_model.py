"""What is learned of a device: idle power, the curve, and how unlike its consumers' work is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulery.profiler.attribution import attribute
from joulery.profiler.power_fit import GONE
from joulery.profiler.power_model import SYSTEM, PowerModel
from joulery.profiler.quantities import Energy, Provenance


def taught(*points: tuple[float, float]) -> PowerModel:
    """Return a model of one CPU that saw these pairs of utilisation and watts, nobody named."""
    model = PowerModel(1.0)
    for load, power_w in points:
        model.observe(power_w=power_w, duration_s=5.0, work_s={}, busy_s=load * 5.0)
    return model


@given(
    st.floats(0, 200),
    st.floats(0, 300),
    st.lists(st.floats(0, 1), min_size=2, max_size=20),
)
def test_idle_is_learned_where_it_was_seen(
    idle_w: float, slope_w: float, loads: list[float]
) -> None:
    """A device seen at rest and at work gives its idle power back, whatever line it follows."""
    found = taught((0.0, idle_w), *((load, idle_w + slope_w * load) for load in loads)).fit()
    assert found is not None
    assert found.idle.low_w <= idle_w + 1e-6
    assert found.idle.high_w >= idle_w - 1e-6
    assert found.idle.value_w == pytest.approx(idle_w, abs=0.03 * (idle_w + slope_w) + 1e-6)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 500)), min_size=1, max_size=30))
def test_idle_is_between_nothing_and_the_lowest(points: list[tuple[float, float]]) -> None:
    """Idle power is never negative, nor above what it drew for ten seconds, noise aside."""
    model = PowerModel(1.0)
    for load, power_w in points:
        model.observe(power_w=power_w, duration_s=10.0, work_s={}, busy_s=load * 10.0)
    found = model.fit()
    assert found is not None
    assert 0 <= found.idle.low_w <= found.idle.value_w <= found.idle.high_w
    lowest_w = min(power_w for _, power_w in points)
    assert found.idle.value_w <= lowest_w + 3 * found.noise_w / math.sqrt(10) + 1e-9


def test_without_spread_in_load_idle_stays_uncertain() -> None:
    """Only ever seen at half load, a device could idle at anything from nothing to what it drew."""
    found = taught((0.5, 40.0), (0.5, 40.1)).fit()
    assert found is not None
    assert found.idle.low_w == 0.0
    assert found.idle.high_w >= 39.0
    assert PowerModel(1.0).fit() is None


def test_a_device_that_is_off_idles_at_nothing() -> None:
    """No power at all is known to be none."""
    found = taught((0.0, 0.0), (0.5, 0.0)).fit()
    assert found is not None
    assert (found.idle.low_w, found.idle.high_w) == (0.0, 0.0)


@pytest.mark.parametrize(
    "wrong",
    [{"power_w": -1.0}, {"busy_s": -0.1}, {"duration_s": 0.0}, {"power_w": math.nan}],
)
def test_impossible_observations_are_refused(wrong: dict[str, float]) -> None:
    """Negative power or work, and empty times, teach nothing."""
    good = {"power_w": 1.0, "busy_s": 0.5, "duration_s": 1.0} | wrong
    with pytest.raises(ValueError, match="found"):
        PowerModel(1.0).observe(
            power_w=good["power_w"],
            busy_s=good["busy_s"],
            duration_s=good["duration_s"],
            work_s={},
        )
    with pytest.raises(ValueError, match="positive"):
        PowerModel(0.0)


def watch(
    model: PowerModel,
    watts: dict[str, float],
    *,
    seconds: int,
    seed: int = 1,
    signals: dict[str, float] | None = None,
    fixed: bool = False,
) -> None:
    """Let consumers of so many watts per busy core work at random beside 20 W of idle power.

    Args:
        model: Is taught, second by second.
        watts: Power per core of each consumer.
        seconds: How long.
        seed: Of the loads and the noise.
        signals: Counts per CPU second of each consumer.
        fixed: All always work in the same proportion.
    """
    rng = np.random.default_rng(seed)
    for _ in range(seconds):
        loads = np.full(len(watts), rng.uniform()) if fixed else rng.uniform(0, 1, len(watts))
        loads = loads * (rng.uniform() > 0.1)
        power_w = 20.0 + loads @ np.array(list(watts.values())) + rng.normal(scale=0.2)
        work_s = dict(zip(watts, loads, strict=True))
        counts = {name: (each * work_s[name],) for name, each in (signals or {}).items()}
        model.observe(
            power_w=power_w,
            duration_s=1.0,
            work_s=work_s,
            busy_s=float(loads.sum()),
            signals=counts,
        )


def ratio(model: PowerModel, one: str, other: str) -> tuple[float, float]:
    """Return how much more power one consumer's work draws than another's, and its deviation."""
    fit = model.fit()
    assert fit is not None
    at = [fit.names.index(one), fit.names.index(other)]
    columns = [1 + len(fit.signal_ratios) + n for n in at]
    a, b = fit.ratios[at]
    block = fit.covariance[np.ix_(columns, columns)]
    gradient = np.array([1 / b, -a / b**2])
    return float(a / b), math.sqrt(float(gradient @ block @ gradient))


def test_unlike_work_is_told_apart() -> None:
    """Consumers that load the device at different times show what their work draws."""
    model = PowerModel(4.0)
    watch(model, {"vector": 12.0, "plain": 8.0, "memory": 4.0}, seconds=600)
    value, deviation = ratio(model, "vector", "memory")
    assert value == pytest.approx(3.0, rel=0.15)
    assert abs(value - 3.0) < 4 * deviation
    fit = model.fit()
    assert fit is not None
    assert fit.idle.value_w == pytest.approx(20.0, abs=0.5)
    assert fit.unlikeness > 0.2


def test_what_nothing_tells_apart_stays_uncertain() -> None:
    """Consumers that always work together are taken as alike, with a wide interval, not as sure."""
    model = PowerModel(4.0)
    watch(model, {"vector": 12.0, "memory": 4.0}, seconds=600, fixed=True)
    value, deviation = ratio(model, "vector", "memory")
    assert value == pytest.approx(1.0, abs=0.1)
    assert deviation > 0.2


def test_alike_consumers_show_that_they_are() -> None:
    """Where all consumers draw alike, their unlikeness is found small, and intervals close in."""
    model = PowerModel(8.0)
    watch(model, {f"pod-{n}": 8.0 for n in range(8)}, seconds=600)
    fit = model.fit()
    assert fit is not None
    assert fit.unlikeness < 0.07
    assert ratio(model, "pod-0", "pod-1")[1] < 0.05


def test_signals_tell_a_newcomer_apart() -> None:
    """What a count says of work is learned from some consumers and holds for the next one."""
    model = PowerModel(4.0)
    watts = {"a": 12.0, "b": 8.0, "c": 4.0}
    watch(model, watts, seconds=600, signals={"a": 3.0, "b": 2.0, "c": 1.0})
    fit = model.fit()
    assert fit is not None
    # Power is four watts per count: all consumers are alike once that is known.
    found = attribute(
        Energy(value_j=32.0, low_j=32.0, high_j=32.0, provenance=Provenance.MEASURED),
        duration_s=1.0,
        model=model,
        work_s={"new": 0.5, "newer": 0.5},
        busy_s=1.0,
        signals={"new": (1.5,), "newer": (0.5,)},
    )
    assert found.parts["new"].value_j == pytest.approx(9.0, rel=0.1)
    assert found.parts["newer"].value_j == pytest.approx(3.0, rel=0.1)
    assert fit.unlikeness < 0.3


def test_a_forgotten_consumer_leaves_no_trace_in_others() -> None:
    """Who is gone leaves what it drew to nobody living, and a namesake begins anew."""
    model = PowerModel(4.0)
    watch(model, {"vector": 12.0, "plain": 8.0}, seconds=120)
    model.forget("vector")
    model.forget("never seen")
    fit = model.fit()
    assert fit is not None
    assert fit.names == (SYSTEM, "plain", GONE)
    assert ratio(model, GONE, "plain")[0] == pytest.approx(1.5, rel=0.1)
    assert fit.ratios[0] == pytest.approx(1.0, abs=0.01)
    watch(model, {"vector": 4.0, "plain": 8.0}, seconds=120, seed=2)
    assert ratio(model, "vector", "plain")[0] == pytest.approx(0.5, rel=0.15)


def test_forgetting_many_is_forgetting_one_by_one() -> None:
    """Consumers that end together leave the same as those that end one after the other."""
    fits = []
    for together in (True, False):
        model = PowerModel(8.0)
        watch(model, {"a": 2.0, "b": 9.0, "c": 5.0, "d": 7.0}, seconds=60)
        for names in [("c", "never seen", "a")] if together else [("a",), ("c",)]:
            model.forget(*names)
        watch(model, {"b": 9.0, "d": 7.0, "e": 4.0}, seconds=60, seed=2)
        fits.append(model.fit())
    one, other = fits
    assert one is not None
    assert other is not None
    assert one.names == other.names == (SYSTEM, "b", "d", GONE, "e")
    assert one.ratios == pytest.approx(other.ratios)
    assert one.covariance == pytest.approx(other.covariance)


def test_who_is_silent_for_long_is_forgotten() -> None:
    """Consumers that nobody told off do not stay for ever."""
    model = PowerModel(4.0, memory_s=50.0)
    watch(model, {"a": 8.0, "b": 8.0}, seconds=20)
    watch(model, {"a": 8.0}, seconds=120)
    fit = model.fit()
    assert fit is not None
    assert fit.names == (SYSTEM, "a", GONE)


def test_noise_does_not_lower_the_idle_power() -> None:
    """Of an hour of noisy seconds at rest, the lowest does not pass for the idle power."""
    rng = np.random.default_rng(7)
    model = PowerModel(8.0)
    for _ in range(3600):
        power_w = rng.normal(100.0, 2.0)
        model.observe(power_w=power_w, duration_s=1.0, work_s={}, busy_s=0.0)
    fit = model.fit()
    assert fit is not None
    assert fit.idle.low_w <= 100.0 <= fit.idle.high_w
    assert fit.idle.value_w == pytest.approx(100.0, rel=0.02)


def test_one_wrong_reading_does_not_last() -> None:
    """A moment at twenty kilowatts, or at two watts, moves neither idle power nor its interval."""
    model = PowerModel(8.0)
    rng = np.random.default_rng(8)
    for second in range(600):
        load = rng.uniform(0, 1)
        model.observe(
            power_w=50 + 80 * load + rng.normal(), duration_s=1.0, work_s={}, busy_s=8 * load
        )
        if second == 300:
            model.observe(power_w=2.0, duration_s=0.02, work_s={}, busy_s=0.0)
    fit = model.fit()
    assert fit is not None
    assert fit.idle.low_w <= 50.0 <= fit.idle.high_w
    assert fit.idle.value_w == pytest.approx(50.0, abs=3.0)


def test_a_consumer_needs_a_name() -> None:
    """The names of the system and of those that are gone are taken."""
    for name in (SYSTEM, GONE):
        with pytest.raises(ValueError, match="name of its own"):
            PowerModel(1.0).observe(power_w=1.0, duration_s=1.0, work_s={name: 1.0}, busy_s=1.0)


def test_old_observations_count_less() -> None:
    """When a device's idle power changes, the model follows within its memory."""
    model = PowerModel(1.0, memory_s=60.0)
    for idle_w, seconds in ((30.0, 300), (20.0, 300)):
        for second in range(seconds):
            load = (second % 4) / 4
            model.observe(power_w=idle_w + 8 * load, duration_s=1.0, work_s={}, busy_s=load)
    fit = model.fit()
    assert fit is not None
    assert fit.idle.value_w == pytest.approx(20.0, abs=0.5)


def test_slow_drift_widens_the_idle_power() -> None:
    """Power that wanders over minutes leaves the idle power less certain than white noise."""

    def half_w(drift_w: float) -> float:
        rng = np.random.default_rng(4)
        model = PowerModel(1.0)
        for second in range(900):
            load = max(0.0, rng.uniform(-0.5, 1.0))
            slow_w = drift_w * math.sin(second / 60)
            power_w = 20 + slow_w + 10 * load + rng.normal(scale=0.1)
            model.observe(power_w=power_w, duration_s=1.0, work_s={}, busy_s=load)
        fit = model.fit()
        assert fit is not None
        return math.sqrt(fit.covariance[0, 0])

    assert half_w(2.0) > 1.2 * half_w(0.0)


@given(st.integers(0, 2**32 - 1))
def test_laps_of_any_length_teach_the_same_line(seed: int) -> None:
    """One long time and several short ones with the same energy and work teach alike."""
    rng = np.random.default_rng(seed)
    long, short = PowerModel(1.0), PowerModel(1.0)
    for load in rng.uniform(0, 1, 30):
        long.observe(power_w=10 + 5 * load, duration_s=4.0, work_s={}, busy_s=4 * load)
        for _ in range(4):
            short.observe(power_w=10 + 5 * load, duration_s=1.0, work_s={}, busy_s=load)
    one, other = long.fit(), short.fit()
    assert one is not None
    assert other is not None
    assert one.idle.value_w == pytest.approx(other.idle.value_w, abs=0.5)
