"""Campaigns whose processes are killed at random moments: what is finished stays, nothing is left.

The same is done many more times by benchmarks/kill.py.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from joulery.benchmarks.campaigns.attack import Arena, make_spec
from joulery.campaigns.journal import campaign_lock

from .command import command, joulery

_LATEST_S = 4.0


def _wait(arena: Arena, is_there: Callable[[], object]) -> None:
    """Wait for something that a run brings about."""
    while not is_there():
        assert arena.runner.poll() is None, arena.words()
        time.sleep(0.005)


@pytest.mark.parametrize("seed", [1])
def test_a_campaign_survives_kills_at_random_moments(tmp_path: Path, seed: int) -> None:
    """Whoever is killed, and when: each trial is there once and whole, and nothing else stays."""
    draw = random.Random(seed)
    victims = draw.sample(["runner", "service", "generator", "all"], k=4)
    with Arena(make_spec(tmp_path / "c.yaml", batches=[1], repeats=3), tmp_path) as arena:
        arena.start()
        for victim in victims:
            time.sleep(draw.uniform(0, _LATEST_S))
            while arena.runner.poll() is None and not arena.find(victim):
                time.sleep(0.01)
            if arena.runner.poll() is not None:
                break  # it was faster, and finished
            if victim == "service":
                arena.kill(victim)
                continue
            aftermath = arena.strike(victim)
            assert aftermath is None or aftermath.flaws == []
            assert "Traceback" not in arena.words()
            arena.start()
        assert arena.finish() == []


def test_a_campaign_survives_kills_while_it_writes(tmp_path: Path) -> None:
    """Killed while it writes its dataset, or a report of what it has, a campaign just goes on."""
    with Arena(make_spec(tmp_path / "c.yaml", batches=[1], repeats=1), tmp_path) as arena:
        work = arena.journal.parent
        arena.start()
        _wait(arena, lambda: list(arena.out.parent.glob(".set-*.partial")))
        aftermath = arena.strike("runner")
        assert aftermath is not None
        assert aftermath.flaws == []
        assert not arena.out.exists()
        assert list(arena.out.parent.glob(".set-*.partial"))
        with subprocess.Popen(command("report", work), stdout=subprocess.DEVNULL) as report:
            while not list(work.glob(".snapshot-*.partial")):
                assert report.poll() is None
                time.sleep(0.001)
            report.kill()
        assert list(work.glob(".snapshot-*.partial"))
        arena.start()
        assert arena.finish() == []


def test_a_second_runner_is_refused_even_when_the_first_stands_still(tmp_path: Path) -> None:
    """A stopped runner still holds its campaign; killed, it holds nothing, and nothing runs on.

    The window would take two minutes more: its generator does not send it to the end.
    """
    spec = make_spec(tmp_path / "c.yaml", batches=[1], repeats=1)
    spec.write_text(spec.read_text().replace("window_s: 0.4", "window_s: 120"))
    with Arena(spec, tmp_path) as arena:
        arena.start()
        _wait(arena, lambda: [c for g in arena.find("generator") for c in g.net_connections("tcp")])
        time.sleep(2)  # the warm-up, which is at most half a second, is over
        os.kill(arena.runner.pid, signal.SIGSTOP)
        second = joulery("run", spec, "--out", arena.out, "--plain", "--resume", code=1)
        assert "found another process that runs this campaign" in second.stderr
        assert "wait for it" in second.stderr
        aftermath = arena.strike("runner")
        assert aftermath is not None
        assert aftermath.flaws == []
        with campaign_lock(arena.journal.parent):
            pass


def test_a_service_that_is_killed_before_it_is_ready_is_told(tmp_path: Path) -> None:
    """The reason of such a trial says that it was killed, not that it took long; it is retried."""
    with Arena(make_spec(tmp_path / "c.yaml", batches=[1], repeats=1), tmp_path) as arena:
        arena.start()
        _wait(arena, lambda: arena.find("service"))
        assert arena.kill("service")
        assert arena.finish() == []
        assert "found its end by SIGKILL" in arena.words()
        assert arena.retries() == 1
