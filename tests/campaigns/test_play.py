"""Players: who asks what and when, with a function for a service."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable

import numpy as np
import pytest

from joulery.campaigns.early_stopping import queries_needed
from joulery.campaigns.exchange import Exchange, FunctionTarget, Target
from joulery.campaigns.http_client import precise_loop
from joulery.campaigns.loads import (
    ClosedLoad,
    Load,
    MultiStreamLoad,
    OfflineLoad,
    SteadyLoad,
)
from joulery.campaigns.play import Player
from joulery.campaigns.queries import query_latencies
from joulery.campaigns.schedule import make_schedule, stream

ONCE: Callable[[int], object] = lambda _: None  # noqa: E731 - a service that does nothing


class Later:
    """A service that answers each request after a while, all at the same time."""

    def __init__(self, after_s: float, *, fails: bool = False) -> None:
        self._after_s, self._status = after_s, "HTTP 500" if fails else "ok"
        self.on_over: Callable[[Exchange], None] = lambda _: None
        self.in_flight = self.most_in_flight = 0

    def send(self, exchange: Exchange) -> None:
        """Take a request."""
        exchange.sent_s = time.monotonic()
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        asyncio.get_running_loop().call_later(self._after_s, self._answer, exchange)

    def _answer(self, exchange: Exchange) -> None:
        self.in_flight -= 1
        exchange.status = self._status
        if exchange.status == "ok":
            exchange.done_s = time.monotonic()
        self.on_over(exchange)


def _play(
    load: Load, target: Target, duration_s: float = 0.5, *, index: int = 0, of: int = 1
) -> tuple[float, list[Exchange]]:
    """Play a load; return its start and its requests."""
    schedule = make_schedule(load, duration_s=duration_s, samples=50, rng=stream(1))
    with asyncio.Runner(loop_factory=precise_loop) as runner:
        start_s = time.monotonic() + 0.01
        player = Player(target, schedule.part(index, of), index=index, of=of)
        return start_s, runner.run(player.play(start_s))


def test_an_open_loop_asks_the_schedule() -> None:
    """Each request goes at its time or later, never earlier, and waits for no other."""
    load = SteadyLoad(rate_hz=400.0)
    start_s, exchanges = _play(load, Later(0.3))
    schedule = make_schedule(load, duration_s=0.5, samples=50, rng=stream(1))
    assert [e.sample for e in exchanges] == schedule.samples.tolist()
    due_s = np.array([e.due_s for e in exchanges])
    assert np.allclose(due_s - start_s, schedule.intended_s)
    assert all(e.sent_s >= e.due_s for e in exchanges)
    assert {e.status for e in exchanges} == {"ok"}


def test_nothing_to_send_is_over_at_once() -> None:
    """A schedule without requests, or without users, ends."""
    assert _play(SteadyLoad(rate_hz=0.001), FunctionTarget(ONCE))[1] == []
    alone = ClosedLoad(arrival="closed", users=1)
    assert _play(alone, FunctionTarget(ONCE), index=1, of=2)[1] == []


def test_users_think_between_answers() -> None:
    """A request becomes due a think time after the last answer, and nothing after the end."""
    load = ClosedLoad(arrival="closed", users=3, think_time_s=0.03, think_time="constant")
    start_s, exchanges = _play(load, Later(0.02))
    for user in range(3):
        own = [e for e in exchanges if e.user == user]
        assert len(own) > 3
        gaps_s = [after.due_s - before.done_s for before, after in itertools.pairwise(own)]
        assert gaps_s == pytest.approx([0.03] * len(gaps_s))
    assert all(e.sent_s >= e.due_s == e.ready_s for e in exchanges)
    assert max(e.due_s for e in exchanges) < start_s + 0.5
    assert [e.place for e in exchanges] == list(range(len(exchanges)))


def test_a_closed_loop_is_never_ahead_of_its_users() -> None:
    """At most as many requests are on their way as there are users."""
    target = Later(0.01)
    _, exchanges = _play(ClosedLoad(arrival="closed", users=5), target)
    assert target.most_in_flight == 5
    # No thinking, so each user has at most one answer each 10 ms.
    assert 10 < len(exchanges) <= 255


def test_an_answer_at_once_does_not_nest() -> None:
    """A service in this process is asked as often as there are requests; the stack stays flat."""
    load = OfflineLoad(arrival="offline", samples=5000, in_flight=1)
    _, exchanges = _play(load, FunctionTarget(ONCE))
    assert [e.place for e in exchanges] == list(range(5000))
    assert {e.status for e in exchanges} == {"ok"}


def test_failures_are_not_repeated_at_full_speed() -> None:
    """A user whose request failed at once comes back after a pause."""
    load = ClosedLoad(arrival="closed", users=2)
    _, exchanges = _play(load, Later(0.0, fails=True))
    assert 2 < len(exchanges) <= 2 * 51


def test_all_at_once_is_sent_in_turns() -> None:
    """Everything is due at the start; what waits for its turn is not late; all samples go once."""
    target = Later(0.01)
    load = OfflineLoad(arrival="offline", samples=50, in_flight=8)
    start_s, exchanges = _play(load, target)
    assert target.most_in_flight == 8
    assert sorted(e.sample for e in exchanges) == list(range(50))
    assert {e.due_s for e in exchanges} == {start_s}
    assert exchanges[-1].ready_s > start_s + 0.04
    assert all(e.sent_s >= e.ready_s for e in exchanges)


def test_several_senders_number_their_requests_apart() -> None:
    """Numbers of all senders together are distinct, so that their shares can be put together."""
    load = OfflineLoad(arrival="offline", samples=51, in_flight=8)
    parts = [_play(load, Later(0.001), index=index, of=3)[1] for index in range(3)]
    places = [exchange.place for part in parts for exchange in part]
    assert sorted(places) == list(range(51))


def test_a_query_lasts_until_its_last_answer() -> None:
    """Requests of a query go together; the next query waits for all; latency is the longest."""
    load = MultiStreamLoad(arrival="multi_stream", samples_per_query=4)
    target = Later(0.01)
    _, exchanges = _play(load, target)
    assert target.most_in_flight == 4
    due_s, done_s = (np.array([getattr(e, n) for e in exchanges]) for n in ("due_s", "done_s"))
    answered = np.ones(len(exchanges), dtype=bool)
    moments_s, latency_s = query_latencies(load, due_s, done_s - due_s, answered)
    assert len(moments_s) == len(exchanges) / 4
    assert np.array_equal(latency_s, (done_s - due_s).reshape(-1, 4).max(axis=1))
    assert np.all(moments_s[1:] >= moments_s[:-1] + latency_s[:-1] - 1e-9)
    answered[5] = False
    assert len(query_latencies(load, due_s, done_s - due_s, answered)[0]) == len(moments_s) - 1


def test_a_stalling_service_is_charged_for_every_request_it_delays() -> None:
    """With a stall of 1 s in 10 s, mean and 99th percentile are those of the analysis."""
    rate_hz, window_s, stall_s = 100.0, 10.0, 1.0

    class Stalling:
        """Answers at once, but for what comes in the stall: that is answered at its end."""

        def __init__(self) -> None:
            self.on_over: Callable[[Exchange], None] = lambda _: None
            self.begin_s = 0.0

        def send(self, exchange: Exchange) -> None:
            """Take a request, in the service's own time."""
            self.begin_s = self.begin_s or exchange.due_s
            passed_s = exchange.due_s - self.begin_s
            exchange.sent_s = exchange.due_s
            stalled = 4.0 <= passed_s < 4.0 + stall_s
            exchange.done_s = self.begin_s + 4.0 + stall_s if stalled else exchange.due_s
            exchange.status = "ok"
            self.on_over(exchange)

    load = SteadyLoad(arrival="constant", rate_hz=rate_hz)
    schedule = make_schedule(load, duration_s=window_s, samples=50, rng=stream(1))
    with asyncio.Runner(loop_factory=precise_loop) as runner:
        # All of it is due already: what is tested is the accounting, which needs no ten seconds.
        played = Player(Stalling(), schedule).play(time.monotonic() - window_s)
        latency_s = np.array([e.done_s - e.due_s for e in runner.run(played)])
    assert np.mean(latency_s) == pytest.approx(stall_s**2 / 2 / window_s, rel=0.02)
    assert np.quantile(latency_s, 0.99) == pytest.approx(stall_s - 0.01 * window_s, rel=0.02)


@pytest.mark.parametrize(("percentile", "queries"), [(0.9, 64), (0.95, 130), (0.99, 662)])
def test_queries_for_a_percentile_are_those_of_mlperf(percentile: float, queries: int) -> None:
    """LoadGen asks for 64 queries for the 90th percentile, and for 662 for the 99th."""
    assert queries_needed(percentile) == queries


@pytest.mark.parametrize("percentile", [0.0, 1.0, float("nan")])
def test_a_percentile_lies_between_none_and_all(percentile: float) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        queries_needed(percentile)
