"""The page of a campaign that searched: rates first, and nothing that needs fixed loads."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest

from joulery.campaigns.highest_rates import HighestRate, highest_rates
from joulery.campaigns.report import write
from joulery.campaigns.report.axes import decade_ticks
from joulery.campaigns.report.searches import rates_panel, search_answer
from joulery.datasets.store import load

from ..samples import write_synthetic
from ..searched import SEARCH, SPEC, Capacities, probe_rows, searched_records

OBJECTIVE = "p90 ≤ 20 ms"
CAPACITIES: Capacities = {
    ("ridge", "lan"): (5000.0, 290.0),
    ("ridge", "4g"): (150.0, 60.0),
    ("mlp", "lan"): (None, 110.0),
    ("mlp", "4g"): (1.0, 1.0),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete made-up dataset of searches with its report."""
    folder = tmp_path_factory.mktemp("searched") / "set"
    write_synthetic(folder, searched_records(CAPACITIES), finish=write)
    return folder


@pytest.fixture(scope="module")
def rates(folder: Path) -> list[HighestRate]:
    """What its searches found."""
    dataset = load(folder)
    return highest_rates(dataset.trials, dataset.about.spec)


@pytest.mark.parametrize("name", ["report.html", "report.md"])
def test_the_rates_come_first(folder: Path, rates: list[HighestRate], name: str) -> None:
    """Rates, networks, open ends and reasons stand in both reports, before the verdicts."""
    text = (folder / name).read_text(encoding="utf-8").replace("&gt;", ">")
    first = text.partition('id="verdicts"' if name.endswith("html") else "## Verdicts")[0]
    assert f"Highest rate that keeps {OBJECTIVE}" in first
    for one in rates:
        for part in (one.mean_text.partition(" (")[0], str(one.network), *one.remarks):
            assert part in first
        for block in one.told:
            assert block.text in first
    assert "6 of 6 probes tell nothing: generator_saturated" in first


@pytest.mark.parametrize("name", ["report.html", "report.md"])
def test_sections_of_fixed_loads_are_left_out(folder: Path, name: str) -> None:
    """No load of a probe stands before the verdicts; a sentence says what is left out, and why."""
    text = (folder / name).read_text(encoding="utf-8")
    first = text.partition('id="verdicts"' if name.endswith("html") else "## Verdicts")[0]
    assert not re.search(r"poisson \d+(\.\d+)? Hz", first)
    assert "no analysis of variance" in first
    for heading in ("Marginal means", "Main effects and interactions", "Sensitivity to"):
        assert heading not in text
    assert re.search(r"poisson \d+(\.\d+)? Hz, lan", text), "probes are listed with their network"


def test_brackets_that_touch_are_not_told_apart() -> None:
    """Two rates of which one may be the other have no winner, in however many blocks."""

    def answer(*capacities_hz: float) -> str:
        models = zip(("ridge", "mlp"), capacities_hz, strict=True)
        rows = pd.DataFrame(probe_rows({(model, None): (hz,) * 3 for model, hz in models}))
        return search_answer(highest_rates(rows, SPEC), OBJECTIVE, None)

    edge_hz = next(
        block.failed_hz
        for one in highest_rates(pd.DataFrame(probe_rows({("ridge", None): (150.0,)})), SPEC)
        for block in one.blocks
    )
    assert edge_hz is not None
    told = "; 1 other cannot be told apart from it"
    assert answer(edge_hz * 1.001, edge_hz / 1.001).endswith(f"the highest of 2{told}.")
    assert answer(edge_hz * 1.5, edge_hz / 1.001).endswith("the highest of 2.")


def test_the_figure_has_each_block_and_is_valid_plotly(
    folder: Path, rates: list[HighestRate]
) -> None:
    """The page has one figure, with a mark for every rate that was kept or failed."""
    text = (folder / "report.html").read_text(encoding="utf-8")
    found = re.search(r'id="figures">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    (panel,) = json.loads(found.group(1))
    figure = go.Figure(data=panel["data"], layout=panel["layout"])
    assert figure.layout.xaxis.type == "log"
    marks = [x for t in figure.data if t.marker.symbol in ("circle", "circle-open") for x in t.x]
    ends = [end for r in rates for b in r.blocks for end in (b.kept_hz, b.failed_hz) if end]
    assert sorted(marks) == pytest.approx(sorted(ends))
    # Every line keeps within the range, and none crosses another.
    rows = [y for t in figure.data if t.mode == "lines" for y in t.y if y is not None]
    assert len(set(rows)) == len(rows) // 2 == sum(len(one.told) for one in rates)
    assert max(rows) < figure.layout.yaxis.range[0]
    assert rates_panel([], SEARCH, OBJECTIVE, {}) is None


def test_the_answer_names_the_highest(rates: list[HighestRate]) -> None:
    """The first sentence is the highest rate; one that is only known from above is none."""
    best = rates[0]
    assert best.name == "ridge, lan"
    text = search_answer(rates, OBJECTIVE, None)
    assert text.startswith(f"ridge, lan keeps {OBJECTIVE} up to at least ")
    assert "of 4" in text
    assert search_answer(rates, OBJECTIVE, "3 of 9 trials done") == (
        "Not answered yet: 3 of 9 trials done."
    )
    below = [one for one in rates if one.open == "below"]
    assert below
    assert search_answer(below, OBJECTIVE, None).startswith("Not answered")


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_report_of_few_probes(tmp_path: Path, complete: bool, count: int) -> None:
    """With next to nothing probed there is a page, and it names no highest rate that is not."""
    records = searched_records(CAPACITIES, complete=complete)
    few = records.trials.slice(0, count)
    numbers = few["trial"].to_pylist()
    requests = {
        name: {n: table for n, table in tables.items() if n in numbers}
        for name, tables in records.requests.items()
    }
    write_synthetic(
        tmp_path / "set",
        type(records)(
            trials=few,
            requests=requests,
            energy=records.energy,
            environment=records.environment,
            about=records.about,
        ),
        finish=write,
    )
    text = (tmp_path / "set" / "report.html").read_text(encoding="utf-8")
    assert ("PARTIAL." in text) is not complete
    assert ("Not answered yet" in text) is not complete


@pytest.mark.parametrize(
    ("low", "high"), [(2.6, 6.2), (0.9, 1.2), (10.1, 10.9), (20.0, 600.0), (0.5, 3e5)]
)
def test_every_logarithmic_axis_has_ticks(low: float, high: float) -> None:
    """However short an axis is, three round numbers or more stand at it, and not too many."""
    ticks = decade_ticks(low, high)
    assert 3 <= len(ticks) <= 10
    assert ticks == sorted(set(ticks))
    assert all(low <= tick <= high and float(f"{tick:.4g}") == tick for tick in ticks)
