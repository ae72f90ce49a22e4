"""What the simulated machine draws: a stated power model of processors, memory and accelerators.

Everything here is made up, within the range of the recorded machines that the README of the
energy sources names. No clock, no file and no consumer is known here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Machine", "random_machine"]

_Floats = NDArray[np.float64]

_WAKE_CORES = 0.4
"""A package leaves deep sleep with its first busy core: at so many cores it is mostly awake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine, each socket alike.

    Args:
        sockets: Processor packages.
        cores: Logical CPUs of a package.
        idle_w: Power of a package that sleeps, at the reference temperature.
        wake_w: What a package draws more as soon as any core works: caches, mesh, memory links.
        core_w: Dynamic power of a core that works at base frequency on ordinary code.
        turbo_ratio: Frequency of a lone core over that of all cores together.
        frequency_power: Dynamic power grows as the frequency to this power.
        limit_w: A package is throttled to this power.
        leakage_w_per_k: What a package leaks more per kelvin above the reference temperature.
        kelvin_per_w: Thermal resistance of a package to its air.
        thermal_s: Time constant of its temperature.
        dram_idle_w: Power of a package's memory at rest.
        dram_w: Power of memory traffic of a core whose memory intensity is 1.
        noise_ratio: Standard deviation of power that no load explains, over the power.
        noise_s: How long such a deviation lasts.
        gpu_idle_w: Power of the accelerator at rest; 0: there is none.
        gpu_w: What the accelerator draws more at full load of ordinary work.
    """

    sockets: int = 1
    cores: int = 8
    idle_w: float = 12.0
    wake_w: float = 6.0
    core_w: float = 6.0
    turbo_ratio: float = 1.2
    frequency_power: float = 2.2
    limit_w: float = 95.0
    leakage_w_per_k: float = 0.08
    kelvin_per_w: float = 0.3
    thermal_s: float = 40.0
    dram_idle_w: float = 3.0
    dram_w: float = 1.0
    noise_ratio: float = 0.01
    noise_s: float = 0.5
    gpu_idle_w: float = 0.0
    gpu_w: float = 0.0

    def frequency_ratio(self, busy: _Floats) -> _Floats:
        """Return the frequency over that of all cores together, by busy cores of one package."""
        lone = np.clip(1 - busy / self.cores, 0.0, 1.0)
        return 1 + (self.turbo_ratio - 1) * lone

    def wake_power_w(self, busy: _Floats) -> _Floats:
        """Return what being awake costs a package, by its busy cores."""
        return self.wake_w * (1 - np.exp(-busy / _WAKE_CORES))


def random_machine(
    rng: np.random.Generator, *, sockets: int = 1, gpu: bool = False, noise_ratio: float = 0.01
) -> Machine:
    """Draw a machine: idle, wake-up, turbo, limit and leakage as the recorded machines differ.

    Args:
        rng: Where chance comes from.
        sockets: Processor packages.
        gpu: It has an accelerator.
        noise_ratio: See `Machine`.
    """
    cores = int(rng.choice([8, 16, 24, 32]))
    core_w = float(rng.uniform(2.5, 7.0))
    full_w = cores * core_w
    idle_w = float(rng.uniform(0.12, 0.35)) * full_w
    wake_w = float(rng.uniform(0.1, 0.8)) * idle_w
    return Machine(
        sockets=sockets,
        cores=cores,
        idle_w=idle_w,
        wake_w=wake_w,
        core_w=core_w,
        turbo_ratio=float(rng.uniform(1.0, 1.3)),
        frequency_power=float(rng.uniform(1.8, 2.6)),
        limit_w=float(rng.uniform(0.85, 1.3)) * (idle_w + wake_w + full_w),
        leakage_w_per_k=float(rng.uniform(0.0005, 0.002)) * full_w,
        kelvin_per_w=30.0 / full_w,
        thermal_s=float(rng.uniform(20.0, 60.0)),
        dram_idle_w=float(rng.uniform(0.03, 0.08)) * full_w,
        dram_w=float(rng.uniform(0.1, 0.3)) * core_w,
        noise_ratio=noise_ratio,
        noise_s=float(rng.uniform(0.1, 1.0)),
        gpu_idle_w=float(rng.uniform(15.0, 70.0)) if gpu else 0.0,
        gpu_w=float(rng.uniform(50.0, 330.0)) if gpu else 0.0,
    )
