"""Model cards and what fills them: whole, and telling what they are asked for."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence

import pytest

from joulery.campaigns.scenarios import scenarios
from joulery.campaigns.scenarios.base import Scenario
from joulery.campaigns.scenarios.card_tables import filled_card
from joulery.campaigns.scenarios.fitted import SHIPPED, model_file
from joulery.errors import SpecError
from joulery.tests.conftest import REPOSITORY

_OFFLINE = {"agreement_map_50", "agreement_idf1"}
"""Figures that need a video without ground truth."""


def _quality(scenario: Scenario) -> list[dict[str, str]]:
    path = REPOSITORY / "docs" / "scenario-quality.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["scenario"] == scenario.name]


def _row(model: str, figure: str, value: str, **cells: str) -> dict[str, str]:
    known = {"scenario": "s", "precision": "fp32", "exit": "", "low": "", "high": ""}
    return known | {"model": model, "figure": figure, "value": value} | cells


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda one: one.name)
def test_every_figure_of_every_exit_is_known(scenario: Scenario) -> None:
    """All that a model offers was judged, on the files that ship, and lies in its interval."""
    rows = _quality(scenario)
    found = {(r["model"], r["precision"], r["exit"], r["figure"]): r for r in rows}
    assert len(found) == len(rows)
    own = {one.name for one in scenario.figures if one.reference_of is None} - _OFFLINE
    headline = scenario.figures[0].name
    for family in scenario.models:
        for precision in family.precisions:
            size = (SHIPPED / scenario.name / "models" / model_file(family.name, precision)).stat()
            key = (family.name, precision)
            assert int(found[*key, "", "bytes"]["value"]) == size.st_size
            if family.exits == 1:
                assert (*key, "", headline) in found
                continue
            places = [str(number + 1) for number in range(family.exits)]
            assert {(*key, place, figure) for place in places for figure in own} <= set(found)
            for place in places[:-1]:
                assert 0 <= float(found[*key, place, "confidence_ece"]["value"]) <= 1
            shares = [float(found[*key, ">= 0.8", f"leave_at_{n}"]["value"]) for n in places]
            assert sum(shares) == pytest.approx(1.0, abs=1e-5)
    for row in rows:
        if row["low"]:
            assert float(row["low"]) <= float(row["value"]) <= float(row["high"])


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda one: one.name)
def test_a_card_has_no_table_of_models_but_those_that_are_written(scenario: Scenario) -> None:
    """Whatever names a model in a table stands between two comments, or is of data elsewhere."""
    text = (SHIPPED / scenario.name / "models" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert text.count("<!-- table: ") == text.count("<!-- end -->") > 0
    rest = re.sub(r"<!-- table: .*?<!-- end -->", "", text, flags=re.DOTALL)
    own = rest.split("(HAPT, not shipped)")[0]
    names = "|".join(family.name for family in scenario.models)
    assert not re.findall(rf"^\| `?(?:{names})`? \|.*$", own, flags=re.MULTILINE)


def _filled(asked: str, quality: Sequence[Mapping[str, str]]) -> str:
    cost = [{"scenario": "s", "model": "a", "precision": "int8", "exit": "2", "cpu_ms": "0.25"}]
    other = [{**row, "scenario": "other", "value": "7"} for row in quality]
    text = f"before\n<!-- table: {asked} -->\nold\n<!-- end -->\nafter\n"
    return filled_card("card", text, "s", [*quality, *other], cost)


QUALITY = [
    _row("a", "bytes", "12345", precision="int8"),
    _row("a", "f1", "0.5", exit="1", low="0.25", high="0.75"),
    _row("a", "f1", "0.0227", exit="2", precision="int8", low="-0.01", high="49.06"),
    _row("a", "loss", "0.25", exit="2", precision="int8", low="0.1", high="0.3"),
    _row("", "f1_of_a_guess", "0.1", precision=""),
]


def test_a_table_has_the_rows_and_columns_that_are_asked_for() -> None:
    """The first column with its interval, the others without; what is around it stays."""
    assert _filled("exits int8: f1 loss bytes cpu_ms", QUALITY).splitlines() == [
        "before",
        "<!-- table: exits int8: f1 loss bytes cpu_ms -->",
        "| model | precision | exit | `f1` | `loss` | `bytes` | `cpu_ms` |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| a | int8 | 2 | 0.0227 (-0.0100 to 49.1) | 0.250 | 12 345 | 0.250 |",
        "<!-- end -->",
        "after",
    ]
    assert "49.1) | 0.250 (0.100 to 0.300) |" in _filled("exits int8: f1 loss+", QUALITY)
    assert "| a | fp32 | 1 | 0.500 (0.250 to 0.750) |" in _filled("exits: f1", QUALITY)
    assert "| `f1_of_a_guess` | 0.100 |" in _filled("references:", QUALITY)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("exits: f2", "no figure 'f2'"),
        ("rows: f1", "expected one of alone, exits, thresholds, references"),
        ("thresholds: f1", "no row"),
    ],
)
def test_a_table_that_there_is_not_is_refused(asked: str, told: str) -> None:
    """The card and the place in it are named."""
    with pytest.raises(SpecError, match=rf"^card, table: {asked}: .*{told}"):
        _filled(asked, QUALITY)
