"""Windows of energy: exact edges, honest gaps, nesting, and threads."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulery.errors import SourceFailed
from joulery.profiler.counter import GapReason
from joulery.profiler.meter import EnergyMeter
from joulery.profiler.quantities import Provenance
from joulery.profiler.sources import Domain, Kind, discover
from joulery.profiler.track import STEADY_UPDATES
from joulery.profiler.work import ProcessGroup

from .fakes import PlayedCpu, PlayedSource, Ticker

PACKAGE = Domain(
    name="package-0",
    kind=Kind.CPU,
    form="counter",
    provenance=Provenance.MEASURED,
    max_power_w=500,
    modulus_j=1000,
    resolution_j=1e-4,
    update_s=1e-3,
)
CORE = Domain(
    name="core",
    kind=Kind.CPU,
    form="counter",
    provenance=Provenance.MEASURED,
    max_power_w=500,
    summed=False,
)
GPU = Domain(
    name="gpu-0", kind=Kind.GPU, form="power", provenance=Provenance.INTEGRATED, max_power_w=900
)


def test_windows_nest_and_overlap() -> None:
    """Each window holds exactly the energy between its own edges, however they lie."""
    clock = Ticker()
    source = PlayedSource((PACKAGE,), [(float(j),) for j in range(0, 500, 10)])
    meter = EnergyMeter([source], clock=clock, interval_s=None, work=PlayedCpu())
    with meter:
        outer, inner, later = (meter.window(name) for name in ("outer", "inner", "later"))
        clock.advance(1.0)
        for step in (outer.__enter__, inner.__enter__, later.__enter__):
            step()
            clock.advance(1.0)
        for window in (inner, outer, later):
            window.__exit__()
            clock.advance(1.0)
    found = {w.name: w.result for w in (outer, inner, later)}
    assert {name: r.energy and r.energy.value_j for name, r in found.items()} == {
        "outer": 40.0,
        "inner": 20.0,
        "later": 30.0,
    }
    assert {name: r.duration_s for name, r in found.items()} == {
        "outer": 4.0,
        "inner": 2.0,
        "later": 3.0,
    }


@given(st.lists(st.floats(0, 400), min_size=1, max_size=30))
def test_the_intervals_of_a_window_add_up_to_it(powers_w: list[float]) -> None:
    """The rows from sample to sample cover the window without overlap and sum to its energy."""
    clock = Ticker()
    counts = [0.0, 0.0, *itertools.accumulate(powers_w)]
    source = PlayedSource((PACKAGE,), [(j % 1000,) for j in (*counts, counts[-1])])
    work = PlayedCpu()
    meter = EnergyMeter([source], clock=clock, interval_s=None, work=work)
    with meter, meter.window("w") as window:
        for _ in powers_w:
            clock.advance(1.0)
            meter.sample()
        clock.advance(1.0)
    rows = window.result.intervals
    assert rows[0].start_s == window.result.start_s
    assert rows[-1].end_s == window.result.end_s
    assert all(before.end_s == after.start_s for before, after in itertools.pairwise(rows))
    total = window.result.energy
    assert total is not None
    assert total.value_j == pytest.approx(sum(r.energy.value_j for r in rows if r.energy))


def test_a_source_that_fails_makes_the_energy_unknown() -> None:
    """One failed reading within a window hides its energy, and the other source's total too."""
    clock = Ticker()
    broken = PlayedSource(
        (PACKAGE,), [(0.0,), (1.0,), SourceFailed("gone"), (9.0,), (10.0,), (11.0,)]
    )
    whole = PlayedSource((GPU,), [(50.0,)] * 6, name="gpus")
    meter = EnergyMeter([broken, whole], clock=clock, interval_s=None, work=PlayedCpu())
    with meter:
        with meter.window("hit") as hit:
            clock.advance(1.0)
            meter.sample()
            clock.advance(1.0)
        with meter.window("clean") as clean:
            clock.advance(1.0)
    hurt = hit.result
    assert hurt.energy is None
    assert hurt.kinds[Kind.CPU] is None
    assert hurt.domains["played:package-0"].gaps == {GapReason.FAILED: 1, GapReason.BASELINE: 1}
    assert hurt.domains["gpus:gpu-0"].energy is not None
    assert {row.gap for row in hurt.intervals if row.energy is None} == {
        GapReason.FAILED,
        GapReason.BASELINE,
    }
    assert clean.result.energy is not None
    assert meter.gaps["played:package-0", GapReason.FAILED] == 1


def test_only_the_set_without_overlap_is_summed() -> None:
    """Kinds are told apart, parts of a package are reported but not added, power is integrated."""
    clock = Ticker()
    cpu = PlayedSource((PACKAGE, CORE), [(0.0, 0.0), (0.0, 0.0), (100.0, 70.0)])
    gpu = PlayedSource((GPU,), [(50.0,), (50.0,), (150.0,)], name="nvml")
    meter = EnergyMeter([cpu, gpu], clock=clock, interval_s=None, work=PlayedCpu())
    with meter, meter.window("w") as window:
        clock.advance(1.5)
    result = window.result
    by_kind = {kind: energy and energy.value_j for kind, energy in result.kinds.items()}
    assert by_kind == {Kind.CPU: 100.0, Kind.GPU: 150.0}
    assert result.energy is not None
    assert result.energy.value_j == 250.0
    assert result.energy.provenance is Provenance.INTEGRATED
    core = result.domains["played:core"].energy
    assert core is not None
    assert core.value_j == 70.0
    power = result.domains["nvml:gpu-0"].energy
    assert power is not None
    # Between 75 J and 225 J could have passed: uniform, so 95 % is 1.96 of its deviations.
    width_j = 1.96 * 75 / 3**0.5
    assert (power.low_j, power.high_j) == pytest.approx((150 - width_j, 150 + width_j))


def test_short_windows_widen_instead_of_pretending() -> None:
    """A window of fewer than 20 sensor updates reckons its edges at the highest power."""
    clock = Ticker()
    slow = PlayedSource((PACKAGE,), [(0.0,), (0.0,), (0.5,), (0.5,), (2.5,)])
    meter = EnergyMeter([slow], clock=clock, interval_s=None, work=PlayedCpu())
    relative = []
    with meter:
        for updates in (STEADY_UPDATES / 2, STEADY_UPDATES * 2):
            with meter.window("w") as window:
                clock.advance(updates * PACKAGE.update_s)
            energy = window.result.energy
            assert energy is not None
            relative.append((energy.high_j - energy.low_j) / energy.value_j)
    assert relative[0] > 1.0
    assert relative[1] < 0.1


def test_work_is_counted_for_those_who_are_known() -> None:
    """Consumers may come and go within a window; each has its CPU seconds while it was known."""
    clock, work = Ticker(), PlayedCpu()
    spent = {"a": 100.0, "b": 7.0}
    meter = EnergyMeter([], clock=clock, interval_s=None, work=work)
    with meter, meter.window("w") as window:
        with meter.consumers({"a": lambda: spent["a"]}):
            clock.advance(1.0)
            spent["a"] += 0.75
            with meter.consumers({"b": lambda: spent["b"]}):
                spent["b"] += 0.5
                with pytest.raises(ValueError, match="named b"):
                    meter.consumers({"b": lambda: 0.0}).__enter__()
        spent["a"] += 50.0
        clock.advance(1.0)
        work.busy_s = 2.0
    result = window.result
    assert dict(result.work_s) == {"a": 0.75, "b": 0.5}
    assert result.busy_s == 2.0
    assert result.utilisation_ratio == 0.5
    assert result.energy is None  # nothing was measured: unknown, not zero


def test_the_interval_follows_the_fastest_wrap() -> None:
    """However lazily one asks, no counter can wrap twice between two samples."""
    source = PlayedSource((PACKAGE,), [])
    meter = EnergyMeter([source], clock=Ticker(), interval_s=60, work=PlayedCpu())
    assert meter.interval_s is not None
    assert meter.interval_s < 1000 / 500
    with pytest.raises(ValueError, match="positive"):
        EnergyMeter([], clock=Ticker(), interval_s=0)
    with pytest.raises(ValueError, match="played:package-0"):
        EnergyMeter([source, source], clock=Ticker())


def test_an_open_window_has_no_result() -> None:
    """Asking an open window for its result is a programmer's error with the window's name."""
    meter = EnergyMeter([], clock=Ticker(), interval_s=None, work=PlayedCpu())
    with meter, meter.window("early") as window, pytest.raises(RuntimeError, match="early"):
        _ = window.result


def test_a_consumer_that_breaks_is_heard() -> None:
    """What a consumer raises on the meter's thread is raised where the window is used."""
    broken = threading.Event()

    def read() -> float:
        if broken.is_set():
            raise LookupError("no such pod")
        return 0.0

    meter = EnergyMeter([], clock=time.monotonic, interval_s=0.001, work=PlayedCpu())
    with pytest.raises(LookupError, match="no such pod"):
        use_while_it_breaks(meter, read, broken)


def use_while_it_breaks(
    meter: EnergyMeter, read: Callable[[], float], broken: threading.Event
) -> None:
    """Open a window whose consumer breaks within it."""
    with meter, meter.consumers({"pod": read}), meter.window("w"):
        broken.set()


def test_this_machine_end_to_end() -> None:
    """On the machine at hand, a loaded window has energy, an interval around it, and our work."""
    meter = EnergyMeter(discover().sources, clock=time.monotonic, interval_s=0.01)
    group = ProcessGroup(os.getpid())
    with meter, meter.consumers({"me": group.cpu_s}), meter.window("load") as window:
        began_s = time.process_time()
        while time.process_time() - began_s < 0.2:
            pass
        spent_s = time.process_time() - began_s
    result = window.result
    assert result.energy is not None
    assert 0 <= result.energy.low_j <= result.energy.value_j <= result.energy.high_j
    assert result.energy.value_j > 0
    assert result.work_s["me"] >= spent_s
    assert 0 < result.utilisation_ratio <= 1
    assert len(result.intervals) > len(result.domains)


def test_windows_from_many_threads() -> None:
    """Threads that open windows at once each get a whole one, and conserve what all share."""
    meter = EnergyMeter(discover().sources, clock=time.monotonic, interval_s=0.001)
    windows = [meter.window(str(number)) for number in range(8)]

    def use(number: int) -> None:
        for _ in range(5):
            with windows[number]:
                time.sleep(0.002)

    with meter, meter.window("all") as around:
        threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    whole = around.result.energy
    assert whole is not None
    for window in windows:
        energy = window.result.energy
        assert energy is not None
        assert 0 < energy.value_j < whole.value_j
