"""A node watched for long: devices, ends, and parts that add up whatever happens."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulery.errors import SourceFailed, SourceUnavailable
from joulery.profiler.meter import EnergyMeter
from joulery.profiler.quantities import Provenance
from joulery.profiler.sources import Domain, Kind, Reading
from joulery.profiler.watch import Busy, Device, NodeWatch, devices_of
from joulery.profiler.work import CpuTotals, NodeCpu

_ROUNDING = 1e-9


class Sensors:
    """A source whose counters a test moves; a counter that is `None` cannot be read."""

    def __init__(self, name: str, kinds: Sequence[tuple[str, Kind]]) -> None:
        self.name = name
        self.domains = tuple(
            Domain(
                name=label,
                kind=kind,
                form="counter",
                provenance=Provenance.MEASURED,
                max_power_w=1000.0,
            )
            for label, kind in kinds
        )
        self.counters_j: dict[str, float | None] = {d.name: 0.0 for d in self.domains}

    def sample(self) -> tuple[Reading, ...]:
        """Return what can be read."""
        known = [(d, self.counters_j[d.name]) for d in self.domains]
        readings = tuple(Reading(d, value) for d, value in known if value is not None)
        if not readings:
            raise SourceFailed(self.name, found="nothing")
        return readings


class Busyness(NodeCpu):
    """Busy seconds that a test moves."""

    busy_s = 0.0

    def totals(self) -> CpuTotals:
        """Return them, of four CPUs."""
        return CpuTotals(busy_s=self.busy_s, cpus=4)


class Bench:
    """A watch whose clock, counters and work a test moves."""

    def __init__(self, *sources: Sensors, accelerators: dict[str, Busy] | None = None) -> None:
        self.now_s, self.work = 0.0, Busyness()
        self.used_s: dict[str, float] = {}
        self.busy = accelerators or {}
        meter = EnergyMeter(sources, clock=lambda: self.now_s, interval_s=None, work=self.work)
        readers = {key: (lambda key=key: self.busy[key]) for key in self.busy}
        self.watch = NodeWatch(meter, devices_of(sources), accelerators=readers)

    def device(self, name: str) -> Device:
        """Return a device by its name."""
        [found] = [one for one in self.watch.devices if one.name == name]
        return found

    def begin(self, name: str) -> None:
        """Let a consumer begin."""
        self.used_s[name] = 0.0

        def read() -> float:
            if name not in self.used_s:
                raise SourceUnavailable(name, found="ended")
            return self.used_s[name]

        self.watch.enlist({name: read}, new=True)


def test_devices_are_what_is_shared_out_as_one() -> None:
    """Sockets make one device, memory another; accelerators stand apart, with their own names."""
    cpu = Sensors("powercap", [("package-0", Kind.CPU), ("package-1", Kind.CPU), ("d", Kind.DRAM)])
    gpus = Sensors("nvml", [("gpu-0", Kind.GPU), ("gpu-1", Kind.GPU)])
    other = Sensors("hwmon", [("gpu-0", Kind.GPU)])
    assert [(one.name, one.keys) for one in devices_of([cpu, gpus, other])] == [
        ("cpu", ("powercap:package-0", "powercap:package-1")),
        ("dram", ("powercap:d",)),
        ("gpu-0", ("nvml:gpu-0",)),
        ("gpu-1", ("nvml:gpu-1",)),
        ("hwmon:gpu-0", ("hwmon:gpu-0",)),
    ]


_LAPS = st.lists(
    st.tuples(
        st.floats(0, 400),  # joules of one socket
        st.one_of(st.none(), st.floats(0, 400)),  # of the other, if it can be read
        st.floats(0, 4),  # busy seconds
        st.lists(st.floats(0, 1), min_size=2, max_size=2),  # shares of two pods
        st.sampled_from(["", "end", "forget"]),  # what becomes of the second
    ),
    min_size=1,
    max_size=12,
)


@given(_LAPS)
@settings(max_examples=60, deadline=None)
def test_parts_add_up_whatever_happens(
    laps: list[tuple[float, float | None, float, list[float], str]],
) -> None:
    """Counters fail, pods end and are forgotten: the parts are what was counted, and never fall."""
    sensors = Sensors("powercap", [("package-0", Kind.CPU), ("package-1", Kind.CPU)])
    bench = Bench(sensors)
    counted = {"package-0": 0.0, "package-1": 0.0}
    with bench.watch:
        bench.begin("one")
        bench.begin("two")
        before: dict[str, float] = {}
        for first_j, second_j, busy_s, shares, fate in laps:
            bench.now_s += 1.0
            counted["package-0"] += first_j
            counted["package-1"] += second_j or 0.0
            sensors.counters_j = dict(counted)
            if second_j is None:
                sensors.counters_j["package-1"] = None
            bench.work.busy_s += busy_s
            for name, share in zip(("one", "two"), shares, strict=True):
                if name in bench.used_s:
                    bench.used_s[name] += busy_s * share / 2
            bench.watch.lap()
            device = bench.device("cpu")
            if fate == "end" and "two" in bench.used_s:
                del bench.used_s["two"]
                bench.watch.end(["two"])
            if fate == "forget" and "two" not in bench.used_s:
                bench.watch.forget("two")
            sums_j = device.sums_j()
            assert math.fsum(sums_j.values()) == pytest.approx(device.counted_j, abs=1e-6)
            assert device.residual_ratio < _ROUNDING
            for name, energy in device.parts.items():
                for end, value_j in (("low", energy.low_j), ("", energy.value_j)):
                    least_j = before.get(f"{name}{end}", 0.0)
                    assert value_j >= least_j - 1e-6
                    before[f"{name}{end}"] = value_j
            if "two" not in device.parts:
                before = {key: value for key, value in before.items() if "two" not in key}


def test_an_accelerator_is_shared_by_its_own_work() -> None:
    """Two accelerators, each with a pod of its own: neither pays for the other's."""
    gpus = Sensors("nvml", [("gpu-0", Kind.GPU), ("gpu-1", Kind.GPU)])
    bench = Bench(
        gpus, accelerators={"nvml:gpu-0": Busy(total_s=0.0), "nvml:gpu-1": Busy(total_s=0.0)}
    )
    at_rest_w, heavy_w, light_w = 40.0, 260.0, 90.0
    spent = [0.0, 0.0]
    with bench.watch:
        for lap in range(60):
            working = lap >= 30
            bench.now_s += 1.0
            for n, power_w in enumerate((heavy_w, light_w)):
                gpus.counters_j[f"gpu-{n}"] = (gpus.counters_j[f"gpu-{n}"] or 0.0) + (
                    power_w if working else at_rest_w
                )
                spent[n] += 0.5 * working
                bench.busy[f"nvml:gpu-{n}"] = Busy(
                    total_s=spent[n], consumers_s={f"pod-{n}": spent[n]} if working else {}
                )
            bench.watch.lap_accelerators()
    heavy, light = (bench.device(f"gpu-{n}").parts for n in range(2))
    assert set(heavy) == {"pod-0"}
    assert set(light) == {"pod-1"}
    assert heavy["pod-0"].value_j == pytest.approx(30 * (heavy_w - at_rest_w), rel=0.1)
    assert light["pod-1"].value_j == pytest.approx(30 * (light_w - at_rest_w), rel=0.15)


def _npu(*fates: tuple[int, float, Busy]) -> Device:
    """Return an NPU that drew so many watts for so many laps, held as each `Busy` says."""
    npu = Sensors("habana", [("npu-0", Kind.NPU)])
    bench = Bench(npu, accelerators={"habana:npu-0": Busy(total_s=None)})
    with bench.watch:
        for laps, power_w, busy in fates:
            bench.busy["habana:npu-0"] = busy
            for _ in range(laps):
                bench.now_s += 5.0
                npu.counters_j["npu-0"] = (npu.counters_j["npu-0"] or 0.0) + 5.0 * power_w
                bench.watch.lap_accelerators()
    return bench.device("npu-0")


def test_to_hold_an_uncounted_accelerator_is_work() -> None:
    """The one holder gets what it draws above rest, several holders' share is the system's."""
    free, one = Busy(total_s=None), Busy(total_s=None, owner="pod", held=True)
    several = Busy(total_s=None, held=True)
    device = _npu((20, 30.0, free), (20, 130.0, one), (20, 130.0, several))
    assert device.parts["pod"].value_j == pytest.approx(100.0 * 100, rel=0.1)
    assert device.sums_j()["system"] == pytest.approx(100.0 * 100, rel=0.1)


def test_a_holder_from_the_start_is_not_forgotten() -> None:
    """An accelerator that was never seen at rest: its holder has energy, with a wide interval."""
    device = _npu((20, 130.0, Busy(total_s=None, owner="pod", held=True)))
    energy, whole_j = device.parts["pod"], 130.0 * 100
    assert device.unattributed_j == 0.0
    assert 0 < energy.value_j <= whole_j
    assert energy.high_j - energy.low_j > 0.2 * whole_j


def test_a_lap_that_cannot_be_shared_costs_no_other_device() -> None:
    """Numbers that make no sense for one device leave its lap unattributed, others as they are."""
    npu = Sensors("habana", [("npu-0", Kind.NPU), ("npu-1", Kind.NPU)])
    odd = Busy(total_s=1.0, consumers_s={"": 1.0})  # a consumer without a name is refused
    bench = Bench(npu, accelerators={"habana:npu-0": Busy(total_s=0.0)})
    with bench.watch:
        for lap in range(4):
            bench.now_s += 5.0
            npu.counters_j = dict.fromkeys(npu.counters_j, 100.0 * (lap + 1))
            bench.busy["habana:npu-0"] = odd if lap == 2 else Busy(total_s=0.0)
            bench.watch.lap_accelerators()
    assert bench.device("npu-0").unattributed_j == 100.0
    assert bench.device("npu-1").unattributed_j == 0.0
    assert bench.device("npu-0").residual_ratio < _ROUNDING
