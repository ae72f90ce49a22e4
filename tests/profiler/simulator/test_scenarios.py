"""The scenarios: drawn the same for the same seed, and each with what its name promises."""

from __future__ import annotations

import numpy as np
import pytest

from joulery.profiler.simulator.load import Consumer
from joulery.profiler.simulator.node import Node
from joulery.profiler.simulator.scenarios import SCENARIOS, Play, draw

NAMES = [one.name for one in SCENARIOS]
DURATION_S = 300.0
SEEDS = range(8)


def draws(name: str) -> list[Play]:
    """Return several plays of a scenario."""
    return [draw(name, seed, DURATION_S) for seed in SEEDS]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_draws_the_same(name: str) -> None:
    """A play hangs on its seed alone, and no two seeds draw the same machine."""
    plays = draws(name)
    assert plays == draws(name)
    assert len({play.machine for play in plays}) == len(plays)


@pytest.mark.parametrize("name", NAMES)
def test_every_play_can_be_played(name: str) -> None:
    """Nobody nameless or twice the same, no impossible work, and no more than the machine can."""
    for seed, play in enumerate(draws(name)):
        names = [one.name for one in play.consumers]
        assert names[0] == "system"
        assert len(set(names)) == len(names)
        for one in play.consumers:
            assert min(one.busy, one.cores, one.request_s, one.intensity) > 0
            assert min(one.memory, one.instructions) > 0
            assert 0 <= one.starts_s < one.ends_s
        node = Node(play.machine, play.consumers, seed=seed)
        node.advance(DURATION_S)
        work_s = node.cpu_s[~node.on_gpu].sum() / DURATION_S
        assert 0 < work_s < play.machine.sockets * play.machine.cores
        assert play.lap_s >= 0.5


def services(play: Play) -> tuple[Consumer, ...]:
    """Return everyone but the system."""
    return play.consumers[1:]


def test_bursty_services_pause() -> None:
    """Every service of the bursty scenario is on and off for seconds at a time."""
    for play in draws("bursty"):
        assert all(one.on_s > 1 and one.off_s > 1 for one in services(play))


def test_many_pods_are_many_and_small() -> None:
    """Sixty pods share the machine, each far below a tenth of it."""
    for play in draws("many-pods"):
        assert len(services(play)) == 60
        assert max(one.busy for one in services(play)) < 0.1 * play.machine.cores


def test_co_located_work_is_unlike() -> None:
    """Compute-bound work draws about twice the core power of memory-bound work."""
    for play in draws("co-located"):
        kinds: dict[bool, list[float]] = {True: [], False: []}
        for one in services(play):
            kinds[one.name.startswith("memory")].append(one.intensity)
        assert 1.4 < np.mean(kinds[False]) / np.mean(kinds[True]) < 2.2


def test_short_lived_jobs_are_short() -> None:
    """Jobs last 8 to 25 s and have ended before the node is let go; services stay."""
    for play in draws("short-lived"):
        jobs = [one for one in services(play) if one.name.startswith("job")]
        assert len(jobs) > 10
        assert all(8 <= one.ends_s - one.starts_s <= 25 for one in jobs)
        assert all(one.ends_s < DURATION_S for one in jobs)
        assert sum(np.isinf(one.ends_s) for one in services(play)) == 3


def test_counters_wrap_once_a_minute_at_full_load() -> None:
    """At full load the package's counter goes round in about a minute."""
    for play in draws("wraps"):
        machine = play.machine
        full_w = machine.idle_w + machine.cores * machine.core_w
        assert play.modulus_uj / 1e6 / full_w == pytest.approx(60.0)


def test_looks_that_fail_are_one_in_twenty() -> None:
    """Only the scenario of missing readings has any."""
    ratios = {name: {play.missing_ratio for play in draws(name)} for name in NAMES}
    assert ratios.pop("missing") == {0.05}
    assert set().union(*ratios.values()) == {0.0}


def test_two_sockets_have_bound_and_free_services() -> None:
    """Some are bound to either socket and some to none."""
    for play in draws("two-sockets"):
        assert play.machine.sockets == 2
        assert {one.socket for one in services(play)} == {0, 1, None}


def test_an_accelerator_is_shared_three_ways() -> None:
    """Three services work on the accelerator, together no more than it can."""
    for play in draws("shared-gpu"):
        on_gpu = [one for one in services(play) if one.device == "gpu"]
        assert len(on_gpu) == 3
        assert sum(one.busy for one in on_gpu) < 1
        assert play.machine.gpu_w > 0


def test_a_node_that_is_never_idle() -> None:
    """Everyone is there from the beginning, and never ends."""
    for play in draws("never-idle"):
        assert all(one.starts_s == 0 and np.isinf(one.ends_s) for one in services(play))


def test_an_unknown_scenario() -> None:
    """A scenario that is not there is a programmer's error with its name."""
    with pytest.raises(KeyError, match="stedy"):
        draw("stedy", 0, DURATION_S)
