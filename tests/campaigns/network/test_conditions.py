"""How conditions are written: figures, presets, traces; and what is refused, with its place."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from joulery.campaigns.network.conditions import PERFECT, Change, Conditions, Link
from joulery.campaigns.network.emulator import SetUp, decode, encode
from joulery.campaigns.network.presets import PRESETS, preset
from joulery.campaigns.network.spec import LinkSpec, NetworkSpec
from joulery.campaigns.network.trace import parse_trace, read_trace
from joulery.errors import SpecError


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"delay_s": -0.001}, "delay_s"),
        ({"delay_s": math.nan}, "delay_s"),
        ({"jitter_s": 61.0}, "jitter_s"),
        ({"rate_bps": 0.0}, "rate_bps"),
        ({"rate_bps": math.inf}, "rate_bps"),
        ({"loss_ratio": 1.0}, "loss_ratio"),
        ({"loss_ratio": math.nan}, "loss_ratio"),
        ({"outages": ((2.0, 1.0),)}, "outages"),
        ({"outages": ((0.0, 2.0), (1.0, 3.0))}, "outages"),
        ({"outages": ((-1.0, 2.0),)}, "outages"),
        ({"outages": ((1.0, math.inf),)}, "outages"),
    ],
)
def test_no_link_has_such_figures(wrong: dict[str, Any], place: str) -> None:
    """Figures that no link can have are refused, by name."""
    with pytest.raises(SpecError) as caught:
        Link(**wrong)
    assert caught.value.place == place


def test_changes_go_forward() -> None:
    """Changes are in order of time, and leave outages to the conditions."""
    later = Change(time_s=2.0, up=PERFECT, down=PERFECT)
    with pytest.raises(SpecError, match="change at 2 s: found it follows 2 s"):
        Conditions(name="t", changes=(later, later))
    broken = Change(time_s=2.0, up=Link(outages=((0.0, 1.0),)), down=PERFECT)
    with pytest.raises(SpecError, match="found outages"):
        Conditions(name="t", changes=(broken,))


def test_presets() -> None:
    """Each preset says where its figures come from; a wrong name meets the nearest."""
    assert list(PRESETS) == ["lan", "wifi", "4g", "5g-urban", "5g-rural", "satellite"]
    for name, conditions in PRESETS.items():
        assert conditions.name == name
        assert len(conditions.origin) > 100
        assert conditions.up.mean_delay_s > 0
    with pytest.raises(SpecError, match="did you mean '5g-rural'"):
        preset("5g-rurl")
    [names, _] = get_args(NetworkSpec.model_fields["preset"].annotation)
    assert get_args(names) == tuple(PRESETS)


@given(
    st.builds(
        Link,
        delay_s=st.floats(0, 60),
        rate_bps=st.none() | st.floats(1.0, 1e12),
        outages=st.sampled_from([(), ((0.5, 1.5), (2.0, 3.0))]),
    )
)
def test_the_emulator_is_told_exactly(link: Link) -> None:
    """What is written for the emulator's process is what it reads."""
    change = Change(time_s=1.0, up=PERFECT, down=Link(delay_s=1.0))
    conditions = Conditions(name="t", up=link, changes=(change,))
    told = SetUp(conditions=conditions, host="::1", port=80, seed=3)
    assert decode(encode(told)) == told


def test_a_trace() -> None:
    """Rows hold from their time on; a column is for both directions or for one."""
    found = parse_trace(
        "time_s,delay_s,rate_down_mbps,loss_up_ratio\n0,0.01,10,0\n\n1.5,0.02,5.5,0.1\n",
        name="drive",
        subject="drive.csv",
    )
    assert found.up == Link(delay_s=0.01)
    assert found.down == Link(delay_s=0.01, rate_bps=10e6)
    assert found.changes == (
        Change(
            time_s=1.5,
            up=Link(delay_s=0.02, loss_ratio=0.1),
            down=Link(delay_s=0.02, rate_bps=5.5e6),
        ),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "found an empty file"),
        ("time_s,delay_s\n", "found no rows"),
        ("delay_s\n1\n", "header: found delay_s, expected time_s"),
        ("time_s,dealy_s\n0,1\n", "unknown column 'dealy_s'.*did you mean 'delay_s'"),
        ("time_s,rate_up_bps\n0,1\n", "unknown column 'rate_up_bps'"),
        ("time_s,delay_s,delay_up_s\n0,1,1\n", "found 'delay_s' and 'delay_up_s'"),
        ("time_s,time_s\n0,1\n", "found 'time_s' and 'time_s'"),
        ("time_s,delay_s\n0,\n", "line 2, delay_s: found nothing"),
        ("time_s,delay_s\n0,0.1\n1,NaN\n", "line 3, delay_s: found 'NaN'"),
        ("time_s,delay_s\n0,-0.1\n", "line 2, delay_s: found '-0.1', expected a number >= 0"),
        ("time_s,delay_s\n0,fast\n", "line 2, delay_s: found 'fast'"),
        ("time_s,delay_s\n0,0.1,3\n", "line 2: found 3 cells, expected 2"),
        ("time_s,delay_s\n1,0.1\n", "line 2, time_s: found 1, expected 0"),
        ("time_s,delay_s\n0,0.1\n2,0.1\n2,0.2\n", "line 4, time_s: found 2 after 2"),
        ("time_s,delay_s\n0,0.1\n2,0.1\n1,0.2\n", "line 4, time_s: found 1 after 2"),
        ("time_s,loss_ratio\n0,1\n", "line 2, loss_ratio: found 1"),
        ("time_s,rate_mbps\n0,0\n", "line 2, rate_bps: found 0"),
    ],
)
def test_what_is_no_trace(text: str, said: str) -> None:
    """Each mistake is found, and its place is told."""
    with pytest.raises(SpecError, match=f"^t.csv.*{said}"):
        parse_trace(text, name="t", subject="t.csv")


def test_a_trace_that_cannot_be_read(tmp_path: Path) -> None:
    """A file that is missing or binary is a message."""
    with pytest.raises(SpecError, match=r"none\.csv: found no such file"):
        read_trace(tmp_path / "none.csv")
    (tmp_path / "bad.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match=r"bad\.csv.*expected a readable text file"):
        read_trace(tmp_path / "bad.csv")
    with pytest.raises(SpecError, match="readable text"):
        read_trace(tmp_path / "a\0b")


def test_a_user_writes_conditions(tmp_path: Path) -> None:
    """A preset, a trace of one's own, or figures, each by its own key."""
    (tmp_path / "drive.csv").write_text("time_s,delay_s\n0,0.1\n")
    assert NetworkSpec(preset="4g").conditions(tmp_path) == preset("4g")
    assert NetworkSpec(name="mine", preset="4g").conditions(tmp_path).name == "mine"
    assert NetworkSpec(trace="drive.csv").conditions(tmp_path).name == "drive"
    own = NetworkSpec(
        name="own",
        up=LinkSpec(delay_s=0.1, rate_mbps=2.5, outages_s=((1.0, 2.0),)),
    )
    assert own.conditions(tmp_path) == Conditions(
        name="own", up=Link(delay_s=0.1, rate_bps=2.5e6, outages=((1.0, 2.0),))
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"preset": "4g", "trace": "a.csv"},
        {"preset": "4g", "up": {}},
        {"up": {}},
        {"preset": "3g"},
        {"preset": "4g", "speed": 1},
        {"name": "a", "up": {"delay_s": -1}},
        {"name": "a", "up": {"rate_mbps": 0}},
        {"name": "a", "down": {"loss_ratio": 1}},
    ],
)
def test_what_is_no_network(wrong: dict[str, Any]) -> None:
    """Two ways at once, none, or figures out of range are refused."""
    with pytest.raises(ValidationError):
        NetworkSpec.model_validate(wrong)


def test_outages_out_of_order_are_told_with_their_place(tmp_path: Path) -> None:
    """What pydantic cannot see is told as the rest is."""
    own = NetworkSpec(name="own", down=LinkSpec(outages_s=((2.0, 1.0),)))
    with pytest.raises(SpecError, match=r"network own, down\.outages: found \(2\.0, 1\.0\)"):
        own.conditions(tmp_path)
