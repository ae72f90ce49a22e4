"""What is served, as Prometheus' own parsers and linter read it."""

from __future__ import annotations

import gzip
import math
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric as Parsed
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from joulery.exporters import metrics as m
from joulery.exporters.exposition import OPENMETRICS, TEXT, Scrape, negotiated, render
from joulery.exporters.families import Family, Histogram, Snapshot, Summary
from joulery.profiler.simulator.load import Consumer

from ..conftest import require_program
from .simulated import pod_node

Parser = Callable[[str], Iterable[Parsed]]

_FORMS: tuple[tuple[bool, Parser], ...] = ((False, parse_text), (True, parse_openmetrics))


def scraped(tmp_path: Path) -> Scrape:
    """Return what an exporter shows after some cycles."""
    with pod_node(tmp_path, [Consumer(name="camera", busy=1.0)]) as node:
        with node.exporter() as exporter:
            node.run(exporter, 3)
        return exporter.scrape


def test_the_linter_of_prometheus_is_content(tmp_path: Path) -> None:
    """`promtool check metrics` has nothing to say about a scrape."""
    body = scraped(tmp_path).body(TEXT, compressed=False)
    promtool = require_program("promtool")
    ended = subprocess.run([promtool, "check", "metrics"], input=body, capture_output=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


def test_both_formats_say_the_same(tmp_path: Path) -> None:
    """A scrape as text and as OpenMetrics has the same samples, types and help."""
    scrape = scraped(tmp_path)
    told = []
    for content_type, parse in ((TEXT, parse_text), (OPENMETRICS, parse_openmetrics)):
        body = scrape.body(content_type, compressed=False)
        assert body is not None
        families = list(parse(body.decode()))
        told.append(
            {(s.name, *sorted(s.labels.items())): s.value for f in families for s in f.samples}
        )
        known = {metric.name: metric for metric in m.CATALOGUE}
        for family in families:
            metric = known[family.name.removesuffix("_info")]
            assert family.documentation == metric.help
            if content_type == OPENMETRICS:
                assert (family.type, family.unit) == (metric.type, metric.unit)
    assert told[0] == told[1]
    assert len(told[0]) > 50


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
            st.floats(allow_nan=False),
        ),
        max_size=5,
        unique_by=lambda pair: pair[0],
    )
)
def test_any_label_survives(pairs: list[tuple[str, float]]) -> None:
    """Whatever characters a label has, the parsers read the same value back."""
    metric = m.Metric(name="x", type="gauge", labels=("name", "b"), help='a "b" \\ c', per="")
    family = Family(metric, tuple(((text, "y"), value) for text, value in pairs))
    for openmetrics, parse in _FORMS:
        text = render(Snapshot(families=(family,)), openmetrics=openmetrics).decode()
        [parsed] = parse(text)
        found = [(sample.labels.get("name", ""), sample.value) for sample in parsed.samples]
        assert found == pairs
        assert parsed.documentation == metric.help


def test_histograms_and_summaries_are_read_back() -> None:
    """Buckets, sums, counts and quantiles come out of both parsers as they went in."""
    shape = m.Metric(
        name="x_seconds", type="histogram", unit="seconds", labels=("a",), help="", per=""
    )
    brief = m.Metric(name="y_seconds", type="summary", unit="seconds", labels=(), help="", per="")
    told = Histogram((0.1, 1.0, math.inf), (1.0, 2.0, 4.0), 5.5)
    unsummed = Histogram((0.1, math.inf), (0.0, 3.0), None)
    snapshot = Snapshot(
        families=(
            Family(shape, ((("one",), told), (("two",), unsummed))),
            Family(brief, (((), Summary(7.0, 2.5, ((0.5, 0.3),))),)),
        )
    )
    for openmetrics, parse in _FORMS:
        families = parse(render(snapshot, openmetrics=openmetrics).decode())
        found = {(s.name, *s.labels.values()): s.value for f in families for s in f.samples}
        assert found.pop(("x_seconds_count", "two"), 3.0) == 3.0
        assert found == {
            ("x_seconds_bucket", "one", "0.1"): 1.0,
            ("x_seconds_bucket", "one", "1.0"): 2.0,
            ("x_seconds_bucket", "one", "+Inf"): 4.0,
            ("x_seconds_sum", "one"): 5.5,
            ("x_seconds_count", "one"): 4.0,
            ("x_seconds_bucket", "two", "0.1"): 0.0,
            ("x_seconds_bucket", "two", "+Inf"): 3.0,
            ("y_seconds", "0.5"): 0.3,
            ("y_seconds_sum",): 2.5,
            ("y_seconds_count",): 7.0,
        }


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", TEXT),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5", OPENMETRICS),
        ("application/openmetrics-text; version=0.0.1", OPENMETRICS),
        ("application/openmetrics-text;q=0,text/plain", TEXT),
    ],
)
def test_negotiation(accept: str, content_type: str) -> None:
    """A client gets OpenMetrics when it asks for it, and text otherwise."""
    assert negotiated(accept) == content_type


def test_every_scrape_of_a_snapshot_is_the_same(tmp_path: Path) -> None:
    """Who scrapes twice, or beside another, gets the very same bytes until the next cycle."""
    scrape = scraped(tmp_path)
    first = scrape.body(TEXT, compressed=False)
    packed = scrape.body(TEXT, compressed=True)
    assert first is not None
    assert packed is not None
    assert scrape.body(TEXT, compressed=False) is first
    assert gzip.decompress(packed) == first


def test_the_catalogue_is_consistent() -> None:
    """Names are unique, say their unit, and no label is said twice."""
    names = [metric.series for metric in m.CATALOGUE]
    assert len(set(names)) == len(names)
    for metric in m.CATALOGUE:
        assert metric.name.startswith("joulery_")
        assert not metric.unit or metric.name.endswith(f"_{metric.unit}")
        assert len(set(metric.labels)) == len(metric.labels)
        assert metric.help.endswith(".")


def test_nothing_is_served_before_the_first_cycle() -> None:
    """Before the first cycle there is no body, rather than an empty one."""
    assert Scrape().body(TEXT, compressed=False) is None
    assert not Scrape().ready
