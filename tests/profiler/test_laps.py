"""Laps of a window, and consumers that come, go and break within them."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable

import pytest

from joulery.errors import SourceUnavailable
from joulery.profiler.meter import EnergyMeter, Window
from joulery.profiler.quantities import Provenance
from joulery.profiler.sources import Domain, Kind
from joulery.profiler.usage import Usage

from .fakes import DrawnSource, PlayedCpu, Ticker

PACKAGE = Domain(
    name="package-0",
    kind=Kind.CPU,
    form="counter",
    provenance=Provenance.MEASURED,
    max_power_w=500,
)


def counting(clock: Ticker) -> EnergyMeter:
    """Return a meter of a package that draws 10 W."""
    source = DrawnSource({PACKAGE: lambda: 10 * clock.now_s})
    return EnergyMeter([source], clock=clock, interval_s=None, work=PlayedCpu())


def test_laps_share_their_edges() -> None:
    """Each lap begins at the very readings that end the one before; the result is the rest."""
    clock = Ticker()
    laps = []
    with counting(clock) as meter, meter.window("w") as window:
        for seconds in (1.0, 2.0, 4.0):
            clock.advance(seconds)
            laps.append(window.lap())
        clock.advance(8.0)
    laps.append(window.result)
    assert [lap.duration_s for lap in laps] == [1.0, 2.0, 4.0, 8.0]
    assert all(before.end_s == after.start_s for before, after in itertools.pairwise(laps))
    assert [lap.energy and lap.energy.value_j for lap in laps] == [10.0, 20.0, 40.0, 80.0]
    assert {lap.name for lap in laps} == {"w"}


def test_a_lap_needs_an_open_window() -> None:
    """Before it is entered and after it is left a window has no laps; entered again, it has."""
    clock = Ticker()
    with counting(clock) as meter:
        window = meter.window("closed")
        with pytest.raises(RuntimeError, match="closed"):
            window.lap()
        with window:
            clock.advance(1.0)
        with pytest.raises(RuntimeError, match="closed"):
            window.lap()
        with window:
            with pytest.raises(RuntimeError, match="still open"):
                _ = window.result
            clock.advance(2.0)
            assert window.lap().duration_s == 2.0


def test_a_lap_that_fails_ends_nothing() -> None:
    """When a consumer's reader breaks, its error is heard, and the next lap has all the time."""
    clock, broken = Ticker(), [False]

    def read() -> float:
        if broken[0]:
            raise LookupError("no such pod")
        return clock.now_s

    with counting(clock) as meter, meter.consumers({"pod": read}), meter.window("w") as window:
        clock.advance(1.0)
        broken[0] = True
        with pytest.raises(LookupError, match="no such pod"):
            window.lap()
        broken[0] = False
        clock.advance(1.0)
        lap = window.lap()
    assert lap.duration_s == 2.0
    assert lap.energy is not None
    assert lap.energy.value_j == 20.0
    assert lap.work_s == {"pod": 2.0}


def test_a_lap_in_which_a_consumer_leaves() -> None:
    """A lap has what a consumer did until it left; the laps after it do not know the consumer."""
    clock = Ticker()
    spent_s = {"a": 3.0, "b": 5.0}
    with (
        counting(clock) as meter,
        meter.consumers({"a": lambda: spent_s["a"]}),
        meter.window("w") as window,
    ):
        with meter.consumers({"b": lambda: spent_s["b"]}):
            clock.advance(1.0)
            spent_s |= {"a": 3.25, "b": 5.5}
        spent_s |= {"a": 3.5, "b": 9.0}
        first = window.lap()
        clock.advance(1.0)
    assert first.work_s == {"a": 0.5, "b": 0.5}
    assert window.result.work_s == {"a": 0.0}


def test_a_newcomer_counts_from_nothing() -> None:
    """What a consumer used before we knew it counts if it is new, and does not if it is old."""
    clock = Ticker()
    used = Usage(cpu_s=3.0, gpu_s=1.0, signals=(7.0,))
    with counting(clock) as meter, meter.window("w") as window:
        clock.advance(1.0)
        with (
            meter.consumers({"new": lambda: used}, new=True),
            meter.consumers({"old": lambda: used}),
        ):
            clock.advance(1.0)
    assert window.result.usage == {
        "new": used,
        "old": Usage(cpu_s=0.0, gpu_s=0.0, signals=(0.0,)),
    }


def play_a_pod_that_ends(window: Window, clock: Ticker, gone: list[bool]) -> None:
    """Let the pod work for a lap, end in the second, and be away in the third."""
    for leaves in (False, True, True):
        clock.advance(1.0)
        gone[0] = leaves
        window.lap()


def test_a_pod_that_ends_takes_nothing_along() -> None:
    """A consumer that is no longer there keeps what was counted; the others count on."""
    clock, gone = Ticker(), [False]

    def pod_s() -> float:
        if gone[0]:
            raise SourceUnavailable("control group of the pod", found="a group that has ended")
        return clock.now_s

    with counting(clock) as meter, meter.window("around") as around:
        readers: dict[str, Callable[[], float]] = {"pod": pod_s, "other": lambda: clock.now_s}
        with meter.consumers(readers), meter.window("laps") as laps:
            play_a_pod_that_ends(laps, clock, gone)
        with pytest.raises(SourceUnavailable), meter.consumers({"late": pod_s}):
            pass
    assert around.result.work_s == {"pod": 1.0, "other": 3.0}
    assert laps.result.work_s == {"other": 0.0}
    assert around.result.energy is not None


def test_a_pod_that_ends_does_not_stop_the_thread() -> None:
    """A meter on its own thread goes on sampling when a consumer ends."""
    ended = threading.Event()

    def read() -> float:
        if ended.is_set():
            raise SourceUnavailable("control group of the pod")
        return 0.5

    source = DrawnSource({PACKAGE: lambda: 50 * time.monotonic()})
    meter = EnergyMeter([source], clock=time.monotonic, interval_s=0.001, work=PlayedCpu())
    with meter, meter.consumers({"pod": read}, new=True), meter.window("w") as window:
        while not window.lap().usage:
            pass
        ended.set()
        time.sleep(0.02)
        assert len(window.lap().intervals) > 2
    assert window.result.energy is not None
