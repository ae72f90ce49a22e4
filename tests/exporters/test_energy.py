"""The energy exporter on simulated nodes whose truth is known, through their own files."""

from __future__ import annotations

import logging
import math
import shutil
import statistics
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from joulery.errors import SourceUnavailable
from joulery.exporters import metrics as m
from joulery.exporters.energy import EnergyExporter
from joulery.exporters.settings import Settings
from joulery.profiler.simulator.load import Consumer
from joulery.profiler.sources import Discovery, SourceState, SourceStatus
from joulery.profiler.sources.estimate import Estimate

from .nodes import real_group
from .simulated import PodNode, pod_node, samples, slice_of, total, uid_of

_PODS = (
    Consumer(name="camera", busy=1.2, starts_s=12.0),
    Consumer(name="forecast", busy=0.6, starts_s=20.0),
    Consumer(name="fusion", busy=0.3, starts_s=40.0),
)

_TOLERANCE = 0.05
"""The goal for one pod's energy after two minutes."""

_ROUNDING = 1e-9
"""Parts are sums of floats in another order than the whole."""


def test_each_pod_gets_its_joules(tmp_path: Path) -> None:
    """In the two minutes after the first two, joules of pods are off by 5 % at most, on average."""
    with pod_node(tmp_path, _PODS) as node, node.exporter() as exporter:
        node.run(exporter, 24)
        before = {pod.name: _told(node, exporter, pod.name) for pod in _PODS}
        node.run(exporter, 24)
        errors = []
        for pod in _PODS:
            truth_j, value_j, low_j, high_j = _told(node, exporter, pod.name)
            assert low_j <= truth_j <= high_j, pod.name
            begun_j, told_j, *_ = before[pod.name]
            errors.append(abs((value_j - told_j) / (truth_j - begun_j) - 1))
        assert statistics.fmean(errors) <= _TOLERANCE


def _told(node: PodNode, exporter: EnergyExporter, pod: str) -> tuple[float, float, float, float]:
    """Return the truth of a pod's package energy, then value and interval that are told of it."""
    labels = {"pod": pod, "namespace": "default", "device": "cpu", "part": "active"}
    families = (m.POD_ENERGY, m.low_of(m.POD_ENERGY), m.high_of(m.POD_ENERGY))
    value_j, low_j, high_j = (total(exporter, one.series, **labels) for one in families)
    return node.truth_j(pod, "package"), value_j, low_j, high_j


def test_energy_is_conserved_in_every_scrape(tmp_path: Path) -> None:
    """In each cycle the parts of a device add up to its counter, and pods to their part."""
    with pod_node(tmp_path, _PODS) as node, node.exporter() as exporter:
        node.run(exporter, 3)
        for _ in range(12):
            node.run(exporter, 1)
            for device in ("cpu", "dram"):
                counted_j = total(exporter, m.DEVICE_ENERGY.series, device=device, summed="true")
                parts_j = total(exporter, m.NODE_ENERGY.series, device=device)
                pods_j = total(exporter, m.NODE_ENERGY.series, device=device, part="pods")
                assert parts_j == pytest.approx(counted_j, rel=_ROUNDING)
                assert total(exporter, m.POD_ENERGY.series, device=device) == pytest.approx(
                    pods_j, rel=_ROUNDING
                )
                residual = total(exporter, m.CONSERVATION_RESIDUAL.series, device=device)
                assert residual < _ROUNDING


def test_no_counter_ever_falls(tmp_path: Path) -> None:
    """Pods come, go and come back, a sensor fails: no counter of any series ever falls."""
    pods = (*_PODS, Consumer(name="batch", busy=0.8, starts_s=15.0, ends_s=52.0))
    counters = {metric.series for metric in m.CATALOGUE if metric.type == "counter"}
    before: dict[object, float] = {}
    with pod_node(tmp_path, pods) as node, node.exporter() as exporter:
        for number in range(20):
            if number == 8:
                node.tree.vanish("package-0")
            if number == 10:
                node.tree.appear("package-0")
            node.run(exporter, 1)
            for series, found in samples(exporter).items():
                for labels, value in found.items() if series in counters else ():
                    assert value >= before.get((series, labels), 0.0), (series, labels)
                    before[series, labels] = value
        lost = total(exporter, m.SOURCE_GAPS.series, domain="package-0", reason="failed")
        assert lost >= 1
        assert total(exporter, m.DEVICE_TIME.series, device="cpu", state="unknown") >= 10.0
        assert total(exporter, m.DEVICE_TIME.series, device="dram", state="unknown") < 10.0


def test_counters_that_wrap_within_a_cycle(tmp_path: Path) -> None:
    """A counter that could wrap twice in a cycle is read more often, so that nothing is lost."""
    with pod_node(tmp_path, _PODS, modulus_uj=1_000_000_000) as node, node.exporter() as exporter:
        assert 0 < exporter.look_s < 1.0
    with pod_node(tmp_path / "usual", _PODS) as node, node.exporter() as exporter:
        assert exporter.look_s == 1.0


def test_looks_find_who_lives_between_cycles(tmp_path: Path) -> None:
    """A pod that begins and ends within a cycle has a name and most of its joules."""
    brief = Consumer(name="brief", busy=2.0, starts_s=61.0, ends_s=64.0)
    with pod_node(tmp_path, (*_PODS, brief)) as node, node.exporter() as exporter:
        node.run(exporter, 12)
        for _ in range(5):
            node.tree.advance(1.0)
            exporter.look()
        exporter.cycle()
        told_j = total(exporter, m.POD_ENERGY.series, pod="brief", device="cpu")
        high_j = total(exporter, m.high_of(m.POD_ENERGY).series, pod="brief", device="cpu")
        truth_j = node.truth_j("brief", "package")
        assert 0.5 * truth_j < told_j < 1.1 * truth_j
        assert high_j >= truth_j
        assert total(exporter, m.EXPORTER_PODS.series, state="terminated") == 1
        assert total(exporter, m.CONSERVATION_RESIDUAL.series, device="cpu") < _ROUNDING


def test_energy_counted_in_part_is_unattributed(tmp_path: Path) -> None:
    """What one socket told while the other failed is told as unattributed, not lost."""
    with pod_node(tmp_path, _PODS) as node, node.exporter() as exporter:
        node.run(exporter, 6)
        node.tree.vanish("package-0")
        node.run(exporter, 1)
        up = total(exporter, m.SOURCE_UP.series, source="powercap")
        node.tree.appear("package-0")
        node.run(exporter, 3)
        assert up == 0.0
        assert total(exporter, m.SOURCE_UP.series, source="powercap") == 1.0
        counted_j = total(exporter, m.DEVICE_ENERGY.series, device="cpu", summed="true")
        assert total(exporter, m.NODE_ENERGY.series, device="cpu") == pytest.approx(
            counted_j, rel=_ROUNDING
        )


def test_terminated_pods_keep_their_totals_for_the_retention(tmp_path: Path) -> None:
    """A pod that ended keeps its last totals until the retention is over; its node part stays."""
    pods = (*_PODS, Consumer(name="batch", busy=0.8, ends_s=32.0))
    with pod_node(tmp_path, pods, retention_s=60.0) as node, node.exporter() as exporter:
        node.run(exporter, 6)
        before_j = total(exporter, m.POD_ENERGY.series, pod="batch", device="cpu")
        node.run(exporter, 2)
        ended_j = total(exporter, m.POD_ENERGY.series, pod="batch", device="cpu")
        truth_j = node.truth_j("batch", "package")
        assert ended_j >= before_j > 0
        assert total(exporter, m.EXPORTER_PODS.series, state="terminated") == 1
        high_j = total(exporter, m.high_of(m.POD_ENERGY).series, pod="batch", device="cpu")
        assert ended_j <= truth_j * (1 + _TOLERANCE)
        assert high_j >= truth_j
        node.run(exporter, 8)
        assert total(exporter, m.POD_ENERGY.series, pod="batch", device="cpu") == ended_j
        pods_j = total(exporter, m.NODE_ENERGY.series, part="pods", device="cpu")
        node.run(exporter, 6)
        assert math.isnan(total(exporter, m.POD_ENERGY.series, pod="batch"))
        assert total(exporter, m.EXPORTER_PODS.series, state="terminated") == 0
        assert total(exporter, m.NODE_ENERGY.series, part="pods", device="cpu") > pods_j


def test_a_pod_that_comes_back_under_its_uid_goes_on(tmp_path: Path) -> None:
    """A static pod that restarts goes on from its old totals, and only its new work is added."""
    with pod_node(tmp_path, _PODS) as node, real_group() as top:
        (tmp_path / "groups").mkdir()
        (tmp_path / "groups" / "cpuacct").symlink_to(top)
        node.settings = replace(node.settings, cgroupfs=tmp_path / "groups")
        group = top / "kubepods" / f"pod{uid_of('camera')}"
        group.mkdir(parents=True)
        with node.exporter() as exporter:
            _burn(group)
            node.run(exporter, 3)
            group.rmdir()
            node.run(exporter, 2)
            before_j = total(exporter, m.POD_ENERGY.series, pod="camera", device="cpu")
            before_s = total(exporter, m.POD_CPU.series, pod="camera")
            assert total(exporter, m.EXPORTER_PODS.series, state="terminated") == 1
            group.mkdir()
            node.run(exporter, 2)
            assert total(exporter, m.EXPORTER_PODS.series, state="terminated") == 0
            assert total(exporter, m.POD_CPU.series, pod="camera") == before_s > 0
            _burn(group)
            node.run(exporter, 1)
            assert total(exporter, m.POD_CPU.series, pod="camera") > before_s
            after_j = total(exporter, m.POD_ENERGY.series, pod="camera", device="cpu")
            assert after_j > before_j > 0


def _burn(group: Path) -> None:
    """Let a process use some CPU time within a control group, and end."""
    program = f"echo $$ > {group}/cgroup.procs; n=0; while [ $n -lt 99999 ]; do n=$((n+1)); done"
    subprocess.run(["sh", "-c", program], check=True)


def test_a_sensor_that_comes_late_is_found(tmp_path: Path) -> None:
    """A driver that is loaded after the start adds its device; the others lose nothing by it."""
    with pod_node(tmp_path, _PODS) as node:
        link = node.tree.host.sys / "class/powercap/intel-rapl:0:0"
        zone, target = link.resolve(), link.readlink()
        zone.rename(tmp_path / "away")
        link.unlink()
        with node.exporter() as exporter:
            node.run(exporter, 8)
            before_j = total(exporter, m.POD_ENERGY.series, pod="camera", device="cpu")
            assert math.isnan(total(exporter, m.POD_ENERGY.series, device="dram"))
            (tmp_path / "away").rename(zone)
            link.symlink_to(target)
            node.run(exporter, 8)
            assert total(exporter, m.POD_ENERGY.series, pod="camera", device="cpu") > before_j
            assert total(exporter, m.POD_ENERGY.series, pod="camera", device="dram") > 0
            cpu_s = total(exporter, m.DEVICE_TIME.series, device="cpu", state="attributed")
            assert cpu_s == pytest.approx(80.0, abs=5.0)


def test_a_node_that_cannot_be_read_for_a_while(tmp_path: Path) -> None:
    """Cycles that fail are counted; the next one has their time, and pods may end meanwhile."""
    pods = (*_PODS, Consumer(name="batch", busy=0.8, ends_s=32.0))
    with pod_node(tmp_path, pods) as node, node.exporter() as exporter:
        node.run(exporter, 6)
        before_s = total(exporter, m.DEVICE_TIME.series, device="cpu", state="attributed")
        stat, hidden = node.tree.host.proc / "stat", tmp_path / "stat"
        stat.rename(hidden)
        node.run(exporter, 2)
        assert total(exporter, m.EXPORTER_CYCLES.series, outcome="failed") == 2
        hidden.rename(stat)
        node.run(exporter, 2)
        after_s = total(exporter, m.DEVICE_TIME.series, device="cpu", state="attributed")
        assert after_s == pytest.approx(before_s + 20.0)
        assert total(exporter, m.EXPORTER_PODS.series, state="terminated") == 1
        ended_j = total(exporter, m.POD_ENERGY.series, pod="batch", device="cpu")
        node.run(exporter, 2)
        assert total(exporter, m.POD_ENERGY.series, pod="batch", device="cpu") == ended_j > 0


def test_an_old_pod_found_late_brings_no_past(tmp_path: Path) -> None:
    """A pod with days of CPU time that is found late counts from then on, and leaks no file."""
    with pod_node(tmp_path, _PODS) as node, node.exporter() as exporter:
        node.run(exporter, 8)
        uid = uid_of("old")
        group = node.tree.group(slice_of(uid))
        group.mkdir()
        (group / "cpu.stat").mkdir()  # for now it cannot be read
        node.run(exporter, 1)
        files = len(list(Path("/proc/self/fd").iterdir()))
        node.run(exporter, 5)
        assert len(list(Path("/proc/self/fd").iterdir())) == files
        (group / "cpu.stat").rmdir()
        (group / "cpu.stat").write_text("usage_usec 900000000000\n")
        node.run(exporter, 2)
        assert total(exporter, m.POD_ENERGY.series, uid=uid, device="cpu") == 0.0
        assert total(exporter, m.POD_ENERGY.series, pod="camera", device="cpu") > 0


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
def test_a_clock_that_jumps(tmp_path: Path, jump_s: float) -> None:
    """The lap in which the clock jumps is unknown; what was counted is kept, and all goes on."""
    with pod_node(tmp_path, _PODS) as node, node.exporter() as exporter:
        node.run(exporter, 8)
        before_j = total(exporter, m.POD_ENERGY.series, pod="camera", device="cpu")
        node.jump_s = jump_s
        node.tree.advance(1.0)
        exporter.cycle()
        assert total(exporter, m.POD_ENERGY.series, pod="camera", device="cpu") == before_j
        node.run(exporter, 8)
        gained_j = total(exporter, m.POD_ENERGY.series, pod="camera", device="cpu") - before_j
        assert 0 < gained_j < 40.0 * node.node.machine.limit_w
        assert total(exporter, m.CONSERVATION_RESIDUAL.series, device="cpu") < _ROUNDING
        assert total(exporter, m.SOURCE_GAPS.series, domain="package-0") >= 1


def test_a_pod_without_a_log_folder_is_told_by_its_uid(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A pod that no folder names has its joules under its UID, and gets its name when it comes."""
    with pod_node(tmp_path, _PODS) as node, node.exporter() as exporter:
        folder = node.log_folder("camera")
        shutil.rmtree(folder)
        node.run(exporter, 3)
        assert "only their UID" in caplog.text
        uid = uid_of("camera")
        [labels] = [
            dict(found)
            for found in samples(exporter)[m.POD_ENERGY.series]
            if dict(found)["uid"] == uid and dict(found)["device"] == "cpu"
        ]
        # Present and empty, so that Prometheus does not fill in its target's own.
        assert (labels["namespace"], labels["pod"]) == ("", "")
        assert total(exporter, m.EXPORTER_PODS.series, state="unnamed") == 1
        folder.mkdir()
        node.run(exporter, 2)
        assert total(exporter, m.POD_ENERGY.series, pod="camera", uid=uid, device="cpu") > 0


def test_idle_energy_can_be_shared_by_time(tmp_path: Path) -> None:
    """With `time_share` pods and system bear the idle energy too, and the label says so."""
    with pod_node(tmp_path, _PODS) as node:
        node.settings = replace(node.settings, idle_policy="time_share")
        with node.exporter() as exporter:
            node.run(exporter, 12)
            assert total(exporter, m.NODE_ENERGY.series, part="idle", device="cpu") < 1.0
            with_idle_j = total(exporter, m.POD_ENERGY.series, pod="camera", part="with_idle")
            assert with_idle_j > 1.1 * node.truth_j("camera", "package")
            assert math.isnan(total(exporter, m.POD_ENERGY.series, part="active"))
            assert total(exporter, "joulery_node_info", idle_policy="time_share") == 1
            assert total(exporter, m.CONSERVATION_RESIDUAL.series, device="cpu") < _ROUNDING


def test_series_per_pod_are_bounded(tmp_path: Path) -> None:
    """A pod with one container costs no more than a dozen series."""
    with pod_node(tmp_path, _PODS) as node, node.exporter() as exporter:
        number = "0" * 64
        (node.logs / "containers" / f"camera_default_main-{number}.log").symlink_to("nowhere")
        node.run(exporter, 4)
        of_pod = [
            series
            for series, found in samples(exporter).items()
            for labels in found
            if ("pod", "camera") in labels
        ]
        assert "joulery_pod_container_info" in of_pod
        assert len(of_pod) <= 12


def test_an_estimate_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without a sensor energies are estimated: metrics say so always, the log says it once."""
    caplog.set_level(logging.INFO)
    with pod_node(tmp_path, _PODS) as node:
        shutil.rmtree(node.tree.host.sys / "class")
        estimate = Estimate(node.tree.host)
        status = SourceStatus(
            name="estimate", state=SourceState.ESTIMATED, domains=("cpu", "ram"), what="a model"
        )
        found = Discovery(sources=(estimate,), statuses=(status,))
        exporter = EnergyExporter(node.settings, find=lambda: found, clock=node.tree.clock)
        with exporter:
            node.run(exporter, 4)
            energies = samples(exporter)
            provenances = {
                dict(labels)["provenance"]
                for series in (m.POD_ENERGY.series, m.NODE_ENERGY.series, m.DEVICE_ENERGY.series)
                for labels in energies[series]
            }
            assert provenances == {"estimated"}
            assert total(exporter, "joulery_node_info", energy="estimated", node="node-1") == 1
    assert sum("estimated" in record.message for record in caplog.records) == 1


def test_no_control_groups_at_all(tmp_path: Path) -> None:
    """A machine without control groups is refused with a remedy."""
    with pytest.raises(SourceUnavailable) as refused:
        EnergyExporter(Settings(sysfs=tmp_path))
    assert refused.value.remedy is not None
