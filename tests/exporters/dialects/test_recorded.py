"""Every recorded scrape, with all that is read of it."""

from __future__ import annotations

import os

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from joulery.exporters.dialects import DIALECTS, Hints, parse, recognised

from .recorded import READINGS, as_text, bodies, read

DIALECT_OF = {
    "joulery": "joulery",
    "joulery_openmetrics": "joulery",
    "kserve": "mlserver",
    "mlserver": "mlserver",
    "openvino": "openvino",
    "ray_serve": "ray-serve",
    "tensorflow_serving": "tensorflow-serving",
    "torchserve": "torchserve",
    "triton": "triton",
    "triton_summaries": "triton",
    "vllm": "vllm",
    "vllm_old": "vllm",
}


def test_every_dialect_has_a_recorded_scrape() -> None:
    """No dialect is without a scrape to read, and no scrape without a dialect."""
    assert set(bodies()) == set(DIALECT_OF)
    assert {one.name for one in DIALECTS} == set(DIALECT_OF.values())


@pytest.mark.parametrize("name", DIALECT_OF)
def test_a_scrape_is_recognised(name: str) -> None:
    """What a server serves tells which it is, whatever else may have been expected."""
    families = parse(bodies()[name], DIALECTS, openmetrics=name.endswith("openmetrics"))
    found = recognised(families)
    assert found is not None
    assert found.name == DIALECT_OF[name]


@pytest.mark.parametrize("name", DIALECT_OF)
def test_all_that_is_read_of_a_scrape(name: str) -> None:
    """The whole reading of a scrape is as it was reviewed; `UPDATE=1` writes it anew."""
    openmetrics = name.endswith("openmetrics")
    text = as_text(read(bodies()[name], hints=Hints(variant="hinted"), openmetrics=openmetrics))
    path = READINGS / f"{name}.txt"
    if os.environ.get("UPDATE"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", DIALECT_OF)
def test_lines_are_read_as_the_client_library_reads_them(name: str) -> None:
    """Names, types, labels and values are those of the client library's parsers."""
    openmetrics = name.endswith("openmetrics")
    body = bodies()[name].decode()
    whole = (parse_openmetrics if openmetrics else parse_text)(body)
    theirs = {
        (family.type, sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in whole
        for sample in family.samples
    }
    ours = {
        (family.type, sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(body, DIALECTS, openmetrics=openmetrics).values()
        for sample in family.samples
    }
    assert len(ours) > 5
    assert {key: theirs.get(key) for key in ours} == pytest.approx(ours, rel=0, nan_ok=True)


def test_both_formats_of_ours_say_the_same() -> None:
    """A service that embeds a profiler reads the same as text and as OpenMetrics."""
    text, openmetrics = bodies()["joulery"], bodies()["joulery_openmetrics"]
    assert as_text(read(text)) == as_text(read(openmetrics, openmetrics=True))
