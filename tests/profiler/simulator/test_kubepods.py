"""The mirror's own reader of pods' control groups, on files laid out as the kubelet does."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

import pytest

from joulery.profiler.simulator.kubepods import Kubepods

from .groups import ALONE, SYSTEMD, SYSTEMD_POD, Files


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Return an empty hierarchy of files."""
    return Files(tmp_path / "host")


@pytest.mark.parametrize(
    "pod",
    [
        f"kubepods/pod{ALONE}",
        f"kubepods/besteffort/pod{ALONE}",
        f"kubepods.slice/kubepods-pod{ALONE.replace('-', '_')}.slice",
        SYSTEMD_POD,
        f"kubelet-kubepods.slice/kubelet-kubepods-pod{ALONE.replace('-', '_')}.slice",
    ],
)
def test_pods_are_found_by_both_drivers_names(files: Files, pod: str) -> None:
    """Guaranteed or not, by cgroupfs or systemd: a pod's uid and its work, containers within it."""
    parents = list(Path(pod).parents)[:-1]
    for name in (*map(str, parents), pod, f"{pod}/cri-containerd-1.scope", "system.slice/podman"):
        files.use(name, 10.0)
    with Kubepods(files.cgroupfs) as pods:
        assert pods.look(0.0) == {ALONE: 0.0}
        for name in (*map(str, parents), pod, f"{pod}/cri-containerd-1.scope"):
            files.use(name, 10.25)
        assert pods.look(1.0) == {ALONE: pytest.approx(0.25)}


def test_version_one_is_read_under_cpuacct(tmp_path: Path) -> None:
    """In version 1 the mount's `cpuacct` is found, whatever other controllers are beside it."""
    pod = tmp_path / f"cpu,cpuacct/kubepods/burstable/pod{ALONE}"
    (tmp_path / "memory/kubepods").mkdir(parents=True)
    pod.mkdir(parents=True)
    for folder in (pod, pod.parent, pod.parents[1]):
        (folder / "cpuacct.usage").write_text("5000000000\n")
    with Kubepods(tmp_path) as pods:
        assert pods.look(0.0) == {ALONE: 0.0}
        (pod / "cpuacct.usage").write_text("5500000000\n")
        assert pods.look(1.0) == {ALONE: pytest.approx(0.5)}


def test_pods_come_and_go(files: Files) -> None:
    """A new pod has all it used; ended ones share what the group above counted more than others."""
    files.use("kubepods", 0.0)
    with Kubepods(files.cgroupfs) as pods:
        assert pods.look(0.0) == {}
        files.use("kubepods/pod1", 0.3)
        files.use("kubepods/pod2", 0.1)
        files.use("kubepods/pod3", 0.2)
        files.use("kubepods", 0.6)
        assert pods.look(1.0) == pytest.approx({"1": 0.3, "2": 0.1, "3": 0.2})
        shutil.rmtree(files.cgroupfs / "kubepods/pod1")
        shutil.rmtree(files.cgroupfs / "kubepods/pod2")
        files.use("kubepods/pod3", 0.5)
        files.use("kubepods", 1.1)
        assert pods.look(1.0) == pytest.approx({"1": 0.15, "2": 0.05, "3": 0.3})
        files.use("kubepods/pod1", 0.1)
        files.use("kubepods", 1.2)
        assert pods.look(1.0) == pytest.approx({"1": 0.1, "3": 0.0})


def test_what_was_there_before_does_not_count(files: Files) -> None:
    """A pod that comes into sight with more work than the time allows counts from now."""
    with Kubepods(files.cgroupfs) as pods:
        assert pods.look(0.0) == {}
        for name in ("kubepods", f"kubepods/pod{ALONE}"):
            files.use(name, 3600.0)
        assert pods.look(1.0) == {ALONE: 0.0}
        assert pods.found


def test_no_file_stays_open(files: Files) -> None:
    """Pods that came and went, and a closed reader, leave no file open."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    with Kubepods(files.cgroupfs) as pods:
        for _ in range(5):
            uids = [str(uuid.uuid4()) for _ in range(3)]
            for name in ("kubepods", SYSTEMD, *(f"kubepods/pod{uid}" for uid in uids)):
                files.use(name, 0.0)
            files.use("kubepods.slice", 0.0)
            pods.look(1.0)
            shutil.rmtree(files.cgroupfs / "kubepods")
            shutil.rmtree(files.cgroupfs / SYSTEMD)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
