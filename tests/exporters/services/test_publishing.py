"""One scrape out of what several sides tell."""

from __future__ import annotations

import math

from joulery.exporters.dialects.reading import Histogram, Reading, told
from joulery.exporters.exposition import render
from joulery.exporters.families import Family, ordered
from joulery.exporters.service_metrics import (
    DURATION,
    ITEMS,
    REQUESTS,
    SERVICE_CATALOGUE,
    TARGET_PROBLEMS,
)
from joulery.exporters.services.publishing import Publisher
from joulery.exporters.services.target import Pod

ONE = Pod(namespace="ns", name="one", uid="1")
TWO = Pod(namespace="ns", name="two", uid="2")


def found(families: list[Family]) -> dict[str, dict[tuple[str, ...], object]]:
    """Return samples by metric."""
    return {one.metric.name: dict(one.samples) for one in families if one.samples}


def test_each_series_is_said_once() -> None:
    """What two sides tell is taken from the first, and counted; the rest comes from both."""
    pushed = Reading(told=(told(ITEMS, 5.0, model="m"),))
    page = Reading(told=(told(ITEMS, 4.0, model="m"), told(REQUESTS, 3.0, model="m", outcome="ok")))
    other = Reading(told=(told(ITEMS, 9.0, model="m"),))
    publisher = Publisher()
    sides = [[(ONE, pushed)], [(ONE, page), (TWO, other)]]
    refused = Family(TARGET_PROBLEMS, (((*ONE.labels, "timeout"), 2.0),))
    families = found(publisher.families(sides, [refused]))
    assert families[ITEMS.name] == {(*ONE.labels, "m", ""): 5.0, (*TWO.labels, "m", ""): 9.0}
    assert families[REQUESTS.name] == {(*ONE.labels, "m", "", "ok"): 3.0}
    assert families[TARGET_PROBLEMS.name] == {
        (*ONE.labels, "timeout"): 2.0,
        (*ONE.labels, "told_twice"): 1.0,
    }
    assert found(publisher.families([[(TWO, other)]], []))[ITEMS.name] == {
        (*TWO.labels, "m", ""): 9.0
    }
    assert TARGET_PROBLEMS.name not in found(publisher.families([], []))


def test_equal_series_of_the_exporter_add_up() -> None:
    """Problems that two of its parts count for one reason are one number."""
    family = Family(TARGET_PROBLEMS, (((*ONE.labels, "odd"), 2.0),))
    families = found(Publisher().families([], [family, family]))
    assert families[TARGET_PROBLEMS.name] == {(*ONE.labels, "odd"): 4.0}


def test_it_can_be_served() -> None:
    """What is published comes in the catalogue's order, and histograms with their buckets."""
    shape = Histogram((0.1, math.inf), (1.0, 2.0), 0.7)
    reading = Reading(told=(told(ITEMS, 1.0), told(DURATION, shape, model="m", outcome="ok")))
    snapshot = ordered(Publisher().families([[(ONE, reading)]], []), SERVICE_CATALOGUE)
    assert [one.metric for one in snapshot.families] == [DURATION, ITEMS]
    text = render(snapshot).decode()
    labels = 'namespace="ns",pod="one",uid="1",model="m",outcome="ok"'
    assert f'{DURATION.name}_bucket{{{labels},le="+Inf"}} 2.0' in text
