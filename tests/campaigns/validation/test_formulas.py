"""The formulas of the field's tools, on laps written down: what they tell, and what they claim."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulery.campaigns.validation.formulas import (
    FORMULAS,
    Claim,
    RatioThroughOrigin,
    share_of_total,
)
from joulery.profiler.quantities import Energy, Provenance
from joulery.profiler.sources import Kind
from joulery.profiler.usage import Usage
from joulery.profiler.window import DomainEnergy, WindowResult


def lap(
    energies_j: Mapping[Kind, float | None], usage: Mapping[str, Usage], busy_s: float
) -> WindowResult:
    """Return ten seconds of a node with four CPUs."""
    return WindowResult(
        name="lap",
        start_s=0.0,
        end_s=10.0,
        domains={kind: domain(kind, energy_j) for kind, energy_j in energies_j.items()},
        busy_s=busy_s,
        resolution_s=0.01,
        cpus=4,
        usage=usage,
        intervals=(),
    )


def domain(kind: Kind, energy_j: float | None) -> DomainEnergy:
    """Return a summed domain's energy, without doubt."""
    energy = None
    if energy_j is not None:
        energy = Energy(
            value_j=energy_j, low_j=energy_j, high_j=energy_j, provenance=Provenance.MEASURED
        )
    return DomainEnergy(source="s", domain=kind, kind=kind, summed=True, energy=energy, gaps={})


def cpu(**seconds: float) -> dict[str, Usage]:
    """Return usages of CPU time alone."""
    return {name: Usage(cpu_s=spent_s) for name, spent_s in seconds.items()}


def test_shares_by_hand() -> None:
    """Of 100 J, with 8 s of 40 s of CPU time used, 6 of them by one: 75 J, or 15 J."""
    one = lap({Kind.CPU: 80.0, Kind.DRAM: 20.0}, cpu(a=6.0, b=1.0), busy_s=8.0)
    assert share_of_total(one) == pytest.approx({"a": 75.0, "b": 12.5})
    assert RatioThroughOrigin()(one) == pytest.approx({"a": 15.0, "b": 2.5})


def test_an_accelerator_goes_by_its_own_work() -> None:
    """GPU energy goes by GPU seconds, whoever used the CPUs."""
    usage = {"a": Usage(cpu_s=0.0, gpu_s=3.0), "b": Usage(cpu_s=4.0, gpu_s=1.0)}
    one = lap({Kind.CPU: 40.0, Kind.GPU: 200.0}, usage, busy_s=4.0)
    assert share_of_total(one) == pytest.approx({"a": 150.0, "b": 40.0 + 50.0})
    # Its idle power was not seen yet.
    assert RatioThroughOrigin()(one) == pytest.approx({"a": 150.0, "b": 4.0 + 50.0})


def test_an_accelerator_seen_at_rest_has_an_idle_power() -> None:
    """The reference takes the lowest power without work off the accelerator's, at later laps."""
    formula = RatioThroughOrigin()
    for rest_j in (120.0, 80.0, 100.0):
        assert formula(lap({Kind.GPU: rest_j}, {"a": Usage(cpu_s=0.0, gpu_s=0.0)}, busy_s=0.0)) == {
            "a": 0.0
        }
    usage = {"a": Usage(cpu_s=0.0, gpu_s=3.0), "b": Usage(cpu_s=0.0, gpu_s=1.0)}
    found = formula(lap({Kind.GPU: 200.0}, usage, busy_s=0.0))
    assert found == pytest.approx({"a": 90.0, "b": 30.0})
    less = formula(lap({Kind.GPU: 50.0}, usage, busy_s=0.0))
    assert less == {"a": 0.0, "b": 0.0}


@given(
    st.dictionaries(st.sampled_from("abcd"), st.floats(0.01, 10.0), min_size=1), st.floats(0, 1e4)
)
def test_share_of_total_gives_all_energy_away(spent_s: dict[str, float], whole_j: float) -> None:
    """Where everyone is named the shares sum to all energy, idle included, at any load."""
    one = lap({Kind.CPU: whole_j}, cpu(**spent_s), busy_s=sum(spent_s.values()))
    found = share_of_total(one)
    assert found is not None
    assert sum(found.values()) == pytest.approx(whole_j)


@given(st.dictionaries(st.sampled_from("abcd"), st.floats(0, 10.0)), st.floats(0, 1e4))
def test_ratio_through_origin_tells_nothing_without_load(
    spent_s: dict[str, float], whole_j: float
) -> None:
    """Its shares are the utilisation's part of the energy: none at no load, all at full load."""
    found = RatioThroughOrigin()(lap({Kind.CPU: whole_j}, cpu(**spent_s), busy_s=0.0))
    assert found is not None
    assert sum(found.values()) == pytest.approx(whole_j * sum(spent_s.values()) / 40.0)
    idle = RatioThroughOrigin()(lap({Kind.CPU: whole_j}, cpu(a=0.0), busy_s=0.0))
    assert idle == {"a": 0.0}


def test_without_work_nobody_has_a_share() -> None:
    """At rest there is nobody to bear the energy, and no division by nothing."""
    rest = lap({Kind.CPU: 100.0, Kind.GPU: 50.0}, {"a": Usage(cpu_s=0.0, gpu_s=0.0)}, busy_s=0.0)
    assert share_of_total(rest) == RatioThroughOrigin()(rest) == {"a": 0.0}


def test_an_unknown_energy_is_not_shared() -> None:
    """When the energy of one kind is not known, no formula tells a part of it."""
    one = lap({Kind.CPU: 100.0, Kind.DRAM: None}, cpu(a=1.0), busy_s=1.0)
    assert share_of_total(one) is None
    assert RatioThroughOrigin()(one) is None


def test_each_reference_stands_after_ours_of_its_claim() -> None:
    """Both claims are made by ours and by a reference, and references are never first."""
    claims = dict[Claim, list[bool]]()
    for formula in FORMULAS:
        claims.setdefault(formula.claim, []).append(formula.ours)
    assert claims == {Claim.ACTIVE: [True, True, False], Claim.WITH_IDLE: [True, False]}
    assert len({formula.name for formula in FORMULAS}) == len(FORMULAS)
