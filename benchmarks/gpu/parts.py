"""The parts of the GPU benchmark: each yields rows, over any load and any readings.

`gpu_energy.py`, one folder up, brings the real load, the order and the files.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from joulery.profiler.counter import CounterDiff, Delta
from joulery.profiler.meter import EnergyMeter
from joulery.profiler.quantities import Energy
from joulery.profiler.sources import Source
from joulery.profiler.window import WindowResult

__all__ = [
    "FULL",
    "Bench",
    "Job",
    "Load",
    "Plan",
    "Row",
    "coverage",
    "inference",
    "lags",
    "renewal",
    "steady",
    "trace",
    "windows",
]

Row = dict[str, str | float]
COUNTER = "nvml:gpu-0"


@dataclass(frozen=True, slots=True)
class Job:
    """Something for the GPU to do: `run` does it `items` times and waits for the end."""

    run: Callable[[], None]
    items: int


class Load(Protocol):
    """What keeps the GPU busy."""

    def product(self, size: int) -> Job:
        """Return products of square bf16 matrices, about a millisecond of them."""

    def network(self, precision: str, batch: int) -> Job:
        """Return one inference of a batch."""

    def rest(self) -> None:
        """Return when the GPU has nothing left to do."""

    def facts(self) -> Mapping[str, str]:
        """Return what the load runs on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure, and for how long (seconds)."""

    sizes: tuple[int, ...] = (1024, 2048, 4096, 8192, 16384)
    short_size: int = 4096  # of the products in short windows: one must fit into a millisecond
    repeats: int = 3
    steady_s: float = 5.0
    settle_s: float = 1.5
    renewal_s: float = 5.0
    step_s: float = 5.0
    windows_s: tuple[float, ...] = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
    cuts: int = 20
    gap_s: float = 0.3
    precisions: tuple[str, ...] = ("fp32", "tf32", "bf16")
    batches: tuple[int, ...] = (1, 4, 16, 64)
    inference_s: float = 4.0
    limit_s: float = 540.0


FULL = Plan()


@dataclass(slots=True)
class Bench:
    """The three readings of the GPU, a load, and the time that is left."""

    sources: Sequence[Source]
    load: Load
    plan: Plan
    clock: Callable[[], float] = time.monotonic

    def meter(self) -> EnergyMeter:
        """Return a meter over all readings, quick enough to see each renewal."""
        return EnergyMeter(self.sources, clock=self.clock, interval_s=0.02)

    def run_for(self, job: Job | None, seconds: float) -> list[float]:
        """Run a job, or rest, for a time; return how long each run took."""
        end_s, took = self.clock() + seconds, []
        if job is None:
            time.sleep(seconds)
        else:
            while (begun_s := self.clock()) < end_s:
                job.run()
                took.append(self.clock() - begun_s)
        return took

    @contextlib.contextmanager
    def busy(self, job: Job) -> Iterator[None]:
        """Run a job again and again beside what is done within."""
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                job.run()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self.load.rest()

    def read(self) -> dict[str, float]:
        """Read every source once, by `source:domain`, GPU 0 alone."""
        return {
            f"{source.name}:{reading.domain.name}": reading.value
            for source in self.sources
            for reading in source.sample()
            if reading.domain.name == "gpu-0"
        }


def _energies(result: WindowResult) -> dict[str, Energy]:
    return {
        key: domain.energy
        for key, domain in result.domains.items()
        if domain.energy is not None and domain.domain == "gpu-0"
    }


def renewal(bench: Bench) -> Iterator[Row]:
    """Poll each reading as fast as it answers: what a call costs, how often the value changes."""
    job = bench.load.product(bench.plan.sizes[-1])
    for loaded in (False, True):
        with bench.busy(job) if loaded else contextlib.nullcontext():
            bench.run_for(None, bench.plan.settle_s)
            for source in bench.sources:
                costs_s, changes_s, last = [], [], math.nan
                end_s = bench.clock() + bench.plan.renewal_s / len(bench.sources)
                while (before_s := bench.clock()) < end_s:
                    value = source.sample()[0].value
                    after_s = bench.clock()
                    costs_s.append(after_s - before_s)
                    if value != last:
                        changes_s.append(after_s)
                        last = value
                between_s = np.diff(changes_s) if len(changes_s) > 1 else np.array([math.nan])
                yield {
                    "source": source.name,
                    "loaded": float(loaded),
                    "calls": len(costs_s),
                    "call_median_s": float(np.median(costs_s)),
                    "call_p99_s": float(np.quantile(costs_s, 0.99)),
                    "renewal_p05_s": float(np.quantile(between_s, 0.05)),
                    "renewal_median_s": float(np.median(between_s)),
                    "renewal_p95_s": float(np.quantile(between_s, 0.95)),
                }


def trace(bench: Bench) -> Iterator[Row]:
    """Record rest, a step of load, and rest again, every few milliseconds."""
    job = bench.load.product(bench.plan.sizes[-1])
    bench.load.rest()
    bench.run_for(None, bench.plan.settle_s)
    begun_s = bench.clock()

    def phase(loaded: bool) -> Iterator[Row]:
        end_s = bench.clock() + bench.plan.step_s
        while (now_s := bench.clock()) < end_s:
            yield {"t_s": now_s - begun_s, "loaded": float(loaded), **bench.read()}
            time.sleep(0.003)

    yield from phase(False)
    with bench.busy(job):
        yield from phase(True)
    yield from phase(False)


def lags(rows: Sequence[Row]) -> Iterator[Row]:
    """Say how long after the step of load each reading had half, and nine tenths, of it."""
    t_s = np.array([float(row["t_s"]) for row in rows])
    loaded = np.array([float(row["loaded"]) for row in rows]) > 0
    on_s, off_s = t_s[loaded][0], t_s[loaded][-1]
    for key in [key for key in rows[0] if ":" in key]:
        values = np.array([float(row[key]) for row in rows])
        times, power = _slopes(t_s, values) if key == COUNTER else (t_s, values)
        rest = float(np.median(power[times < on_s]))
        full = float(np.median(power[(times > (on_s + off_s) / 2) & (times <= off_s)]))
        row: Row = {"reading": key, "rest_w": rest, "full_w": full}
        for part in (0.5, 0.9):
            level = rest + part * (full - rest)
            up = times[(times >= on_s) & (power >= level)]
            down = times[(times >= off_s) & (power <= rest + (1 - part) * (full - rest))]
            row[f"rise_{part}_s"] = float(up[0] - on_s) if len(up) else math.nan
            row[f"fall_{part}_s"] = float(down[0] - off_s) if len(down) else math.nan
        yield row


def _slopes(t_s: Any, counts_j: Any) -> tuple[Any, Any]:
    """Return the power of a counter between its renewals."""
    differ = CounterDiff(max_power_w=5000.0)
    times, powers, last = [], [], math.nan
    for when_s, count_j in zip(t_s, counts_j, strict=True):
        if count_j == last:
            continue
        last = count_j
        step = differ.update(float(count_j), float(when_s))
        if isinstance(step, Delta) and step.end_s > step.start_s:
            times.append(step.end_s)
            powers.append(step.energy_j / (step.end_s - step.start_s))
    return np.array(times), np.array(powers)


def steady(bench: Bench) -> Iterator[Row]:
    """Meter rest and products of each size several times: agreement and repeatability."""
    with bench.meter() as meter:
        for size in (0, *bench.plan.sizes):
            job = bench.load.product(size) if size else None
            for repeat in range(bench.plan.repeats):
                bench.run_for(job, bench.plan.settle_s)
                with meter.window("steady") as window:
                    took = bench.run_for(job, bench.plan.steady_s)
                bench.load.rest()
                energies, seconds = _energies(window.result), window.result.duration_s
                items = len(took) * job.items if job else 0
                row: Row = {"size": size, "repeat": repeat, "seconds": seconds, "products": items}
                for key, energy in energies.items():
                    row |= {f"{key}_w": energy.value_j / seconds}
                    row |= {f"{key}_low_w": energy.low_j / seconds}
                    row |= {f"{key}_high_w": energy.high_j / seconds}
                    row |= {f"{key}_over_counter": energy.value_j / energies[COUNTER].value_j}
                row["j_per_product"] = energies[COUNTER].value_j / items if items else math.nan
                yield row


def windows(bench: Bench) -> Iterator[Row]:
    """Compare short windows with what they must hold, told by the long window around them.

    "within": cut out of steady load, so that each holds the mean power. "burst": work between
    rests, so that each holds an equal part of the energy above rest.
    """
    plan, job = bench.plan, bench.load.product(bench.plan.short_size)
    with bench.meter() as meter:
        bench.run_for(None, plan.settle_s)
        with meter.window("rest") as rest:
            bench.run_for(None, plan.settle_s)
        rest_w = _energies(rest.result)[COUNTER].value_j / rest.result.duration_s
        for window_s in plan.windows_s:
            cuts: list[WindowResult] = []
            with bench.busy(job):
                bench.run_for(None, plan.settle_s)
                with meter.window("around") as around:
                    for _ in range(plan.cuts):
                        with meter.window("cut") as cut:
                            bench.run_for(None, window_s)
                        cuts.append(cut.result)
                        time.sleep(0.013)  # out of step with the renewal
                    bench.run_for(None, plan.settle_s)
            full_w = _energies(around.result)[COUNTER].value_j / around.result.duration_s
            yield from _compared("within", window_s, cuts, [c.duration_s * full_w for c in cuts])
            cuts, busy_s = [], 0.0
            with meter.window("around") as around:
                for _ in range(plan.cuts):
                    bench.run_for(None, plan.gap_s)
                    with meter.window("cut") as cut:
                        busy_s += sum(bench.run_for(job, window_s))
                        bench.load.rest()
                    cuts.append(cut.result)
                bench.run_for(None, plan.gap_s)
            whole = around.result
            above_j = _energies(whole)[COUNTER].value_j - rest_w * whole.duration_s
            each = [c.duration_s * rest_w + above_j / plan.cuts for c in cuts]
            yield from _compared("burst", window_s, cuts, each)


def _compared(
    kind: str, window_s: float, cuts: Sequence[WindowResult], expected_j: Sequence[float]
) -> Iterator[Row]:
    for number, (cut, expected) in enumerate(zip(cuts, expected_j, strict=True)):
        for key, energy in _energies(cut).items():
            yield {
                "kind": kind,
                "window_s": window_s,
                "number": number,
                "reading": key,
                "seconds": cut.duration_s,
                "energy_j": energy.value_j,
                "low_j": energy.low_j,
                "high_j": energy.high_j,
                "expected_j": expected,
                "covered": float(energy.low_j <= expected <= energy.high_j),
            }


def coverage(rows: Sequence[Row]) -> Iterator[Row]:
    """Sum the windows up: how far off they are, how wide their interval, how often it holds."""
    for group in dict.fromkeys((r["kind"], r["window_s"], r["reading"]) for r in rows):
        some = [r for r in rows if (r["kind"], r["window_s"], r["reading"]) == group]
        energy, low, high, expected, covered = (
            np.array([float(r[name]) for r in some])
            for name in ("energy_j", "low_j", "high_j", "expected_j", "covered")
        )
        scale = max(float(expected.mean()), 1e-9)
        yield {
            **dict(zip(("kind", "window_s", "reading"), group, strict=True)),
            "windows": len(some),
            "bias_ratio": float((energy - expected).mean() / scale),
            "observed_95_ratio": float(np.quantile(abs(energy - expected), 0.95) / scale),
            "stated_half_width_ratio": float(np.median(high - low) / 2 / scale),
            "covered_ratio": float(covered.mean()),
        }


def inference(bench: Bench) -> Iterator[Row]:
    """Meter a small network at each precision and batch size: joules, latency, throughput."""
    with bench.meter() as meter:
        for precision in bench.plan.precisions:
            for batch in bench.plan.batches:
                job = bench.load.network(precision, batch)
                bench.run_for(job, bench.plan.settle_s)
                with meter.window("inference") as window:
                    took = bench.run_for(job, bench.plan.inference_s)
                bench.load.rest()
                energy, items = _energies(window.result)[COUNTER], len(took) * job.items
                yield {
                    "precision": precision,
                    "batch": batch,
                    "inferences": items,
                    "seconds": window.result.duration_s,
                    "j_per_inference": energy.value_j / items,
                    "low_j_per_inference": energy.low_j / items,
                    "high_j_per_inference": energy.high_j / items,
                    "latency_p50_s": float(np.quantile(took, 0.5)),
                    "latency_p95_s": float(np.quantile(took, 0.95)),
                    "latency_p99_s": float(np.quantile(took, 0.99)),
                    "throughput_hz": items / window.result.duration_s,
                }
