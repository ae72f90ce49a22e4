"""What `test_kernel` runs in a network namespace that has a device `eth9`: its kernel is real.

Where that kernel has no netem, `tc` is one that takes plain queues for it and leaves filters out
(`stand_in_tc`): who puts what where, and that it goes again, is the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from joulery.campaigns.network.conditions import Conditions, Link
from joulery.campaigns.network.kernel import KernelNetwork
from joulery.campaigns.scenarios import scenario
from joulery.datasets.store import load
from joulery.errors import SpecError, TrialError
from joulery.profiler.host import Host

from ..command import joulery, running, wait_for_trials
from ..scenarios.serving import Server

_FAR = Conditions(name="far", up=Link(delay_s=0.01), down=Link(delay_s=0.02), device="eth9")

_KILLED = """
import os, signal, sys
from pathlib import Path
from joulery.campaigns.network.kernel import KernelNetwork
from joulery.profiler.host import Host
from joulery.tests.campaigns.network.kernel_apart import _FAR
with KernelNetwork(Host(), Path(sys.argv[1])).held(_FAR):
    os.kill(os.getpid(), signal.SIGKILL)
"""

_CAMPAIGN = """\
name: far
scenarios:
  - scenario: traffic_prediction
    endpoint: {{url: "{url}"}}
    factors: {{model: [ridge]}}
loads: [{{arrival: poisson, rate_hz: 50}}]
networks: [{{name: far, device: eth9, up: {{delay_s: 0.01}}}}]
repeats: {repeats}
trial: {{idle_s: 0.1, warmup_round_s: 0.1, warmup_max_s: 0.5, window_s: {window_s}}}
slo: {{latency_s: 0.1, percentile: 0.5}}
limits: {{send_lag_p99_s: 0.5, steady_ratio: 5, subwindow_cv_ratio: 5, neighbour_ratio: 0.99}}
"""


def _queues(device: str = "eth9") -> list[str]:
    """Return the kinds of queues at a device that somebody put there."""
    told = subprocess.run(
        ["tc", "-j", "qdisc", "show", "dev", device], capture_output=True, text=True, check=True
    )
    return [one["kind"] for one in json.loads(told.stdout) if one["handle"] != "0:"]


def _links() -> set[str]:
    told = subprocess.run(["ip", "-j", "link"], capture_output=True, text=True, check=True)
    return {one["ifname"] for one in json.loads(told.stdout)}


def _is_clean() -> bool:
    return _queues() == [] and "joulery0" not in _links()


@pytest.fixture
def network(tmp_path: Path) -> KernelNetwork:
    """The networks of this kernel."""
    return KernelNetwork(Host(), tmp_path / "kept")


def test_conditions_hold_for_the_block(network: KernelNetwork, tmp_path: Path) -> None:
    """Both directions get their queues, and all of it goes again, after an error too."""
    network.check(_FAR, "a.yaml", "networks[0]")
    with contextlib.suppress(ZeroDivisionError), network.held(_FAR):
        root, ingress = _queues()
        assert (root in ("netem", "pfifo"), ingress) == (True, "ingress")
        assert _queues("joulery0") == [root]
        with pytest.raises(TrialError, match=r"found .*ingress ffff:.*another campaign"):
            network.check(_FAR, "a.yaml", "networks[0]")
        raise ZeroDivisionError
    assert _is_clean()
    assert list((tmp_path / "kept").iterdir()) == []


def test_what_a_kill_left_goes_once(network: KernelNetwork, tmp_path: Path) -> None:
    """After SIGKILL the device is changed, and the next look puts it right."""
    ended = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path / "kept")], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not _is_clean()
    assert network.restore()
    assert _is_clean()
    assert not network.restore()


def test_queues_of_others_stay(network: KernelNetwork) -> None:
    """A device that has its owner's is refused, and left as it is."""
    subprocess.run(["tc", "qdisc", "add", "dev", "eth9", "root", "pfifo", "limit", "7"], check=True)
    try:
        with pytest.raises(TrialError, match="found pfifo"), network.held(_FAR):
            pass
        assert _queues() == ["pfifo"]
        assert not network.restore()
        assert _queues() == ["pfifo"]
    finally:
        subprocess.run(["tc", "qdisc", "del", "dev", "eth9", "root"], check=True)


def test_what_the_kernel_refuses_midway_is_undone(
    network: KernelNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command and its answer are told."""
    monkeypatch.setenv("REFUSED", "filter")
    if not os.environ.get("STAND_IN"):
        pytest.skip("the real tc cannot be made to refuse")
    with (
        pytest.raises(TrialError, match=r"tc filter add .*: no filters today.*without `device`"),
        network.held(_FAR),
    ):
        pass
    assert _is_clean()


@pytest.mark.parametrize(
    ("device", "words"),
    [("eth8", "found 'eth8', expected one of eth9"), ("lo", "requests and answers leave alike")],
)
def test_a_device_that_cannot_be(network: KernelNetwork, device: str, words: str) -> None:
    """One that is not there, or that tells no directions apart, is refused with its place."""
    wrong = Conditions(name="far", up=Link(delay_s=0.01), device=device)
    with pytest.raises(SpecError, match=rf"a\.yaml, networks\[3\]\.device: .*{words}"):
        network.check(wrong, "a.yaml", "networks[3]")


def test_a_campaign_and_its_death(tmp_path: Path) -> None:
    """Trials go straight to the service, over a changed device; a killed run is put right."""
    path = scenario("traffic_prediction").prepare(None, Path()).model_path("ridge", "fp32")
    spec, out = tmp_path / "far.yaml", tmp_path / "out"
    with Server(path, name="ridge") as server:
        spec.write_text(_CAMPAIGN.format(url=server.url, repeats=1, window_s=0.5))
        joulery("run", spec, "--out", out, "--plain")
        [trial] = load(out).trials.to_dict("records")
        assert (trial["verdict"], trial["network"]) == ("valid", "far"), trial["reasons"]
        assert trial["link_cpu_s"] != trial["link_cpu_s"]  # null: no emulator had a part in it
        assert _is_clean()

        spec.write_text(_CAMPAIGN.format(url=server.url, repeats=2, window_s=4))
        out = tmp_path / "killed"
        with running("run", spec, "--out", out, "--plain") as runner:
            wait_for_trials(tmp_path / "killed.campaign/journal.sqlite", 1, runner)
            while _is_clean():
                assert runner.poll() is None
            runner.kill()
        assert not _is_clean()
        done = joulery("run", spec, "--out", out, "--plain", "--resume")
        assert "an earlier run left a network device changed; it is as it was" in done.stdout
        assert len(load(out).trials) == 2
    assert _is_clean()
