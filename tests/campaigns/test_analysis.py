"""Analysis: only valid trials count, fronts are fronts, and nothing partial is called best."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from joulery.campaigns.analysis import Analysis, analyse, summary_table
from joulery.campaigns.cells import GOALS, Cell
from joulery.campaigns.report import write
from joulery.datasets.store import load

from .samples import Records, synthetic_records, write_synthetic

TRAFFIC, ANOMALY = "traffic_prediction", "anomaly_detection"


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    """The analysis of a complete made-up campaign."""
    folder = tmp_path_factory.mktemp("analysis") / "set"
    write_synthetic(folder, synthetic_records())
    return analyse(load(folder))


def _with(records: Records, name: str, change: Callable[[dict[str, object]], object]) -> Records:
    """Return records in which one column of the trials is worked out anew from each row."""
    rows = [row | {name: change(row)} for row in records.trials.to_pylist()]
    return dataclasses.replace(
        records, trials=pa.Table.from_pylist(rows, schema=records.trials.schema)
    )


def test_every_configuration_and_load_has_a_cell(analysis: Analysis) -> None:
    """Ten models and precisions, two batch sizes and two loads make forty cells."""
    assert len(analysis.cells) == 40
    assert sum(cell.trials for cell in analysis.cells) == 80
    assert analysis.loads(TRAFFIC) == ("poisson 120 Hz", "poisson 360 Hz")
    labels = {cell.label for cell in analysis.of(TRAFFIC)}
    assert {"ridge, batch 1", "mlp, int8, batch 8"} <= labels


def test_invalid_trials_change_nothing(tmp_path: Path) -> None:
    """Absurd figures in an invalid trial leave every statistic as it is without that trial."""
    records = synthetic_records()
    absurd = _with(
        records,
        "inference_energy_j",
        lambda row: 1e6 if row["verdict"] == "invalid" else row["inference_energy_j"],
    )
    write_synthetic(tmp_path / "one", records)
    write_synthetic(tmp_path / "two", absurd)
    assert analyse(load(tmp_path / "one")).cells == analyse(load(tmp_path / "two")).cells


def test_a_cell_joins_its_valid_trials(analysis: Analysis) -> None:
    """Energy is the mean over trials, latency that of the pooled requests, as numpy has them."""
    dataset = analysis.dataset
    cell = next(c for c in analysis.of(TRAFFIC) if c.valid == 2 and c.label == "ridge, batch 8")
    rows = dataset.trials.query(
        "scenario == @cell.scenario and load == @cell.load and model == 'ridge' and batch == 8"
    )
    assert cell.energy is not None
    assert cell.energy.value == pytest.approx(rows["inference_energy_j"].mean())
    assert cell.systematic == pytest.approx(
        (rows["inference_energy_low_j"].mean(), rows["inference_energy_high_j"].mean())
    )
    requests = dataset.requests(TRAFFIC)
    latency_s = requests.loc[requests["trial"].isin(rows["trial"]), "latency_s"]
    assert cell.latency["p95"].value == np.quantile(latency_s, 0.95, method="inverted_cdf")
    low, high = cell.latency["p95"].bounds
    assert low < cell.latency["p95"].value < high
    assert cell.provenance == "estimated"


def _unanswered(records: Records, share: float) -> Records:
    """Return records in which the slowest requests of each trial had no answer."""

    def dropped(table: pa.Table) -> pa.Table:
        frame = table.to_pandas()
        slow = frame["latency_s"].rank(pct=True) > 1 - share
        frame.loc[slow, "status"] = "timeout"
        frame.loc[slow, "latency_s"] = None
        return pa.Table.from_pandas(frame, schema=table.schema, preserve_index=False)

    requests = {
        name: {trial: dropped(table) for trial, table in tables.items()}
        for name, tables in records.requests.items()
    }
    return dataclasses.replace(records, requests=requests)


@pytest.mark.parametrize(("share", "known"), [(0.02, {"p50", "p95"}), (0.1, {"p50"})])
def test_requests_without_an_answer_are_later_than_all(
    tmp_path: Path, analysis: Analysis, share: float, known: set[str]
) -> None:
    """Who drops the slowest looks no faster, and percentiles among those are not known."""
    write_synthetic(tmp_path / "set", _unanswered(synthetic_records(), share), finish=write)
    cells = {(c.label, c.load): c for c in analyse(load(tmp_path / "set")).of(TRAFFIC) if c.valid}
    assert cells
    for before in analysis.of(TRAFFIC):
        if before.valid:
            latency = cells[before.label, before.load].latency
            assert set(latency) == known
            assert all(latency[name].value >= before.latency[name].value for name in known)
    assert (tmp_path / "set" / "report.html").exists()


def test_quality_is_that_of_model_and_precision(analysis: Analysis) -> None:
    """Cells that differ in batch or load alone share one quality, near that of their trials."""
    cells = [cell for cell in analysis.of(TRAFFIC) if cell.model == "ridge"]
    assert len({cell.quality for cell in cells if cell.quality}) == 1
    trials = analysis.dataset.trials.query("model == 'ridge' and verdict == 'valid'")
    quality = cells[0].quality
    assert quality is not None
    pooled = np.average(trials["mase_h12"], weights=trials["requests_answered"])
    assert quality.value == pytest.approx(pooled)
    assert quality.low is not None


def test_a_headline_that_requests_do_not_give_falls_back_on_trials(tmp_path: Path) -> None:
    """When a trial's figure is no constant times the errors, the mean over trials stands in."""
    records = _with(
        synthetic_records(), "mase_h12", lambda row: 1.0 + 0.01 * float(str(row["trial"]))
    )
    write_synthetic(tmp_path / "set", records)
    cell = analyse(load(tmp_path / "set")).of(TRAFFIC)[0]
    trials = records.trials.to_pandas().query("model == @cell.model and verdict == 'valid'")
    assert cell.quality is not None
    assert cell.quality.value == pytest.approx(trials["mase_h12"].mean())
    assert cell.quality.draws is None


def _values(analysis: Analysis, cell: Cell) -> list[float]:
    return [
        analysis.sign(cell.scenario, goal) * value.value
        for goal in GOALS
        if (value := cell.value(goal))
    ]


@pytest.mark.parametrize("scenario", [TRAFFIC, ANOMALY])
def test_the_front_is_the_non_dominated_set(analysis: Analysis, scenario: str) -> None:
    """A cell is on the front exactly when no cell of its load is as good in all, better in one."""
    for load_name in analysis.loads(scenario):
        cells = analysis.of(scenario, load_name)
        for cell in cells:
            mine = np.array(_values(analysis, cell))
            others = np.array([_values(analysis, other) for other in cells])
            dominated = np.any(np.all(others <= mine, axis=1) & np.any(others < mine, axis=1))
            assert cell.front is not bool(dominated)
        assert any(cell.front for cell in cells)


@pytest.mark.parametrize("scenario", [TRAFFIC, ANOMALY])
def test_the_best_is_best_and_on_the_front(analysis: Analysis, scenario: str) -> None:
    """Nothing beats the best in its goal, and it lies on the front."""
    for load_name in analysis.loads(scenario):
        for goal in GOALS:
            best = analysis.best(scenario, load_name, goal)
            assert best is not None
            assert best.front
            sign, mine = analysis.sign(scenario, goal), best.value(goal)
            assert mine is not None
            for cell in analysis.of(scenario, load_name):
                value = cell.value(goal)
                assert value is not None
                assert sign * mine.value <= sign * value.value
            assert best not in analysis.rivals(scenario, load_name, goal)


def test_the_best_keep_the_objective_where_any_does(tmp_path: Path) -> None:
    """With a limit that only some keep, the share of requests decides, and the best keep it."""
    records = synthetic_records()
    p95_s = sorted(records.trials["latency_p95_s"].to_pylist())
    limit_s, percentile = p95_s[len(p95_s) // 3], 0.95
    spec = records.about.spec | {"slo": {"latency_s": limit_s, "percentile": percentile}}
    about = dataclasses.replace(records.about, spec=spec)
    write_synthetic(tmp_path / "set", dataclasses.replace(records, about=about))
    found = analyse(load(tmp_path / "set"))
    for cell in found.cells:
        trials = found.dataset.trials
        mine = trials[
            (trials["scenario"] == cell.scenario)
            & (trials["load"] == cell.load)
            & (trials["model"] == cell.model)
            & (trials["precision"] == cell.precision)
            & (trials["batch"] == cell.batch)
            & (trials["verdict"] == "valid")
        ]
        requests = found.dataset.requests(cell.scenario)
        sent = requests[requests["trial"].isin(mine["trial"])]
        share = (sent["latency_s"] <= limit_s).mean()
        assert cell.objective != ("missed" if share >= percentile else "kept")
    states = {cell.objective for cell in found.cells}
    assert {"kept", "missed"} <= states
    for scenario in found.scenarios:
        for load_name in found.loads(scenario):
            keeping = [c for c in found.of(scenario, load_name) if c.objective == "kept"]
            best = found.best(scenario, load_name, "energy")
            assert best is not None
            assert not keeping or best in keeping


def test_an_unfinished_campaign_names_no_best(tmp_path: Path) -> None:
    """While trials are missing, nothing is the best, and the table says how far it is."""
    write_synthetic(tmp_path / "set", synthetic_records(done=47))
    dataset = load(tmp_path / "set")
    found = analyse(dataset)
    assert found.partial == "47 of 80 trials done"
    assert found.best(TRAFFIC, "poisson 120 Hz", "energy") is None
    console = Console(record=True, width=160)
    console.print(summary_table(dataset))
    text = console.export_text()
    assert "PARTIAL: 47 of 80 trials done" in text
    assert "not yet known" in text


def test_a_campaign_without_trials_can_be_analysed(tmp_path: Path) -> None:
    """No trial at all gives no cell and no error."""
    write_synthetic(tmp_path / "set", synthetic_records(done=0))
    found = analyse(load(tmp_path / "set"))
    assert found.cells == ()
    assert found.effects(TRAFFIC) == []
    summary_table(found.dataset)


def test_unknown_energy_is_not_zero(tmp_path: Path) -> None:
    """Without energies a cell has none, is on no front, and nothing is the cheapest."""
    records = _with(synthetic_records(), "inference_energy_j", lambda _: None)
    write_synthetic(tmp_path / "set", records)
    found = analyse(load(tmp_path / "set"))
    assert all(cell.energy is None and not cell.front for cell in found.cells)
    assert found.best(TRAFFIC, "poisson 120 Hz", "energy") is None
    assert found.best(TRAFFIC, "poisson 120 Hz", "latency") is not None


def test_a_configuration_without_a_valid_trial_is_not_compared(tmp_path: Path) -> None:
    """Cells whose trials are all invalid are counted, and win nothing."""
    records = _with(
        synthetic_records(),
        "verdict",
        lambda row: "invalid" if row["model"] == "seasonal_naive" else row["verdict"],
    )
    write_synthetic(tmp_path / "set", records)
    found = analyse(load(tmp_path / "set"))
    lost = [cell for cell in found.cells if cell.model == "seasonal_naive"]
    assert lost
    assert all(cell.valid == 0 and cell.trials == 2 and not cell.front for cell in lost)
    best = found.best(TRAFFIC, "poisson 120 Hz", "energy")
    assert best is not None
    assert best.model != "seasonal_naive"


def test_effects_are_paired_ratios(analysis: Analysis) -> None:
    """The effect of int8 is the geometric mean over cells that differ in precision alone."""
    effect = next(
        e for e in analysis.effects(TRAFFIC) if (e.factor, e.goal) == ("precision", "energy")
    )
    assert (effect.level, effect.reference) == ("int8", "fp32")
    cells = {(c.model, c.precision, c.batch, c.load): c for c in analysis.of(TRAFFIC)}
    ratios = [
        cells[model, "int8", batch, at].energy.value / cell.energy.value  # type: ignore[union-attr]
        for (model, precision, batch, at), cell in cells.items()
        if precision == "fp32" and (model, "int8", batch, at) in cells and cell.energy
    ]
    assert effect.pairs == len(ratios)
    assert effect.ratio.value == pytest.approx(np.exp(np.mean(np.log(ratios))))
    assert effect.ratio.bounds == pytest.approx((min(ratios), max(ratios)))


def test_a_network_is_a_factor_of_its_own(tmp_path: Path) -> None:
    """Cells of one load under two networks are apart, and each differs in one factor alone."""
    records = _with(
        synthetic_records(), "network", lambda row: "4g" if row["block"] == 1 else "lan"
    )
    spec = records.about.spec | {"networks": [{"preset": "lan"}, {"preset": "4g"}]}
    about = dataclasses.replace(records.about, spec=spec)
    write_synthetic(tmp_path / "set", dataclasses.replace(records, about=about))
    found = analyse(load(tmp_path / "set"))
    assert found.loads(TRAFFIC) == (
        "poisson 120 Hz, lan",
        "poisson 120 Hz, 4g",
        "poisson 360 Hz, lan",
        "poisson 360 Hz, 4g",
    )
    assert all(any(cell.front for cell in found.of(TRAFFIC, at)) for at in found.loads(TRAFFIC))
    levels = {(e.factor, e.level, e.reference) for e in found.effects(TRAFFIC)}
    assert ("network", "4g", "lan") in levels
    assert {one for one in levels if one[0] == "load"} == {
        ("load", "poisson 360 Hz", "poisson 120 Hz")
    }


def test_batch_is_said_to_have_no_effect_on_quality_by_silence(analysis: Analysis) -> None:
    """Quality is compared across models and precisions only: the rest does not choose answers."""
    factors = {e.factor for e in analysis.effects(ANOMALY) if e.goal == "quality"}
    assert factors == {"model", "precision"}


def test_the_summary_names_winners_with_their_figures(analysis: Analysis) -> None:
    """The table for the terminal has a head per scenario and load, and a row per goal."""
    table = summary_table(analysis.dataset)
    assert table.row_count == 2 * 2 * (1 + 3)
    console = Console(record=True, width=160)
    console.print(table)
    text = console.export_text()
    for part in ("least energy", "lowest latency", "best answers", "mJ", "mase_h12", "pr_auc"):
        assert part in text
