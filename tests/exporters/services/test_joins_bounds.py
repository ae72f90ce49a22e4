"""What leaves the store of answers, and what stays: age, floods, names, and pods that are gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from joulery.exporters.services import joins_bounds
from joulery.exporters.services.answers import Answer, Label
from joulery.exporters.services.joins import AnswerStore
from joulery.exporters.services.target import Pod

from ..test_quality import Clock
from .test_joins import KEY, PODS, answers, labels

DAY_S = 86400.0


@pytest.fixture
def clock() -> Clock:
    """Return the store's clock."""
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Iterator[AnswerStore]:
    """Yield a store in memory."""
    one = AnswerStore(clock=clock)
    yield one
    one.close()


def scores(name: str, *metrics: str) -> list[Label]:
    """Return a score of a request by each metric."""
    return [Label(id=name, value=1, is_score=True, metric=one) for one in metrics]


def metrics_of(store: AnswerStore, pod: Pod = PODS[0]) -> set[str]:
    """Return the metrics by which a pod is judged."""
    return {key.metric for key, _ in store.read()[pod.labels].totals}


def judged(store: AnswerStore, pod: Pod = PODS[0]) -> int | None:
    """Return how many answers of a pod were judged; `None` if it is not shown."""
    shown = store.read().get(pod.labels)
    return None if shown is None else dict(shown.totals)[KEY].judged


def test_age_is_bounded(clock: Clock) -> None:
    """What is older than it may be goes: answers are lost, labels unknown; totals stay."""
    store = AnswerStore(clock=clock, keep_s=100)
    store.add_answers(PODS[0], answers("1", "2"))
    store.add_labels(labels("1", "9"))
    clock.now_s += 101
    assert store.add_labels(labels("2")) == {"waiting": 1}
    assert store.held == {"open": 0, "early": 1}
    assert store.lost_answers == {"too_old": 1}
    assert store.label_outcomes == {"joined": 1, "waiting": 2, "unknown": 1}
    assert judged(store) == 1
    store.close()


def test_number_is_bounded(clock: Clock) -> None:
    """A pod that floods the store pushes out its own oldest answers, and nobody else's."""
    store = AnswerStore(clock=clock, most=10)
    store.add_answers(PODS[1], answers("b1", "b2"))
    for batch in range(5):
        store.add_answers(PODS[0], answers(*(f"a{batch}-{n}" for n in range(7))))
    assert store.held["open"] == 10
    assert store.lost_answers == {"too_many": 27}
    assert store.add_labels(labels("b1", "b2", "a4-6", "a0-0")) == {"joined": 3, "waiting": 1}
    store.add_labels(labels(*(f"x{n}" for n in range(30))))
    assert store.held["early"] == 10
    assert store.label_outcomes["unknown"] == 21
    store.close()


def test_names_are_bounded(store: AnswerStore) -> None:
    """A pod has room for so many models, and for so many metrics; accuracy always has."""
    many = [Answer(id="1", model=str(n), prediction=1) for n in range(60)]
    assert store.add_answers(PODS[0], many) == {"waiting": 50, "dropped": 10}
    assert store.add_answers(PODS[1], answers("2")) == {"waiting": 1}
    first = [f"m{n}" for n in range(12)]
    assert store.add_labels(scores("1", *first)) == {"joined": 9, "invalid": 3}
    assert store.add_labels(labels("1")) == {"joined": 1}
    assert store.add_labels(scores("2", "m11", "m12")) == {"joined": 2}


def test_metrics_of_labels_that_wait_take_no_room(store: AnswerStore) -> None:
    """Labels without an answer, whatever metrics they make up, leave room for those with one."""
    store.add_labels(scores("nobody's", *(f"junk{n}" for n in range(20))))
    store.add_labels(scores("1", *(f"early{n}" for n in range(12))))
    assert store.add_answers(PODS[0], answers("1", "2")) == {"joined": 1, "waiting": 1}
    assert metrics_of(store) == {f"early{n}" for n in range(9)}
    assert store.label_outcomes == {"waiting": 32, "joined": 9, "invalid": 3}
    store.add_answers(PODS[1], answers("3"))
    assert store.add_labels(scores("3", "iou")) == {"joined": 1}


def test_metrics_of_a_batch_that_failed_take_no_room(tmp_path: Path, clock: Clock) -> None:
    """What could not be written left no trace: its metrics take no room from others."""
    store = AnswerStore(tmp_path / "answers.db", clock=clock)
    store.add_answers(PODS[0], answers("1"))
    [pages] = store._file.execute("PRAGMA page_count").fetchone()
    store._file.execute(f"PRAGMA max_page_count = {pages}")
    much = [*scores("1", *(f"lost{n}" for n in range(9))), *labels(*map(str, range(2, 3000)))]
    assert store.add_labels(much) == {"dropped": len(much)}
    store._file.execute("PRAGMA max_page_count = 100000")
    assert store.add_labels(scores("1", *(f"m{n}" for n in range(9)))) == {"joined": 9}
    store.close()


@pytest.mark.parametrize("restarts", [False, True])
def test_metrics_that_nobody_uses_make_room(tmp_path: Path, clock: Clock, restarts: bool) -> None:
    """Where a pod has no room for a metric, those without a verdict for long leave; no others."""
    path = tmp_path / "answers.db"
    store = AnswerStore(path, clock=clock)
    for pod, count in ((PODS[0], 9), (PODS[1], 2)):
        store.add_answers(pod, answers(pod.name))
        store.add_labels([*labels(pod.name), *scores(pod.name, *(f"m{n}" for n in range(count)))])
    clock.now_s += 2 * DAY_S
    store.add_answers(PODS[0], answers("2"))
    store.add_labels(scores("2", "m3"))
    if restarts:
        store.close()
        store = AnswerStore(path, clock=clock)
        # It is not in the file when a metric was used last: it counts from the restart.
        clock.now_s += 2 * DAY_S
        store.add_answers(PODS[0], answers("3"))
        store.add_labels(scores("3", "m3"))
    clock.now_s += 1.5 * DAY_S
    store.keep_only(PODS)
    assert metrics_of(store) == {"accuracy", "m3"}
    assert metrics_of(store, PODS[1]) == {"accuracy", "m0", "m1"}
    store.add_answers(PODS[0], answers("4"))
    assert store.add_labels(scores("4", "other", "m0")) == {"joined": 2}
    totals = {key.metric: one.judged for key, one in store.read()[PODS[0].labels].totals}
    assert totals == {"accuracy": 1, "m3": 3 if restarts else 2, "other": 1, "m0": 1}
    store.close()
    store = AnswerStore(path, clock=clock)
    assert metrics_of(store) == totals.keys()
    store.close()


def test_labels_come_days_after_the_pod_is_gone(tmp_path: Path, clock: Clock) -> None:
    """Answers of a pod that is gone are joined for as long as others, also after a restart.

    It is shown while a verdict lies in a window, and again when one comes; it never counts less.
    """
    path = tmp_path / "answers.db"
    store = AnswerStore(path, clock=clock)
    store.add_answers(PODS[0], answers("1", "2", "3", "4"))
    store.add_answers(PODS[1], answers("5"))
    store.add_labels(labels("1"))
    store.keep_only(PODS[1:])
    assert judged(store) == 1
    clock.now_s += 3601
    assert judged(store) is None
    assert store.held == {"open": 4, "early": 0}
    clock.now_s += DAY_S
    store.keep_only(PODS[1:])
    assert store.add_labels(labels("2")) == {"joined": 1}
    assert judged(store) == 2
    ratios = {one.window: one.ratio for one in store.read()[PODS[0].labels].coverage}
    assert ratios == {"all": 0.5}
    clock.now_s += DAY_S
    store.keep_only(PODS[1:])
    assert judged(store) is None
    store.close()
    store = AnswerStore(path, clock=clock)
    store.keep_only(PODS[1:])
    assert judged(store) is None
    assert store.add_labels(labels("3")) == {"joined": 1}
    assert judged(store) == 3
    clock.now_s += DAY_S
    store.keep_only(PODS[1:])
    assert store.lost_answers == {"too_old": 2}
    assert store.read().keys() == {PODS[1].labels}
    store.close()
    store = AnswerStore(path, clock=clock)
    assert store.read().keys() == {PODS[1].labels}
    store.close()


def test_pods_come_back(store: AnswerStore, clock: Clock) -> None:
    """A pod that is back is shown at once, and counts on; another of its name is new."""
    store.add_answers(PODS[0], answers("1", "2"))
    store.add_labels(labels("1"))
    store.keep_only([])
    clock.now_s += 3601
    assert store.read() == {}
    store.keep_only(PODS[:1])
    assert judged(store) == 1
    store.keep_only([])
    store.add_answers(PODS[0], answers("3"))
    assert judged(store) == 1
    again = Pod(namespace="n", name="a", uid="another")
    assert store.add_answers(again, answers("4")) == {"waiting": 1}
    assert store.read()[again.labels].totals == ()


def test_pods_that_are_gone_share_their_room(clock: Clock) -> None:
    """Where there is no room, pods that are gone lose the oldest answers of them all, as one pod.

    However many they are, a pod that is there has as much room as all of them.
    """
    store = AnswerStore(clock=clock, most=12)
    gone = [Pod(namespace="n", name=f"g{n}", uid=f"uid-g{n}") for n in range(4)]
    for pod in gone:
        clock.now_s += 1
        store.add_answers(pod, answers(*(f"{pod.name}-{n}" for n in range(3))))
    store.keep_only(PODS)
    for number in range(20):
        store.add_answers(PODS[0], answers(f"a{number}"))
    assert store.held["open"] == 12
    assert store.add_labels(labels(*(f"a{n}" for n in range(14, 20)))) == {"joined": 6}
    left = {"g2": 3, "g3": 3}
    for pod in gone:
        found = store.add_labels(labels(*(f"{pod.name}-{n}" for n in range(3))))
        assert found["joined"] == left.get(pod.name, 0)
    store.close()


def test_pods_that_are_gone_are_bounded(
    store: AnswerStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond so many series of pods that are gone, those gone longest leave with their answers."""
    monkeypatch.setattr(joins_bounds, "_MOST_GONE", 2)
    pods = [Pod(namespace="n", name=f"g{n}", uid=f"uid-g{n}") for n in range(4)]
    for number, pod in enumerate(pods):
        store.add_answers(pod, answers(str(number)))
    for number in (2, 0, 3, 1):
        pods = [pod for pod in pods if pod.name != f"g{number}"]
        clock.now_s += 60
        store.keep_only(pods)
    assert store.lost_answers == {"pod_gone": 2}
    assert store.add_labels(labels("1", "3")) == {"joined": 2}
    assert store.add_labels(labels("0", "2")) == {"waiting": 2}
