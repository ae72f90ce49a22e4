"""The doctor: what this machine can measure, and what to do about the rest."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from joulery.campaigns.doctor import Check, checks
from joulery.campaigns.environment import environment
from joulery.profiler.host import Host


def _by_name(found: Host | None = None, modules: Path = Path("/lib/modules")) -> dict[str, Check]:
    return {row.what: row for _, rows in checks(found, modules) for row in rows}


def test_this_machine_is_told_in_a_table_and_the_exit_is_0() -> None:
    """Whatever the machine lacks, every source has its row and the command succeeds."""
    done = subprocess.run(
        [sys.executable, "-m", "joulery.cli", "doctor"], capture_output=True, text=True, check=True
    )
    for word in ("powercap", "nvml", "monotonic clock", "CPUs", "control groups"):
        assert word in done.stdout


def test_every_row_that_is_not_good_says_why() -> None:
    """A state that limits what can be measured comes with what was found."""
    for row in _by_name().values():
        assert row.found
        assert row.colour in {"green", "yellow", "red", "dim"}
        if row.state in {"limited", "forbidden"}:
            assert row.remedy


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
