"""The pure model: no byte is lost, none overtakes another, none is faster than the link."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from joulery.campaigns.network.conditions import Change, Conditions, Link
from joulery.campaigns.network.link import MSS_BYTES, LinkModel, Path
from joulery.campaigns.network.stream import Stream

ROUNDING_S = 1e-9


def _pairs(times: Sequence[float]) -> tuple[tuple[float, float], ...]:
    ordered = sorted(times)
    return tuple(zip(ordered[::2], ordered[1::2], strict=False))


LINKS = st.builds(
    Link,
    delay_s=st.floats(0.0, 0.5),
    jitter_s=st.sampled_from([0.0, 0.001, 0.1]),
    rate_bps=st.none() | st.floats(1e4, 1e9),
    loss_ratio=st.sampled_from([0.0, 0.01, 0.3]),
    outages=st.lists(st.floats(0.0, 5.0), max_size=6, unique=True).map(_pairs),
)
WRITES = st.lists(st.tuples(st.floats(0.0, 0.5), st.integers(1, 100_000)), min_size=1, max_size=12)
"""How long after the last one, and how many bytes."""


def _conditions(link: Link) -> Conditions:
    return Conditions(name="test", up=link, down=Link(delay_s=0.01))


def _run(stream: Stream, writes: Sequence[tuple[float, int]]) -> list[tuple[float, int]]:
    """Offer writes at their times and take what arrives when it is due: (time, bytes) in order."""
    now_s, arrived, ended = 0.0, [], False

    def take_until(limit_s: float) -> None:
        nonlocal ended
        while (due_s := stream.due_s()) is not None and due_s <= limit_s:
            assert not ended
            taken = stream.take(due_s)
            assert taken is not None
            assert taken.due_s == due_s
            arrived.append((due_s, taken.size_bytes))
            ended = taken.ended

    for after_s, size_bytes in writes:
        now_s += after_s
        take_until(now_s)
        stream.offer(now_s, size_bytes)
    stream.end(now_s)
    take_until(math.inf)
    assert ended
    return arrived


@given(LINKS, WRITES, st.integers(0, 99))
def test_bytes_are_conserved_in_order_and_never_early(
    link: Link, writes: list[tuple[float, int]], seed: int
) -> None:
    """Whatever the link does, each byte arrives once, in order, after delay and serialisation."""
    stream = Stream(Path(_conditions(link), seed).up)
    arrived = _run(stream, writes)
    sent = np.cumsum([size_bytes for _, size_bytes in writes])
    came = np.cumsum([size_bytes for _, size_bytes in arrived])
    assert came[-1] == sent[-1]
    assert stream.under_way_bytes == 0
    times = [due_s for due_s, _ in arrived]
    assert times == sorted(times)
    offered_s = np.cumsum([after_s for after_s, _ in writes])
    for due_s, up_to in zip(times, came, strict=True):
        # The last byte that has arrived was offered, and passed the bottleneck after all before it.
        assert due_s >= offered_s[np.searchsorted(sent, up_to)] + link.delay_s - ROUNDING_S
        if link.rate_bps is not None:
            assert 8 * up_to / link.rate_bps <= due_s - link.delay_s + ROUNDING_S


@given(LINKS, WRITES, st.integers(0, 99))
def test_nothing_leaves_in_an_outage(
    link: Link, writes: list[tuple[float, int]], seed: int
) -> None:
    """Without jitter, nothing arrives one delay after a moment within an outage."""
    assume(link.jitter_s == 0)
    for due_s, _ in _run(Stream(Path(_conditions(link), seed).up), writes):
        left_s = due_s - link.delay_s
        for begin_s, end_s in link.outages:
            assert not begin_s + ROUNDING_S < left_s < end_s - ROUNDING_S


@given(LINKS, WRITES, st.integers(0, 99))
def test_the_same_seed_does_the_same(
    link: Link, writes: list[tuple[float, int]], seed: int
) -> None:
    """Jitter and loss follow from the seed and what is sent, and from nothing else."""
    first, again = (_run(Stream(Path(_conditions(link), seed).up), writes) for _ in range(2))
    assert first == again


def test_conditions_begin_again_at_a_restart() -> None:
    """After a restart jitter, loss and outages are those of the start, whatever came before."""
    link = Link(delay_s=0.02, jitter_s=0.01, loss_ratio=0.2, outages=((0.5, 0.7),))
    path = Path(_conditions(link), 7)
    # In the middle of slots: a float's last digit moves none into another.
    writes = [(0.005, 5000), *((0.01, 5000) for _ in range(150))]
    first = _run(Stream(path.up), writes)
    path.restart(1024.0)
    again = _run(Stream(path.up), [(1024.005, 5000), *writes[1:]])
    assert [size for _, size in again] == [size for _, size in first]
    assert [due_s - 1024 for due_s, _ in again] == pytest.approx([due_s for due_s, _ in first])
    assert path.up.segments_lost > 100


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 20_000)), min_size=1, max_size=40),
    st.floats(1e5, 1e8),
)
def test_connections_share_one_bottleneck(offers: list[tuple[int, int]], rate_bps: float) -> None:
    """Bytes of all connections leave the link back to back: the last one after all the others."""
    model = Path(_conditions(Link(rate_bps=rate_bps)), 0).up
    streams = [Stream(model) for _ in range(5)]
    for number, size_bytes in offers:
        streams[number].offer(0.0, size_bytes)
    last_s = 0.0
    for stream in streams:
        while (due_s := stream.due_s()) is not None:
            stream.take(due_s)
            last_s = max(last_s, due_s)
    total = sum(size_bytes for _, size_bytes in offers)
    assert last_s == pytest.approx(8 * total / rate_bps)


def test_jitter_is_exponential_on_top_of_the_delay() -> None:
    """Over slots of 10 ms, delays are the floor and an exponential draw of the asked-for mean."""
    model = Path(_conditions(Link(delay_s=0.02, jitter_s=0.005)), 3).up
    extra_s = [model.carry(0.01 * slot, 100)[1] - 0.01 * slot - 0.02 for slot in range(20_000)]
    assert min(extra_s) >= 0
    assert stats.kstest(extra_s, stats.expon(scale=0.005).cdf).pvalue > 0.001


def test_loss_has_the_ratio_asked_for_however_segments_come() -> None:
    """One by one or many at once, segments are lost independently at the ratio."""
    for together in (1, 7, 1000):
        model = Path(_conditions(Link(loss_ratio=0.03)), 5).up
        lost = sum(len(model.lost(0.0, together)) for _ in range(70_000 // together))
        assert stats.binomtest(lost, 70_000 // together * together, 0.03).pvalue > 0.001
        assert (model.segments_lost, model.segments) == (lost, 70_000 // together * together)


def _first_loss(size_bytes: int, more: int) -> float:
    """Return when a write arrives whose only segment, the link's first, is lost."""
    for seed in range(100):
        intact = Link(delay_s=0.02)
        later = (Change(time_s=0.0005, up=intact, down=Link()),)
        lossy = Link(delay_s=0.02, loss_ratio=0.5)
        path = Path(Conditions(name="t", up=lossy, changes=later), seed)
        stream = Stream(path.up)
        stream.offer(0.0, size_bytes)
        if path.up.segments_lost == 1 and stream.due_s() == pytest.approx(0.22):
            for number in range(more):
                stream.offer(0.001 * (number + 1), MSS_BYTES)
            due_s = stream.due_s()
            assert due_s is not None
            return due_s
    raise AssertionError("no seed loses the first segment, and only once")


def test_a_lost_segment_waits_for_its_repair() -> None:
    """Alone it waits for the timeout; with three behind it, one round trip from the third on."""
    assert _first_loss(100, more=0) == pytest.approx(0.2 + 0.02)
    assert _first_loss(100, more=2) == pytest.approx(0.2 + 0.02)
    assert _first_loss(100, more=3) == pytest.approx(0.003 + 0.02 + 0.02)


def test_the_figures_change_with_time() -> None:
    """A change holds from its time on, counted from the restart."""
    slow, fast = Link(delay_s=0.3), Link(delay_s=0.01)
    path = Path(Conditions(name="t", up=slow, changes=(Change(time_s=2.0, up=fast, down=fast),)), 0)
    path.restart(100.0)
    assert path.up.carry(101.9, 1)[1] == pytest.approx(102.2)
    assert path.up.carry(102.0, 1)[1] == pytest.approx(102.01)
    assert (path.rtt_s(101.0), path.rtt_s(103.0)) == (0.3, 0.02)


def test_the_queue_is_bounded() -> None:
    """A link takes bytes until its queue is full, and tells when it has room again."""
    model = Path(_conditions(Link(rate_bps=8e6)), 0).up  # 1 MB/s, a queue of 14,600 bytes
    assert model.room_s(0.0) == 0.0
    for _ in range(10):
        assert model.room_s(0.0) == 0.0
        model.carry(0.0, MSS_BYTES)
    assert model.room_s(0.0) == pytest.approx(0.00146)
    assert model.room_s(0.002) == 0.002
    assert model.grant_bytes(0.0) == 3 * MSS_BYTES


def _busy_s(model: LinkModel, bytes_: int) -> float:
    return model.carry(0.0, bytes_)[0]


def test_an_outage_suspends_what_is_on_the_link() -> None:
    """Serialisation that meets an outage goes on after it."""
    link = Link(rate_bps=8e6, outages=((0.5, 1.5), (2.0, 3.0)))
    assert _busy_s(Path(_conditions(link), 0).up, 400_000) == pytest.approx(0.4)
    assert _busy_s(Path(_conditions(link), 0).up, 600_000) == pytest.approx(1.6)
    assert _busy_s(Path(_conditions(link), 0).up, 1_200_000) == pytest.approx(3.2)
    assert Path(_conditions(link), 0).up.cross(0.5) == 1.5
    assert math.isclose(Path(_conditions(link), 0).up.cross(0.4), 0.4)
