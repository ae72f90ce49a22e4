"""What consumers use: sums and differences that know what nobody counted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulery.profiler.sources import Kind
from joulery.profiler.usage import Usage

COUNTS = st.floats(0, 1e9)


def usages(signals: int = 2) -> st.SearchStrategy[Usage]:
    """Return usages that count some kinds of work, with so many signals."""
    return st.builds(
        Usage,
        cpu_s=COUNTS,
        gpu_s=st.none() | COUNTS,
        npu_s=st.none() | COUNTS,
        signals=st.tuples(*[COUNTS] * signals),
    )


def figures(usage: Usage) -> list[float]:
    """Return everything that was counted."""
    counts = (usage.cpu_s, usage.gpu_s, usage.npu_s, *usage.signals)
    return [count for count in counts if count is not None]


@given(usages(), usages())
def test_a_step_added_to_what_was_gives_what_is(before: Usage, step: Usage) -> None:
    """Since undoes plus, in every count that both have; what one does not count is not known."""
    now = before.plus(step)
    found = now.since(before)
    assert found.cpu_s == pytest.approx(step.cpu_s, abs=1e-6)
    assert found.signals == pytest.approx(step.signals, abs=1e-6)
    for mine, theirs, both in (
        (before.gpu_s, step.gpu_s, found.gpu_s),
        (before.npu_s, step.npu_s, found.npu_s),
    ):
        if mine is None or theirs is None:
            assert both is None
        else:
            assert both == pytest.approx(theirs, abs=1e-6)


@given(usages(), usages())
def test_nothing_is_ever_used_backwards(one: Usage, other: Usage) -> None:
    """A count that fell (its owner began anew) is no use of less than nothing."""
    assert min(figures(one.since(other))) >= 0


def test_work_is_told_by_kind() -> None:
    """Energy of a GPU goes by GPU seconds, of an NPU by its own, of all else by CPU seconds."""
    used = Usage(cpu_s=1.0, gpu_s=2.0)
    assert {kind: used.work_s(kind) for kind in Kind} == {
        Kind.CPU: 1.0,
        Kind.DRAM: 1.0,
        Kind.PLATFORM: 1.0,
        Kind.GPU: 2.0,
        Kind.NPU: None,
    }


def test_signals_that_one_look_lacks_are_left_out() -> None:
    """Where one reading has no signals, neither has the sum or the difference."""
    with_signals, without = Usage(cpu_s=2.0, signals=(4.0, 5.0)), Usage(cpu_s=1.0)
    assert with_signals.plus(without) == Usage(cpu_s=3.0)
    assert with_signals.since(without) == Usage(cpu_s=1.0)
