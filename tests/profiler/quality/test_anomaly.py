"""Ranking and event scores against scikit-learn and hand-worked cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from joulery.profiler.quality.anomaly import detection_delay, event_scores, pr_auc


def test_pr_auc_by_hand() -> None:
    """Positives ranked first and third of four give (1 + 2/3) / 2."""
    assert pr_auc([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1]) == pytest.approx((1 + 2 / 3) / 2)


def test_pr_auc_is_that_of_scikit_learn_with_ties() -> None:
    """PR-AUC is average precision, tied scores included."""
    rng = np.random.default_rng(3)
    labels, scores = rng.random(200) < 0.1, rng.integers(0, 9, 200) / 9
    assert pr_auc(labels, scores) == average_precision_score(labels, scores)


@given(
    st.lists(
        st.tuples(st.booleans(), st.floats(-1e6, 1e6) | st.integers(0, 3).map(float)), min_size=1
    )
)
def test_pr_auc_agrees_with_scikit_learn_on_any_rows(rows: list[tuple[bool, float]]) -> None:
    """On random labels and scores, many of them equal, both say the same to 1e-6."""
    labels, scores = [label for label, _ in rows], [score for _, score in rows]
    found = pr_auc(labels, scores)
    if not any(labels):
        assert found is None
        return
    assert found == pytest.approx(average_precision_score(labels, scores), abs=1e-6)
    # And both say what the definition says: precision at each score, by the recall it adds.
    by_hand, before = 0.0, 0.0
    for level in sorted(set(scores), reverse=True):
        flagged = [label for label, score in rows if score >= level]
        recall = sum(flagged) / sum(labels)
        by_hand, before = by_hand + (recall - before) * sum(flagged) / len(flagged), recall
    assert found == pytest.approx(by_hand, abs=1e-6)


def test_pr_auc_without_an_anomaly_is_not_defined() -> None:
    """Without a positive row there is no figure, rather than a zero."""
    assert pr_auc([0, 0], [0.1, 0.2]) is None


def test_events_by_hand() -> None:
    """One flagged row finds an event; neighbouring flags outside events are one false alarm."""
    rows = np.arange(20)
    flagged = np.isin(rows, [0, 1, 5, 9, 18])
    scores = event_scores(rows, flagged, [(4, 7), (12, 15)])
    assert (scores.found, scores.missed, scores.false_alarms) == (1, 1, 3)
    assert scores.recall == 0.5
    assert scores.precision == 0.25
    assert scores.f1 == pytest.approx(2 * 0.5 * 0.25 / 0.75)


def test_one_flagged_row_does_not_make_its_event_right_row_by_row() -> None:
    """Nothing is point-adjusted: a long event found once counts once."""
    rows = np.arange(102)
    scores = event_scores(rows, np.isin(rows, [10, 101]), [(0, 100)])
    assert (scores.found, scores.false_alarms, scores.precision) == (1, 1, 0.5)


def test_rows_not_asked_are_not_judged() -> None:
    """An event without an asked row is neither found nor missed; unasked rows do not end a run."""
    scores = event_scores([0, 5, 9], [True, True, False], [(20, 30)])
    assert (scores.found, scores.missed, scores.false_alarms) == (0, 0, 1)
    assert scores.recall is None
    assert scores.f1 is None


def test_an_event_ends_a_run_of_false_alarms() -> None:
    """Alarms before and after an event are two false alarms, even when the event is found."""
    scores = event_scores([0, 1, 2], [True, True, True], [(1, 2)])
    assert (scores.found, scores.false_alarms) == (1, 2)


def test_a_new_series_ends_a_run_of_false_alarms() -> None:
    """Alarms on either side of the border of two series are two."""
    assert event_scores([3, 4], [True, True], []).false_alarms == 1
    assert event_scores([3, 4], [True, True], [], starts=(0, 4)).false_alarms == 2


def test_no_alarm_has_no_precision() -> None:
    """Without an alarm precision is not defined, and F1 is zero since the event was missed."""
    scores = event_scores([1], [False], [(0, 3)])
    assert scores.precision is None
    assert scores.f1 == 0.0


@given(st.lists(st.tuples(st.integers(0, 60), st.booleans()), min_size=1), st.randoms())
def test_the_order_of_asking_does_not_matter(asked: list[tuple[int, bool]], random: object) -> None:
    """Scores depend on which rows were asked and flagged, not on the order of requests."""
    events = [(5, 9), (20, 40)]
    mixed = sorted(asked, key=lambda _: random.random())  # type: ignore[attr-defined]
    first, second = (
        event_scores([r for r, _ in x], [f for _, f in x], events) for x in (asked, mixed)
    )
    assert first == second


def test_delay_by_hand() -> None:
    """Found after 0 and after 2 rows, a third event missed: one row late on average."""
    rows = np.arange(40)
    flagged = np.isin(rows, [1, 5, 6, 12, 13, 29])
    assert detection_delay(rows, flagged, [(5, 8), (10, 15), (20, 25)]) == 1.0


def test_delay_without_a_found_event_is_not_defined() -> None:
    """Alarms outside events have no delay, and no alarm has none either."""
    assert detection_delay([0, 1, 2], [True, False, False], [(1, 3)]) is None
    assert detection_delay([], [], [(1, 3)]) is None


def test_delay_does_not_depend_on_the_order_of_asking() -> None:
    """The earliest alarm counts, not the first that was asked for."""
    assert detection_delay([7, 5, 6], [True, False, True], [(4, 9)]) == 2.0


def test_delay_of_rows_and_alarms_that_do_not_match_is_refused() -> None:
    """Shapes have to match."""
    with pytest.raises(ValueError, match="match"):
        detection_delay([1, 2], [True], [])
