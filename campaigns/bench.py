"""What all trials of a campaign share: meter, load generator, data, and what was learned so far."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field

from ..profiler.attribution import observe_window
from ..profiler.host import Host
from ..profiler.meter import EnergyMeter
from ..profiler.power_model import PowerModel
from ..profiler.quantities import Provenance
from ..profiler.sources import Discovery, Kind
from ..profiler.work import ProcessGroup
from .cool_down import CoolDown, Gauge, Power, Temperature
from .generator import LoadGenerator
from .imposed.machine import Machine
from .imposed.spec import EnvironmentSpec
from .kubernetes.stage import Stage
from .scenarios.base import Workload
from .surroundings import Surroundings

__all__ = ["Bench", "open_bench"]

_METER_INTERVAL_S = 0.05

_GPU_PROVIDERS = ("cuda", "tensorrt")
"""What runs models on NVIDIA's GPUs, whose warmth then counts too."""

_POWER_S = 0.25
"""Power is watched for so long, or for two updates of the slowest sensor."""

_LEARN_S = 1.0
"""Rest, and one busy core, are watched for so long before the first trial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What all trials of a campaign share.

    Args:
        meter: Reads every energy source; it runs.
        generator: Sends the load.
        generator_work: Returns the CPU time of the generator.
        models: What was learned so far of the devices' power, by kind.
        sources: What the energy sources are, for the rows.
        workloads: Data and models by scenario.
        stages: Where in a cluster services go, by scenario.
        surroundings: Reads heat and clocks of this machine.
        cool_down: Waits until it has come to rest.
        power_w: Watches the measured power for a moment; `None` where it is only estimated.
        machine: What is changed on this machine for a trial.
    """

    meter: EnergyMeter
    generator: LoadGenerator
    generator_work: Callable[[], float]
    models: dict[Kind, PowerModel]
    sources: str
    workloads: Mapping[str, Workload]
    stages: Mapping[str, Stage]
    surroundings: Surroundings
    cool_down: CoolDown
    power_w: Callable[[], float | None] | None
    machine: Machine
    _tuned: dict[Hashable, dict[Kind, PowerModel]] = field(default_factory=dict)

    def models_in(self, environment: EnvironmentSpec | None) -> dict[Kind, PowerModel]:
        """Return what was learned of the devices' power in an environment.

        A machine at another frequency draws other power, at rest and at work, and is another one.
        """
        if environment is None or not environment.sets_frequency:
            return self.models
        key = environment.governor, environment.max_frequency_mhz
        return self._tuned.setdefault(key, {})

    def gauges(self, provider: str, tolerance_c: float) -> list[Gauge]:
        """Return what tells that this machine has come to rest: the warmth of what works, or power.

        Args:
            provider: What runs the model.
            tolerance_c: How much warmer than before the first trial it may be.
        """
        readers = {"processor": self.surroundings.temperature_c}
        if provider in _GPU_PROVIDERS:
            readers["gpu"] = self.surroundings.gpu_temperature_c
        warm: list[Gauge] = [
            Temperature(name=name, read=read_c, tolerance_c=tolerance_c)
            for name, read_c in readers.items()
            if read_c() is not None
        ]
        return warm or ([] if self.power_w is None else [Power(read=self.power_w)])


@contextlib.contextmanager
def open_bench(
    found: Discovery,
    workloads: Mapping[str, Workload],
    machine: Machine,
    *,
    processes: int = 1,
    stages: Mapping[str, Stage] | None = None,
    host: Host | None = None,
) -> Iterator[Bench]:
    """Start the meter and the generator, and stop them when the block ends.

    The machine at rest and with one busy core is learned first, so that the first trials' energies
    are shared by more than guesses.

    Args:
        found: The energy sources.
        workloads: Data and models by scenario.
        machine: What is changed on this machine for a trial.
        processes: How many processes send the load.
        stages: Where in a cluster services go, by scenario.
        host: Where temperatures are looked for; this machine if not given.
    """
    meter = EnergyMeter(found.sources, clock=time.monotonic, interval_s=_METER_INTERVAL_S)
    with LoadGenerator(processes=processes) as generator, meter:
        models: dict[Kind, PowerModel] = {}
        for name, work in (("rest", time.sleep), ("busy", _spin)):
            with meter.window(name) as window:
                work(_LEARN_S)
            observe_window(models, window.result)
        groups = [ProcessGroup(pid) for pid in generator.pids]
        yield Bench(
            meter=meter,
            generator=generator,
            generator_work=lambda: sum(group.cpu_s() for group in groups),
            models=models,
            sources=found.summary,
            workloads=workloads,
            stages=stages or {},
            surroundings=Surroundings(host or Host(), found),
            cool_down=CoolDown(),
            power_w=_watch(meter, found),
            machine=machine,
        )


def _watch(meter: EnergyMeter, found: Discovery) -> Callable[[], float | None] | None:
    """Return what watches the measured power; `None` where there is none."""
    if found.provenance not in (Provenance.MEASURED, Provenance.INTEGRATED):
        return None
    updates_s = (d.update_s for source in found.sources for d in source.domains if d.summed)
    slice_s = max(_POWER_S, 2 * max(updates_s))

    def power_w() -> float | None:
        with meter.window("cool_down") as window:
            time.sleep(slice_s)
        return window.result.power_w

    return power_w


def _spin(seconds: float) -> None:
    """Keep one core busy."""
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        pass
