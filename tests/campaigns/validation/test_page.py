"""The page: one that a real browser draws without network, errors or overflow; and the document."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import plotly.graph_objects as go
import pytest

from joulery.campaigns.validation.page import PAGE, document, write_page
from joulery.campaigns.validation.results import read
from joulery.datasets.verify import verify
from joulery.errors import DatasetError

from ...conftest import require_program

PANELS = 7

# The page measures itself: only a page can know how wide it became, and what it loaded.
_PROBE = """
<script>
window.faults = [];
addEventListener("error", (event) => faults.push(event.message || "a resource failed"), true);
addEventListener("load", () => setTimeout(() => {
  const pre = document.createElement("pre");
  pre.id = "probe";
  pre.textContent = JSON.stringify({
    faults,
    drawn: [...document.querySelectorAll(".plot")]
      .map((plot) => plot.querySelectorAll(".trace").length),
    cut: [...document.querySelectorAll(".plot .ytick text")].filter((text) => {
      const own = text.getBoundingClientRect();
      return own.left < text.closest(".plot").getBoundingClientRect().left;
    }).length,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    loaded: performance.getEntriesByType("resource").map((entry) => entry.name)
      .filter((name) => !name.startsWith("data:")),
    colours: ["body", ".plot .xgrid", ".plot .xtick text"].map((place) => {
      const style = getComputedStyle(document.querySelector(place));
      return place === "body" ? style.backgroundColor : style.stroke + style.fill;
    }),
  });
  document.body.append(pre);
}, 500));
</script>
"""


@pytest.fixture(scope="module")
def probes(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, dict[str, object]]:
    """What real headless Chromium says of the page: narrow and light, wide and dark."""
    chromium = require_program("chromium")
    page = tmp_path_factory.mktemp("probe") / "page.html"
    text = (folder / PAGE).read_text(encoding="utf-8")
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


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_runs_in_a_browser(probes: Mapping[str, dict[str, object]], theme: str) -> None:
    """No script fails, nothing is fetched, nothing is cut off, every figure is drawn."""
    probe = probes[theme]
    drawn = probe.pop("drawn")
    assert isinstance(drawn, list)
    assert len(drawn) == PANELS
    assert min(drawn) >= 1
    colours = probe["colours"]
    assert probe == {"faults": [], "cut": 0, "overflow": 0, "loaded": [], "colours": colours}


def test_figures_follow_the_reader_s_theme(probes: Mapping[str, dict[str, object]]) -> None:
    """Page, grid and tick labels have other colours in the dark."""
    light, dark = (probes[theme]["colours"] for theme in ("light", "dark"))
    assert isinstance(light, list)
    assert isinstance(dark, list)
    assert all(one != other for one, other in zip(light, dark, strict=True))


def _panels(folder: Path) -> list[dict[str, object]]:
    text = (folder / PAGE).read_text(encoding="utf-8")
    found = re.search(r'id="figures">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    panels: list[dict[str, object]] = json.loads(found.group(1))
    return panels


def test_the_figures_are_valid_plotly(folder: Path) -> None:
    """Plotly's own schema accepts every trace and every property of the layout."""
    panels = _panels(folder)
    assert len(panels) == PANELS
    for panel in panels:
        assert go.Figure(data=panel["data"], layout=panel["layout"]).data


def test_the_page_refers_to_nothing_outside(folder: Path) -> None:
    """Apart from plotly.js and one link to the licence, no address stands in the page."""
    text = (folder / PAGE).read_text(encoding="utf-8")
    own = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    found = set(re.findall(r"https?://[^\"'<)\s]+", own))
    assert found == {"https://creativecommons.org/licenses/by/4.0/"}


def test_page_and_document_say_what_they_are_of(folder: Path) -> None:
    """Both say that nodes are simulated, what is true, which seeds chose the constants, limits."""
    page = (folder / PAGE).read_text(encoding="utf-8").replace("&#39;", "'")
    for text in (page, document(folder), (folder / "README.md").read_text(encoding="utf-8")):
        for words in (
            "no machine was measured",
            "Truth is a definition",
            "1000 and above",
            "Counters are ideal",
            "intensity that was",
            "overconfident",
        ):
            assert words in text, words


def test_page_and_document_tell_the_same_figures(folder: Path) -> None:
    """Every mean error of the summary stands in both, and every target with its verdict."""
    found = read(folder)
    page = (folder / PAGE).read_text(encoding="utf-8").replace("&#39;", "'")
    text = document(folder)
    for value in found.summary["mape_ratio"]:
        assert f"{100 * value:.1f} %" in page
        assert f"{100 * value:.1f} %" in text
    for target in found.targets:
        assert target.what in text
        assert target.what in page
        assert f"| {target.found} | {'reached' if target.reached else '**not reached**'} |" in text


def test_a_part_of_the_grid_says_so_first(folder: Path) -> None:
    """The page of a part of the grid has a banner, and says how to run that part again."""
    text = (folder / PAGE).read_text(encoding="utf-8")
    assert "A PART OF THE GRID" in text
    assert "--seeds 2 --scenario steady --scenario shared-gpu" in text


def test_the_same_dataset_gives_the_same_page(folder: Path, tmp_path: Path) -> None:
    """Nothing in the page depends on when or where it is written; the manifest holds it."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    write_page(copy)
    assert (copy / PAGE).read_bytes() == (folder / PAGE).read_bytes()
    assert verify(copy) == []


def test_a_folder_that_is_no_validation_gets_no_page(tmp_path: Path) -> None:
    """An empty folder is an error, and stays empty."""
    with pytest.raises(DatasetError, match="no datapackage"):
        write_page(tmp_path)
    assert list(tmp_path.iterdir()) == []
