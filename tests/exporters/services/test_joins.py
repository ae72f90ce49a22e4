"""Joining answers with labels: any order, restarts, floods, broken files and full disks."""

from __future__ import annotations

import math
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulery.errors import SpecError
from joulery.exporters.quality import Key
from joulery.exporters.services.answers import Answer, Label, Scalar, verdict
from joulery.exporters.services.joins import AnswerStore
from joulery.exporters.services.target import Pod

from ..test_quality import Clock

PODS = tuple(Pod(namespace="n", name=name, uid=f"uid-{name}") for name in ("a", "b"))
KEY = Key(model="m", variant="", exit="", metric="accuracy")


def answers(*ids: str, prediction: Scalar | None = 1) -> list[Answer]:
    """Return an answer to each request."""
    return [Answer(id=one, model="m", prediction=prediction) for one in ids]


def labels(*ids: str, value: Scalar = 1) -> list[Label]:
    """Return a label for each request."""
    return [Label(id=one, value=value) for one in ids]


@pytest.fixture
def store() -> Iterator[AnswerStore]:
    """Yield a store in memory."""
    one = AnswerStore(clock=Clock())
    yield one
    one.close()


def coverage(store: AnswerStore, pod: Pod = PODS[0]) -> dict[str, float]:
    """Return the coverage of a pod with one series, by window."""
    return {one.window: one.ratio for one in store.read()[pod.labels].coverage}


@pytest.mark.parametrize(
    ("prediction", "value", "expected"),
    [
        (1, 1.0, 1.0),
        (True, 1, 1.0),
        (2, 3, 0.0),
        ("cat", "cat", 1.0),
        ("cat", "dog", 0.0),
        ("1", 1, None),
        (1, "1", None),
        (None, 1, None),
    ],
)
def test_comparing(prediction: Scalar | None, value: Scalar, expected: float | None) -> None:
    """Numbers equal numbers, text equals text, and what cannot be compared is not wrong."""
    assert verdict(prediction, value, is_score=False) == expected
    assert verdict(prediction, 0.25, is_score=True) == 0.25


class Event(NamedTuple):
    """An answer, a label, or a restart."""

    answer: tuple[int, Answer] | None = None
    label: Label | None = None


IDS = st.sampled_from("123456")
PREDICTIONS = st.sampled_from([None, 0, 1, 1.0, True, "1", "cat"])
VALUES = st.sampled_from([0, 1, "1", "cat"])
ANSWERS = st.builds(
    Answer,
    id=IDS,
    model=st.just("m"),
    variant=st.just(""),
    exit=st.sampled_from(["", "early"]),
    prediction=PREDICTIONS,
)
METRICS = st.sampled_from(["accuracy", "iou"])
LABELS = st.builds(Label, id=IDS, value=VALUES, is_score=st.just(False), metric=METRICS)
SCORES = st.builds(
    Label,
    id=IDS,
    value=st.sampled_from([0, 0.25, 0.5, 1]),
    is_score=st.just(True),
    metric=METRICS,
)
EVENTS = st.one_of(
    st.tuples(st.sampled_from([0, 1]), ANSWERS).map(lambda one: Event(answer=one)),
    (LABELS | SCORES).map(lambda one: Event(label=one)),
    st.just(Event()),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENTS, max_size=40))
def test_any_order_any_restart(
    tmp_path_factory: pytest.TempPathFactory, events: list[Event]
) -> None:
    """Answers and labels in any order, and restarts between, add up as two dicts would."""
    path = tmp_path_factory.mktemp("store") / "answers.db"
    clock = Clock()
    given_answers: dict[tuple[str, int, str], Answer] = {}
    given_labels: dict[tuple[str, str], Label] = {}
    store = AnswerStore(path, clock=clock)
    for event in events:
        clock.now_s += 1
        if event.answer is not None:
            number, answer = event.answer
            store.add_answers(PODS[number], [answer])
            given_answers.setdefault((answer.id, number, answer.exit), answer)
        elif event.label is not None:
            store.add_labels([event.label])
            given_labels.setdefault((event.label.id, event.label.metric), event.label)
        else:
            store.close()
            store = AnswerStore(path, clock=clock)
    expected: dict[tuple[int, Key], list[float]] = {}
    labelled: set[tuple[str, int, str]] = set()
    for place, answer in given_answers.items():
        for label in given_labels.values():
            found = verdict(answer.prediction, label.value, is_score=label.is_score)
            if label.id == answer.id and found is not None:
                key = KEY._replace(exit=answer.exit, metric=label.metric)
                expected.setdefault((place[1], key), []).append(found)
                labelled.add(place)
    for number, pod in enumerate(PODS):
        judged = store.read().get(pod.labels)
        totals = {} if judged is None else dict(judged.totals)
        assert {key: (one.judged, one.correct) for key, one in totals.items()} == {
            key: (len(some), math.fsum(some)) for (n, key), some in expected.items() if n == number
        }
        if judged is None:
            continue
        assert len(judged.qualities) == 3 * len(totals)
        for key, _, quality in judged.qualities:
            assert quality.judged == totals[key].judged
            assert quality.value == pytest.approx(totals[key].correct / totals[key].judged)
            assert 0 <= quality.low <= quality.value <= quality.high <= 1
        ratios = {(one.exit, one.window): one.ratio for one in judged.coverage}
        asked = Counter(p[2] for p in given_answers if p[1] == number)
        had = Counter(p[2] for p in labelled if p[1] == number)
        assert ratios == {
            (taken, window): had[taken] / count
            for taken, count in asked.items()
            for window in ("all", "300", "3600")
        }
    ids = {answer.id for answer in given_answers.values()}
    assert store.held == {
        "open": len(given_answers) - len(labelled),
        "early": sum(label.id not in ids for label in given_labels.values()),
    }
    store.close()


def test_outcomes(store: AnswerStore) -> None:
    """Each label has one outcome at once, and one that waited another when its answer comes."""
    assert store.add_labels(labels("1", "2")) == {"waiting": 2}
    assert store.add_answers(PODS[0], answers("1", "3")) == {"joined": 1, "waiting": 1}
    assert store.add_answers(PODS[0], answers("2", prediction=None)) == {"waiting": 1}
    assert store.add_labels(labels("3", "3", "1")) == {"joined": 1, "repeated": 2}
    assert store.add_labels([Label(id="3", value="x", metric="name")]) == {"invalid": 1}
    assert store.add_answers(PODS[0], answers("1")) == {"repeated": 1}
    assert store.label_outcomes == {"waiting": 2, "joined": 2, "repeated": 2, "invalid": 2}
    assert coverage(store) == {"all": 2 / 3, "300": 2 / 3, "3600": 2 / 3}


def test_a_label_that_says_nothing_can_be_said_again(store: AnswerStore) -> None:
    """One of the wrong type does not stand in the way of the right one, which then is the last."""
    store.add_answers(PODS[0], answers("1"))
    [wrong], [right] = labels("1", value="one"), labels("1")
    assert store.add_labels([wrong]) == {"invalid": 1}
    assert store.add_labels([wrong, right, right]) == {"invalid": 1, "joined": 1, "repeated": 1}
    assert coverage(store) == {"all": 1.0, "300": 1.0, "3600": 1.0}


def test_late_labels() -> None:
    """A label of two days later counts when it comes, and for the coverage of its answer's time."""
    clock = Clock()
    store = AnswerStore(clock=clock)
    store.add_answers(PODS[0], answers("1", "2"))
    clock.now_s += 2 * 86400
    store.add_answers(PODS[0], answers("3"))
    assert store.add_labels(labels("1")) == {"joined": 1}
    windows = {window: one.judged for _, window, one in store.read()[PODS[0].labels].qualities}
    assert windows == {"all": 1, "300": 1, "3600": 1}
    assert coverage(store) == {"all": 1 / 3, "300": 0.0, "3600": 0.0}
    store.close()


def test_intervals_survive_a_restart(tmp_path: Path) -> None:
    """What tells the spread of scores is in the file: intervals after a restart are the same."""
    path, clock = tmp_path / "answers.db", Clock()
    store = AnswerStore(path, clock=clock)
    ids = [str(number) for number in range(40)]
    store.add_answers(PODS[0], answers(*ids))
    store.add_labels([Label(id=one, value=int(one) / 40, is_score=True) for one in ids])
    before = store.read()[PODS[0].labels]
    store.close()
    store = AnswerStore(path, clock=clock)
    assert store.read()[PODS[0].labels] == before
    store.close()


def test_survives_a_kill(tmp_path: Path) -> None:
    """What was taken in is there after the process was killed without warning."""
    path = tmp_path / "answers.db"
    code = (
        "import os, sys, pathlib\n"
        "from joulery.exporters.services.answers import Answer\n"
        "from joulery.exporters.services.joins import AnswerStore\n"
        "from joulery.exporters.services.target import Pod\n"
        "store = AnswerStore(pathlib.Path(sys.argv[1]), clock=lambda: 1e6)\n"
        "pod = Pod(namespace='n', name='a', uid='uid-a')\n"
        "store.add_answers(pod, [Answer(id='1', model='m', prediction=1)])\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -9
    store = AnswerStore(path, clock=Clock())
    assert store.add_labels(labels("1")) == {"joined": 1}
    store.close()


@pytest.mark.parametrize("content", [b"no database, but quite some text " * 200, None])
def test_broken_file(
    tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that is broken, or of another version, is set aside with a warning."""
    path = tmp_path / "answers.db"
    if content is None:
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE other (x)")
        other.close()
    else:
        path.write_bytes(content)
    store = AnswerStore(path, clock=Clock())
    assert store.add_answers(PODS[0], answers("1")) == {"waiting": 1}
    store.close()
    assert "it is set aside as answers.db.broken" in caplog.text
    assert (tmp_path / "answers.db.broken").exists()
    caplog.clear()
    store = AnswerStore(path, clock=Clock())
    assert store.held["open"] == 1
    assert not caplog.text
    store.close()


def test_file_breaks_in_use(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that breaks while it is used is replaced, and what comes next is taken."""
    path = tmp_path / "answers.db"
    store = AnswerStore(path, clock=Clock())
    store.add_answers(PODS[0], answers(*map(str, range(3000))))
    store.close()
    store = AnswerStore(path, clock=Clock())
    store._file.execute("PRAGMA cache_size = 1")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    some = [store.add_answers(PODS[0], answers(f"x{n}")) for n in range(3)]
    assert some == [{"dropped": 1}, {"waiting": 1}, {"waiting": 1}]
    assert "it is set aside" in caplog.text
    assert store.held == {"open": 2, "early": 0}
    store.close()


def test_full_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without room on the disk a batch is dropped as a whole, is counted, and the rest goes on."""
    store = AnswerStore(tmp_path / "answers.db", clock=Clock())
    store.add_answers(PODS[0], answers("1"))
    [pages] = store._file.execute("PRAGMA page_count").fetchone()
    store._file.execute(f"PRAGMA max_page_count = {pages}")
    many = [str(number) for number in range(2, 3000)]
    assert store.add_answers(PODS[0], answers(*many)) == {"dropped": 2998}
    assert store.add_labels(labels(*many)) == {"dropped": 2998}
    assert store.label_outcomes == {"dropped": 2998}
    assert store.held == {"open": 1, "early": 0}
    assert len(caplog.records) == 1
    store._file.execute("PRAGMA max_page_count = 100000")
    assert store.add_labels(labels("1")) == {"joined": 1}
    store.close()


def test_files_that_cannot_be(tmp_path: Path) -> None:
    """A folder that is not there, and a file in use, are the user's to mend."""
    with pytest.raises(SpecError, match=r"missing/answers\.db.*unable to open"):
        AnswerStore(tmp_path / "missing" / "answers.db", clock=Clock())
