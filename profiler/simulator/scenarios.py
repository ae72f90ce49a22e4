"""What nodes go through: the scenarios against which attribution is judged.

A scenario is drawn anew for each seed, machine and consumers alike, so that no figure hangs on
one lucky machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .load import Consumer
from .machine import Machine, random_machine

__all__ = ["SCENARIOS", "Play", "Scenario", "draw"]

_ALIKE = 0.03
"""Services of one kind differ so much in power per CPU second (standard deviation)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """One drawn scenario.

    Args:
        machine: The machine.
        consumers: Who works; the first is the system's own work, which nobody names.
        modulus_uj: Where the package counters wrap.
        missing_ratio: How many looks at a counter fail.
        lap_s: Energy is shared out so often: well above the renewal of the slowest sensor.
    """

    machine: Machine
    consumers: tuple[Consumer, ...]
    modulus_uj: int = 262_143_328_850
    missing_ratio: float = 0.0
    lap_s: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One row of the grid.

    Args:
        name: Its name.
        about: For people: what happens.
        draw: Makes one from chance, for a node that is watched for so many seconds.
    """

    name: str
    about: str
    draw: Callable[[np.random.Generator, float], Play]


def _system(rng: np.random.Generator) -> Consumer:
    return Consumer(name="system", busy=float(rng.uniform(0.03, 0.2)), request_s=0.002)


def _services(
    rng: np.random.Generator,
    count: int,
    *,
    busy: float,
    unlike: float = _ALIKE,
    starts_s: tuple[float, float] = (20.0, 100.0),
) -> list[Consumer]:
    """Return services of one kind that start one after the other."""
    starts = np.linspace(*starts_s, count)
    return [
        Consumer(
            name=f"service-{n}",
            busy=float(rng.uniform(0.4, 1.6)) * busy,
            request_s=float(rng.uniform(0.01, 0.1)),
            intensity=float(rng.normal(1.0, unlike)),
            memory=float(rng.lognormal(0.0, 0.2)),
            instructions=float(rng.normal(1.0, 0.05)),
            starts_s=round(float(starts[n])),
        )
        for n in range(count)
    ]


def _steady(rng: np.random.Generator, _: float) -> Play:
    machine = random_machine(rng)
    services = _services(rng, 8, busy=0.05 * machine.cores)
    return Play(machine=machine, consumers=(_system(rng), *services))


def _bursty(rng: np.random.Generator, _: float) -> Play:
    machine = random_machine(rng)
    services = [
        replace(one, on_s=float(rng.uniform(5, 20)), off_s=float(rng.uniform(5, 30)))
        for one in _services(rng, 8, busy=0.1 * machine.cores)
    ]
    return Play(machine=machine, consumers=(_system(rng), *services))


def _light(rng: np.random.Generator, _: float) -> Play:
    machine = random_machine(rng)
    services = _services(rng, 6, busy=0.008 * machine.cores)
    return Play(machine=machine, consumers=(_system(rng), *services))


def _unlike(rng: np.random.Generator, _: float) -> Play:
    machine = random_machine(rng)
    services = _services(rng, 8, busy=0.05 * machine.cores, unlike=0.2)
    return Play(machine=machine, consumers=(_system(rng), *services))


def _many(rng: np.random.Generator, _: float) -> Play:
    machine = random_machine(rng)
    services = _services(rng, 60, busy=0.6 * machine.cores / 60, unlike=0.05, starts_s=(10, 90))
    return Play(machine=machine, consumers=(_system(rng), *services))


def _colocated(rng: np.random.Generator, _: float) -> Play:
    machine = random_machine(rng)
    services = []
    for n, one in enumerate(_services(rng, 6, busy=0.08 * machine.cores)):
        bound = n % 2 == 0
        services.append(
            replace(
                one,
                name=f"{'memory' if bound else 'compute'}-{n}",
                intensity=float(rng.normal(0.75 if bound else 1.3, 0.05)),
                memory=float(rng.uniform(2.0, 3.5) if bound else rng.uniform(0.1, 0.4)),
                instructions=float(rng.normal(0.5 if bound else 1.6, 0.05)),
            )
        )
    return Play(machine=machine, consumers=(_system(rng), *services))


def _short(rng: np.random.Generator, duration_s: float) -> Play:
    machine = random_machine(rng)
    lasting = _services(rng, 3, busy=0.1 * machine.cores)
    pods: list[Consumer] = []
    begins_s = 60.0
    while (begins_s := begins_s + float(rng.exponential(6.0))) < duration_s - 30:
        pod = _services(rng, 1, busy=0.06 * machine.cores)[0]
        ends_s = begins_s + float(rng.uniform(8.0, 25.0))
        pods.append(replace(pod, name=f"job-{len(pods)}", starts_s=begins_s, ends_s=ends_s))
    return Play(machine=machine, consumers=(_system(rng), *lasting, *pods))


def _wraps(rng: np.random.Generator, duration_s: float) -> Play:
    play = _steady(rng, duration_s)
    machine = play.machine
    # Once a minute at full load, as on large packages. A small machine's memory then wraps so early
    # that a second is too long to tell once from twice, by what memory may draw at most.
    modulus_uj = int(60e6 * (machine.idle_w + machine.cores * machine.core_w))
    return replace(play, modulus_uj=modulus_uj, lap_s=0.5)


def _missing(rng: np.random.Generator, duration_s: float) -> Play:
    return replace(_steady(rng, duration_s), missing_ratio=0.05)


def _sockets(rng: np.random.Generator, _: float) -> Play:
    machine = random_machine(rng, sockets=2)
    services = [
        replace(one, socket=(0, 1, None)[n % 3])
        for n, one in enumerate(_services(rng, 9, busy=0.08 * machine.cores))
    ]
    return Play(machine=machine, consumers=(_system(rng), *services))


def _shared_gpu(rng: np.random.Generator, _: float) -> Play:
    machine = random_machine(rng, gpu=True)
    services = [
        replace(
            one,
            device="gpu",
            busy=float(rng.uniform(0.1, 0.3)),
            cores=1.0,
            request_s=0.02,
            intensity=float(rng.normal(1.0, 0.1)),
        )
        for one in _services(rng, 3, busy=0.2)
    ]
    return Play(machine=machine, consumers=(_system(rng), *services), lap_s=3.0)


def _never_idle(rng: np.random.Generator, _: float) -> Play:
    machine = random_machine(rng)
    services = _services(rng, 8, busy=0.06 * machine.cores, starts_s=(0.0, 0.0))
    return Play(machine=machine, consumers=(_system(rng), *services))


SCENARIOS = (
    Scenario(name="steady", about="eight services of one kind under steady load", draw=_steady),
    Scenario(name="bursty", about="eight services that come in bursts of seconds", draw=_bursty),
    Scenario(name="light", about="six services on a machine that is nearly at rest", draw=_light),
    Scenario(name="unlike", about="eight services unlike by a fifth, steady load", draw=_unlike),
    Scenario(name="many-pods", about="sixty small pods", draw=_many),
    Scenario(
        name="co-located",
        about="memory-bound beside compute-bound services, unlike by a factor of two",
        draw=_colocated,
    ),
    Scenario(name="short-lived", about="jobs of 8 to 25 s beside lasting services", draw=_short),
    Scenario(name="wraps", about="steady; the counter wraps once a minute", draw=_wraps),
    Scenario(name="missing", about="steady; one look in twenty fails", draw=_missing),
    Scenario(name="two-sockets", about="nine services, some bound to a socket", draw=_sockets),
    Scenario(name="shared-gpu", about="an accelerator shared three ways", draw=_shared_gpu),
    Scenario(
        name="never-idle",
        about="eight services that were there before we looked; idle power is never seen",
        draw=_never_idle,
    ),
)
"""The grid, in the order of the report."""


def draw(scenario: str, seed: int, duration_s: float) -> Play:
    """Draw one play of a scenario; the same seed draws the same.

    Raises:
        KeyError: When there is no such scenario.
    """
    found = {one.name: one for one in SCENARIOS}[scenario]
    return found.draw(np.random.default_rng([seed, *scenario.encode()]), duration_s)
