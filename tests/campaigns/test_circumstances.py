"""Under which circumstances trials were measured: heat, throttling, neighbours, clocks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from joulery.campaigns.bench import Bench, open_bench
from joulery.campaigns.circumstances import between
from joulery.campaigns.environment import environment
from joulery.campaigns.imposed.machine import Machine
from joulery.campaigns.spec import Limits, parse_spec
from joulery.campaigns.surroundings import Look, Surroundings, cpu_list
from joulery.campaigns.trial import run_trial
from joulery.profiler.host import Host
from joulery.profiler.quantities import Provenance
from joulery.profiler.sources import discover
from joulery.profiler.usage import Usage
from joulery.profiler.window import WindowResult

from ..profiler.sources.trees import throttles
from .tiny import PLANNED, TinyScenario, TinyWorkload
from .warm import WarmMachine

LIMITS = Limits()
BEFORE = Look(
    clock_s=100.0,
    wall_s=1.7e9,
    runner_s=5.0,
    steal_s=2.0,
    temperature_c=41.0,
    throttled=7,
    gpu_temperature_c=50.0,
    gpu_slowed_s=3.0,
)
AFTER = replace(BEFORE, clock_s=110.0, wall_s=1.7e9 + 10, runner_s=5.5, temperature_c=62.0)


def window(busy_s: float, **work_s: float) -> WindowResult:
    """Return a window of ten seconds on two CPUs."""
    return WindowResult(
        name="window",
        start_s=100.0,
        end_s=110.0,
        domains={},
        busy_s=busy_s,
        resolution_s=0.01,
        cpus=2,
        usage={name: Usage(cpu_s=spent_s) for name, spent_s in work_s.items()},
        intervals=(),
    )


WINDOW = window(8.0, service=4.0, generator=1.0, link=0.5)


def reasons(after: Look, seen: WindowResult = WINDOW, limits: Limits = LIMITS) -> tuple[str, ...]:
    """Return why a trial between `BEFORE` and this look may not be believed."""
    found = between(BEFORE, after, seen, cool_down_s=0.0, service_cpus="1", generator_cpus="0")
    return found.reasons(limits)


def test_what_nobody_of_the_trial_used_is_the_neighbours() -> None:
    """Busy time less that of service, generator, link and runner is others'; each is a column."""
    found = between(
        BEFORE, AFTER, WINDOW, cool_down_s=1.5, service_cpus="1", generator_cpus="0"
    ).facts()
    assert found == {
        "cool_down_s": 1.5,
        "temperature_before_c": 41.0,
        "temperature_after_c": 62.0,
        "throttled_count": 0,
        "gpu_temperature_before_c": 50.0,
        "gpu_temperature_after_c": 50.0,
        "gpu_throttled_s": 0.0,
        "neighbour_cpu_s": pytest.approx(2.0),
        "steal_cpu_s": 0.0,
        "service_cpus": "1",
        "generator_cpus": "0",
        "clock_step_s": pytest.approx(0.0, abs=1e-6),
    }
    assert reasons(AFTER) == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"throttled": 10}, "throttled (3 events of cores and packages)"),
        ({"gpu_slowed_s": 3.25}, "throttled (GPUs for 0.250 s)"),
        (
            {"steal_s": 6.0},
            "neighbours (2.00 s of CPU time used by others, 4.00 s stolen: 30 % of all CPUs, at "
            "most 25 %)",
        ),
        (
            {"wall_s": 1.7e9 + 9.8},
            "clock_step (the wall clock moved by -200 ms against the monotonic one, at most 50 ms)",
        ),
    ],
)
def test_each_doubt_has_its_name_and_figures(changes: dict[str, Any], reason: str) -> None:
    """One circumstance that is wrong gives exactly one reason, which carries the figures."""
    assert reasons(replace(AFTER, **changes), limits=Limits(neighbour_ratio=0.25)) == (reason,)


def test_a_clock_that_is_pulled_right_makes_no_step() -> None:
    """In a window of ten minutes the clock may drift by 0.1 %, and not by 0.2 %."""
    late = replace(AFTER, clock_s=700.0, wall_s=1.7e9 + 600.3)
    assert reasons(late) == ()
    assert reasons(replace(late, wall_s=1.7e9 + 601.2))[0].startswith("clock_step")


def test_unknown_is_null_and_no_reason() -> None:
    """What one of the two looks does not tell, and a count that began anew, are not known."""
    blind = Look(clock_s=110.0, wall_s=1.7e9 + 10, runner_s=5.5)
    found = between(BEFORE, blind, WINDOW, cool_down_s=None, service_cpus="1", generator_cpus="0")
    facts = found.facts()
    unknown = {name for name, value in facts.items() if value is None}
    assert unknown == {
        "cool_down_s",
        "temperature_after_c",
        "throttled_count",
        "gpu_temperature_after_c",
        "gpu_throttled_s",
        "steal_cpu_s",
    }
    anew = between(
        BEFORE,
        replace(AFTER, throttled=1),
        WINDOW,
        cool_down_s=None,
        service_cpus="1",
        generator_cpus="0",
    )
    assert anew.throttled_count is None
    assert found.reasons(LIMITS) == anew.reasons(LIMITS) == ()


def test_of_a_service_elsewhere_only_the_clocks_are_told() -> None:
    """Heat and neighbours of this machine are not those of a service on another one."""
    hot = replace(AFTER, throttled=99, steal_s=20.0, wall_s=1.7e9 + 20)
    found = between(BEFORE, hot, WINDOW, cool_down_s=None, service_cpus=None, generator_cpus="0-1")
    known = {name: value for name, value in found.facts().items() if value is not None}
    assert known == {"clock_step_s": pytest.approx(10.0), "generator_cpus": "0-1"}
    (reason,) = found.reasons(LIMITS)
    assert reason.startswith("clock_step")


def test_cpus_read_as_the_kernel_writes_them() -> None:
    """Neighbouring numbers are a range, and order does not matter."""
    assert cpu_list({8, 0, 1, 2, 10, 11}) == "0-2,8,10-11"
    assert cpu_list([3]) == "3"


def test_the_environment_names_the_sensors(tmp_path: Path, test_data: Path) -> None:
    """A recorded machine names its packages; one without sensors says why it has none."""
    recorded = test_data / "power/sysfs/node_exporter_powercap_hwmon/sys"
    heat: Any = environment(Host(sys=recorded))["heat"]
    assert heat["temperature"] == ["coretemp Physical id 0"] * 2
    assert set(heat["not_read"]) == {"throttle_counters"}
    bare = Surroundings(Host(sys=tmp_path))
    assert bare.facts()["temperature"] is None
    assert "no sensor of a processor" in bare.refused["temperature"]


SPEC = parse_spec(
    {
        "name": "warm",
        "scenarios": [{"scenario": "tiny", "factors": {"model": ["double"]}}],
        "loads": [{"arrival": "poisson", "rate_hz": 50.0}],
        "trial": {"idle_s": 0.2, "warmup_round_s": 0.2, "warmup_max_s": 0.6, "window_s": 2.0},
        "slo": {"latency_s": 1.0, "percentile": 0.5},
        "limits": {
            "send_lag_p99_s": 5.0,
            "steady_ratio": 50.0,
            "subwindow_cv_ratio": 50.0,
            "idle_drift_ratio": 50.0,
            "neighbour_ratio": 0.99,
        },
    }
)


class Trials:
    """Trials of a tiny service, on a real machine that has the heat of a simulated one."""

    def __init__(self, bench: Bench, machine: WarmMachine) -> None:
        self.bench, self.machine = bench, machine
        self._hooks: dict[str, Any] = {}
        self.phases: list[str] = []

    def run(self, limits: dict[str, float] | None = None, **hooks: Any) -> dict[str, Any]:
        """Run one trial and return its row; a hook is called at the phase of its name."""
        self._hooks, self.phases = hooks, []
        spec = SPEC.model_copy(update={"limits": SPEC.limits.model_copy(update=limits or {})})
        part = spec.scenarios[0]
        return run_trial(PLANNED, spec, part, TinyScenario(), self.bench, self._phase).row

    def _phase(self, name: str) -> None:
        self.phases.append(name)
        if hook := self._hooks.get(name.replace(" ", "_")):
            hook()


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    """Return trials on a machine that is at rest for ten seconds, and then busy for twenty."""
    folder = tmp_path_factory.mktemp("warm")
    machine = WarmMachine(folder / "machine", begins_s=10.0, ends_s=30.0)
    throttles(machine.sys, 0, package=0, core=0, events=4, of_package=9)
    workloads = {"tiny": TinyWorkload(folder / "tiny")}
    host = Host(sys=machine.sys)
    bench_of = open_bench(discover(), workloads, Machine(host, folder), host=host)
    with machine.tree, bench_of as bench:
        yield Trials(bench, machine)


def test_a_trial_waits_until_the_machine_is_cool(trials: Trials) -> None:
    """After a hot one, a trial waits until the machine is as it was, and its row says both."""
    cold_c = trials.machine.celsius
    first = trials.run()
    assert first["temperature_before_c"] == first["temperature_after_c"] == cold_c
    assert first["throttled_count"] == 0
    assert "throttled" not in (first["reasons"] or "")
    trials.machine.advance_to(30.0)
    hot_c = trials.machine.celsius
    assert hot_c > cold_c + 20
    stop = threading.Event()
    cools = threading.Thread(target=trials.machine.live, args=(stop,))
    try:
        second = trials.run(cool_down=cools.start)
    finally:
        stop.set()
        cools.join()
    assert trials.phases[:3] == ["start", "cool down", "idle before"]
    # From forty kelvins to three it takes 2.6 time constants of one second and a half.
    assert second["cool_down_s"] > 2.5
    assert second["temperature_before_c"] <= cold_c + 3


def test_a_rising_throttle_counter_is_a_reason(trials: Trials) -> None:
    """Events that are counted while the window runs make the trial invalid, with their number."""
    counter = trials.machine.sys / "devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"

    def throttle() -> None:
        new = counter.with_suffix(".new")
        new.write_text("6\n")
        new.replace(counter)

    row = trials.run(window=threading.Timer(0.7, throttle).start)
    assert row["throttled_count"] == 2
    assert row["verdict"] == "invalid"
    assert "throttled (2 events of cores and packages)" in row["reasons"]


def test_a_neighbour_is_seen_and_told(trials: Trials) -> None:
    """Two processes that burn CPU time while the window runs make the trial invalid."""
    cpus = os.cpu_count() or 1
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        row = trials.run({"neighbour_ratio": 0.25 / cpus})
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    assert row["neighbour_cpu_s"] + row["steal_cpu_s"] > 0.5 * row["window_s"]
    assert "neighbours (" in row["reasons"]


def test_who_may_use_which_cpu_is_recorded(trials: Trials) -> None:
    """The service has a CPU of its own where there are two, and the row says which."""
    row = trials.run()
    usable = sorted(os.sched_getaffinity(0))
    assert row["service_cpus"] == str(usable[-1])
    assert row["generator_cpus"] == cpu_list(usable[:-1] or usable)
    assert abs(row["clock_step_s"]) < 0.05


@pytest.mark.parametrize("measured", [True, False])
def test_power_is_watched_where_it_is_measured(tmp_path: Path, *, measured: bool) -> None:
    """Without a sensor of temperature, a power counter tells rest; an estimate does not."""
    machine = WarmMachine(tmp_path / "machine", begins_s=0.0, ends_s=0.0)
    machine.input.unlink()
    sys = machine.sys if measured else tmp_path / "bare"
    found = discover(Host(sys=sys), drivers=False) if measured else discover(Host(sys=sys))
    stop = threading.Event()
    runs = threading.Thread(target=machine.live, args=(stop,))
    with machine.tree:
        runs.start()
        try:
            host = Host(sys=sys)
            with open_bench(found, {}, Machine(host, tmp_path), host=host) as bench:
                waited_s = bench.cool_down.wait(bench.gauges("cpu", 3.0), max_s=5.0)
        finally:
            stop.set()
            runs.join()
    assert (found.provenance is Provenance.MEASURED) == measured
    assert (waited_s is not None) == measured
