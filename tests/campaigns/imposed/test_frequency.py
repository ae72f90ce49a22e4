"""Frequencies of CPUs in trees as the kernel shows them: set, read back, put back."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from joulery.campaigns.imposed.frequency import Frequencies
from joulery.campaigns.imposed.spec import EnvironmentSpec
from joulery.errors import JouleryError, SpecError, TrialError
from joulery.profiler.host import Host

from ...profiler.sources.trees import cpufreq, unprivileged, write
from ...unprivileged import open_folder

_SLOW = EnvironmentSpec(name="slow", governor="powersave", max_frequency_mhz=1200)
_BEFORE = ("schedutil", "1400000", "3600000")
_DURING = ("powersave", "1200000", "1200000")

_KILLED = """
import os, signal, sys
from pathlib import Path
from joulery.campaigns.imposed.frequency import Frequencies
from joulery.campaigns.imposed.spec import EnvironmentSpec
from joulery.profiler.host import Host
slow = EnvironmentSpec(name="slow", governor="powersave", max_frequency_mhz=1200)
with Frequencies(Host(sys=Path(sys.argv[1])), Path(sys.argv[2])).held(slow, [1]):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def settings(policy: Path) -> tuple[str, ...]:
    """Return governor, lowest and highest frequency of a policy, as its files have them."""
    names = ("scaling_governor", "scaling_min_freq", "scaling_max_freq")
    return tuple((policy / name).read_text().strip() for name in names)


def kill_while_held(sys_folder: Path, folder: Path) -> None:
    """Let a process die by SIGKILL while it holds CPU 1 at another frequency."""
    ended = subprocess.run(
        [sys.executable, "-c", _KILLED, str(sys_folder), str(folder)], check=False
    )
    assert ended.returncode == -9


@pytest.fixture
def policies(tmp_path: Path) -> list[Path]:
    """The policies of a machine whose CPUs 0 and 1 share a frequency, while 2 has its own."""
    return cpufreq(tmp_path / "sys", (0, 1), (2,))


@pytest.fixture
def frequencies(tmp_path: Path, policies: list[Path]) -> Frequencies:
    """The frequencies of that machine."""
    assert policies
    return Frequencies(Host(sys=tmp_path / "sys"), tmp_path / "kept")


def test_a_frequency_holds_for_the_block_and_is_put_back(
    frequencies: Frequencies, policies: list[Path], tmp_path: Path
) -> None:
    """Governor and highest frequency change, the lowest makes room, and an error undoes it too."""
    with contextlib.suppress(ZeroDivisionError), frequencies.held(_SLOW, [1]):
        assert settings(policies[0]) == _DURING
        assert settings(policies[1]) == _BEFORE
        found = frequencies.limits([1])
        assert found is not None
        assert (found.governor, found.highest_hz) == ("powersave", 1.2e9)
        both = frequencies.limits([1, 2])
        assert both is not None
        assert (both.governor, both.highest_hz) == ("powersave, schedutil", 1.2e9)
        raise ZeroDivisionError
    assert [settings(one) for one in policies] == [_BEFORE, _BEFORE]
    assert list((tmp_path / "kept").iterdir()) == []


def test_only_what_is_named_changes(frequencies: Frequencies, policies: list[Path]) -> None:
    """A governor alone leaves the limits as they are, and the other way round."""
    with frequencies.held(EnvironmentSpec(name="x", governor="performance"), [0, 1, 2]):
        assert {settings(one) for one in policies} == {("performance", *_BEFORE[1:])}
    with frequencies.held(EnvironmentSpec(name="x", max_frequency_mhz=2000.5), [2]):
        assert settings(policies[1]) == ("schedutil", "1400000", "2000500")


def test_what_a_kill_left_is_put_back_once(
    frequencies: Frequencies, policies: list[Path], tmp_path: Path
) -> None:
    """After SIGKILL the machine is changed, and the next look puts it right."""
    kill_while_held(tmp_path / "sys", tmp_path / "kept")
    assert settings(policies[0]) == _DURING
    assert frequencies.restore()
    assert settings(policies[0]) == _BEFORE
    assert not frequencies.restore()


def test_a_boot_has_put_it_back_already(policies: list[Path], tmp_path: Path) -> None:
    """What a kill left in an earlier boot says nothing of this one, and is dropped."""
    kill_while_held(tmp_path / "sys", tmp_path / "kept")
    write(tmp_path / "proc/sys/kernel/random", {"boot_id": "another"})
    host = Host(sys=tmp_path / "sys", proc=tmp_path / "proc")
    assert not Frequencies(host, tmp_path / "kept").restore()
    assert settings(policies[0]) == _DURING
    assert list((tmp_path / "kept").iterdir()) == []


@pytest.mark.parametrize("flaw", ["broken", "gone", "foreign"])
def test_what_cannot_be_put_back_is_told_and_kept(
    frequencies: Frequencies, tmp_path: Path, flaw: str
) -> None:
    """A file that nobody understands, or a kernel that refuses, is no reason to go on."""
    kill_while_held(tmp_path / "sys", tmp_path / "kept")
    kept = tmp_path / "kept/before.json"
    if flaw == "broken":
        kept.write_text("{")
    elif flaw == "gone":
        (tmp_path / "sys/devices/system/cpu/cpu0/cpufreq").unlink()
        (tmp_path / "sys/devices/system/cpu/cpu1/cpufreq").unlink()
    else:
        text = json.loads(kept.read_text())
        kept.write_text(json.dumps(text | {"cpus": {"../../../etc": {}}}))
    with pytest.raises(TrialError, match=r"before\.json: found frequencies .* run once more"):
        frequencies.restore()
    assert kept.exists()


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"governor": "ondemand"}, SpecError, ["x.yaml, environments[0].governor", "'ondemand'"]),
        ({"max_frequency_mhz": 700}, SpecError, ["max_frequency_mhz: found 700", "800 to 3600"]),
        ({"max_frequency_mhz": 3601}, SpecError, ["found 3601", "800 to 3600"]),
    ],
)
def test_what_the_machine_has_not_is_refused(
    frequencies: Frequencies, changes: dict[str, object], kind: type[JouleryError], words: list[str]
) -> None:
    """Governors and frequencies that are not to be had are named, with those that are."""
    wanted = EnvironmentSpec.model_validate({"name": "x"} | changes)
    with pytest.raises(kind) as caught:
        frequencies.check(wanted, [1, 2], "x.yaml", "environments[0]")
    for word in words:
        assert word in str(caught.value)
    frequencies.check(_SLOW, [1, 2], "x.yaml", "environments[0]")


@pytest.fixture
def others() -> Iterator[Path]:
    """A tree that everybody may read and nobody but its owner may change."""
    with open_folder() as folder:
        cpufreq(folder / "sys", (0,))
        yield folder / "sys"


def test_missing_and_forbidden_are_two_things(others: Path, tmp_path: Path) -> None:
    """Without cpufreq, and without the right to write, there are two messages with a remedy."""
    frequencies = Frequencies(Host(sys=others), tmp_path)
    with pytest.raises(TrialError, match=r"slow: found no .*cpu7/cpufreq.*only its host can"):
        frequencies.check(_SLOW, [7], "x.yaml", "environments[0]")
    assert frequencies.limits([7]) is None
    with unprivileged(), pytest.raises(TrialError, match=r"may not be written.*run as root"):
        frequencies.check(_SLOW, [0], "x.yaml", "environments[0]")
