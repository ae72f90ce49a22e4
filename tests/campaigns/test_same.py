"""What changed since a campaign began: told key by key, and readable however much it is."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulery.campaigns.campaign import Campaign
from joulery.campaigns.same import check_same
from joulery.campaigns.spec_file import load_spec
from joulery.errors import SpecError

_SHIPPED = sorted((Path(__file__).parents[2] / "campaigns").glob("*.yaml"))
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", min_size=1), inner),
    max_leaves=20,
)


def _lines(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return the message's lines: the first is the head."""
    with pytest.raises(SpecError) as caught:
        check_same(before, now, "x.yaml")
    return str(caught.value).split("\n")


def test_a_changed_specification_is_shown_key_by_key() -> None:
    """Resuming after a change is refused with the place of each change, and both values."""
    check_same({"a": 1}, {"a": 1}, "x.yaml")
    head, *lines = _lines(
        {"a": 1, "b": [{"c": 2}], "d": [1]}, {"a": 1, "b": [{"c": 3}], "d": [1, 2]}
    )
    assert head == (
        "x.yaml, --resume: found 2 changes since the campaign began, expected the same "
        "specification and data; undo what is listed here, or start anew with another --out:"
    )
    assert lines == ["  b[0].c: 2 -> 3", "  d: [1] -> [1, 2]"]


@pytest.mark.parametrize("path", _SHIPPED, ids=lambda path: path.stem)
def test_what_a_journal_remembers_is_the_campaign(path: Path, tmp_path: Path) -> None:
    """Of each campaign that ships, JSON tells the same again: else none could be gone on with."""
    spec = load_spec(path)
    campaign = Campaign(spec, subject=str(path), out=tmp_path / "out", folder=path.parent)
    identity = campaign.identity({})
    check_same(json.loads(json.dumps(identity)), identity, "x.yaml")


def test_what_came_and_went_is_named_as_such() -> None:
    """A key or an item that is new, or gone, is no change from or to null."""
    before = {"kept": None, "gone": 1, "loads": [{"rate_hz": 5}, {"rate_hz": 9}], "levels": [1]}
    now = {"kept": 2, "new": "x", "loads": [{"rate_hz": 5}], "levels": ["a", 1]}
    assert _lines(before, now)[1:] == [
        "  gone: removed, it was 1",
        "  kept: null -> 2",
        '  levels: [1] -> ["a", 1]',
        '  loads[1]: removed, it was {"rate_hz": 9}',
        '  new: added, "x"',
    ]


def test_many_and_long_changes_stay_readable() -> None:
    """Twenty lines and a count; long values are cut to where they differ."""
    before = {f"k{number:03d}": number for number in range(100)}
    head, *lines = _lines(before, dict.fromkeys(before, -1))
    assert "found 100 changes" in head
    assert lines[0] == "  k000: 0 -> -1"
    assert lines[-1] == "  and 80 more"
    assert len(lines) == 21
    old, new = "x" * 300 + "old" + "y" * 300, "x" * 300 + "new" + "y" * 300
    assert _lines({"sha": old}, {"sha": new})[1] == (
        f"  sha: …{'x' * 8}old{'y' * 37}… -> …{'x' * 8}new{'y' * 37}…"
    )


@given(before=st.dictionaries(st.text("abc", min_size=1), _VALUES), now=_VALUES, key=st.text("abc"))
def test_any_change_is_told_on_short_lines(before: dict[str, Any], now: Any, key: str) -> None:
    """Equal things pass; a changed one is named, and no value makes a line long or two of it."""
    check_same(before, copy.deepcopy(before), "x.yaml")
    changed = before | {key: now}
    if key in before and before[key] == now:
        return
    _, *lines = _lines(before, changed)
    assert 1 <= len(lines) <= 21
    for line in lines[:20]:
        assert line.startswith(f"  {key}")
        assert len(line.partition(": ")[2]) <= 120
