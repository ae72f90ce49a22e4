"""Bodies of scrapes, from their first byte to a reading: recorded ones, and what nobody can use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from joulery.exporters.dialects import Reading, ScrapeRefused, dialects
from joulery.exporters.exposition import OPENMETRICS, TEXT
from joulery.exporters.service_metrics import ITEMS, REQUESTS
from joulery.exporters.services.reading import read
from joulery.exporters.services.target import Pod, Target

from ..dialects.recorded import READINGS, as_text, bodies, values
from ..dialects.test_dialects import install
from ..dialects.test_recorded import DIALECT_OF

OURS = b'# TYPE joulery_inference_items counter\njoulery_inference_items_total{model="m"} 5\n'

THEIRS = """
from dataclasses import replace
from joulery.exporters.dialects import DIALECTS, Reading
from joulery.exporters.dialects.reading import Histogram, Told
from joulery.exporters.metrics import Metric
from joulery.exporters.service_metrics import DURATION, ITEMS, TARGETS

def translate(families, hints):
    {}

DIALECT = replace(
    DIALECTS[0], name="theirs", prefixes=("theirs_",), signature=("theirs_",), translate=translate
)
"""


def target(*, dialect: str = "", model: str = "", variant: str = "") -> Target:
    """Return a service of a pod."""
    pod = Pod(namespace="shop", name="server-0", uid="uid-0")
    return Target(pod=pod, dialect=dialect, model=model, variant=variant)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder for packages of others, which are looked for anew."""
    monkeypatch.syspath_prepend(tmp_path)
    dialects.cache_clear()
    yield tmp_path
    dialects.cache_clear()


@pytest.mark.parametrize("name", DIALECT_OF)
def test_every_recorded_scrape_is_read(name: str) -> None:
    """What a server serves is recognised, and read as its dialect alone reads it."""
    content_type = OPENMETRICS if name.endswith("openmetrics") else TEXT
    dialect, reading = read(bodies()[name], content_type, target(variant="hinted"))
    assert dialect == DIALECT_OF[name]
    assert as_text(reading) == (READINGS / f"{name}.txt").read_text()


def test_what_the_target_says_counts() -> None:
    """The dialect that is named is taken, and hints fill in what the server does not tell."""
    named = target(dialect="joulery", model="other", variant="int8")
    dialect, reading = read(OURS, TEXT, named)
    assert dialect == "joulery"
    assert values(reading, ITEMS) == {("m", "int8"): 5.0}
    assert reading.problems == {}


def test_another_dialect_than_was_said_is_a_problem() -> None:
    """A server that is said to be another one tells nothing, and why is counted."""
    dialect, reading = read(OURS, TEXT, target(dialect="vllm"))
    assert (dialect, reading) == ("vllm", Reading(told=(), problems={"other_dialect": 1}))


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (b"", TEXT, "no_dialect"),
        (b"python_info 1\n", TEXT, "no_dialect"),
        (b"<html>hello</html>", "text/html", "no_dialect"),
        (OURS + b"joulery_inference_items_total{model=", TEXT, "malformed"),
        (b"joulery_inference_items_total\xff 1\n", TEXT, "malformed"),
        (OURS, OPENMETRICS, "truncated"),
        (OURS, OPENMETRICS.upper(), "truncated"),
        (OURS + b"#\n" * 2**20, TEXT, "too_large"),
        (OURS + b"\n" * 60_000, TEXT, "too_many_lines"),
        (
            b"".join(b'joulery_inference_items_total{model="%d"} 1\n' % n for n in range(2_001)),
            TEXT,
            "too_many_series",
        ),
    ],
)
def test_what_cannot_be_used_is_refused(body: bytes, content_type: str, reason: str) -> None:
    """What is foreign, broken or far too much is refused, by a reason in one word."""
    with pytest.raises(ScrapeRefused) as refused:
        read(body, content_type, target())
    assert refused.value.reason == reason


def test_a_server_of_a_hundred_models_is_read() -> None:
    """The limits leave room for a server that is much larger than usual."""
    requests = "\n".join(
        f'nv_inference_request_success{{model="m{n}",version="{v}"}} {n}'
        for n in range(100)
        for v in range(3)
    )
    dialect, reading = read(requests.encode(), TEXT, target())
    assert dialect == "triton"
    assert len(values(reading, REQUESTS)) == 300


def test_a_dialect_of_others_is_used(packages: Path) -> None:
    """What a dialect of another package tells is taken as that of ours."""
    install(
        packages, "theirs_good", THEIRS.format("return Reading(told=(Told(ITEMS, ('m', ''), 2),))")
    )
    assert read(b"theirs_x 1\n", TEXT, target())[0] == "theirs"


@pytest.mark.parametrize(
    "work",
    [
        "raise KeyError('x')",
        "return None",
        "return Reading(told=(Told(ITEMS, ('m',), 1.0),))",
        "return Reading(told=(Told(ITEMS, ('m', ''), '1'),))",
        "return Reading(told=(Told(ITEMS, ('m', 7), 1.0),))",
        "return Reading(told=(Told(ITEMS, ('m', chr(0xd800)), 1.0),))",
        "return Reading(told=(Told(DURATION, ('m', '', '', '', 'ok'), 1.0),))",
        "return Reading(told=(Told(DURATION, tuple('abcde'), Histogram((1.0,), (), 1.0)),))",
        "return Reading(told=(Told(TARGETS, ('scrape',), 1.0),))",
        "return Reading(told=(), problems={7: 1})",
        "return Reading(told=(), problems={'odd': -1})",
    ],
)
def test_a_bad_dialect_is_a_refused_scrape(packages: Path, work: str) -> None:
    """A dialect that fails, or tells what cannot be served, costs its own services alone."""
    install(packages, "theirs_bad", THEIRS.format(work))
    with pytest.raises(ScrapeRefused) as refused:
        read(b"theirs_x 1\n", TEXT, target())
    assert refused.value.reason == "not_understood"
    assert "theirs" in str(refused.value)
    assert read(OURS, TEXT, target())[0] == "joulery"
