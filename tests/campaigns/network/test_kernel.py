"""Conditions that the kernel makes: in a network namespace of their own, and where it has none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from joulery.campaigns.campaign import Campaign
from joulery.campaigns.network.netem import netem_state
from joulery.campaigns.spec_file import load_spec
from joulery.errors import SpecError

from ...conftest import absent, require_program
from ..command import joulery

_HERE = Path(__file__).parent
_READY = "ip link set lo up && ip link add eth9 type ifb && ip link set eth9 up && exec "

_SPEC = """\
name: far
scenarios:
  - scenario: traffic_prediction
    {where}
    factors: {{model: [ridge]}}
loads: [{{arrival: poisson, rate_hz: 50}}]
networks: [{network}]
slo: {{latency_s: 0.1, percentile: 0.5}}
"""
_ELSEWHERE = 'endpoint: {url: "http://127.0.0.1:9"}'


def test_on_a_device_of_its_own(tmp_path: Path) -> None:
    """All that `kernel_apart` tests; nothing of it can reach this machine's own devices."""
    environment = dict(os.environ)
    if netem_state().state != "good":
        (tmp_path / "tc").symlink_to(_HERE / "stand_in_tc.sh")
        environment |= {
            "REAL_TC": require_program("tc"),
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "STAND_IN": "yes",
        }
    spaces = ["-n"] if os.geteuid() == 0 else ["-r", "-n"]
    apart = [require_program("unshare"), *spaces, "sh", "-c"]
    if subprocess.run([*apart, f"{_READY} true"], capture_output=True, check=False).returncode:
        absent("no network namespace with a device can be made")
    done = subprocess.run(
        [
            *(*apart, f'{_READY} "$@"', "sh", sys.executable, "-m", "pytest", "-q", "-rs"),
            *(str(_HERE / "kernel_apart.py"), f"--basetemp={tmp_path / 'apart'}"),
        ],
        env=environment,
        cwd=_HERE.parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


def test_a_kernel_without_it(tmp_path: Path) -> None:
    """The campaign is refused before anything begins, with what does the same."""
    if netem_state().state == "good":
        pytest.skip("this kernel has netem")
    devices = sorted(path.name for path in Path("/sys/class/net").iterdir() if path.name != "lo")
    if not devices:
        pytest.skip("this machine has no network device")
    network = f"{{preset: wifi, device: {devices[0]}}}"
    (tmp_path / "a.yaml").write_text(_SPEC.format(where=_ELSEWHERE, network=network))
    refused = joulery("run", tmp_path / "a.yaml", "--out", tmp_path / "out", "--plain", code=1)
    assert f"network wifi on {devices[0]}" in refused.stderr
    assert "without `device` the link emulator does it" in refused.stderr
    assert not (tmp_path / "out.campaign").exists()


@pytest.mark.parametrize(
    ("where", "network", "words"),
    [
        ("", "{preset: wifi, device: eth9}", r"networks\[0\]\.device: .*on this machine"),
        (_ELSEWHERE, "{trace: a.csv, device: eth9}", "trace or device"),
        (_ELSEWHERE, "{preset: wifi, device: 'eth9; reboot'}", r"networks\[0\]\.device"),
    ],
)
def test_what_cannot_be_written(where: str, network: str, words: str, tmp_path: Path) -> None:
    """A service of this machine is reached over no device; figures that change the emulator has."""
    (tmp_path / "a.yaml").write_text(_SPEC.format(where=where, network=network))
    with pytest.raises(SpecError, match=words):
        Campaign(load_spec(tmp_path / "a.yaml"), subject="a.yaml", out=tmp_path / "out")
