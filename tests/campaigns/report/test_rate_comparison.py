"""Two campaigns that searched: how their highest rates differ, and what is not known of that."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
import pytest
from rich.console import Console

from joulery.campaigns.report.command import run_report
from joulery.campaigns.report.comparison import Comparison
from joulery.campaigns.report.contrasts import Contrast
from joulery.campaigns.report.rate_comparison import RatePair, compare_rates
from joulery.datasets.store import load
from joulery.datasets.verify import verify
from joulery.errors import DatasetError

from ..command import joulery
from ..samples import Records, write_synthetic
from ..searched import SEARCH, Capacities, searched_records

CAPACITIES: Capacities = {
    ("ridge", "lan"): (230.0, 240.0, 235.0),
    ("ridge", "4g"): (150.0, 60.0, 90.0),
    ("mlp", "lan"): (110.0, 150.0, 130.0),
    ("mlp", "4g"): (5000.0, 5000.0, 300.0),
    ("rocket", "lan"): (None, 90.0, 110.0),
}


def _scaled(factor: float) -> Capacities:
    return {
        key: tuple(None if one is None else one * factor for one in blocks)
        for key, blocks in CAPACITIES.items()
    }


def _asking(records: Records, change: dict[str, Any]) -> Records:
    about = dataclasses.replace(records.about, spec=records.about.spec | change)
    return dataclasses.replace(records, about=about)


def _drawn(seed: int) -> Capacities:
    """Return capacities of one made-up truth that scatter by 10 % between blocks."""
    rng = np.random.default_rng(seed)
    return {
        (model, network): tuple(rng.lognormal(np.log(truth), 0.1, 3))
        for model, truth in (("ridge", 250.0), ("mlp", 120.0), ("rocket", 70.0))
        for network in ("lan", "4g")
    }


def _pairs(found: Comparison) -> dict[str, RatePair]:
    return {p.rates[0].name: p for p in found.pairs if isinstance(p, RatePair)}


def _rate(pair: RatePair) -> Contrast:
    rate = pair.found["rate"]
    assert rate is not None
    return rate


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up campaign that searched, in three blocks."""
    folder = tmp_path_factory.mktemp("rates") / "base"
    write_synthetic(folder, searched_records(CAPACITIES))
    return folder


def test_the_same_twice_cannot_be_told_apart(base: Path) -> None:
    """A campaign beside itself: each ratio is 1, and the interval holds what brackets allow."""
    found = _pairs(compare_rates(load(base), load(base)))
    assert len(found) == len(CAPACITIES)
    for name, pair in found.items():
        if name == "mlp, 4g":
            continue
        rate = _rate(pair)
        assert rate.ratio.value == pytest.approx(1.0)
        low, high = rate.ratio.bounds
        widest = max(b.failed_hz / b.kept_hz for b in pair.rates[0].told)  # type: ignore[operator]
        assert low < 1 / widest < 1 < widest < high
        assert rate.verdict.startswith("not told apart")
        assert rate.p_holm == 1.0
    assert _rate(found["ridge, lan"]).verdict == "not told apart at this resolution"
    assert _rate(found["ridge, 4g"]).verdict == "not told apart"


def test_environments_are_kept_apart(base: Path, tmp_path: Path) -> None:
    """Searches of one configuration in several environments are pairs of their own, as networks."""
    records = searched_records(CAPACITIES)
    rows = [
        row | {"environment": row["network"], "network": None} for row in records.trials.to_pylist()
    ]
    trials = pa.Table.from_pylist(rows, schema=records.trials.schema)
    write_synthetic(tmp_path / "set", dataclasses.replace(records, trials=trials))
    found = _pairs(compare_rates(load(tmp_path / "set"), load(tmp_path / "set")))
    as_networks = _pairs(compare_rates(load(base), load(base)))
    assert found.keys() == as_networks.keys()
    for name, pair in found.items():
        assert pair.means == as_networks[name].means


def test_another_draw_of_one_truth_differs_nowhere(tmp_path: Path) -> None:
    """Of three pairs of campaigns of one truth, none has a rate or an energy that differs."""
    for seed in range(0, 6, 2):
        folders = [tmp_path / str(seed + n) for n in (0, 1)]
        for n, folder in enumerate(folders):
            write_synthetic(folder, searched_records(_drawn(seed + n)))
        found = compare_rates(*map(load, folders))
        assert not any(one.differs for p in found.pairs for one in p.found.values() if one)


def test_twice_the_rate_is_found_out(base: Path, tmp_path: Path) -> None:
    """A service twice as fast keeps twice the rate, for sure where blocks agree, on less energy."""
    write_synthetic(tmp_path / "fast", searched_records(_scaled(2.0)))
    comparison = compare_rates(load(tmp_path / "fast"), load(base))
    found = _pairs(comparison)
    rate = _rate(found["ridge, lan"])
    assert rate.verdict == "higher"
    low, high = rate.ratio.bounds
    assert 1.0 < low < 2.0 < high
    assert rate.ratio.value == pytest.approx(2.0, rel=SEARCH.resolution_ratio)
    assert rate.effect is not None
    energy = found["ridge, lan"].found["energy"]
    assert energy is not None
    assert energy.ratio.value == pytest.approx(1 / rate.ratio.value)
    ratios = [one.ratio.value for pair in comparison.pairs if (one := pair.found["rate"])]
    assert ratios == sorted(ratios, reverse=True)


def test_what_is_known_from_one_side_is_not_compared(base: Path, tmp_path: Path) -> None:
    """With a block at the end of the range there is no ratio, but for one that tells nothing."""
    write_synthetic(tmp_path / "again", searched_records(CAPACITIES))
    found = _pairs(compare_rates(load(tmp_path / "again"), load(base)))
    assert set(found["mlp, 4g"].found.values()) == {None}
    assert found["mlp, 4g"].trials == (0, 0)
    assert found["rocket, lan"].trials == (2, 2)
    run_report(base, tmp_path / "again", Console(file=StringIO()))
    for name in ("against-again.html", "against-again.md"):
        text = (base / name).read_text(encoding="utf-8")
        assert re.search(r"kept up to the end of the range, 600 Hz", text)
        assert "not known" in text
        assert "probes tell nothing: generator_saturated" in text
    assert verify(base) == []


def test_networks_are_kept_apart_and_what_one_lacks_is_named(base: Path, tmp_path: Path) -> None:
    """A network that only one searched stands in that one alone."""
    lan = {key: blocks for key, blocks in CAPACITIES.items() if key[1] == "lan"}
    write_synthetic(tmp_path / "lan", searched_records(lan))
    found = compare_rates(load(base), load(tmp_path / "lan"))
    assert {pair.conditions for pair in found.pairs} == {("lan",)}
    assert {key[2] for key in found.only[0]} == {"4g"}
    assert found.only[1] == ()


def test_nothing_in_common_is_said(tmp_path: Path) -> None:
    """Two campaigns without a configuration in common give a page that says so."""
    for model in ("ridge", "mlp"):
        write_synthetic(tmp_path / model, searched_records({(model, None): (150.0,)}))
    run_report(tmp_path / "ridge", tmp_path / "mlp", Console(file=StringIO()))
    text = (tmp_path / "ridge" / "against-mlp.html").read_text(encoding="utf-8")
    assert "Nothing to compare." in text
    assert "no network" in text


def test_the_page_is_whole_and_valid(base: Path, tmp_path: Path) -> None:
    """Rates and energies have a figure each that Plotly takes; loads of probes stand nowhere."""
    write_synthetic(tmp_path / "slow", searched_records(_scaled(0.7)))
    done = joulery("report", base, "--against", tmp_path / "slow")
    assert str(base / "against-slow.html") in done.stdout
    text = (base / "against-slow.html").read_text(encoding="utf-8")
    found = re.search(r'id="figures">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    panels = json.loads(found.group(1))
    own = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert panels[0]["title"] == "Highest rate"
    assert len(panels) == own.count('<div class="plot') == 3
    for panel in panels:
        assert len(go.Figure(data=panel["data"], layout=panel["layout"]).data) == 4
    for words in ("Highest rate that keeps p90 ≤ 20 ms", "at this resolution", "Horowitz"):
        assert words in own
    assert not re.search(r"poisson \d+(\.\d+)? Hz, lan", own)
    assert "DIFFERENT SEARCHES" not in own


def test_another_range_is_said_and_another_question_refused(base: Path, tmp_path: Path) -> None:
    """Ranges may differ, which the page says; objectives and arrivals may not, nor loads."""
    records = searched_records(CAPACITIES)
    search = records.about.spec["search"]
    unlike: Mapping[str, dict[str, Any]] = {
        "range": {"search": search | {"highest_hz": 900.0}},
        "objective": {"slo": {"latency_s": 0.05, "percentile": 0.9}},
        "arrival": {"search": search | {"arrival": "constant"}},
        "loads": {"search": None},
    }
    for name, change in unlike.items():
        write_synthetic(tmp_path / name, _asking(records, change))
    console = Console(file=StringIO())
    run_report(base, tmp_path / "range", console)
    for name in ("against-range.html", "against-range.md"):
        text = (base / name).read_text(encoding="utf-8")
        assert "DIFFERENT SEARCHES" in text
        assert "20 to 900 Hz" in text
    for name, told in (
        ("objective", "p90 ≤ 50 ms"),
        ("arrival", "highest constant rate"),
        ("loads", "found loads that were given"),
    ):
        with pytest.raises(DatasetError, match=told):
            run_report(base, tmp_path / name, console)
        assert not (base / f"against-{name}.html").exists()
    with pytest.raises(DatasetError, match="expected as in the other: loads"):
        run_report(tmp_path / "loads", base, console)
