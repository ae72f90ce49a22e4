"""One metered domain: which counter it gets, and how wide its energies are."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulery.profiler.counter import CounterDiff, Delta, Gap, PowerSum
from joulery.profiler.quantities import Provenance
from joulery.profiler.sources import Domain, Kind
from joulery.profiler.track import STEADY_UPDATES, track_domain

COUNTER = Domain(
    name="package-0",
    kind=Kind.CPU,
    form="counter",
    provenance=Provenance.MEASURED,
    max_power_w=500,
    modulus_j=1000,
    resolution_j=0.25,
    update_s=0.01,
    stuck_s=2.0,
)
POWER = replace(COUNTER, name="gpu", kind=Kind.GPU, form="power", provenance=Provenance.INTEGRATED)


def delta(energy_j: float, seconds: float, spread_j: float = 0.0) -> Delta:
    """Return an energy of so many seconds from now."""
    return Delta(start_s=0.0, end_s=seconds, energy_j=energy_j, spread_j=spread_j)


def test_a_domain_is_metered_by_its_form() -> None:
    """Counters are subtracted with the domain's own bounds, powers are summed over time."""
    counter, power = track_domain("powercap", COUNTER), track_domain("nvml", POWER)
    assert (counter.key, power.key) == ("powercap:package-0", "nvml:gpu")
    assert counter.differ == CounterDiff(
        max_power_w=500, modulus_j=1000, update_s=0.01, resolution_j=0.25, stuck_s=2.0
    )
    assert power.differ == PowerSum(max_power_w=500)
    assert isinstance(counter.differ.update(999.0, 0.0), Gap)
    wrapped = counter.differ.update(1.0, 1.0)
    assert isinstance(wrapped, Delta)
    assert wrapped.energy_j == 2.0


def test_the_width_is_the_edges() -> None:
    """A long time is unsure by a renewal at its mean power, the jitter, and the resolution."""
    energy, edge_j = track_domain("s", COUNTER).energy([delta(100.0, 1.0)], jitter_s=0.002)
    assert edge_j == pytest.approx(100 * 0.01 + 100 * 0.002 + 0.25)
    assert (energy.low_j, energy.high_j) == pytest.approx((100 - edge_j, 100 + edge_j))
    assert energy.provenance is Provenance.MEASURED


def test_few_renewals_are_reckoned_at_the_highest_power() -> None:
    """Up to twenty renewals a time does not tell its own mean power, and above it does."""
    track = track_domain("s", COUNTER)
    times_s = [STEADY_UPDATES * COUNTER.update_s * factor for factor in (0.0, 0.99, 1.01)]
    edges_j = [track.energy([delta(0.0, time_s)], 0.0)[1] for time_s in times_s]
    assert edges_j == pytest.approx([5.25, 5.25, 0.25])


def test_what_power_did_between_readings_is_chance() -> None:
    """Spreads of several steps add up in quadrature, as 95 % of a uniform deviation."""
    domain = replace(POWER, resolution_j=0.0, update_s=0.0)
    steps = [delta(50.0, 1.0, 3.0), replace(delta(50.0, 2.0, 4.0), start_s=1.0)]
    energy, edge_j = track_domain("s", domain).energy(steps, 0.0)
    assert edge_j == 0.0
    assert energy.value_j == 100.0
    assert energy.high_j - 100.0 == pytest.approx(5.0 * 1.96 / 3**0.5)


@given(
    st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 10), st.floats(0, 100)), min_size=1),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_an_energy_lies_in_its_interval(
    rows: list[tuple[float, float, float]], jitter_s: float, below: float, above: float
) -> None:
    """Whatever was read, and however bad the sensor is, bounds are ordered and not negative."""
    domain = replace(POWER, low_ratio=1 - below, high_ratio=1 + above)
    steps, now_s = [], 0.0
    for energy_j, seconds, spread_j in rows:
        later_s = now_s + seconds
        steps.append(Delta(start_s=now_s, end_s=later_s, energy_j=energy_j, spread_j=spread_j))
        now_s = later_s
    energy, edge_j = track_domain("s", domain).energy(steps, jitter_s)
    assert 0 <= energy.low_j <= (1 - below) * energy.value_j
    assert (1 + above) * energy.value_j + edge_j <= energy.high_j * (1 + 1e-9)
