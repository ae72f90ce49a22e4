"""One scrape out of what several sides tell."""

from __future__ import annotations

import math

from joulery.exporters.dialects.reading import Histogram, Reading, told
from joulery.exporters.exposition import render
from joulery.exporters.families import Family, ordered
from joulery.exporters.metrics import high_of, low_of
from joulery.exporters.service_metrics import (
    CORRECT,
    DURATION,
    ITEMS,
    JUDGED,
    QUALITY,
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


def feedback(
    judged: float, *, model: str = "m", metric: str = "accuracy", taken: str = ""
) -> Reading:
    """Return what one side tells of feedback, half of which was right."""
    names = {"model": model, "exit": taken, "metric": metric, "method": "feedback"}
    return Reading(
        told=(
            told(JUDGED, judged, **names),
            told(CORRECT, judged / 2, **names),
            told(QUALITY, 0.5, **names, window="all"),
            told(low_of(QUALITY), 0.4, **names, window="all"),
            told(high_of(QUALITY), 0.6, **names, window="all"),
            told(ITEMS, 7.0, model=model),
        )
    )


def test_feedback_is_told_by_one_side() -> None:
    """Of a pod's model and metric, all that feedback says is of the first side that has any."""
    store = [(ONE, feedback(0.0)), (TWO, feedback(4.0))]
    service = [(ONE, feedback(10.0)), (TWO, feedback(20.0, taken="early"))]
    families = found(Publisher().families([store, service], []))
    assert families[JUDGED.name] == {
        (*ONE.labels, "m", "", "", "accuracy", "feedback"): 10.0,
        (*TWO.labels, "m", "", "", "accuracy", "feedback"): 4.0,
    }
    for metric in (CORRECT, QUALITY, low_of(QUALITY), high_of(QUALITY)):
        assert {labels[1:6] for labels in families[metric.name]} == {
            ("one", "1", "m", "", ""),
            ("two", "2", "m", "", ""),
        }


def test_sides_that_judge_different_things_are_all_heard() -> None:
    """Another model, another metric, and what a probe found are no other side's business."""
    probe = Reading(
        told=(told(JUDGED, 9.0, model="m", metric="accuracy", method="probe"),),
    )
    sides = [
        [(ONE, feedback(4.0))],
        [(ONE, feedback(5.0, model="n")), (ONE, feedback(6.0, metric="f1"))],
        [(ONE, probe)],
    ]
    judged = found(Publisher().families(sides, []))[JUDGED.name]
    assert {labels[3:]: value for labels, value in judged.items()} == {
        ("m", "", "", "accuracy", "feedback"): 4.0,
        ("n", "", "", "accuracy", "feedback"): 5.0,
        ("m", "", "", "f1", "feedback"): 6.0,
        ("m", "", "", "accuracy", "probe"): 9.0,
    }


def test_that_two_sides_have_feedback_is_no_problem() -> None:
    """A service that joins labels itself, and has them joined, does nothing wrong."""
    publisher = Publisher()
    only = Reading(told=feedback(4.0).told[:5])
    assert TARGET_PROBLEMS.name not in found(publisher.families([[(ONE, only)], [(ONE, only)]], []))


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
