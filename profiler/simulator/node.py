"""The simulated node: machine and consumers over time, and the truth about each consumer.

Truth is a definition, and this is it. Idle is what the machine draws without any work at the
reference temperature. All else is active, and each consumer's part of it is its part of the
dynamic power at that moment: wake-up, frequency, leakage and noise are borne in that proportion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from .load import Consumer, Queue
from .machine import Machine

__all__ = ["Node", "Truth"]

_Floats = NDArray[np.float64]

_UNCORE_SHARE = 0.5
"""Memory traffic draws so much of its memory's power in the package as well."""


@dataclass(slots=True)
class Truth:
    """What really was drawn since the start, in joules: by domain and consumer.

    Attributes:
        idle_j: By domain.
        active_j: By domain, for each consumer in the node's order.
    """

    idle_j: dict[str, float] = field(default_factory=dict)
    active_j: dict[str, _Floats] = field(default_factory=dict)

    def total_j(self, domain: str) -> float:
        """Return all that a domain drew."""
        return self.idle_j[domain] + float(self.active_j[domain].sum())


class Node:
    """A machine under load; it moves when it is told to, as fast as it can.

    Args:
        machine: What draws power.
        consumers: Who works, in the order of every array here.
        seed: The same seed and the same steps give the same node. Cut into other steps, work that
            is always on stays the same; bursts and noise are dealt anew.
        tick_s: Step of the simulation.

    Attributes:
        now_s: Time since the start.
        cpu_s: Work of each consumer so far: CPU seconds, or busy seconds of the accelerator.
        cycles: Cycles of each consumer so far, in seconds at base frequency.
        instructions: Instructions of each consumer so far, likewise relative.
        misses: Memory traffic of each consumer so far, in seconds of ordinary code's.
        on_gpu: Which consumers work on the accelerator.
        truth: Energies so far.
    """

    def __init__(
        self,
        machine: Machine,
        consumers: Sequence[Consumer],
        *,
        seed: int,
        tick_s: float = 0.01,
    ) -> None:
        self.machine, self.consumers, self.tick_s = machine, tuple(consumers), tick_s
        self._seeds = np.random.SeedSequence(seed)
        streams = self._seeds.spawn(len(self.consumers) + 1)
        self._queues = [
            Queue(one, np.random.default_rng(stream))
            for one, stream in zip(self.consumers, streams, strict=False)
        ]
        self._rng = np.random.default_rng(streams[-1])
        n = len(self.consumers)
        self.now_s = 0.0
        self._ticks = 0
        self.cpu_s, self.cycles = np.zeros(n), np.zeros(n)
        self.instructions, self.misses = np.zeros(n), np.zeros(n)
        self._learn_traits()
        self._warmth_w = np.zeros(machine.sockets)
        self._noise: dict[str, float] = {}
        self.truth = Truth()
        for domain in self.domains:
            self.truth.idle_j[domain], self.truth.active_j[domain] = 0.0, np.zeros(n)

    def _learn_traits(self) -> None:
        self.on_gpu = np.array([one.device == "gpu" for one in self.consumers], dtype=bool)
        self._intensity = np.array([one.intensity for one in self.consumers])
        self._memory = np.array([one.memory for one in self.consumers])
        self._ipc = np.array([one.instructions for one in self.consumers])
        self._shares = np.array([self._sockets_of(one) for one in self.consumers])

    def warmth_k(self, socket: int) -> float:
        """Return how far a package is above the reference temperature, in kelvins."""
        return self.machine.kelvin_per_w * float(self._warmth_w[socket])

    def join(self, consumers: Sequence[Consumer]) -> None:
        """Let more consumers be there from now on, after the others and without work so far."""
        streams = self._seeds.spawn(len(consumers))
        self._queues += [
            Queue(one, np.random.default_rng(stream))
            for one, stream in zip(consumers, streams, strict=True)
        ]
        self.consumers = (*self.consumers, *consumers)
        self._learn_traits()
        none = np.zeros(len(consumers))
        self.cpu_s, self.cycles = np.append(self.cpu_s, none), np.append(self.cycles, none)
        self.instructions = np.append(self.instructions, none)
        self.misses = np.append(self.misses, none)
        for domain, active_j in self.truth.active_j.items():
            self.truth.active_j[domain] = np.append(active_j, none)

    def _sockets_of(self, one: Consumer) -> _Floats:
        sockets = self.machine.sockets
        if one.device == "gpu":
            return np.zeros(sockets)
        return np.full(sockets, 1 / sockets) if one.socket is None else np.eye(sockets)[one.socket]

    @property
    def domains(self) -> tuple[str, ...]:
        """The names of everything that draws power."""
        names = [f"{kind}-{n}" for n in range(self.machine.sockets) for kind in ("package", "dram")]
        return (*names, "gpu") if self.machine.gpu_idle_w > 0 else tuple(names)

    def advance(self, seconds: float) -> None:
        """Let time pass, in whole ticks."""
        ticks = round(seconds / self.tick_s)
        if ticks <= 0:
            return
        times_s: _Floats = (self._ticks + np.arange(ticks, dtype=np.float64)) * self.tick_s
        work = np.stack([q.work_s(times_s, self.tick_s) for q in self._queues], axis=1)
        self._spend(self._fit(work), self.tick_s)
        self._ticks += ticks
        self.now_s = self._ticks * self.tick_s

    def _spend(self, work: _Floats, tick_s: float) -> None:
        """Draw what work takes, ticks by consumers, in ticks of so many seconds."""
        frequency = np.ones_like(work)
        for socket in range(self.machine.sockets):
            frequency = self._socket(socket, work, frequency, tick_s)
        if self.machine.gpu_idle_w > 0:
            self._gpu(work, tick_s)
        self.cpu_s += work.sum(axis=0)
        self.cycles += (work * frequency).sum(axis=0)
        self.instructions += (work * frequency * self._ipc).sum(axis=0)
        self.misses += (work * self._memory).sum(axis=0)

    def _fit(self, work: _Floats) -> _Floats:
        """Return the work that fits on the machine; what does not is refused."""
        cpu = work @ self._shares  # per socket
        fits = self.machine.cores * self.tick_s / np.maximum(cpu, 1e-12)
        work = work * np.where(self.on_gpu, 1.0, np.minimum(1.0, fits.min(axis=1))[:, None])
        gpu = work[:, self.on_gpu].sum(axis=1)
        room = np.minimum(1.0, self.tick_s / np.maximum(gpu, 1e-12))
        return np.where(self.on_gpu, work * room[:, None], work)

    def _socket(self, socket: int, work: _Floats, frequency: _Floats, tick_s: float) -> _Floats:
        """Add one socket's energy; return the frequency with this socket's share of work in it."""
        machine = self.machine
        busy = work * self._shares[:, socket] / tick_s
        cores = busy.sum(axis=1)
        ratio = machine.frequency_ratio(cores)
        awake_w = machine.wake_power_w(cores)
        traffic_w = busy * self._memory * machine.dram_w
        plain_w = busy * self._intensity * machine.core_w
        core_w = plain_w * (ratio**machine.frequency_power)[:, None]
        uncore_w = _UNCORE_SHARE * traffic_w
        # At the limit the cores slow down until the package fits.
        room_w = machine.limit_w - machine.idle_w - awake_w - uncore_w.sum(axis=1)
        slower = np.clip(room_w / np.maximum(core_w.sum(axis=1), 1e-12), 0.0, 1.0)
        core_w = core_w * slower[:, None]
        ratio = ratio * slower ** (1 / machine.frequency_power)
        dynamic_w = core_w + uncore_w
        whole_w = dynamic_w.sum(axis=1) + awake_w
        active_w = whole_w + self._leakage(socket, whole_w, tick_s)
        self._book(f"package-{socket}", machine.idle_w, active_w, dynamic_w, tick_s)
        memory_w = traffic_w.sum(axis=1)
        self._book(f"dram-{socket}", machine.dram_idle_w, memory_w, traffic_w, tick_s)
        part = self._shares[:, socket]
        mixed: _Floats = frequency + part * (ratio[:, None] - 1)
        return mixed

    def _leakage(self, socket: int, active_w: _Floats, tick_s: float) -> _Floats:
        """Return what warmth adds: a first-order lag behind the power."""
        machine = self.machine
        keep = float(np.exp(-tick_s / machine.thermal_s))
        start = [keep * self._warmth_w[socket]]
        warm_w, _ = lfilter([1 - keep], [1, -keep], active_w, zi=start)
        self._warmth_w[socket] = warm_w[-1]
        leakage: _Floats = machine.leakage_w_per_k * machine.kelvin_per_w * warm_w
        return leakage

    def _gpu(self, work: _Floats, tick_s: float) -> None:
        dynamic_w = work * self.on_gpu * self._intensity / tick_s * self.machine.gpu_w
        self._book("gpu", self.machine.gpu_idle_w, dynamic_w.sum(axis=1), dynamic_w, tick_s)

    def _book(
        self, domain: str, idle_w: float, active_w: _Floats, dynamic_w: _Floats, tick_s: float
    ) -> None:
        """Add a domain's energy to the truth, each consumer's part by its dynamic power."""
        keep = float(np.exp(-tick_s / self.machine.noise_s))
        shock = self._rng.standard_normal(len(active_w)) * np.sqrt(1 - keep**2)
        start = [keep * self._noise.get(domain, 0.0)]
        noise, _ = lfilter([1.0], [1, -keep], shock, zi=start)
        self._noise[domain] = noise[-1]
        active_w = active_w + self.machine.noise_ratio * noise * (idle_w + active_w)
        whole_w = dynamic_w.sum(axis=1)
        shares = dynamic_w / np.where(whole_w > 0, whole_w, 1.0)[:, None]
        self.truth.idle_j[domain] += idle_w * tick_s * len(active_w)
        # Without any work there is nobody to bear it: warmth that is left counts as idle.
        unborne_w = active_w[whole_w <= 0].sum()
        self.truth.idle_j[domain] += float(unborne_w) * tick_s
        self.truth.active_j[domain] += (active_w[:, None] * shares).sum(axis=0) * tick_s
