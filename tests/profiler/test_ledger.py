"""Totals over many times: they never fall, and of their doubt only chance averages out."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulery.profiler.attribution import Attribution
from joulery.profiler.ledger import Account, Ledger
from joulery.profiler.quantities import Energy, Provenance

ROUNDING = 1e-9
"""Relative: sums of floating-point numbers in another order."""


def energy(
    value_j: float,
    below_j: float = 0.0,
    above_j: float = 0.0,
    provenance: Provenance = Provenance.APPORTIONED,
) -> Energy:
    """Return an energy with these half-widths."""
    return Energy(
        value_j=value_j,
        low_j=max(0.0, value_j - below_j),
        high_j=value_j + above_j,
        provenance=provenance,
    )


def shared(idle_j: float, system_j: float, **parts_j: float) -> Attribution:
    """Return an attribution without doubt."""
    values_j = (idle_j, system_j, *parts_j.values())
    return Attribution(
        total=energy(math.fsum(values_j), provenance=Provenance.MEASURED),
        idle=energy(idle_j),
        system=energy(system_j),
        parts={name: energy(value_j) for name, value_j in parts_j.items()},
        random_j=(0.0,) * len(values_j),
    )


AMOUNTS = st.floats(0, 1e6)
ROWS = st.lists(st.tuples(AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS), min_size=1, max_size=20)


@given(ROWS)
def test_half_widths_lie_between_quadrature_and_sum(
    rows: list[tuple[float, float, float, float]],
) -> None:
    """Whatever part of each error is chance, a total's is as if all were, or none, or between."""
    account = Account()
    parts = [(energy(value_j, below_j, above_j), c) for value_j, below_j, above_j, c in rows]
    for part, chance_j in parts:
        account.add(part, chance_j)
    total = account.energy()
    assert total is not None
    assert total.value_j == pytest.approx(math.fsum(part.value_j for part, _ in parts))
    slack_j = ROUNDING * (1.0 + total.high_j)
    for found_j, halves_j in (
        (total.value_j - total.low_j, [part.value_j - part.low_j for part, _ in parts]),
        (total.high_j - total.value_j, [part.high_j - part.value_j for part, _ in parts]),
    ):
        assert math.hypot(*halves_j) - slack_j <= found_j <= math.fsum(halves_j) + slack_j


@pytest.mark.parametrize(("chance_j", "half_j"), [(0.0, 40.0), (10.0, 20.0), (6.0, 1168**0.5)])
def test_chance_averages_out_and_the_common_does_not(chance_j: float, half_j: float) -> None:
    """Four times with 10 J of doubt: 40 J if it is common, 20 J if it is chance."""
    account = Account()
    for _ in range(4):
        account.add(energy(100.0, 10.0, 10.0), chance_j)
    total = account.energy()
    assert total is not None
    assert (total.low_j, total.high_j) == pytest.approx((400 - half_j, 400 + half_j))


def test_a_total_is_as_weak_as_its_weakest_time() -> None:
    """One estimated time makes the total estimated; before any time there is no total."""
    account = Account()
    assert account.energy() is None
    found = []
    for provenance in (Provenance.APPORTIONED, Provenance.ESTIMATED, Provenance.MEASURED):
        account.add(energy(1.0, provenance=provenance), 0.0)
        total = account.energy()
        assert total is not None
        found.append(total.provenance)
    assert found == [Provenance.APPORTIONED, Provenance.ESTIMATED, Provenance.ESTIMATED]


def test_unknown_times_are_counted_apart() -> None:
    """A time whose energy is not known is in no total, and its length is told."""
    ledger = Ledger()
    assert ledger.total is ledger.idle is ledger.system is None
    ledger.add(shared(5.0, 2.0, pod=3.0), 1.0)
    ledger.add(None, 4.0)
    ledger.add(shared(5.0, 1.0, pod=1.0, new=7.0), 2.0)
    assert (ledger.known_s, ledger.unknown_s) == (3.0, 4.0)
    totals = {"total": ledger.total, "idle": ledger.idle, "system": ledger.system, **ledger.parts}
    assert {name: part and part.value_j for name, part in totals.items()} == {
        "total": 24.0,
        "idle": 10.0,
        "system": 3.0,
        "pod": 4.0,
        "new": 7.0,
    }


def test_who_is_gone_leaves_its_last_total() -> None:
    """A closed consumer is handed out once; a namesake begins anew; others keep theirs."""
    ledger = Ledger()
    ledger.add(shared(0.0, 0.0, pod=3.0, other=1.0), 1.0)
    last = ledger.close("pod")
    assert last == energy(3.0)
    assert ledger.close("pod") is None
    assert ledger.parts == {"other": energy(1.0)}
    ledger.add(shared(0.0, 0.0, pod=2.0), 1.0)
    assert ledger.parts["pod"].value_j == 2.0


def test_what_the_last_look_missed_widens_the_top() -> None:
    """A consumer that ended between two looks drew up to as much more as it ever did in one."""
    ledger = Ledger()
    for pod_j in (3.0, 5.0, 4.0):
        ledger.add(shared(0.0, 0.0, pod=pod_j), 1.0)
    last = ledger.close("pod", gone=True)
    assert last is not None
    assert (last.low_j, last.value_j, last.high_j) == (12.0, 12.0, 17.0)


@given(st.lists(st.none() | st.tuples(AMOUNTS, AMOUNTS, AMOUNTS), max_size=20))
def test_totals_never_fall(rows: list[tuple[float, float, float] | None]) -> None:
    """Whatever comes next, known or not, no total is less than it was."""
    ledger = Ledger()
    before = dict.fromkeys(("total", "idle", "system", "pod"), energy(0.0))
    for row in rows:
        ledger.add(None if row is None else shared(row[0], row[1], pod=row[2]), 1.0)
        if ledger.total is None or ledger.idle is None or ledger.system is None:
            continue
        now = {"total": ledger.total, "idle": ledger.idle, "system": ledger.system}
        now |= ledger.parts
        for name, total in now.items():
            assert total.value_j >= before[name].value_j
        before = now


@given(
    st.lists(
        st.tuples(st.dictionaries(st.sampled_from("abcdef"), AMOUNTS), st.sampled_from("abcdef")),
        max_size=20,
    )
)
def test_coming_and_going_mixes_nobody_up(rows: list[tuple[dict[str, float], str]]) -> None:
    """Whoever comes, stays or ends, each total is what an account of its own would say."""
    ledger, accounts = Ledger(), dict[str, Account]()
    for parts_j, leaving in rows:
        one = shared(0.0, 0.0, **parts_j)
        ledger.add(one, 1.0)
        for name, part in one.parts.items():
            accounts.setdefault(name, Account()).add(part, 0.0)
        assert ledger.parts == {name: account.energy() for name, account in accounts.items()}
        gone = accounts.pop(leaving, None)
        assert ledger.close(leaving) == (None if gone is None else gone.energy())


def test_a_total_is_as_weak_as_its_weakest_part() -> None:
    """One estimate among apportioned energies makes a consumer's total an estimate, for good."""
    ledger = Ledger()
    ledger.add(shared(0.0, 0.0, pod=1.0, other=1.0), 1.0)
    guess = energy(1.0, provenance=Provenance.ESTIMATED)
    ledger.add(replace(shared(0.0, 0.0, pod=1.0), parts={"pod": guess}), 1.0)
    ledger.add(shared(0.0, 0.0, pod=1.0), 1.0)
    found = ledger.parts
    assert found["pod"].provenance is Provenance.ESTIMATED
    assert found["other"].provenance is Provenance.APPORTIONED
