"""Values of slow services: fetched apart from the meter's thread, and never older than they say."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from joulery.errors import SourceFailed, SourceUnavailable
from joulery.profiler.quantities import Provenance
from joulery.profiler.sources import Domain, Kind
from joulery.profiler.sources.polled import STALE_UPDATES, Polled, Sampled

from ..fakes import Ticker

BOARD = Domain(
    name="board",
    kind=Kind.PLATFORM,
    form="power",
    provenance=Provenance.INTEGRATED,
    max_power_w=100,
    update_s=2.0,
)


class Board:
    """A service that gives what a test sets."""

    def __init__(self) -> None:
        self.answer: Callable[[], dict[str, Sampled]] = lambda: {"board": Sampled(value=50.0)}
        self.fetched = 0

    def fetch(self) -> dict[str, Sampled]:
        """Answer once."""
        self.fetched += 1
        return self.answer()


def wait_for(happened: Callable[[], bool]) -> None:
    """Wait until something has happened in another thread."""
    end_s = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < end_s, "it never happened"
        time.sleep(0.005)


@pytest.fixture
def board() -> Board:
    """Return a service."""
    return Board()


@pytest.fixture
def clock() -> Ticker:
    """Return a clock that a test moves."""
    return Ticker()


@pytest.fixture
def polled(board: Board, clock: Ticker) -> Iterator[Polled]:
    """Return the values of the service, asked a hundred times a second."""
    polled = Polled(board.fetch, subject="board", every_s=0.01, clock=clock, idle_s=30.0)
    yield polled
    polled.close()


def test_the_reader_never_waits_for_a_slow_answer(polled: Polled, board: Board) -> None:
    """While the service keeps silent the reader gets the latest value at once."""
    assert [reading.value for reading in polled.readings([BOARD])] == [50.0]
    asked, may_answer = threading.Event(), threading.Event()

    def slow() -> dict[str, Sampled]:
        asked.set()
        may_answer.wait(10)
        return {"board": Sampled(value=60.0)}

    board.answer = slow
    assert asked.wait(10)
    assert [reading.value for reading in polled.readings([BOARD])] == [50.0]
    may_answer.set()
    wait_for(lambda: polled.readings([BOARD])[0].value == 60.0)


def test_a_stale_value_is_none(polled: Polled, board: Board, clock: Ticker) -> None:
    """A value that was not renewed for some updates is a failure, and a new one ends it."""
    polled.readings([BOARD])

    def silent() -> dict[str, Sampled]:
        raise SourceUnavailable("board", found="connection refused")

    board.answer = silent
    seen = board.fetched
    wait_for(lambda: board.fetched > seen + 1)
    clock.advance(STALE_UPDATES * BOARD.update_s)
    assert polled.readings([BOARD])[0].value == 50.0
    clock.advance(0.001)
    with pytest.raises(SourceFailed, match="connection refused"):
        polled.readings([BOARD])
    board.answer = lambda: {"board": Sampled(value=70.0)}
    seen = board.fetched
    wait_for(lambda: board.fetched > seen + 1)
    assert polled.readings([BOARD])[0].value == 70.0


def test_the_same_stamp_is_no_new_value(polled: Polled, board: Board, clock: Ticker) -> None:
    """A service that repeats one sample for ever has a stuck sensor; a new stamp is a new value."""
    board.answer = lambda: {"board": Sampled(value=50.0, stamp=7.0)}
    polled.readings([BOARD])
    clock.advance(STALE_UPDATES * BOARD.update_s + 0.001)
    seen = board.fetched
    wait_for(lambda: board.fetched > seen + 1)
    with pytest.raises(SourceFailed, match="not renewed"):
        polled.readings([BOARD])
    board.answer = lambda: {"board": Sampled(value=50.0, stamp=8.0)}
    seen = board.fetched
    wait_for(lambda: board.fetched > seen + 1)
    assert polled.readings([BOARD])[0].value == 50.0


def test_one_series_that_ends_leaves_the_others(
    polled: Polled, board: Board, clock: Ticker
) -> None:
    """A domain whose value no longer comes is left out; the others go on."""
    other = Domain(
        name="other",
        kind=Kind.PLATFORM,
        form="power",
        provenance=Provenance.INTEGRATED,
        max_power_w=100,
        update_s=2.0,
    )
    board.answer = lambda: {"board": Sampled(value=50.0), "other": Sampled(value=5.0)}
    assert len(polled.readings([BOARD, other])) == 2
    board.answer = lambda: {"board": Sampled(value=51.0)}
    clock.advance(STALE_UPDATES * BOARD.update_s + 0.001)
    seen = board.fetched
    wait_for(lambda: board.fetched > seen + 1)
    assert [(r.domain.name, r.value) for r in polled.readings([BOARD, other])] == [("board", 51.0)]


def test_nobody_asks_for_ever(polled: Polled, board: Board, clock: Ticker) -> None:
    """The thread ends when its values are not wanted, and the next reader wakes a fresh one."""

    def asking() -> bool:
        return any(thread.name == "joulery-board" for thread in threading.enumerate())

    assert not asking()
    polled.readings([BOARD])
    assert asking()
    clock.advance(31.0)
    wait_for(lambda: not asking())
    board.answer = lambda: {"board": Sampled(value=80.0)}
    assert polled.readings([BOARD])[0].value == 80.0


def test_our_mistakes_are_not_a_silent_sensor(polled: Polled, board: Board) -> None:
    """What is no failure of the service comes out of the thread as it is."""
    polled.readings([BOARD])

    def broken() -> dict[str, Sampled]:
        raise KeyError("a mistake")

    board.answer = broken
    seen = board.fetched
    wait_for(lambda: board.fetched > seen + 1)
    with pytest.raises(KeyError, match="a mistake"):
        polled.readings([BOARD])
