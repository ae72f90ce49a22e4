"""The doctor: what this machine can measure, and what to do about the rest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from joulery.campaigns.doctor import Check, checks, tree_checks
from joulery.campaigns.environment import environment
from joulery.campaigns.recorded import recorded_host
from joulery.errors import SpecError
from joulery.profiler.host import Host

from ..unprivileged import open_folder, run_unprivileged

_COMMAND = ("-m", "joulery.cli", "doctor")


def _by_name(found: Host | None = None, modules: Path = Path("/lib/modules")) -> dict[str, Check]:
    return {row.what: row for _, rows in checks(found, modules) for row in rows}


def _doctor(*options: str, columns: int = 100) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *_COMMAND, *options],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": str(columns)},
    )


def _rows(text: str) -> dict[str, str]:
    """Return what the table says of each thing, lines of one row joined."""
    rows: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("  ") and line[2:3].strip():
            name, _, rest = line.strip().partition("  ")
            rows[name] = [rest.strip()]
        elif line.startswith("   ") and name:
            rows[name].append(line.strip())
    return {name: " ".join(lines) for name, lines in rows.items()}


@pytest.mark.parametrize("columns", [80, 120])
def test_this_machine_is_told_in_a_table_and_the_exit_is_0(columns: int) -> None:
    """Whatever the machine lacks, every row is there, whole, in a terminal of any width."""
    done = _doctor(columns=columns)
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= columns
    rows = _rows(done.stdout)
    for word in ("powercap", "nvml", "processes", "monotonic clock", "CPUs", "control groups"):
        assert word in rows
    assert "cycles" in done.stdout


def test_every_row_that_is_not_good_says_why() -> None:
    """A state that limits what can be measured comes with what was found."""
    for _, rows in checks():
        for row in rows:
            assert row.found
            assert row.colour in {"green", "yellow", "red", "dim"}
            if row.state in {"limited", "forbidden"}:
                assert row.remedy


def test_a_recorded_tree_tells_of_itself_only(test_data: Path) -> None:
    """A copy of /sys shows its counters, and neither drivers, clocks nor CPUs of this machine."""
    folder = test_data / "power/sysfs/two_socket_dram"
    done = _doctor("--sysfs", str(folder / "sys"))
    assert done.returncode == 0, done.stderr
    rows = _rows(done.stdout)
    assert rows["powercap"].startswith("measured")
    for domain in ("package-0:", "package-0/dram:", "package-1:", "package-1/dram:"):
        assert domain in rows["powercap"]
    assert "driver (" not in done.stdout
    assert not {"monotonic clock", "CPUs", "ONNX providers", "perf events"} & rows.keys()
    assert str(test_data) not in done.stdout
    assert _doctor("--sysfs", str(folder)).stdout == done.stdout


def test_a_zone_keeps_its_name(test_data: Path) -> None:
    """A zone called intel-rapl:a is printed as it is called, and not as an emoji."""
    done = _doctor("--sysfs", str(test_data / "power/sysfs/procfs_powercap"))
    assert "intel-rapl:a" in done.stdout


def test_a_recorded_tree_with_more_than_counters(test_data: Path, tmp_path: Path) -> None:
    """Governor, processor and control groups are told where the copy shows them."""
    trees = test_data / "cgroup/trees/docker_v1_and_v2"
    shutil.copytree(trees / "sys", tmp_path / "sys")
    cpufreq = tmp_path / "sys/devices/system/cpu/cpu0/cpufreq"
    cpufreq.mkdir(parents=True)
    (cpufreq / "scaling_governor").write_text("powersave\n")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor : 0\nmodel name : Some Xeon\n")
    rows = {row.what: row for _, some in tree_checks(recorded_host(tmp_path)) for row in some}
    assert rows["powercap"].state == "absent"
    assert rows["control groups"].found == "version 1"
    assert rows["CPU frequency"].found == "governor powersave"
    assert rows["machine"].found == "Some Xeon, bare metal"


@pytest.mark.parametrize("kind", ["missing", "file", "other"])
def test_a_folder_that_is_no_copy_of_sysfs(tmp_path: Path, kind: str) -> None:
    """What is no copy of /sys is the user's mistake: exit 2, what is there, what should be."""
    (tmp_path / "file").write_text("")
    (tmp_path / "other/pictures").mkdir(parents=True)
    done = _doctor("--sysfs", str(tmp_path / kind))
    assert done.returncode == 2
    assert "--sysfs" in done.stderr
    assert "copy of /sys" in " ".join(done.stderr.split())
    with pytest.raises(SpecError, match="pictures" if kind == "other" else kind):
        recorded_host(tmp_path / kind)


def test_counters_that_only_root_may_read_are_forbidden(test_data: Path) -> None:
    """The real command of a user without rights says forbidden and what to do, not absent."""
    with open_folder() as tree:
        shutil.copytree(test_data / "power/sysfs/two_socket_dram", tree, dirs_exist_ok=True)
        for path in tree.rglob("energy_uj"):
            path.chmod(0o400 if os.geteuid() == 0 else 0)
        tree.chmod(0o755)
        done = run_unprivileged(*_COMMAND, "--sysfs", str(tree), environment={"COLUMNS": "120"})
    assert done.returncode == 0, done.stderr
    row = _rows(done.stdout)["powercap"]
    assert row.startswith("forbidden")
    assert "→" in row
    assert "chmod a+r /sys/class/powercap" in row


@pytest.mark.parametrize("mode", [0, 0o444])
@pytest.mark.parametrize("folder", ["class", "class/powercap", "class/powercap/intel-rapl:0"])
def test_folders_that_may_not_be_looked_into_are_forbidden(
    test_data: Path, folder: str, mode: int
) -> None:
    """A closed folder of a copy is forbidden with a remedy, and nothing in it is called absent."""
    with open_folder() as tree:
        shutil.copytree(test_data / "power/sysfs/two_socket_dram", tree / "copy")
        (tree / "copy/sys" / folder).chmod(mode)
        done = run_unprivileged(*_COMMAND, "--sysfs", str(tree / "copy"))
        (tree / "copy/sys" / folder).chmod(0o755)
    assert done.returncode == 0, done.stderr
    row = _rows(done.stdout)["folders"]
    assert row.startswith("forbidden")
    assert f"/sys/{folder}" in row.replace(" ", "")
    assert "a+rX" in row
    assert "absent" not in done.stdout


def test_a_user_without_rights_is_told_what_this_machine_forbids() -> None:
    """Without rights the command succeeds on the machine at hand, and perf events are forbidden."""
    done = run_unprivileged(*_COMMAND, environment={"COLUMNS": "120"})
    assert done.returncode == 0, done.stderr
    row = _rows(done.stdout)["perf events"]
    if int(Path("/proc/sys/kernel/perf_event_paranoid").read_text()) >= 2:
        assert row.startswith("forbidden")
        assert "sysctl kernel.perf_event_paranoid" in row


@pytest.fixture
def sensor_machine(test_data: Path, tmp_path: Path) -> Host:
    """A machine with recorded RAPL counters and this machine's procfs."""
    shutil.copytree(test_data / "power/sysfs/two_socket_dram/sys", tmp_path / "sys")
    return Host(sys=tmp_path / "sys")


def test_a_machine_with_sensors_needs_no_estimate(sensor_machine: Host) -> None:
    """Recorded RAPL counters are measured, and then nothing is estimated."""
    found = _by_name(sensor_machine)
    assert found["powercap"].state == "measured"
    assert "estimate" not in found


def test_a_kernel_with_the_emulator_is_seen(tmp_path: Path) -> None:
    """A module that is listed for the kernel counts, loaded or not."""
    kernel = environment()["system"]
    assert isinstance(kernel, dict)
    folder = tmp_path / str(kernel["kernel"])
    folder.mkdir()
    (folder / "modules.builtin").write_text("kernel/net/sched/sch_netem.ko\n")
    assert _by_name(modules=tmp_path)["network emulation"].state == "good"


def test_the_environment_is_json_without_holes() -> None:
    """Hardware, system, clock and packages are there, and what is unknown is null."""
    found = json.loads(json.dumps(environment(), allow_nan=False))
    assert found["machine"]["cpus"] >= 1
    assert found["clock"]["resolution_s"] > 0
    assert found["software"]["packages"]["onnxruntime"]
    assert set(found["power_management"]) >= {"governor", "boost"}
