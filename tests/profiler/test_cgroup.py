"""CPU time of control groups: recorded trees of both versions, and a real group of this kernel."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulery.errors import SourceFailed, SourceUnavailable
from joulery.profiler.cgroup import (
    CgroupCpu,
    cpu_root,
    own_group,
    parse_cpu_stat,
    parse_cpuacct,
    parse_groups,
)
from joulery.profiler.host import Host

from ..conftest import absent
from ..unprivileged import open_folder, run_unprivileged

BURN = "import time\nwhile time.process_time() < {s}: pass\n"
_DOCKER = "docker/b29faf21b7eff959f64b4192c34d5d67a707fe8561e9eaa608cb27693fba4242"
_SCOPE = "docker-1c8fa019edd4b9d4b2856f4932c55929c5c118c808ed5faee9a135ca6e84b039.scope"
_EKS = (
    "kubepods.slice/kubepods-burstable.slice/"
    "kubepods-burstable-pod7a96c459_d529_44ae_9f99_90d3798d6426.slice/"
    "cri-containerd-1d3d308a7d48a27814a68bf33a44acf4441c9c02463ca0bc1cdfdc8c0b4a8496.scope"
)


@pytest.fixture
def trees(test_data: Path) -> Path:
    """Return the folder of recorded control groups."""
    return test_data / "cgroup/trees"


@pytest.fixture
def group() -> Iterator[Path]:
    """Return a new, real control group of this machine; the test may remove it itself."""
    path = cpu_root(Host()) / f"joulery-test-{os.getpid()}"
    try:
        path.mkdir()
    except OSError as error:
        absent(f"no control group can be made here: {error}")
    yield path
    if path.exists():
        path.rmdir()


def _run_in(group: Path, program: str) -> float:
    """Run a program within a group to its end; return its CPU seconds, as the kernel's rusage."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    enter = f"import os\nopen({str(group / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
    subprocess.run([sys.executable, "-S", "-c", enter + program], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize(
    ("folder", "expected_s"),
    [
        (f"docker_v1_and_v2/sys/fs/cgroup/cpuacct/{_DOCKER}", 95.996653175),
        (f"docker_v1_and_v2/sys/fs/cgroup/system.slice/{_SCOPE}", 26772.130245),
        (f"eks_amzn2_v1_containerd/sys/fs/cgroup/cpu,cpuacct/{_EKS}", 124659.500367),
        (
            "user_session_v2/sys/fs/cgroup/user.slice/user-1000.slice/session-520.scope",
            3611.347518,
        ),
    ],
)
def test_recorded_groups_are_read(trees: Path, folder: str, expected_s: float) -> None:
    """Both versions, split and joined controllers: the recorded usage, in seconds."""
    with CgroupCpu(trees / folder) as reader:
        assert reader.cpu_s() == pytest.approx(expected_s, rel=1e-12)
        assert reader.resolution_s == (1e-9 if "cpuacct" in folder else 1e-6)


def test_version_one_throttling_is_no_usage(trees: Path) -> None:
    """The cpu.stat of version 1 holds no CPU time: unavailable with the remedy, not zero."""
    with pytest.raises(SourceUnavailable, match="cpuacct") as caught:
        CgroupCpu(trees / "docker_v1_and_v2/sys/fs/cgroup/cpu" / _DOCKER)
    assert caught.value.remedy


def test_a_real_group_counts_what_the_kernel_charges_its_processes(group: Path) -> None:
    """A busy process in a real group: the group's seconds are the process's own, by rusage."""
    with CgroupCpu(group) as reader:
        assert reader.cpu_s() == 0.0
        spent_s = _run_in(group, BURN.format(s=0.4))
        # What the interpreter did before it entered the group is not the group's.
        assert spent_s - 0.1 <= reader.cpu_s() <= spent_s + 0.02
        assert reader.cpu_s() >= 0.35


def test_a_group_that_ends_keeps_its_last_seconds(group: Path) -> None:
    """A removed group says it is gone, and the last seconds seen stay; its name may come again."""
    reader = CgroupCpu(group)
    _run_in(group, BURN.format(s=0.1))
    seen_s = reader.cpu_s()
    group.rmdir()
    with pytest.raises(SourceUnavailable, match="ended"):
        reader.cpu_s()
    group.mkdir()
    with pytest.raises(SourceUnavailable, match="ended"):
        reader.cpu_s()
    assert reader.last_s == seen_s > 0.05
    reader.close()
    with CgroupCpu(group) as again:
        assert again.cpu_s() == 0.0


def test_our_own_group_is_found() -> None:
    """The group this process is in is there, and working makes its seconds grow."""
    try:
        reader = CgroupCpu(own_group(Host()))
    except SourceUnavailable as error:
        absent(f"no control group counts CPU time here: {error}")
    with reader:
        before_s = reader.cpu_s()
        subprocess.run([sys.executable, "-S", "-c", BURN.format(s=0.1)], check=True)
        assert reader.cpu_s() >= before_s + 0.1


def test_the_seconds_never_fall(trees: Path, tmp_path: Path) -> None:
    """A smaller reading, as after a restored file, does not take back what was counted."""
    group = tmp_path / "group"
    shutil.copytree(trees / "docker_v1_and_v2/sys/fs/cgroup/system.slice" / _SCOPE, group)
    with CgroupCpu(group) as reader:
        (group / "cpu.stat").write_text("usage_usec 5\n")
        assert reader.cpu_s() == pytest.approx(26772.130245)


def test_groups_that_may_not_be_read(trees: Path) -> None:
    """A group that this user may not read is forbidden with a remedy, and not absent or zero."""
    program = (
        "import sys; from pathlib import Path; from joulery.errors import SourceForbidden\n"
        "from joulery.profiler.cgroup import CgroupCpu\n"
        "try: CgroupCpu(Path(sys.argv[1]))\n"
        "except SourceForbidden as error: print(error.remedy)\n"
    )
    with open_folder() as folder:
        group = folder / "group"
        shutil.copytree(trees / f"docker_v1_and_v2/sys/fs/cgroup/cpuacct/{_DOCKER}", group)
        (group / "cpuacct.usage").chmod(0)
        ended = run_unprivileged("-c", program, str(group))
    assert "root" in ended.stdout, ended.stderr


@pytest.mark.parametrize("made", [(), ("cgroup.procs",)])
def test_a_folder_that_is_no_such_group(tmp_path: Path, made: tuple[str, ...]) -> None:
    """A folder that is not there, or counts no CPU time, is unavailable."""
    group = tmp_path / "group"
    if made:
        group.mkdir()
    for name in made:
        (group / name).touch()
    with pytest.raises(SourceUnavailable, match="neither" if made else "no such group"):
        CgroupCpu(group)


def test_no_file_stays_open(trees: Path, tmp_path: Path) -> None:
    """Readers that were closed, and those that could not be made, leave no file open."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    for folder in ("cpu", "cpuacct"):
        path = trees / "docker_v1_and_v2/sys/fs/cgroup" / folder / _DOCKER
        for _ in range(10):
            try:
                CgroupCpu(path).close()
            except SourceUnavailable:
                assert folder == "cpu"
    (tmp_path / "cpuacct.usage").write_text("many")
    with pytest.raises(SourceFailed, match="many"):
        CgroupCpu(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@given(st.integers(0, 2**63))
def test_usage_is_read_in_its_unit(count: int) -> None:
    """Microseconds in version 2, nanoseconds in version 1, wherever the line stands."""
    assert parse_cpu_stat(f"nr_periods 1\nusage_usec {count}\nuser_usec 7\n") == count / 1e6
    assert parse_cpuacct(f"{count}\n") == count / 1e9


@pytest.mark.parametrize("text", ["", "usage_usec", "usage_usec -3\n", "usage_usec 1.5\n", "²\n"])
def test_what_is_no_count_is_a_failure(text: str) -> None:
    """A file cut short or garbled fails with what was found, and is never zero."""
    with pytest.raises(SourceFailed, match="expected"):
        parse_cpu_stat(text)
    with pytest.raises(SourceFailed, match="expected"):
        parse_cpuacct(text)


def test_recorded_memberships(test_data: Path) -> None:
    """The group of a process by controller, for version 1, version 2 and paths with colons."""
    elastic = parse_groups((test_data / "cgroup/proc/elastic_ubuntu1804_3757.txt").read_text())
    assert elastic["cpuacct"] == elastic["cpu"]
    kepler = parse_groups((test_data / "cgroup/proc/kepler_1337.txt").read_text())
    assert set(kepler) == {""}
    pod = parse_groups(
        (test_data / "cgroup/proc/spire_systemd_crio_cgroups_pid_in_pod.txt").read_text()
    )
    assert "kubepods" in pod["cpuacct"]
    assert parse_groups("4:memory:/a:b\nnonsense\n") == {"memory": "/a:b"}


def test_a_machine_without_control_groups(tmp_path: Path) -> None:
    """Without a hierarchy, or for a process that is gone, there is no group: unavailable."""
    host = Host(sys=tmp_path, proc=tmp_path)
    with pytest.raises(SourceUnavailable, match="hierarchy"):
        cpu_root(host)
    with pytest.raises(SourceUnavailable, match="control group"):
        own_group(host, 42)
