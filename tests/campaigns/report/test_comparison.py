"""Two datasets side by side, as somebody asks for it: pages, verdicts, warnings, errors."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import plotly.graph_objects as go
import pyarrow as pa
import pytest
from rich.console import Console

from joulery.campaigns.report.command import run_report
from joulery.campaigns.report.comparison import compare_datasets
from joulery.campaigns.report.differences import differences, spec_hash
from joulery.datasets.store import load
from joulery.datasets.verify import verify
from joulery.errors import DatasetError, SpecError

from ..command import joulery
from ..samples import Records, synthetic_records, write_synthetic


def _changed(records: Records, change: Callable[[dict[str, object]], dict[str, object]]) -> Records:
    rows = [row | change(row) for row in records.trials.to_pylist()]
    return dataclasses.replace(
        records, trials=pa.Table.from_pylist(rows, schema=records.trials.schema)
    )


def _scaled(factor: float) -> Callable[[dict[str, object]], dict[str, object]]:
    return lambda row: {"inference_energy_j": factor * float(str(row["inference_energy_j"]))}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up campaign of three repeats."""
    folder = tmp_path_factory.mktemp("comparison") / "base"
    write_synthetic(folder, synthetic_records(repeats=3))
    return folder


def test_the_same_campaign_again_differs_nowhere(base: Path, tmp_path: Path) -> None:
    """Another seed of the same made-up campaign: no cell is higher or lower in energy."""
    write_synthetic(tmp_path / "again", synthetic_records(repeats=3, seed=2))
    found = compare_datasets(load(base), load(tmp_path / "again"))
    assert len(found.pairs) == 40
    assert found.only == ((), ())
    for measure in ("energy", "total"):
        assert not any(one.differs for pair in found.pairs if (one := pair.found[measure]))
    assert not any(one.differs for (_, m), one in found.overall.items() if one and m == "energy")


def test_a_campaign_twice_as_hungry_is_found_out(base: Path, tmp_path: Path) -> None:
    """Twice the energy shows in the ratio of all cells and of each; quality stays the same."""
    records = _changed(synthetic_records(repeats=3), _scaled(2.0))
    write_synthetic(tmp_path / "hungry", records)
    found = compare_datasets(load(tmp_path / "hungry"), load(base))
    for (_, measure), contrast in found.overall.items():
        assert contrast is not None
        if measure == "energy":
            assert contrast.ratio.value == pytest.approx(2.0)
            assert contrast.verdict == "higher"
        if measure == "quality":
            assert contrast.verdict == "the same"
    for pair in found.pairs:
        energy = pair.found["energy"]
        assert energy is not None
        assert energy.ratio.value == pytest.approx(2.0)


def test_invalid_trials_do_not_count(base: Path, tmp_path: Path) -> None:
    """Absurd figures of invalid trials change no ratio."""
    absurd = _changed(
        synthetic_records(repeats=3),
        lambda row: {"inference_energy_j": 1e6} if row["verdict"] == "invalid" else {},
    )
    write_synthetic(tmp_path / "absurd", absurd)
    found = compare_datasets(load(tmp_path / "absurd"), load(base))
    assert {pair.found["energy"].verdict for pair in found.pairs if pair.found["energy"]} <= {
        "not told apart",
        "equivalent within ±5%",
        "not tested",
    }
    assert all(one.ratio.value == pytest.approx(1.0) for p in found.pairs for one in p.found.values() if one)  # fmt: skip  # noqa: E501


def test_a_condition_that_differs_is_not_compared(base: Path, tmp_path: Path) -> None:
    """Cells under another load stand in one of the two alone, and are named."""
    records = _changed(
        synthetic_records(repeats=3),
        lambda row: {"load": "poisson 99 Hz"} if row["rate_hz"] == 120.0 else {},
    )
    write_synthetic(tmp_path / "other", records)
    found = compare_datasets(load(base), load(tmp_path / "other"))
    assert len(found.pairs) == 20
    assert {key[2] for key in found.only[0]} == {"poisson 120 Hz"}
    assert {key[2] for key in found.only[1]} == {"poisson 99 Hz"}


def test_everything_that_differs_is_told(base: Path, tmp_path: Path) -> None:
    """Machine, data, specification and state stand in banners at the head of page and summary."""
    records = synthetic_records(repeats=3, done=100)
    about = dataclasses.replace(
        records.about,
        spec=records.about.spec | {"seed": 9},
        data_sources=[one | {"sha256": "1" * 64} for one in records.about.data_sources],
    )
    environment = {**records.environment, "hardware": {"cpu": "Another CPU"}}
    records = dataclasses.replace(records, about=about, environment=environment)
    write_synthetic(tmp_path / "other", records)
    found = differences(load(base), load(tmp_path / "other"))
    assert {"machine", "data", "specification"} <= {one.about for one in found}
    run_report(base, tmp_path / "other", Console(file=StringIO()))
    for name in ("against-other.html", "against-other.md"):
        text = (base / name).read_text(encoding="utf-8")
        for banner in ("DIFFERENT MACHINES", "DIFFERENT DATA", "PARTIAL", "ESTIMATED"):
            assert banner in text
        assert "Another CPU" in text
        assert "100 of 120 trials done" in text
    assert verify(base) == []


def test_the_hash_of_a_specification_ignores_the_order_of_keys() -> None:
    """Two spellings of one specification have one hash."""
    assert spec_hash({"a": 1, "b": [2]}) == spec_hash({"b": [2], "a": 1})
    assert spec_hash({"a": 1}) != spec_hash({"a": 2})


def test_the_page_is_whole_and_valid(base: Path, tmp_path: Path) -> None:
    """Plotly takes every figure, each has its place, and no address outside is named."""
    write_synthetic(tmp_path / "a b", synthetic_records(repeats=3, seed=3))
    run_report(base, tmp_path / "a b", Console(file=StringIO()))
    text = (base / "against-a-b.html").read_text(encoding="utf-8")
    found = re.search(r'id="figures">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    panels = json.loads(found.group(1))
    own = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert len(panels) == own.count('<div class="plot') == 10
    for panel in panels:
        assert len(go.Figure(data=panel["data"], layout=panel["layout"]).data) >= 16
    assert "http" not in own
    for words in ("above idle", "idle included", "Holm", "Welch"):
        assert words in own


def test_nothing_in_common_is_said(base: Path, tmp_path: Path) -> None:
    """Two campaigns that share no cell give a page that says so."""
    records = _changed(synthetic_records(), lambda row: {"load": f"other {row['load']}"})
    write_synthetic(tmp_path / "strange", records)
    run_report(base, tmp_path / "strange", Console(file=StringIO()))
    for name in ("against-strange.html", "against-strange.md"):
        assert "Nothing to compare." in (base / name).read_text(encoding="utf-8")


def test_mistakes_are_explained(base: Path, tmp_path: Path) -> None:
    """A folder that is no dataset, and the dataset itself, are refused with what to do."""
    console = Console(file=StringIO())
    with pytest.raises(DatasetError, match="empty"):
        run_report(base, tmp_path / "empty", console)
    with pytest.raises(DatasetError, match="empty"):
        run_report(tmp_path / "empty", base, console)
    with pytest.raises(SpecError, match="--against"):
        run_report(base, base / ".", console)


def test_the_command_compares(base: Path, tmp_path: Path) -> None:
    """`joulery report A --against B` tells where both pages are; a mistake ends with 2."""
    write_synthetic(tmp_path / "other", synthetic_records(repeats=3, seed=4))
    done = joulery("report", base, "--against", tmp_path / "other")
    assert str(base / "report.html") in done.stdout
    assert str(base / "against-other.html") in done.stdout
    refused = joulery("report", base, "--against", tmp_path / "nothing", code=2)
    assert "no such folder" in refused.stderr
