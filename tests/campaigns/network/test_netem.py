"""netem's arguments, read by the real `tc`, and whether it can be used here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from joulery.campaigns.network.conditions import Change, Conditions, Link
from joulery.campaigns.network.netem import (
    netem_arguments,
    netem_commands,
    netem_removal,
    netem_state,
)
from joulery.campaigns.network.presets import PRESETS
from joulery.errors import SpecError

from ...conftest import absent, require_program

LACKS = ("qdisc kind is unknown", "TC classifier not found", "Failed to load TC action module")
"""What a kernel without netem, or without the filter, answers to words that `tc` understood."""

ADD = ("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay")


def _in_a_network_of_its_own(command: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Run a command where it can harm nothing, on a mirror device that is made for it."""
    spaces = ["-n"] if os.geteuid() == 0 else ["-r", "-n"]
    ready = "ip link set lo up; ip link add ifb0 type ifb; tc qdisc add dev lo ingress; exec "
    return subprocess.run(
        [require_program("unshare"), *spaces, "sh", "-c", f'{ready} "$@"', "sh", *command],
        capture_output=True,
        text=True,
        check=False,
    )


def test_arguments() -> None:
    """Each figure is an argument of netem; what is perfect is none."""
    assert netem_arguments(Link(), rtt_s=0.0) == ("limit", "100000")
    link = Link(delay_s=0.01, jitter_s=0.002, rate_bps=8e7, loss_ratio=0.01)
    assert netem_arguments(link, rtt_s=0.188) == (
        *("limit", "1370", "delay", "12000us", "2000us", "distribution", "pareto"),
        *("loss", "random", "1.0000000%", "rate", "80000000bit"),
    )


def test_commands_per_direction() -> None:
    """Requests are shaped where they leave, answers on a mirror; each is undone."""
    up, down = Link(delay_s=0.01), Link(delay_s=0.02)
    only_up = Conditions(name="t", up=up)
    assert [one[:6] for one in netem_commands(only_up, device="eth9")] == [
        ("tc", "qdisc", "add", "dev", "eth9", "root")
    ]
    assert netem_removal(only_up, device="eth9") == (("tc", "qdisc", "del", "dev", "eth9", "root"),)
    both = netem_commands(Conditions(name="t", up=up, down=down), device="eth9", mirror="m")
    assert [one[0] for one in both] == ["tc", "ip", "ip", "tc", "tc", "tc"]
    assert "eth9" in both[0]
    assert both[-1][:7] == ("tc", "qdisc", "add", "dev", "m", "root", "netem")
    assert len(netem_removal(Conditions(name="t", up=up, down=down), device="eth9")) == 3


def test_the_real_tc_understands_every_preset() -> None:
    """`tc` parses each command; the kernel does it, or says that it has no such part."""
    require_program("tc")
    if _in_a_network_of_its_own(("true",)).returncode != 0:
        absent("no network namespace can be made")
    for conditions in PRESETS.values():
        for command in netem_commands(conditions, device="lo"):
            if command[0] != "tc" or command[-1] == "ingress":
                continue  # made ready above
            done = _in_a_network_of_its_own(command)
            assert done.returncode == 0 or any(what in done.stderr for what in LACKS), done.stderr
    wrong = _in_a_network_of_its_own((*ADD, "5parsec"))
    assert wrong.returncode != 0
    assert not any(what in wrong.stderr for what in LACKS)


def test_conditions_that_netem_cannot_have() -> None:
    """What changes with time is refused, with what does it instead."""
    for conditions in (
        Conditions(name="t", up=Link(outages=((0.0, 1.0),))),
        Conditions(name="t", changes=(Change(time_s=1.0, up=Link(), down=Link()),)),
    ):
        with pytest.raises(SpecError, match="use the link emulator"):
            netem_commands(conditions, device="lo")


def test_the_state_is_told_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real machine's state has a reason; without rights, and without `tc`, it has another."""
    require_program("tc")
    here = netem_state()
    tried = _in_a_network_of_its_own((*ADD, "1ms"))
    if tried.returncode == 0:
        assert here.state in ("good", "forbidden", "unknown")
        (tmp_path / "self").mkdir()
        (tmp_path / "self/status").write_text("CapEff:\t0000000000000000\n")
        assert netem_state(tmp_path).state == "forbidden"
    elif LACKS[0] in tried.stderr:
        assert (here.state, here.found) == ("absent", "this kernel has no sch_netem")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert netem_state().found == "there is no program tc"
