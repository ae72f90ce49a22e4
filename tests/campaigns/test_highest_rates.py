"""Highest rates: blocks put together, and what is known from one side only said as such."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats

from joulery.campaigns.analysis import summary_table
from joulery.campaigns.highest_rates import HighestRate, highest_rates
from joulery.campaigns.run_command import _show
from joulery.datasets.store import load

from .samples import write_synthetic
from .searched import SEARCH, SPEC, Capacities, probe_rows, searched_records

_CLOSE = (1 + SEARCH.resolution_ratio) * 1.002


def _found(capacities: Capacities) -> dict[str, HighestRate]:
    found = highest_rates(pd.DataFrame(probe_rows(capacities)), SPEC)
    return {one.name: one for one in found}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(5, 2000), min_size=1, max_size=4))
def test_a_rate_lies_where_its_block_says(capacities_hz: list[float]) -> None:
    """What a service keeps lies within the bracket, above an 'at least' and under a 'below'."""
    (one,) = _found({("ridge", None): tuple(capacities_hz)}).values()
    for block, capacity_hz in zip(one.blocks, capacities_hz, strict=True):
        if block.kept_hz is not None:
            assert block.kept_hz <= capacity_hz
        if block.failed_hz is not None:
            assert block.failed_hz > capacity_hz
        assert block.open == (
            "below" if block.kept_hz is None else "at least" if block.failed_hz is None else None
        )
        if block.narrow:
            assert block.kept_hz is not None
            assert block.failed_hz is not None
            assert block.failed_hz / block.kept_hz <= _CLOSE
            assert block.remark is None
            continue
        assert block.remark is not None
        assert "end of the range" in block.remark
        assert block.text.startswith(str(block.open))


def test_the_mean_is_geometric_with_student_s_interval() -> None:
    """Mean and lower end are of the rates that were kept, the upper end of those that failed."""
    one = _found({("ridge", None): (90.0, 140.0, 260.0)})["ridge"]
    kept = [block.kept_hz for block in one.blocks if block.kept_hz]
    assert len(kept) == 3
    failed = [block.failed_hz for block in one.blocks if block.failed_hz]
    assert one.mean is not None
    assert one.mean.value == pytest.approx(stats.gmean(kept))
    bounds = []
    for rates_hz, sign in ((kept, -1), (failed, 1)):
        logs = np.log(rates_hz)
        reach = stats.t.ppf(0.975, 2) * np.std(logs, ddof=1) / np.sqrt(3)
        bounds.append(np.exp(logs.mean() + sign * reach))
    assert one.mean.bounds == pytest.approx(tuple(bounds))
    assert one.failed_hz == min(block.failed_hz for block in one.blocks if block.failed_hz)


def test_blocks_that_do_not_differ_are_no_better_known_than_their_bracket() -> None:
    """Some that stop at the same rate lie in one bracket; one alone has no interval of its mean."""
    single, same = (_found({("ridge", None): (150.0,) * blocks})["ridge"] for blocks in (1, 3))
    block = single.blocks[0]
    assert single.bounds == same.bounds == pytest.approx((block.kept_hz, block.failed_hz))
    assert single.mean is not None
    assert single.mean.low is None
    assert "(" not in single.mean_text
    assert same.mean is not None
    assert same.mean.bounds == same.bounds


def test_an_open_side_has_no_end() -> None:
    """What never failed may keep any rate, what kept none may keep none."""
    found = _found({("fast", None): (5000.0, 200.0), ("slow", None): (1.0, 50.0)})
    assert found["fast"].bounds[1] == np.inf
    assert found["slow"].bounds[0] == 0


def test_ends_of_the_range_leave_the_mean_open() -> None:
    """A block that never failed makes the mean an 'at least', one that never kept a 'below'."""
    found = _found(
        {
            ("fast", None): (5000.0, 200.0),
            ("slow", None): (1.0, 50.0),
            ("odd", None): (5000.0, 1.0),
        }
    )
    assert found["fast"].mean_text.startswith("at least ")
    assert found["slow"].mean_text.startswith("below ")
    for name in ("fast", "slow"):
        mean = found[name].mean
        assert mean is not None
        assert mean.low is None
    assert found["odd"].mean_text == "not known"
    assert [*found] == ["fast", "slow", "odd"], "the highest first, what is not known last"
    assert found["fast"].remarks == ["block 1: kept up to the end of the range, 600 Hz"]
    assert found["slow"].remarks == ["block 1: failed down to the end of the range, 20 Hz"]


def test_a_block_that_tells_nothing_is_left_out_and_named() -> None:
    """Its reason is said; mean and energy are of the other block."""
    one = _found({("ridge", None): (None, 150.0)})["ridge"]
    silent, told = one.blocks
    assert silent.text == "not known"
    assert one.remarks == [
        "block 1: 6 of 6 probes tell nothing: generator_saturated (busy 95 % of the window)"
    ]
    assert told.kept_hz is not None
    assert one.mean_text == f"{told.kept_hz:.0f} Hz".replace(" ", "\N{NO-BREAK SPACE}")
    assert one.energy is not None
    assert one.energy.value == pytest.approx(1 / told.kept_hz)
    nothing = _found({("ridge", None): (None,)})["ridge"]
    assert (nothing.mean, nothing.failed_hz, nothing.energy) == (None, None, None)
    assert nothing.mean_text == "not known"


def test_energy_is_that_of_the_highest_rate_kept() -> None:
    """The mean over blocks is of one probe each; an unknown energy is none, not zero."""
    rows = pd.DataFrame(probe_rows({("ridge", None): (90.0, 260.0)}))
    (one,) = highest_rates(rows, SPEC)
    assert one.energy is not None
    kept = [block.kept_hz for block in one.blocks if block.kept_hz]
    assert one.energy.value == pytest.approx(np.mean([1 / rate_hz for rate_hz in kept]))
    rows["inference_energy_j"] = None
    (one,) = highest_rates(rows, SPEC)
    assert one.energy is None


def test_networks_are_kept_apart() -> None:
    """A configuration has a rate for each network, and its name says which."""
    found = _found({("ridge", "lan"): (300.0, 310.0), ("ridge", "4g"): (60.0, 65.0)})
    assert [*found] == ["ridge, lan", "ridge, 4g"]
    assert {len(one.blocks) for one in found.values()} == {2}


def test_a_search_that_is_under_way_says_so() -> None:
    """Of an unfinished campaign, blocks that have begun or not begun are no ends of the range."""
    rows = pd.DataFrame(probe_rows({("ridge", None): (90.0, 90.0), ("mlp", None): (90.0,)}))
    found = {one.name: one for one in highest_rates(rows[rows["trial"] != 4], SPEC)}
    begun = rows[(rows["block"] == 1) | (rows["trial"] == rows["trial"].max())]
    assert [block.text for block in found["mlp"].blocks][1] == "not known"
    assert found["mlp"].remarks == ["block 2: not probed yet"]
    first = begun[begun["model"] == "mlp"].head(1)
    (one,) = highest_rates(first, SPEC)
    assert one.remarks == ["block 1: the search has not ended"]
    assert one.blocks[0].text == f"below {first['rate_hz'].iloc[0]:g}"


def test_a_campaign_with_loads_has_no_highest_rates() -> None:
    """Without a search nothing is found, whatever the trials are."""
    rows = pd.DataFrame(probe_rows({("ridge", None): (90.0,)}))
    assert highest_rates(rows, SPEC | {"search": None}) == []


@pytest.mark.parametrize("complete", [True, False])
def test_the_summary_is_a_table_of_rates(tmp_path: Path, complete: bool) -> None:
    """The terminal shows rates, blocks and remarks, and names no best configuration of a load."""
    records = searched_records(
        {("ridge", None): (5000.0, 150.0), ("mlp", None): (90.0, 120.0)}, complete=complete
    )
    write_synthetic(tmp_path / "set", records)
    dataset = load(tmp_path / "set")
    console = Console(record=True, width=160)
    console.print(summary_table(dataset))
    text = console.export_text()
    assert "Highest rate that keeps p90 ≤ 20 ms" in text
    assert ("PARTIAL" in text) is not complete
    for one in highest_rates(dataset.trials, dataset.about.spec):
        assert one.mean_text in text
        assert "; ".join(block.text for block in one.blocks) in text
    assert "kept up to the end of the range" in text
    assert "least energy" not in text


def test_a_search_without_a_trial_has_a_summary(tmp_path: Path) -> None:
    """A campaign that was stopped at once has an empty table and no error."""
    records = searched_records({("ridge", None): (150.0,)}, complete=False)
    empty = dataclasses.replace(records, trials=records.trials.slice(0, 0), requests={})
    write_synthetic(tmp_path / "set", empty)
    assert summary_table(load(tmp_path / "set")).row_count == 0


def test_a_command_fails_only_when_nothing_was_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Services that never keep up are an answer, though no trial is valid; silence is none."""
    slow = searched_records({("ridge", None): (1.0,)})
    rows = [
        row | {"verdict": "invalid", "reasons": "unstable (20 times slower at the end)"}
        for row in slow.trials.to_pylist()
    ]
    failed = pa.Table.from_pylist(rows, schema=slow.trials.schema)
    write_synthetic(tmp_path / "slow", dataclasses.replace(slow, trials=failed))
    _show(tmp_path / "slow", Console())
    told = capsys.readouterr().out
    assert "below 22.2" in told
    assert "count as rates that failed" in told
    write_synthetic(tmp_path / "silent", searched_records({("ridge", None): (None,)}))
    with pytest.raises(typer.Exit) as ended:
        _show(tmp_path / "silent", Console())
    assert ended.value.exit_code == 1
    assert "not known" in capsys.readouterr().out
