"""A node watched for long: the energy of each of its devices, shared out lap by lap and added up.

A device is what is shared out as one: all processors together, all memory, the platform, or one
accelerator. What was counted and could not be shared (a gap, nothing learned yet) is kept apart,
so that at any time the parts of a device add up to what its counters counted.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .attribution import IdlePolicy, attribute_window, observe_window
from .ledger import Ledger
from .meter import EnergyMeter
from .power_fit import IdlePower
from .power_model import PowerModel
from .quantities import Energy, Provenance, apportioned, sum_energy, weakest
from .sources.base import Kind, Source
from .usage import Reader, Usage
from .window import WindowResult

_log = logging.getLogger(__name__)

_REFIT_S = 30.0
"""Who watches for hours, and hundreds of consumers, need not conclude anew every ten seconds."""

__all__ = ["Busy", "Device", "Domains", "NodeWatch", "devices_of"]

_ACCELERATORS = (Kind.GPU, Kind.NPU)


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """The work on one accelerator so far, in cumulative seconds that never fall.

    Args:
        total_s: Busy seconds, whoever caused them; `None` where nobody counts them: then to hold
            the accelerator counts as work.
        consumers_s: Busy seconds of each known consumer.
        owner: Who has it to itself, where its work is not counted.
        held: Somebody has it, known or not.
    """

    total_s: float | None
    consumers_s: Mapping[str, float] = field(default_factory=dict)
    owner: str | None = None
    held: bool = False


Domains = Mapping[str, Callable[[], Busy]]
"""Readers of accelerators' work, by the `source:domain` whose energy it explains."""


class Device:
    """What was counted of one device, and to whom it was given.

    Args:
        name: Unique on its node: "cpu", "dram", "platform", or an accelerator's domain.
        kind: What it is.
        keys: Its domains, as `source:domain`; their energies add up.
        provenance: Of a share of its energy.

    Attributes:
        counted_j: All energy that its counters told, shared out or not.
        unattributed_j: The part of it that could not be shared out.
        ledger: The parts.
    """

    def __init__(
        self, name: str, kind: Kind, keys: tuple[str, ...], provenance: Provenance
    ) -> None:
        self.name, self.kind, self.keys, self.provenance = name, kind, keys, provenance
        self.counted_j = self.unattributed_j = 0.0
        self.ledger = Ledger()
        self._models: dict[Kind, PowerModel] = {}
        self._ended: dict[str, Energy] = {}
        self._forgotten: Energy | None = None
        self._seen_s: Mapping[str, float] = {}
        self._total_s: float | None = None

    @property
    def idle_power(self) -> IdlePower | None:
        """What it draws without load, as far as that was learned."""
        model = self._models.get(self.kind)
        fit = None if model is None else model.fit()
        return None if fit is None else fit.idle

    @property
    def parts(self) -> Mapping[str, Energy]:
        """The energy of each consumer, those that ended and are not forgotten included."""
        now = self.ledger.parts
        if not self._ended:
            return now
        ended = {name: _joined(before, now.get(name)) for name, before in self._ended.items()}
        return dict(now) | ended

    @property
    def shared_by_cpu(self) -> bool:
        """Whether its energy is shared by CPU time, so that everyone who runs uses it."""
        return self.kind not in _ACCELERATORS

    def sums_j(self, *, apart: str | None = None) -> Mapping[str, float]:
        """Return its energy by whom it was given to: idle, system, pods, unattributed.

        Args:
            apart: A consumer that is no pod; its part stands under "exporter".
        """
        now = self.ledger.parts
        gone = [*self._ended.values(), *([self._forgotten] if self._forgotten else [])]
        known = {
            "idle": self.ledger.idle,
            "system": self.ledger.system,
            "exporter": None if apart is None else now.get(apart),
        }
        running = zip(now.names, now.value_j.tolist(), strict=True)
        return {
            **{part: energy.value_j for part, energy in known.items() if energy is not None},
            "pods": math.fsum(
                [*(j for name, j in running if name != apart), *(one.value_j for one in gone)]
            ),
            "unattributed": self.unattributed_j,
        }

    @property
    def residual_ratio(self) -> float:
        """How far the parts are from adding up to what was counted, over the latter."""
        if self.counted_j <= 0:
            return 0.0
        return abs(self.counted_j - math.fsum(self.sums_j().values())) / self.counted_j

    def settle(self, lap: WindowResult, busy: Busy | None, policy: IdlePolicy) -> None:
        """Learn from a lap and share its energy out."""
        told = (one for one in lap.intervals if f"{one.source}:{one.domain}" in self.keys)
        counted_j = math.fsum(one.energy.value_j for one in told if one.energy is not None)
        self.counted_j += counted_j
        view = self._view(lap, busy)
        try:
            observe_window(self._models, view, refit_s=_REFIT_S)
            found = attribute_window(
                view, self._models, owed_j=self.ledger.owed_j, idle_policy=policy
            )
        except ValueError as error:  # one device's numbers must not cost the others theirs
            _log.warning("%s: a lap could not be shared out: %s", self.name, error)
            found = None
        self.ledger.add(found, max(0.0, lap.duration_s))  # a clock may have stepped back
        if found is None:
            self.unattributed_j += counted_j

    def end(self, names: Iterable[str]) -> None:
        """Close the accounts of consumers that are gone; totals stay until they are forgotten."""
        for model in self._models.values():
            model.forget(*names)
        for name in names:
            last = self.ledger.close(name, gone=True)
            if last is not None:
                self._ended[name] = _joined(last, self._ended.get(name))

    def forget(self, name: str) -> None:
        """Let the total of a consumer that ended count among those of the forgotten."""
        last = self._ended.pop(name, None)
        if last is not None:
            self._forgotten = _joined(last, self._forgotten)

    def _view(self, lap: WindowResult, busy: Busy | None) -> WindowResult:
        """Return the lap as if this device were all there is."""
        domains = {key: lap.domains[key] for key in self.keys}
        if self.kind not in _ACCELERATORS:
            return replace(lap, domains=domains, intervals=())
        busy = busy or Busy(total_s=None)
        steps: Mapping[str, float]
        if busy.total_s is None:
            held_s = lap.duration_s if busy.held else 0.0
            steps = {} if busy.owner is None else {busy.owner: held_s}
            total_s = held_s
        else:
            steps = {
                name: max(0.0, now_s - self._seen_s.get(name, 0.0))
                for name, now_s in busy.consumers_s.items()
            }
            before_s = busy.total_s if self._total_s is None else self._total_s
            if self._total_s is None:
                steps = dict.fromkeys(steps, 0.0)  # what was before is not of this lap
            total_s = max(0.0, busy.total_s - before_s)
            self._seen_s, self._total_s = dict(busy.consumers_s), busy.total_s
        usage = {name: _accelerated(self.kind, step_s) for name, step_s in steps.items()}
        return replace(
            lap,
            domains=domains,
            intervals=(),
            usage=usage,
            accelerators_s={self.kind: total_s},
        )


def _accelerated(kind: Kind, busy_s: float) -> Usage:
    if kind is Kind.GPU:
        return Usage(cpu_s=0.0, gpu_s=busy_s)
    return Usage(cpu_s=0.0, npu_s=busy_s)


def _joined(one: Energy, other: Energy | None) -> Energy:
    """Add two totals of one consumer: what is not known of a device errs the same way in both."""
    whole = one if other is None else sum_energy((one, other), errors="common")
    assert whole is not None  # no part is missing
    return whole


def devices_of(sources: Iterable[Source]) -> tuple[Device, ...]:
    """Return what the summed domains of some sources make up: processors, memory, accelerators."""
    groups: dict[tuple[Kind, str], list[tuple[str, Provenance]]] = {}
    names: set[str] = set()
    for source in sources:
        for domain in source.domains:
            if not domain.summed:
                continue
            key, name = f"{source.name}:{domain.name}", str(domain.kind)
            if domain.kind in _ACCELERATORS:
                name = key if domain.name in names else domain.name
                names.add(name)
            groups.setdefault((domain.kind, name), []).append((key, domain.provenance))
    return tuple(
        Device(
            name, kind, tuple(key for key, _ in found), apportioned(weakest(p for _, p in found))
        )
        for (kind, name), found in groups.items()
    )


class NodeWatch:
    """Watches a node: consumers come and go, and each lap's energy is shared among them.

        with NodeWatch(meter, devices_of(found.sources)) as watch:
            watch.enlist({"pod": reader})
            while True:
                time.sleep(1)
                watch.lap()

    Accelerators have laps of their own, longer ones, since drivers renew their work seldom.

    Args:
        meter: Reads the sources; it is entered with the watch.
        devices: What the energy is shared out of, see `devices_of`.
        accelerators: Readers of the work on accelerators, by domain.
        idle_policy: Who bears the idle energy: "none" of the consumers, or "time_share".
    """

    def __init__(
        self,
        meter: EnergyMeter,
        devices: Sequence[Device],
        *,
        accelerators: Domains | None = None,
        idle_policy: IdlePolicy = "none",
    ) -> None:
        self.meter, self.devices = meter, tuple(devices)
        self._accelerators = dict(accelerators or {})
        self._policy: IdlePolicy = idle_policy
        self._names: set[str] = set()
        self._ending: set[str] = set()
        self._window, self._long = meter.window("watch"), meter.window("accelerators")
        self._accelerated = any(not device.shared_by_cpu for device in self.devices)

    def __enter__(self) -> NodeWatch:
        self.meter.__enter__()
        self._window.__enter__()
        if self._accelerated:
            self._long.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.meter.__exit__(None, None, None)

    def enlist(self, readers: Mapping[str, Reader], *, new: bool = False) -> None:
        """Watch these consumers as well; see `EnergyMeter.enlist`."""
        self.meter.enlist(readers, new=new)
        self._names |= readers.keys()

    def end(self, names: Iterable[str]) -> None:
        """Stop watching consumers that are gone; their totals stay until they are forgotten.

        Accelerators close their accounts with their next lap, which tells what is left to tell.
        """
        gone = tuple(names)
        self.meter.dismiss(gone)
        self._names.difference_update(gone)
        self._ending.update(gone)
        for device in self.devices:
            if device.shared_by_cpu:
                device.end(gone)

    def forget(self, name: str) -> None:
        """Drop the total of a consumer that ended."""
        for device in self.devices:
            device.forget(name)

    def lap(self) -> WindowResult:
        """Measure up to now, and share out what all but accelerators drew since the last lap.

        Raises:
            JouleryError: The node's work cannot be read; the next lap has this time as well.
            OSError: Likewise.
        """
        lap = self._window.lap()
        # Who was dismissed when this lap began is told no more.
        lap = replace(lap, usage={n: used for n, used in lap.usage.items() if n in self._names})
        for device in self.devices:
            if device.shared_by_cpu:
                device.settle(lap, None, self._policy)
        return lap

    def lap_accelerators(self) -> None:
        """Measure up to now, and share out what accelerators drew since their last lap.

        Raises:
            JouleryError: As `lap` does.
            OSError: Likewise.
        """
        if not self._accelerated:
            return
        lap = self._long.lap()
        for device in self.devices:
            if not device.shared_by_cpu:
                read = self._accelerators.get(device.keys[0])
                device.settle(lap, None if read is None else read(), self._policy)
                device.end(self._ending - self._names)
        self._ending.clear()
