"""GPUs of pods: the exporter over the compiled NVML library, allocations and processes of pods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ..profiler.nvml_library import compile_nvml, run_with

PLAY = """
import ctypes, json, os, pathlib, pynvml
from joulery.exporters.energy import EnergyExporter
from joulery.exporters.settings import Settings
from joulery.exporters.pod_resources import Allocation
from joulery.profiler.gpu import open_gpus
from joulery.profiler.host import Host
from joulery.profiler.sources import Discovery
from joulery.profiler.sources.nvml import Nvml

UIDS = {name: f"00000000-0000-0000-0000-00000000000{n}" for n, name in enumerate("abc", 1)}

def clock():
    return float(os.environ["FAKE_NVML_CLOCK"])

def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)

class Kubelet:
    held = ()
    def list(self):
        return tuple(Allocation(namespace="ml", pod=pod, container="main", resource=resource,
                                device_ids=(device,)) for pod, resource, device in self.held)

def play(root, steps, pods="ab"):
    root = pathlib.Path(root)
    groups = root / "sys/fs/cgroup"
    write(groups / "cgroup.controllers", "cpu\\n")
    write(root / "proc/stat", "cpu  0 0 0 0 0 0 0 0 0 0\\ncpu0 0\\n")
    for n, pod in enumerate(pods):
        name = "kubepods-pod" + UIDS[pod].replace("-", "_") + ".slice"
        write(groups / "kubepods.slice" / name / "cpu.stat", "usage_usec 0\\n")
        (root / "logs" / f"ml_{pod}_{UIDS[pod]}").mkdir(parents=True)
        write(root / f"proc/{7 + n}/cgroup", f"0::/kubepods.slice/{name}/x.scope\\n")
    os.environ |= {"FAKE_NVML_CLOCK": "0", "FAKE_NVML": "dark1", "FAKE_NVML_PROCESSES": ""}
    watts = ctypes.CDLL("libnvidia-ml.so.1").fake_power_mw
    host = Host(sys=root / "sys", proc=root / "proc", clock=clock)
    found = Discovery(sources=(Nvml(pynvml),), statuses=())
    settings = Settings(sysfs=host.sys, procfs=host.proc, pod_logs=root / "logs",
                        container_logs=root / "logs", pod_uid="none")
    kubelet = Kubelet()
    exporter = EnergyExporter(settings, find=lambda: found, allocator=kubelet, clock=clock,
                              gpus=lambda: open_gpus(pynvml, clock=clock))
    with exporter:
        now = 0.0
        for cycles, words, processes, held, power_w in steps:
            os.environ |= {"FAKE_NVML": words, "FAKE_NVML_PROCESSES": processes}
            kubelet.held = held
            watts(int(1000 * power_w))
            for _ in range(cycles):
                now += 5.0
                os.environ["FAKE_NVML_CLOCK"] = str(now)
                exporter.cycle()
        rows = {}
        for family in exporter.scrape._snapshot.families:
            rows[family.metric.series] = [[list(map(str, v)), x] for v, x in family.samples]
    print(json.dumps(rows))
"""

_REST: tuple[int, str, str, tuple[tuple[str, str, str], ...], float] = (12, "dark1", "", (), 50.0)
"""A minute without work teaches what the GPU draws at rest."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the compiled library."""
    return compile_nvml(tmp_path_factory.mktemp("nvml"))


def play(library: Path, root: Path, *steps: tuple[object, ...], pods: str = "ab") -> Any:
    """Let the exporter watch a GPU through the steps; return what it told of each pod on it.

    A step: cycles of 5 s, words for the library, processes, who holds which device, and watts.
    """
    code = PLAY + f"play({str(root)!r}, {list(steps)!r}, {pods!r})"
    rows = run_with(library, code, FAKE_NVML_ACTIVITY="1:80,2:50")
    energies = rows.get("joulery_pod_energy_joules_total", [])
    parts = {
        labels[2]: value
        for labels, value in rows["joulery_node_energy_joules_total"]
        if labels[0] == "gpu-0"
    }
    pods_j = {labels[1]: value for labels, value in energies if labels[3] == "gpu-0"}
    counted = sum(
        v for labels, v in rows["joulery_device_energy_joules_total"] if labels[1] == "gpu"
    )
    assert sum(parts.values()) == pytest.approx(counted)
    assert sum(pods_j.values()) == pytest.approx(parts["pods"], abs=1e-6)
    return pods_j, parts, rows


_NEAR = 0.1
"""What is learned of a GPU's idle power in a minute leaves so much doubt about its active part."""


def test_pods_share_a_gpu_by_their_processes(library: Path, tmp_path: Path) -> None:
    """Processes that take turns give their pods joules by SM utilisation, through their cgroups."""
    held = (("a", "nvidia.com/gpu", "GPU-aaaa::0"), ("b", "nvidia.com/gpu", "GPU-aaaa::1"))
    work = (24, "dark1", "7:60:C,8:20:C", held, 210.0)
    pods_j, parts, _ = play(library, tmp_path, _REST, work)
    active_j = 160.0 * 24 * 5
    assert pods_j["a"] + pods_j["b"] == pytest.approx(active_j, rel=_NEAR)
    assert pods_j["a"] / pods_j["b"] == pytest.approx(3.0, rel=0.02)
    assert parts["idle"] == pytest.approx(50.0 * 36 * 5, rel=_NEAR)


def test_a_pod_that_has_the_gpu_to_itself_gets_all_of_it(library: Path, tmp_path: Path) -> None:
    """The one pod that a whole GPU is allocated to has its activity, whatever process causes it."""
    held = (("a", "nvidia.com/gpu", "GPU-aaaa"),)
    pods_j, parts, _ = play(
        library, tmp_path, _REST, (24, "dark1", "99:60:C", held, 210.0), pods="ab"
    )
    assert set(pods_j) == {"a"}
    assert pods_j["a"] == pytest.approx(160.0 * 24 * 5, rel=_NEAR)
    assert parts["system"] == pytest.approx(0.0, abs=1e-6)


def test_processes_of_no_pod_are_the_systems(library: Path, tmp_path: Path) -> None:
    """Work of a process that belongs to no pod stands under system."""
    pods_j, parts, _ = play(library, tmp_path, _REST, (24, "dark1", "99:60:C", (), 210.0))
    assert pods_j == {}
    assert parts["system"] == pytest.approx(160.0 * 24 * 5, rel=_NEAR)


def test_clients_of_mps_are_told_apart(library: Path, tmp_path: Path) -> None:
    """MPS clients of two pods share by their own utilisation; the server is nobody."""
    work = (24, "dark1", "7:40:M,8:20:M,9:0:S", (), 210.0)
    pods_j, _, _ = play(library, tmp_path, _REST, work)
    assert pods_j["a"] / pods_j["b"] == pytest.approx(2.0, rel=0.02)


def test_mig_devices_belong_to_their_holders(library: Path, tmp_path: Path) -> None:
    """A GPU cut by MIG is shared by slices times activity, each device its pod's."""
    held = (("a", "nvidia.com/mig-3g.40gb", "MIG-aaaa"), ("b", "nvidia.com/mig-1c", "MIG-bbbb"))
    pods_j, parts, _ = play(library, tmp_path, _REST, (24, "dark1,mig", "", held, 210.0))
    # 3/7 of the slices 80 % busy, 2/7 50 % busy and shared with a device that nobody holds.
    assert pods_j["a"] / pods_j["b"] == pytest.approx(2.4 / 0.5, rel=0.02)
    assert parts["system"] == pytest.approx(pods_j["b"], rel=0.02)


def test_a_lost_gpu_is_nobodys_time(library: Path, tmp_path: Path) -> None:
    """While a GPU is lost its energy is unknown, told as a gap and a problem; it goes on after."""
    held = (("a", "nvidia.com/gpu", "GPU-aaaa"),)
    _, _, rows = play(
        library,
        tmp_path,
        _REST,
        (6, "dark1", "7:60:C", held, 210.0),
        (3, "dark1,lost0", "7:60:C", held, 210.0),
        (6, "dark1", "7:60:C", held, 210.0),
    )
    problems = {labels[0] for labels, _ in rows["joulery_exporter_problems_total"]}
    assert "gpu-0: SourceFailed" in problems
    gaps = [labels for labels, _ in rows["joulery_source_gaps_total"]]
    assert ["nvml", "gpu-0", "failed"] in gaps
