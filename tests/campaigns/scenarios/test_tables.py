"""The published table of scenarios: whole, and what it says of early exits."""

from __future__ import annotations

import csv

import pytest

from joulery.campaigns.scenarios import scenarios
from joulery.campaigns.scenarios.base import Scenario
from joulery.campaigns.scenarios.tables import scenario_table
from joulery.tests.conftest import REPOSITORY

_HALF = 0.505
"""An early exit shall be this cheap: half, to the digits that are published."""


def _rows(scenario: Scenario) -> list[dict[str, str]]:
    path = REPOSITORY / "docs" / "scenarios.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["scenario"] == scenario.name]


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda one: one.name)
def test_every_configuration_that_ships_is_in_it(scenario: Scenario) -> None:
    """Each model, precision and exit has its quality with an interval, and its cost."""
    found = {(row["model"], row["precision"], row["exit"]) for row in _rows(scenario)}
    for family in scenario.models:
        for precision in family.precisions:
            places = [str(n + 1) for n in range(family.exits)] if family.exits > 1 else [""]
            assert {(family.name, precision, place) for place in places} <= found
    for row in _rows(scenario):
        low, value, high = (float(row[name]) for name in ("quality_low", "quality", "quality_high"))
        assert low <= value <= high
        assert float(row["cpu_ms"]) > 0


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda one: one.name)
def test_early_exits_are_cheaper(scenario: Scenario) -> None:
    """Three sizes or more have three exits, and the first costs half of the last at most."""
    spent = {
        (row["model"], row["precision"], row["exit"]): float(row["cpu_ms"])
        for row in _rows(scenario)
    }
    sizes = {model for model, _, place in spent if place == "3"}
    assert len(sizes) >= 3
    for (model, precision, place), whole in spent.items():
        if place == "3":
            assert spent[model, precision, "1"] <= _HALF * whole, (model, precision)


def test_a_table_has_a_row_for_each_model_and_precision() -> None:
    """And a cell for each exit and threshold."""
    scenario = scenarios()[0]
    text = scenario_table(_rows(scenario))
    for family in scenario.models:
        for precision in family.precisions:
            start = f"| `{family.name}` | {precision} |"
            [line] = [line for line in text.splitlines() if line.startswith(start)]
            assert line.count("<br>") == (6 if family.exits > 1 else 1)
