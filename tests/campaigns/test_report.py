"""The report: one page that a real browser draws without network, errors or overflow."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import plotly.graph_objects as go
import pyarrow as pa
import pytest

from joulery.campaigns.report import write
from joulery.datasets.store import load, read_manifest
from joulery.datasets.verify import verify
from joulery.errors import DatasetError

from ..conftest import require_program
from .samples import synthetic_records, write_synthetic

# The page measures itself: only a page can know how wide it became, and what it loaded.
_PROBE = """
<script>
window.faults = [];
addEventListener("error", (event) => faults.push(event.message || "a resource failed"), true);
addEventListener("load", () => setTimeout(() => {
  const found = {
    faults,
    plots: document.querySelectorAll(".plot .main-svg .scatterlayer .trace").length,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    loaded: performance.getEntriesByType("resource").map((entry) => entry.name),
    page: getComputedStyle(document.body).backgroundColor,
    grid: getComputedStyle(document.querySelector(".plot .xgrid")).stroke,
    label: getComputedStyle(document.querySelector(".plot .xtick text")).fill,
  };
  const head = document.querySelector("table.sortable thead th:nth-child(4) button");
  const energies = () => [...head.closest("table").tBodies[0].rows]
    .map((row) => Number(row.cells[3].dataset.sort));
  head.click();
  found.ascending = energies();
  head.click();
  found.descending = energies();
  const pre = document.createElement("pre");
  pre.id = "probe";
  pre.textContent = JSON.stringify(found);
  document.body.append(pre);
}, 500));
</script>
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete made-up dataset with its report."""
    folder = tmp_path_factory.mktemp("report") / "set"
    write_synthetic(folder, synthetic_records(), finish=write)
    return folder


@pytest.fixture(scope="module")
def probes(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, dict[str, object]]:
    """What real headless Chromium says of the page: narrow and light, wide and dark."""
    chromium = require_program("chromium")
    page = tmp_path_factory.mktemp("probe") / "report.html"
    text = (folder / "report.html").read_text(encoding="utf-8")
    page.write_text(text.replace("<body>", "<body>" + _PROBE, 1), encoding="utf-8")

    def ask(width: int, scheme: int) -> dict[str, object]:
        done = subprocess.run(
            [
                chromium,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                f"--user-data-dir={page.parent / str(width)}",
                f"--blink-settings=preferredColorScheme={scheme}",
                f"--window-size={width},1200",
                "--virtual-time-budget=15000",
                "--dump-dom",
                page.as_uri(),
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=100,
        )
        found = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
        assert found is not None, "the page did not get as far as its load event"
        answer: dict[str, object] = json.loads(found.group(1))
        return answer

    return {"light": ask(700, 1), "dark": ask(1400, 0)}


@pytest.fixture(params=["light", "dark"])
def probe(request: pytest.FixtureRequest, probes: Mapping[str, dict[str, object]]) -> object:
    """One of the two probes."""
    return probes[request.param]


def test_the_page_runs_without_an_error(probe: dict[str, object]) -> None:
    """No script fails and no resource is missing."""
    assert probe["faults"] == []


def test_the_figures_are_drawn(probe: dict[str, object]) -> None:
    """Every configuration and load is a mark in each of the three panels of its scenario."""
    assert isinstance(probe["plots"], int)
    assert probe["plots"] >= 3 * 40


def test_nothing_is_fetched(probe: dict[str, object]) -> None:
    """The browser loads the page itself and nothing else."""
    assert [name for name in _texts(probe["loaded"]) if not name.startswith("data:")] == []


def test_the_page_is_no_wider_than_the_window(probe: dict[str, object]) -> None:
    """Wide tables scroll inside; the page does not."""
    assert probe["overflow"] == 0


def test_figures_follow_the_reader_s_theme(probes: Mapping[str, dict[str, object]]) -> None:
    """Page, grid and tick labels have other colours in the dark."""
    for part in ("page", "grid", "label"):
        assert probes["light"][part] != probes["dark"][part]


def test_a_click_sorts_a_table(probe: dict[str, object]) -> None:
    """The first click on a head sorts its column upwards, the second downwards."""
    up, down = probe["ascending"], probe["descending"]
    assert isinstance(up, list)
    assert up == sorted(up)
    assert down == sorted(up, reverse=True)
    assert len(set(up)) > 3


def _texts(value: object) -> Iterator[str]:
    assert isinstance(value, list)
    yield from map(str, value)


def test_the_figures_are_valid_plotly(folder: Path) -> None:
    """Plotly's own schema accepts every trace and every property of the layout."""
    text = (folder / "report.html").read_text(encoding="utf-8")
    found = re.search(r'id="figures">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    panels = json.loads(found.group(1))
    own = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert len(panels) == own.count('<div class="plot')
    titles = [panel["title"] for panel in panels]
    for title in ("Energy and quality", "Energy, latency and quality", "Latency by load"):
        assert titles.count(title) == 2
    for panel in panels:
        figure = go.Figure(data=panel["data"], layout=panel["layout"])
        assert len(figure.data) >= (10 if " and " in panel["title"] else 2)


def test_the_page_refers_to_nothing_outside(folder: Path) -> None:
    """Apart from plotly.js and one link to the licence, no address stands in the page."""
    text = (folder / "report.html").read_text(encoding="utf-8")
    own = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    found = set(re.findall(r"https?://[^\"'<)\s]+", own))
    assert found == {"https://creativecommons.org/licenses/by/4.0/"}


def test_the_report_is_part_of_the_dataset(folder: Path) -> None:
    """Both files are in the manifest, also after they were written again."""
    assert {"report.html", "report.md"} <= set(read_manifest(folder))
    write(folder)
    assert verify(folder) == []


def test_the_same_dataset_gives_the_same_report(folder: Path) -> None:
    """Nothing in the report depends on when or where it is written."""
    before = (folder / "report.html").read_bytes(), (folder / "report.md").read_bytes()
    write(folder)
    assert before == ((folder / "report.html").read_bytes(), (folder / "report.md").read_bytes())


@pytest.mark.parametrize("name", ["report.html", "report.md"])
def test_estimated_energy_is_said_to_be_estimated(folder: Path, name: str) -> None:
    """The banner and each configuration's row say that energy is estimated; measured ones not."""
    text = (folder / name).read_text(encoding="utf-8")
    assert "Energy is ESTIMATED." in text
    assert text.count("estimated") >= 40
    assert "PARTIAL" not in text


@pytest.mark.parametrize("name", ["report.html", "report.md"])
def test_measured_energy_has_no_warning(tmp_path: Path, name: str) -> None:
    """With a sensor, nothing is called an estimate."""
    write_synthetic(tmp_path / "set", synthetic_records(provenance="apportioned"), finish=write)
    text = (tmp_path / "set" / name).read_text(encoding="utf-8")
    assert "ESTIMATED" not in text
    assert "apportioned" in text


@pytest.mark.parametrize("done", [0, 1, 47])
def test_an_unfinished_campaign_says_so_first(tmp_path: Path, done: int) -> None:
    """The banner counts what is missing, and no configuration is named the best."""
    write_synthetic(tmp_path / "set", synthetic_records(done=done), finish=write)
    for name in ("report.html", "report.md"):
        text = (tmp_path / "set" / name).read_text(encoding="utf-8")
        assert "PARTIAL." in text
        assert f"{done} of 80 trials done" in text
        assert "cheapest is" not in text


def test_invalid_trials_are_listed_with_their_reasons(folder: Path) -> None:
    """Every invalid trial stands in both reports with its figures."""
    for name in ("report.html", "report.md"):
        text = (folder / name).read_text(encoding="utf-8").replace("&gt;", ">")
        assert text.count("send_lag (p99 12.2 ms > 5 ms)") >= 4


def test_text_from_outside_cannot_become_markup(tmp_path: Path) -> None:
    """Tags in a title, a description or a level are shown, not run."""
    nasty = "</script><script>alert(1)</script>"
    records = synthetic_records(done=4)
    figures = [figure | {"title": nasty} for figure in records.about.figures]
    about = dataclasses.replace(records.about, title=nasty, description=nasty, figures=figures)
    write_synthetic(
        tmp_path / "set",
        dataclasses.replace(records, about=about, environment={"machine": {nasty: nasty}}),
        finish=write,
    )
    assert nasty not in (tmp_path / "set" / "report.html").read_text(encoding="utf-8")


def test_a_dataset_without_energy_still_has_a_report(tmp_path: Path) -> None:
    """Where no energy is known, the report says so instead of showing zeros."""
    records = synthetic_records()
    table = records.trials
    for name in ("inference_energy_j", "energy_provenance"):
        place = table.schema.get_field_index(name)
        field = table.schema.field(name)
        table = table.set_column(place, field, pa.nulls(table.num_rows, field.type))
    write_synthetic(tmp_path / "set", dataclasses.replace(records, trials=table), finish=write)
    text = (tmp_path / "set" / "report.html").read_text(encoding="utf-8")
    assert "Energy is not known." in text
    assert load(tmp_path / "set").trials["inference_energy_j"].isna().all()


def test_a_folder_that_is_no_dataset_gets_no_report(tmp_path: Path) -> None:
    """An empty folder is an error, and stays empty."""
    with pytest.raises(DatasetError, match="no datapackage"):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []
