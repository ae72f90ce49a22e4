"""Furiosa cards through the real furiosa_smi, on a tree of the files that its driver makes.

The layout is what the vendor's binding 2026.4 reads: PCI device and hwmon channels, `rngd_mgmt`
class, and files of /dev/rngd. A preloaded library lets it look below the test's folder.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ...conftest import absent, require_program

PROBE = """
import json, os, pathlib, time
from joulery.errors import SourceError
from joulery.profiler.host import Host
from joulery.profiler.sources.openers import furiosa
now_s = [100.0]
metrics = pathlib.Path(os.environ["ROOTED"], "sys/class/rngd_mgmt/rngd!npu0pe0/metrics")
try:
    source = furiosa(Host(clock=lambda: now_s[0]))
    samples = [[r.domain.name, r.value] for r in source.sample()]
    busy = [source.busy_s()]
    for cycles, tasks in ((0x300, 0x180), (0x10, 0x10)):  # half busy, then another process
        metrics.write_text(f"CycleCount: {cycles:#x}\\nTaskCycleCount: {tasks:#x}\\n")
        now_s[0] += 8.0
        busy.append(source.busy_s())
    print(json.dumps({
        "domains": [[d.name, d.form, str(d.kind), d.summed, d.max_power_w, d.note]
                    for d in source.domains],
        "sample": samples,
        "busy": busy,
    }))
except SourceError as error:
    print(json.dumps({"error": type(error).__name__, "text": str(error)}))
"""


@pytest.fixture(scope="module")
def rooted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the compiled library that moves a process's view of /sys."""
    if importlib.util.find_spec("furiosa_smi") is None:
        absent("the package furiosa-smi is not installed")
    target = tmp_path_factory.mktemp("rooted") / "rooted.so"
    source = str(Path(__file__).with_name("rooted.c"))
    gcc = require_program("gcc")
    subprocess.run([gcc, "-shared", "-fPIC", "-o", str(target), source, "-ldl"], check=True)
    return target


def write(root: Path, files: dict[str, str]) -> None:
    """Write files below a root."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """Return a machine with one RNGD card of which one core is in use."""
    device, bus = "sys/devices/pci0000:00/0000:03:00.0", tmp_path / "sys/bus/pci/devices"
    write(
        tmp_path,
        {
            f"{device}/vendor": "0x1ed2\n",
            f"{device}/device": "0x0001\n",
            f"{device}/numa_node": "0\n",
            f"{device}/driver/module": "",
            f"{device}/hwmon/hwmon0/power1_label": "RMS_TOTAL\n",
            f"{device}/hwmon/hwmon0/power1_average": "38500000\n",
            f"{device}/hwmon/hwmon0/power1_max": "180000000\n",
            "sys/class/rngd_mgmt/rngd!npu0mgmt/busname": "0000:03:00.0\n",
            "sys/class/rngd_mgmt/rngd!npu0mgmt/device_uuid": "UUID\n",
            "sys/class/rngd_mgmt/rngd!npu0mgmt/device_sn": "SN\n",
            "sys/class/rngd_mgmt/rngd!npu0mgmt/pe_occupancy": "1\n0\n",
            "sys/class/rngd_mgmt/rngd!npu0pe0/metrics": "CycleCount: 0x100\nTaskCycleCount: 0x80\n",
            **{f"dev/rngd/npu0{part}": "" for part in ("mgmt", "", "pe0", "pe1")},
        },
    )
    bus.mkdir(parents=True)
    (bus / "0000:03:00.0").symlink_to(tmp_path / device)
    return tmp_path


def probe(rooted: Path, root: Path) -> Any:
    """Open the source in a process that sees a machine below `root`."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROBE],
        env=os.environ | {"LD_PRELOAD": str(rooted), "ROOTED": str(root)},
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout)


def test_power_in_watts(rooted: Path, card: Path) -> None:
    """A card's power comes in watts, gated by twice its limit, and is summed: it is a device."""
    found = probe(rooted, card)
    assert found["domains"] == [["npu0", "power", "npu", True, 360.0, "0000:03:00.0, UUID"]]
    assert found["sample"] == [["npu0", 38.5]]


def test_busy_seconds_are_the_mean_over_cores(rooted: Path, card: Path) -> None:
    """Half of one of two cores for 8 s is 2 s; counters that start again take nothing away."""
    assert probe(rooted, card)["busy"] == [{"npu0": 0.0}, {"npu0": 2.0}, {"npu0": 2.0}]


def test_no_card(rooted: Path, tmp_path: Path) -> None:
    """A machine without a card has no such sensor."""
    (tmp_path / "sys/bus/pci/devices").mkdir(parents=True)
    found = probe(rooted, tmp_path)
    assert (found["error"], found["text"]) == ("SourceUnavailable", "furiosa: found no card")


def test_a_card_without_driver_or_channel(rooted: Path, card: Path) -> None:
    """A card without its driver is an absence, one with a garbled power a failure; none is 0."""
    hwmon = card / "sys/devices/pci0000:00/0000:03:00.0/hwmon/hwmon0"
    (hwmon / "power1_average").write_text("nonsense\n")
    assert probe(rooted, card)["error"] == "SourceFailed"
    driver = hwmon.parents[1] / "driver"
    (driver / "module").unlink()
    driver.rmdir()
    assert probe(rooted, card)["error"] == "SourceUnavailable"
