"""Who works on the simulated machine, and when: services under load, pods that come and go.

Work is open: requests arrive at random, queue, and are served by as many cores as the consumer
may use. No power is known here, only what makes a second of work unlike another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Consumer", "Queue"]

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """One service, pod or process.

    Args:
        name: Unique on its node.
        busy: Mean busy cores while it is on; on an accelerator the mean share of it.
        cores: It never uses more.
        request_s: CPU seconds of one request; long ones make load uneven.
        intensity: Dynamic power of its second of work over that of ordinary code.
        memory: Memory intensity: 1 for ordinary code.
        instructions: Instructions per cycle, relative to ordinary code.
        starts_s: It is not there before.
        ends_s: It is gone after.
        on_s: Mean length of a burst; 0: it is always on.
        off_s: Mean length of the pause between bursts.
        socket: The package it is bound to; `None`: it runs on all alike.
        device: Where it works.
    """

    name: str
    busy: float
    cores: float = 4.0
    request_s: float = 0.02
    intensity: float = 1.0
    memory: float = 1.0
    instructions: float = 1.0
    starts_s: float = 0.0
    ends_s: float = float("inf")
    on_s: float = 0.0
    off_s: float = 0.0
    socket: int | None = None
    device: Literal["cpu", "gpu"] = "cpu"


class Queue:
    """The work of one consumer over time.

    Args:
        consumer: Whose.
        rng: Where chance comes from.
    """

    def __init__(self, consumer: Consumer, rng: np.random.Generator) -> None:
        self._consumer, self._rng = consumer, rng
        self._waiting_s = 0.0
        self._on = True
        self._switch_s = consumer.starts_s + self._phase_s()

    def _phase_s(self) -> float:
        mean_s = self._consumer.on_s if self._on else self._consumer.off_s
        return float(self._rng.exponential(mean_s)) if self._consumer.on_s > 0 else float("inf")

    def _active(self, times_s: _Floats) -> NDArray[np.bool_]:
        active = np.empty(len(times_s), dtype=bool)
        for index, now_s in enumerate(times_s) if self._consumer.on_s > 0 else ():
            while now_s >= self._switch_s:
                self._on = not self._on
                self._switch_s += self._phase_s()
            active[index] = self._on
        if self._consumer.on_s <= 0:
            active[:] = True
        return active & (times_s >= self._consumer.starts_s) & (times_s < self._consumer.ends_s)

    def work_s(self, times_s: _Floats, tick_s: float) -> _Floats:
        """Return the CPU seconds served in each tick.

        Args:
            times_s: When each tick begins, evenly apart.
            tick_s: How long a tick is.
        """
        one = self._consumer
        active = self._active(times_s)
        # A burst carries what its pause would have: the mean while on is `busy`.
        arrivals = self._rng.poisson(one.busy / one.request_s * tick_s, len(times_s))
        arrived_s = np.where(active, arrivals * one.request_s, 0.0)
        room_s = one.cores * tick_s
        # Reflection of the queue at zero: what was served is what arrived, less what waits.
        free_s = np.cumsum(arrived_s - room_s) + self._waiting_s
        below_s = np.minimum.accumulate(np.minimum(free_s, 0.0))
        waiting_s = free_s - below_s
        served_s = np.diff(-waiting_s, prepend=-self._waiting_s) + arrived_s
        gone = times_s >= one.ends_s
        self._waiting_s = 0.0 if gone[-1] else float(waiting_s[-1])
        return np.where(gone, 0.0, np.maximum(served_s, 0.0))
