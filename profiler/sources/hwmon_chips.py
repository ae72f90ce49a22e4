"""Which hwmon channel of which driver measures what, in one table; no file is read here.

From the drivers' own pages: Documentation/hwmon/{ina3221,ina2xx,amd_energy,fam15h_power,
xgene-hwmon,acpi_power_meter,occ}.rst, Documentation/ABI/testing/sysfs-driver-intel-{xe,i915}-hwmon,
the kernel's "GPU Power/Thermal Controls and Monitoring" (amdgpu), tt-kmd (Tenstorrent); rails of
Jetson boards from NVIDIA's developer guide and the device trees.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

from .base import Kind

__all__ = ["Rule", "Scope", "paired", "rule_for"]


class Scope(IntEnum):
    """How a channel stands to the others; the sum takes one set that does not overlap."""

    BOARD = 0
    """It holds all other channels of the board: if there is one, it is summed alone."""
    MEMBER = 1
    """It overlaps with no other member: all members are summed."""
    SPARE = 2
    """A part of a member; it stands in where the chip shows no member."""
    METER = 3
    """The whole machine, metered beside everything else: summed where nothing else is."""
    PART = 4
    """A part of another channel: reported, never summed."""
    UNREAD = 5
    """A part so small, one of so many, that it is not even read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a channel measures.

    Args:
        chip: The driver's names, a regular expression.
        label: The channel's labels; one without a label is called like its files ("power1").
        kind: What it covers.
        scope: How it stands to the others.
        update_s: How often the driver or the chip renews it, where the chip does not tell.
        may_rest: A counter that stays the same is at rest, not broken.
        averaged: The average is the better power; where not, it covers less than the input.
        note: For people.
    """

    chip: str
    label: str = ".*"
    kind: Kind
    scope: Scope = Scope.MEMBER
    update_s: float = 0.1
    may_rest: bool = True
    averaged: bool = True
    note: str = ""


_INA = r"ina2\d\d|ina3221"
_VDD = r"(?:VDD_|POM_5V_)?(?:SYS_)?"

_RULES = (
    # Boards with TI monitors: Jetson TX2, Nano, Xavier, Orin, Thor. VIN and VDD_IN hold the rails.
    Rule(chip=_INA, label="VIN|VDD_IN|POM_5V_IN", kind=Kind.PLATFORM, scope=Scope.BOARD),
    Rule(
        chip=_INA,
        label="VDDQ_VDD2_1V8AO",
        kind=Kind.DRAM,
        scope=Scope.PART,
        note="within VIN_SYS_5V0",
    ),
    Rule(chip=_INA, label=_VDD + "GPU(?:_SOC)?", kind=Kind.GPU),
    Rule(chip=_INA, label=_VDD + "CPU(?:_CV|_GPU_CV|_SOC_MSS)?", kind=Kind.CPU),
    Rule(chip=_INA, label=_VDD + "(?:DDR|VDDRQ)", kind=Kind.DRAM),
    # What the rest of the module draws follows the CPU's work more than any other.
    Rule(chip=_INA, label=_VDD + "(?:SOC|CV)|VIN_SYS_5V0|SYS5V", kind=Kind.CPU, note="shared rail"),
    Rule(
        chip="amdgpu",
        label="fastPPT|PPT1|power2",
        kind=Kind.GPU,
        scope=Scope.PART,
        note="the same power, another average",
    ),
    Rule(chip="amdgpu", kind=Kind.GPU),
    Rule(chip="nouveau", kind=Kind.GPU),
    Rule(chip="xe|i915", label="card|energy1", kind=Kind.GPU, note="whole card"),
    Rule(chip="xe", label="pkg|energy2", kind=Kind.GPU, scope=Scope.SPARE, note="GPU package"),
    Rule(chip=r"i915_gt\d+", kind=Kind.GPU, scope=Scope.PART, note="one graphics tile"),
    Rule(chip="wormhole|blackhole", kind=Kind.NPU, note="Tenstorrent"),
    Rule(
        chip="amd_energy|zenergy",
        label=r"Esocket\d+",
        kind=Kind.CPU,
        update_s=1e-3,
        may_rest=False,
        note="socket",
    ),
    Rule(
        chip="amd_energy|zenergy",
        label=r"Ecore\d+",
        kind=Kind.CPU,
        scope=Scope.UNREAD,
        note="cores are parts of their socket",
    ),
    Rule(chip="fam15h_power", kind=Kind.CPU, averaged=False, note="processor"),
    Rule(chip="apm_xgene", label="CPU power|power1", kind=Kind.CPU, note="cores"),
    Rule(chip="apm_xgene", label="IO power|power2", kind=Kind.CPU, note="rest of the SoC"),
    Rule(chip="power_meter", kind=Kind.PLATFORM, scope=Scope.METER, update_s=1.0, note="ACPI"),
    Rule(
        chip=".*occ",
        label=r"(?:\d+_)?system",
        kind=Kind.PLATFORM,
        scope=Scope.METER,
        note="system power of an OCC",
    ),
)

_COMPILED = tuple(
    (re.compile(rule.chip), re.compile(rule.label, re.IGNORECASE), rule) for rule in _RULES
)


def rule_for(chip: str, label: str) -> Rule | None:
    """Return what is known of a channel; `None` for a chip or a label that nobody described."""
    return next(
        (
            rule
            for chips, labels, rule in _COMPILED
            if chips.fullmatch(chip) and labels.fullmatch(label)
        ),
        None,
    )


def paired(chip: str, number: int) -> bool:
    """Tell whether `inN_input` and `currN_input` of a chip are one rail's volts and amperes.

    On TI's monitors they are: three rails of the ina3221, whose in4 to in7 are shunts, and one of
    the others, whose in0 is the shunt. Elsewhere numbers say nothing (PMBus: in1 is the input,
    curr1 may be the output).
    """
    return number in (1, 2, 3) if chip == "ina3221" else number == 1 and bool(re.match(_INA, chip))
