"""One watched node of each scenario: conservation, honest gaps, and scores only where truth is."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from joulery.campaigns.validation.formulas import FORMULAS
from joulery.campaigns.validation.watch import Score, Times, Watched, watch
from joulery.profiler.simulator.load import Consumer
from joulery.profiler.simulator.machine import Machine
from joulery.profiler.simulator.node import Node
from joulery.profiler.simulator.scenarios import SCENARIOS, Play, draw

TIMES = Times(duration_s=90.0, settle_s=30.0, window_s=30.0)

SEED = 0

CONSERVED = 1e-6
"""Counters move in steps of 61 µJ, over windows of at least 100 J."""

JITTER_S = 2e-4
"""Of the clock, at each edge of a lap."""


@pytest.fixture(scope="module")
def watched() -> Iterator[Mapping[str, Watched]]:
    """Return what came of every scenario."""
    with tempfile.TemporaryDirectory() as folder:
        yield {
            one.name: watch(
                draw(one.name, SEED, TIMES.duration_s),
                seed=SEED,
                root=Path(folder) / one.name,
                times=TIMES,
            )
            for one in SCENARIOS
        }


def scored(found: Watched, formula: str) -> dict[tuple[str, float], Score]:
    """Return the scores of one formula, by consumer and window."""
    return {(one.consumer, one.start_s): one for one in found.scores if one.formula == formula}


@pytest.mark.parametrize("name", [one.name for one in SCENARIOS])
def test_every_joule_is_shared_out(watched: Mapping[str, Watched], name: str) -> None:
    """In every scenario all parts together are what the devices drew."""
    found = watched[name]
    assert 0 <= found.residual_ratio <= CONSERVED
    assert found.scores
    assert found.samples == 90 / draw(name, SEED, 90.0).lap_s * len(
        Node(draw(name, SEED, 90.0).machine, (), seed=0).domains
    )


@pytest.mark.parametrize("name", [one.name for one in SCENARIOS])
def test_no_score_without_truth(watched: Mapping[str, Watched], name: str) -> None:
    """Each formula is judged for the same consumers and windows, by a truth that is something."""
    found, play = watched[name], draw(name, SEED, TIMES.duration_s)
    life = {one.name: (one.starts_s, one.ends_s) for one in play.consumers[1:]}
    whole = {formula.name: scored(found, formula.name) for formula in FORMULAS}
    assert len({frozenset(scores) for scores in whole.values()}) == 1
    for (consumer, start_s), score in whole["joulery"].items():
        assert score.truth_j > 0
        starts_s, ends_s = life[consumer]
        if math.isinf(ends_s):
            assert start_s in (30.0, 60.0)
            assert starts_s <= start_s
        else:
            assert start_s == starts_s > TIMES.settle_s
    for formula in FORMULAS:
        for score in whole[formula.name].values():
            assert math.isfinite(score.value_j)
            bounds = (score.low_j, score.high_j)
            if formula.ours:
                assert None not in bounds
                assert 0 <= score.low_j <= score.value_j <= score.high_j  # type: ignore[operator]
            else:
                assert bounds == (None, None)


def test_only_missing_readings_are_unknown(watched: Mapping[str, Watched]) -> None:
    """Where no look fails, no gap is found and all time is known, wraps or not."""
    for name, found in watched.items():
        assert (found.gaps > 0) is (found.unknown_s > 0) is (name == "missing")


def test_unknown_time_is_the_time_of_the_gaps(watched: Mapping[str, Watched]) -> None:
    """A look that fails hides its lap and the next, whose counter has no beginning: no more."""
    play = draw("missing", SEED, TIMES.duration_s)
    chance = np.random.default_rng([SEED, 1])  # as the watched node draws it
    lost = chance.uniform(size=(90, 2)) < play.missing_ratio
    hidden = lost | np.vstack([[False, False], lost[:-1]])
    unknown_s = play.lap_s * hidden.any(axis=1).sum()
    assert watched["missing"].unknown_s == pytest.approx(unknown_s, abs=2 * 90 * JITTER_S)
    assert watched["missing"].gaps == hidden.sum()


@pytest.mark.parametrize("seed", [0, 5, 10])  # the last two draw the smallest machines
def test_wraps_are_no_gaps(tmp_path: Path, seed: int) -> None:
    """A counter that goes round while the node is watched loses nothing and leaves no gap."""
    times = replace(TIMES, duration_s=150.0)
    play = draw("wraps", seed, times.duration_s)
    found = watch(play, seed=seed, root=tmp_path, times=times)
    node = Node(play.machine, play.consumers, seed=seed)
    node.advance(times.duration_s)
    assert node.truth.total_j("package-0") > play.modulus_uj / 1e6
    assert (found.gaps, found.unknown_s) == (0, 0.0)
    assert found.residual_ratio <= CONSERVED


def test_jobs_are_scored_over_their_life() -> None:
    """A job that came and went is scored once, from its beginning, against all it drew."""
    times = Times(duration_s=150.0, settle_s=30.0, window_s=30.0)
    play = draw("short-lived", SEED, times.duration_s)
    with tempfile.TemporaryDirectory() as folder:
        found = watch(play, seed=SEED, root=Path(folder), times=times)
    node = Node(play.machine, play.consumers, seed=SEED)
    for _ in range(150):
        node.advance(1.0)  # in the same steps, so that it is the same node
    drawn_j = np.sum([node.truth.active_j[domain] for domain in node.domains], axis=0)
    jobs = {one.name: at for at, one in enumerate(play.consumers) if math.isfinite(one.ends_s)}
    ended = {name for name, at in jobs.items() if play.consumers[at].ends_s <= 150.0}
    assert len(ended) > 3
    scores = [one for one in scored(found, "joulery").values() if one.consumer in jobs]
    assert sorted(one.consumer for one in scores) == sorted(ended)
    for one in scores:
        at = jobs[one.consumer]
        assert one.start_s == play.consumers[at].starts_s
        assert one.truth_j == pytest.approx(drawn_j[at])
        assert one.value_j == pytest.approx(one.truth_j, rel=0.5)


def watch_one(play: Play, root: Path) -> dict[str, dict[str, float]]:
    """Return, by formula and consumer, the energies of the last window."""
    found = watch(play, seed=SEED, root=root, times=TIMES)
    return {
        formula.name: {
            consumer: one.value_j
            for (consumer, start_s), one in scored(found, formula.name).items()
            if start_s == 60.0
        }
        for formula in FORMULAS
    }


def test_what_the_references_do(tmp_path: Path) -> None:
    """At 5 % load the one tells all energy, the other next to none, and ours what work draws."""
    machine = replace(Machine(), noise_ratio=0.0, wake_w=0.0, leakage_w_per_k=0.0, turbo_ratio=1.0)
    services = [
        Consumer(name=name, busy=0.2, request_s=0.01, starts_s=20.0) for name in ("one", "two")
    ]
    nobody = Consumer(name="system", busy=1e-9)
    play = Play(machine=machine, consumers=(nobody, *services))
    found = watch_one(play, tmp_path)
    idle_j = 30.0 * (machine.idle_w + machine.dram_idle_w)
    active_j = 30.0 * 0.4 * (machine.core_w + 1.5 * machine.dram_w)
    assert sum(found["share_of_total"].values()) == pytest.approx(idle_j + active_j, rel=0.05)
    assert sum(found["joulery_time_share"].values()) == pytest.approx(idle_j + active_j, rel=0.05)
    through_0_j = (idle_j + active_j) * 0.4 / machine.cores
    assert sum(found["ratio_through_origin"].values()) == pytest.approx(through_0_j, rel=0.1)
    assert sum(found["joulery"].values()) == pytest.approx(active_j, rel=0.15)
    assert through_0_j < 0.5 * active_j


def test_the_same_seed_is_watched_alike(tmp_path: Path) -> None:
    """Every figure hangs on the seed alone."""
    short = Times(duration_s=40.0, settle_s=20.0, window_s=20.0)
    one, same, other = (
        watch(draw("bursty", 3, 40.0), seed=seed, root=tmp_path / str(n), times=short)
        for n, seed in enumerate((3, 3, 4))
    )
    assert one == same
    assert one != other
