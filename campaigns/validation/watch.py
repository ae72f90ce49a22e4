"""One simulated node, watched through the very code that watches a real one.

Sources read the files that the node writes, the meter takes laps, models learn, the ledger adds
up; beside them runs the truth.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...profiler.attribution import Attribution, IdlePolicy, attribute_window, observe_window
from ...profiler.cgroup import CgroupCpu
from ...profiler.ledger import Ledger
from ...profiler.meter import EnergyMeter, Window
from ...profiler.power_model import PowerModel
from ...profiler.quantities import Energy
from ...profiler.simulator.node import Node
from ...profiler.simulator.scenarios import Play
from ...profiler.simulator.tree import NodeTree
from ...profiler.sources.base import Kind, Source
from ...profiler.sources.hwmon import Hwmon
from ...profiler.sources.powercap import Powercap
from ...profiler.usage import Usage
from ...profiler.window import WindowResult
from ...profiler.work import NodeCpu
from .formulas import FORMULAS, Claim, RatioThroughOrigin, share_of_total

__all__ = ["Score", "Times", "Watched", "watch"]

_Floats = NDArray[np.float64]

_JITTER_S = 2e-4
"""Between reading a counter and the clock as much time may pass, on a busy node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How long a node is watched.

    Args:
        duration_s: In all.
        settle_s: What is learned so far is not judged yet.
        window_s: Energies are judged over so long.
    """

    duration_s: float = 600.0
    settle_s: float = 120.0
    window_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One consumer's energy over one window, by one formula, and what it really was.

    Args:
        formula: See `FORMULAS`.
        consumer: Whose.
        start_s: When the window began.
        truth_j: What the consumer really drew, of what the formula claims to tell.
        value_j: What the formula says.
        low_j: Lower end of its interval; `None` if it has none.
        high_j: Upper end.
    """

    formula: str
    consumer: str
    start_s: float
    truth_j: float
    value_j: float
    low_j: float | None = None
    high_j: float | None = None


@dataclass(slots=True, kw_only=True)
class Watched:
    """What came of one node.

    Attributes:
        scores: One for each formula, consumer and window.
        residual_ratio: Largest difference, in any window, between the sum of all parts and what
            the devices really drew, over the latter.
        gaps: How many samples of a domain were gaps.
        samples: How many there were.
        unknown_s: Time whose energy was not known, and is in no figure.
        idle_w: Idle power as learned at the end.
        true_idle_w: What it really is.
    """

    scores: list[Score] = field(default_factory=list)
    residual_ratio: float = 0.0
    gaps: int = 0
    samples: int = 0
    unknown_s: float = 0.0
    idle_w: float = 0.0
    true_idle_w: float = 0.0


def watch(play: Play, *, seed: int, root: Path, times: Times) -> Watched:
    """Let a node play a scenario and judge every formula on the same laps.

    Args:
        play: The scenario.
        seed: Of the node's chance.
        root: Where the node's files go.
        times: How long.
    """
    node = Node(play.machine, play.consumers, seed=seed)
    with NodeTree(root, node, modulus_uj=play.modulus_uj, jitter_s=_JITTER_S, seed=seed) as tree:
        return _Watcher(play, tree, np.random.default_rng([seed, 1]), times).run()


@dataclass(slots=True)
class _Book:
    """What one of our formulas has learned, and has added up since the window began."""

    policy: IdlePolicy
    counters: bool
    models: dict[Kind, PowerModel] = field(default_factory=dict)
    learns: bool = True
    ledger: Ledger = field(default_factory=Ledger)
    unknown_s: float = 0.0

    def settle(self, lap: WindowResult) -> Attribution | None:
        """Learn from a lap and share its energy out."""
        if not self.counters:
            plain = {name: replace(used, signals=()) for name, used in lap.usage.items()}
            lap = replace(lap, usage=plain)
        if self.learns:
            observe_window(self.models, lap)
        shares = attribute_window(
            lap, self.models, owed_j=self.ledger.owed_j, idle_policy=self.policy
        )
        self.ledger.add(shares, lap.duration_s)
        self.unknown_s += lap.duration_s * (shares is None)
        return shares


class _Watcher:
    def __init__(self, play: Play, tree: NodeTree, rng: np.random.Generator, times: Times) -> None:
        self._play, self._tree, self._node, self._times = play, tree, tree.node, times
        self._rng = rng
        self._at = {one.name: n for n, one in enumerate(play.consumers) if n > 0}
        self._present: dict[str, ExitStack] = {}
        self._last: dict[str, Usage] = {}
        plain = _Book("none", counters=False)
        self._books = {
            "joulery": plain,
            "joulery_time_share": _Book(
                "time_share", counters=False, models=plain.models, learns=False
            ),
            "joulery_counters": _Book("none", counters=True),
        }
        # By formula, or by claim for the truth, and by consumer.
        self._sums: dict[tuple[str, str], float] = defaultdict(float)
        self._peers: dict[str, Callable[[WindowResult], dict[str, float] | None]] = {
            "share_of_total": share_of_total,
            "ratio_through_origin": RatioThroughOrigin(),
        }
        self._device_j = self._shared_j = 0.0
        self._found = Watched(true_idle_w=self._idle_w())

    def _idle_w(self) -> float:
        machine = self._play.machine
        return machine.sockets * (machine.idle_w + machine.dram_idle_w) + machine.gpu_idle_w

    def run(self) -> Watched:
        """Watch the node from beginning to end."""
        host = self._tree.host
        sources: list[Source] = [Powercap(host.sys)]
        if "gpu" in self._node.domains:
            sources.append(Hwmon(host.sys))
        meter = EnergyMeter(sources, clock=host.clock, interval_s=None, work=NodeCpu(host))
        laps = round(self._times.duration_s / self._play.lap_s)
        per_window = round(self._times.window_s / self._play.lap_s)
        with meter, meter.window("watch") as window, ExitStack() as leaving:
            self._admit(meter)
            for lap in range(laps):
                self._lap(meter, window)
                now_s = (lap + 1) * self._play.lap_s
                if now_s <= self._times.settle_s:
                    self._reset()
                elif (lap + 1) % per_window == 0:
                    self._judge(now_s - self._times.window_s)
            for stack in self._present.values():
                leaving.push(stack)
        learned = [model.fit() for model in self._books["joulery"].models.values()]
        return replace(
            self._found,
            gaps=sum(meter.gaps.values()),
            samples=laps * sum(len(source.domains) for source in sources),
            unknown_s=self._books["joulery"].unknown_s,
            idle_w=math.fsum(fit.idle.value_w for fit in learned if fit is not None),
        )

    def _lap(self, meter: EnergyMeter, window: Window) -> None:
        before = self._snapshot()
        lost = self._lost()
        self._tree.advance(self._play.lap_s)
        self._admit(meter)  # all that a newcomer has used so far, it used in this lap
        for domain in lost:
            self._tree.vanish(domain)
        lap = window.lap()
        for domain in lost:
            self._tree.appear(domain)
        if lap.energy is not None:
            self._book_truth(before, self._snapshot(), lap)
        for name, book in self._books.items():
            shares = book.settle(lap)
            if shares is not None and name == "joulery":
                parts = (shares.idle, shares.system, *shares.parts.values())
                self._shared_j += math.fsum(part.value_j for part in parts)
        for name, formula in self._peers.items():
            for consumer, energy_j in (formula(lap) or {}).items():
                self._sums[name, consumer] += energy_j
        self._dismiss()

    def _lost(self) -> list[str]:
        """Return the counters that cannot be read this time."""
        chance = self._rng.uniform(size=len(self._node.domains))
        return [
            domain
            for domain, drawn in zip(self._node.domains, chance, strict=True)
            if drawn < self._play.missing_ratio
        ]

    def _admit(self, meter: EnergyMeter) -> None:
        """Begin to watch the consumers that are there now."""
        now_s = self._node.now_s
        for name, at in self._at.items():
            one = self._play.consumers[at]
            if name not in self._present and one.starts_s <= now_s < one.ends_s:
                stack = ExitStack()
                reader = self._reader(name, at, stack)
                stack.enter_context(meter.consumers({name: reader}, new=one.starts_s > 0))
                self._present[name] = stack

    def _reader(self, name: str, at: int, stack: ExitStack) -> Callable[[], Usage]:
        node = self._node
        if node.on_gpu[at]:
            busy_s = self._tree.work_s(name)
            return lambda: Usage(cpu_s=0.0, gpu_s=busy_s())
        group = stack.enter_context(CgroupCpu(self._tree.group(name)))

        def read() -> Usage:
            counts = (node.cycles[at], node.instructions[at], node.misses[at])
            if self._gone(name):  # its group was removed, and its counters with it
                return self._last[name]
            used = Usage(cpu_s=group.cpu_s(), signals=tuple(map(float, counts)))
            self._last[name] = used
            return used

        return read

    def _dismiss(self) -> None:
        """Stop watching the consumers that are gone, and judge what they drew in their life."""
        for name in [n for n in self._present if self._gone(n)]:
            self._present.pop(name).close()
            one = self._play.consumers[self._at[name]]
            if one.starts_s > self._times.settle_s:
                self._score(name, one.starts_s, gone=True)
            for book in self._books.values():
                for model in book.models.values():
                    model.forget(name)

    def _gone(self, name: str) -> bool:
        return self._play.consumers[self._at[name]].ends_s <= self._node.now_s

    def _snapshot(self) -> dict[str, tuple[float, _Floats]]:
        truth = self._node.truth
        return {d: (truth.idle_j[d], truth.active_j[d].copy()) for d in self._node.domains}

    def _book_truth(
        self,
        before: Mapping[str, tuple[float, _Floats]],
        after: Mapping[str, tuple[float, _Floats]],
        lap: WindowResult,
    ) -> None:
        work_s = {name: used.cpu_s for name, used in lap.usage.items()}
        gpu_s = {name: used.gpu_s or 0.0 for name, used in lap.usage.items()}
        for domain, (idle_then_j, active_then_j) in before.items():
            idle_j = after[domain][0] - idle_then_j
            active_j = after[domain][1] - active_then_j
            self._device_j += idle_j + float(active_j.sum())
            spent_s, whole_s = work_s, max(lap.busy_s, math.fsum(work_s.values()))
            if domain == "gpu":
                spent_s, whole_s = gpu_s, math.fsum(gpu_s.values())
            for name, at in self._at.items():
                share = spent_s.get(name, 0.0) / whole_s if whole_s > 0 else 0.0
                self._sums[Claim.ACTIVE, name] += float(active_j[at])
                self._sums[Claim.WITH_IDLE, name] += float(active_j[at]) + share * idle_j

    def _reset(self) -> None:
        """Forget what was added up so far; what was learned stays."""
        self._sums.clear()
        self._device_j = self._shared_j = 0.0
        for book in self._books.values():
            book.ledger = Ledger()

    def _judge(self, start_s: float) -> None:
        """Score the consumers that last, and begin a new window."""
        if self._device_j > 0:
            off = abs(self._shared_j - self._device_j) / self._device_j
            self._found.residual_ratio = max(self._found.residual_ratio, off)
        self._device_j = self._shared_j = 0.0
        for name in list(self._present):
            one = self._play.consumers[self._at[name]]
            if math.isinf(one.ends_s) and one.starts_s <= start_s:
                self._score(name, start_s, gone=False)

    def _score(self, name: str, start_s: float, *, gone: bool) -> None:
        truths = {claim: self._sums.pop((claim, name), 0.0) for claim in Claim}
        for formula in FORMULAS:
            energy: Energy | None = None
            value_j = self._sums.pop((formula.name, name), None)
            if formula.ours:
                energy = self._books[formula.name].ledger.close(name, gone=gone)
                value_j = None if energy is None else energy.value_j
            if value_j is None or truths[formula.claim] <= 0:
                continue  # nothing was known of it, or it did nothing in all that time
            self._found.scores.append(
                Score(
                    formula=formula.name,
                    consumer=name,
                    start_s=start_s,
                    truth_j=truths[formula.claim],
                    value_j=value_j,
                    low_j=None if energy is None else energy.low_j,
                    high_j=None if energy is None else energy.high_j,
                )
            )
