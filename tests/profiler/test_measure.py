"""`joulery.measure()`: any code, any nesting, one meter, and unknown energy said to be unknown."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import joulery
from joulery.errors import SourceFailed, SourceForbidden
from joulery.profiler.counter import GapReason
from joulery.profiler.host import Host
from joulery.profiler.measure import Measure
from joulery.profiler.measurer import THIS_PROCESS, Measurer
from joulery.profiler.quantities import Provenance, sum_energy
from joulery.profiler.sources import Domain, Kind, Reading
from joulery.profiler.sources.powercap import Powercap

from .fakes import PlayedSource, Ticker, write_stat

PACKAGE = Domain(
    name="package-0",
    kind=Kind.CPU,
    form="counter",
    provenance=Provenance.MEASURED,
    max_power_w=500,
    update_s=1e-3,
)
METER_THREAD = "joulery-meter"


class Steady:
    """A counter that rises by 10 J in each second of a clock, and by what a test adds."""

    name, domains = "steady", (PACKAGE,)

    def __init__(self, clock: Ticker) -> None:
        self._clock, self._added_j = clock, 0.0

    def add(self, elapsed_s: float, power_w: float) -> None:
        """Let so much power be drawn in a coming time, in place of 10 W."""
        self._added_j += (power_w - 10.0) * elapsed_s

    def sample(self) -> tuple[Reading, ...]:
        """Return what the counter has now."""
        return (Reading(PACKAGE, 10.0 * self._clock() + self._added_j),)


def write_zone(sys_root: Path, energy_uj: int) -> Path:
    """Write one package as the kernel's Documentation/power/powercap/powercap.rst lays it out."""
    zone = sys_root / "class/powercap/intel-rapl:0"
    zone.mkdir(parents=True, exist_ok=True)
    (zone / "name").write_text("package-0\n")
    (zone / "max_energy_range_uj").write_text("262143328850\n")
    (zone / "energy_uj").write_text(f"{energy_uj}\n")
    return zone / "energy_uj"


def burn(cpu_s: float) -> None:
    """Use so much CPU time."""
    began_s = time.process_time()
    while time.process_time() - began_s < cpu_s:
        pass


def meter_threads() -> int:
    """Count the meters' threads of this process."""
    return sum(thread.name == METER_THREAD for thread in threading.enumerate())


def test_a_powercap_counter_end_to_end(tmp_path: Path) -> None:
    """What a counter on disk gained meanwhile is the energy, in one line with unit and interval."""
    counter, clock = write_zone(tmp_path, 262_143_000_000), Ticker()
    with joulery.measure(
        "answer", sources=[Powercap(tmp_path)], clock=clock, interval_s=None
    ) as measured:
        clock.advance(2.0)
        counter.write_text("23671150\n")  # past the wrap: 0.328850 J before it, 23.671150 J after
    assert measured.energy is not None
    assert measured.energy.value_j == pytest.approx(24.0)
    assert measured.energy.low_j < 24.0 < measured.energy.high_j
    assert measured.energy.provenance is Provenance.MEASURED
    assert measured.duration_s == 2.0
    assert measured.domains == {"powercap:package-0": measured.energy}
    assert (measured.gaps, measured.reason) == ({}, None)
    line = r"answer: 24\.0 J \((23\.9|24\.0)–24\.0, measured\) in 2\.00 s; this process "
    assert re.match(line, str(measured))


def test_measurements_nest_and_overlap_on_one_meter() -> None:
    """However measurements lie, each has its own energy, and one meter reads for all of them."""
    clock = Ticker()
    measurer = Measurer([Steady(clock)], host=Host(clock=clock), interval_s=None)
    outer, inner, later = (Measure(name, measurer) for name in ("outer", "inner", "later"))
    for step in (outer.__enter__, inner.__enter__, later.__enter__):
        step()
        clock.advance(1.0)
    for measured in (inner, outer, later):
        measured.__exit__()
        clock.advance(1.0)
    found = {m.name: (m.energy and m.energy.value_j, m.duration_s) for m in (outer, inner, later)}
    assert found == {"outer": (40.0, 4.0), "inner": (20.0, 2.0), "later": (30.0, 3.0)}


def test_short_measurements_widen() -> None:
    """A measurement of few sensor updates has a wide interval, a long one a narrow one."""
    width = []
    for duration_s in (0.002, 2.0):
        clock = Ticker()
        with joulery.measure(sources=[Steady(clock)], clock=clock, interval_s=None) as measured:
            clock.advance(duration_s)
        assert measured.energy is not None
        width.append((measured.energy.high_j - measured.energy.low_j) / measured.energy.value_j)
    assert width[0] > 1.0
    assert width[1] < 0.01


@pytest.mark.parametrize("error", [SourceFailed("played"), SourceForbidden("played")])
def test_unknown_energy_is_said_to_be_unknown(error: SourceFailed) -> None:
    """A reading that fails at the end makes the energy unknown, with the reason; time is known."""
    clock = Ticker()
    source = PlayedSource((PACKAGE,), itertools.chain([(0.0,), (0.0,)], itertools.repeat(error)))
    with joulery.measure("lost", sources=[source], clock=clock, interval_s=None) as measured:
        clock.advance(0.5)
    assert (measured.energy, measured.active, measured.attribution) == (None, None, None)
    assert measured.gaps == {"played:package-0": {GapReason.FAILED: 1}}
    assert measured.reason == "played:package-0: failed"
    line = r"lost: energy unknown \(played:package-0: failed\) in 500 ms, .* of CPU"
    assert re.fullmatch(line, str(measured))


def test_nothing_to_read_is_no_zero() -> None:
    """Without any source the energy is unknown, not zero."""
    with joulery.measure(sources=[]) as measured:
        pass
    assert measured.energy is None
    assert measured.reason == "no energy source can be read here"


def test_a_broken_meter_breaks_no_code(tmp_path: Path) -> None:
    """Where not even the node's work can be read the code runs all the same, and is timed."""
    clock = Ticker()
    ran = False
    measurer = Measurer([Steady(clock)], host=Host(proc=tmp_path, clock=clock), interval_s=None)
    with Measure("blind", measurer) as measured:
        ran = True
        clock.advance(3.0)
    assert ran
    assert (measured.energy, measured.cpu_s, measured.window) == (None, None, None)
    assert measured.reason is not None
    assert str(tmp_path / "stat") in measured.reason
    assert str(measured).startswith("blind: energy unknown (")
    assert str(measured).endswith(" in 3.00 s")
    write_stat(tmp_path, 0.0, now_s=clock())
    with measured:
        clock.advance(1.0)
    assert measured.energy is not None


def test_a_mistake_in_the_code_stays_its_own() -> None:
    """What the measured code raises goes on unchanged, and its energy is measured."""
    clock = Ticker()
    measured = joulery.measure(sources=[Steady(clock)], clock=clock, interval_s=None)

    def fail() -> None:
        with measured:
            clock.advance(1.0)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()
    assert measured.energy is not None
    assert measured.energy.value_j == 10.0


def test_asking_too_early() -> None:
    """A measurement under way has no figures yet, says so, and cannot be entered twice."""
    with joulery.measure("early", sources=[]) as measured:
        with pytest.raises(RuntimeError, match="'early' is not over yet"):
            _ = measured.energy
        assert str(measured) == "early: not measured yet"
        with pytest.raises(RuntimeError, match="'early' is already under way"):
            measured.__enter__()
    assert measured.duration_s >= 0


def test_this_machine_tells_a_share() -> None:
    """After a rest the share of this process is known; all shares add up to the whole."""
    with joulery.measure("rest"):
        time.sleep(0.5)
    with joulery.measure("work") as measured:
        burn(0.4)
    assert measured.energy is not None
    assert measured.attribution is not None
    assert measured.active is not None
    assert 0 <= measured.active.low_j <= measured.active.value_j <= measured.active.high_j
    shares = measured.attribution
    parts = sum_energy([shares.idle, shares.system, *shares.parts.values()], errors="common")
    assert parts is not None
    assert math.isclose(parts.value_j, measured.energy.value_j, rel_tol=1e-9)
    assert list(shares.parts) == [THIS_PROCESS]
    assert measured.cpu_s is not None
    assert measured.cpu_s >= 0.4
    assert measured.window is not None
    assert meter_threads() == 0


def test_idle_power_is_learned_while_measuring(tmp_path: Path) -> None:
    """What the machine draws at rest is learned once and told from what its load adds later."""
    clock, busy_s = Ticker(), 0.0
    source = Steady(clock)
    measurer = Measurer([source], host=Host(proc=tmp_path, clock=clock), interval_s=None)
    write_stat(tmp_path, busy_s, now_s=clock())
    outer = Measure("outer", measurer)

    def spend(power_w: float, cpus: float) -> Measure:
        nonlocal busy_s
        with Measure("inner", measurer) as measured:
            for _ in range(5):
                source.add(1.0, power_w)
                clock.advance(1.0)
                busy_s += cpus
                write_stat(tmp_path, busy_s, now_s=clock())
        return measured

    with outer:
        spend(10.0, 0.0)
        loaded = spend(30.0, 2.0)
    shares = loaded.attribution
    assert shares is not None
    assert shares.total.value_j == pytest.approx(150.0)
    assert shares.idle.low_j <= 50.0 <= shares.idle.high_j
    assert shares.idle.value_j == pytest.approx(50.0, rel=0.2)
    # Somebody else worked: we had next to no CPU time.
    assert shares.system.value_j == pytest.approx(100.0, rel=0.2)
    assert outer.energy is not None
    assert outer.energy.value_j == pytest.approx(200.0)


def test_threads_measure_at_once() -> None:
    """Threads that measure at once share one meter's thread, which ends with the last of them."""
    seen, energies = [], []
    barrier = threading.Barrier(6)

    def use() -> None:
        barrier.wait()
        with joulery.measure() as measured:
            seen.append(meter_threads())
            time.sleep(0.02)
        energies.append(measured.energy)

    with joulery.measure() as around:
        threads = [threading.Thread(target=use) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert set(seen) == {1}
    assert around.energy is not None
    assert len(energies) == 6
    for energy in energies:
        assert energy is not None
        assert 0 < energy.value_j < around.energy.value_j
    assert meter_threads() == 0


def test_tasks_measure_at_once() -> None:
    """Tasks that overlap in one thread have each its own time and energy."""

    async def wait(seconds: float) -> Measure:
        async with joulery.measure() as measured:
            await asyncio.sleep(seconds)
        return measured

    async def both() -> tuple[Measure, Measure]:
        return await asyncio.gather(wait(0.05), wait(0.15))

    short, long = asyncio.run(both())
    assert short.energy is not None
    assert long.energy is not None
    assert short.duration_s < long.duration_s
    assert short.energy.value_j < long.energy.value_j
    assert meter_threads() == 0


def test_functions_are_measured_each_call(caplog: pytest.LogCaptureFixture) -> None:
    """A decorated function returns what it did; each call is reported under the function's name."""
    reports: list[Measure] = []

    @joulery.measure(report=reports.append)
    def double(x: int) -> int:
        """Double it."""
        return 2 * x

    @joulery.measure("waiting", report=reports.append)
    async def wait(x: int) -> int:
        await asyncio.sleep(0)
        return x

    @joulery.measure
    def bare() -> str:
        return "done"

    async def waits() -> tuple[int, int]:
        return await asyncio.gather(wait(1), wait(2))

    assert [double(1), double(2), *asyncio.run(waits())] == [2, 4, 1, 2]
    assert double.__doc__ == "Double it."
    assert [m.name.rpartition(".")[2] for m in reports] == ["double"] * 2 + ["waiting"] * 2
    assert all(measured.energy is not None for measured in reports)
    with caplog.at_level(logging.INFO):
        assert bare() == "done"
    assert re.search(r"bare: .*J \(.*\) in ", caplog.text)


def test_generators_are_refused() -> None:
    """A generator works between its steps: to decorate it would measure nothing."""

    def count() -> Iterator[int]:
        yield from itertools.count()

    with pytest.raises(TypeError, match=r"count is a generator"):
        joulery.measure()(count)


FORKED = """
import os, sys, threading, time
import joulery
from joulery.profiler.measurer import shared

def check(measured, known):
    assert (measured.energy is not None) is known, str(measured)

made = joulery.measure("made before")
with joulery.measure("before") as before:
    stop = threading.Event()
    def churn():
        while not stop.is_set():
            with joulery.measure(): pass
    churning = [threading.Thread(target=churn) for _ in range(2)]
    for thread in churning: thread.start()
    time.sleep(0.05)
    for _ in range(5):
        with shared()._lock:  # as if a thread held it that is not in the child
            child = os.fork()
        if child == 0:
            before.__exit__(None, None, None)
            check(before, False)
            assert "forked" in before.reason, before.reason
            with joulery.measure("child") as mine:
                time.sleep(0.05)
            check(mine, True)
            with made: pass
            check(made, True)
            sys.stdout.write("child ok\\n"); sys.stdout.flush()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    stop.set()
    for thread in churning: thread.join()
check(before, True)
print("parent ok")
joulery.measure("open at exit").__enter__()
"""


def test_a_forked_child_measures_for_itself() -> None:
    """A child forked while its parent measures neither hangs nor uses the parent's meter."""
    ended = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.stderr, ended.returncode) == ("", 0)
    assert ended.stdout.splitlines() == ["child ok"] * 5 + ["parent ok"]
