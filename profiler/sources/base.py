"""What an energy source is: its domains, its readings, and how it says that it cannot.

A source reads. It does not subtract, sum or keep time; `counter` and `meter` do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol, runtime_checkable

from ..quantities import Provenance

__all__ = ["Choosy", "Domain", "Kind", "Reading", "Source", "SourceState", "SourceStatus"]


class Kind(StrEnum):
    """What a domain covers; it decides by which work its energy is shared among consumers."""

    CPU = "cpu"
    DRAM = "dram"
    GPU = "gpu"
    NPU = "npu"
    PLATFORM = "platform"
    """The whole machine, everything else included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """One thing whose energy a source can tell, and how well.

    Args:
        name: Unique within the source, for instance "package-0".
        kind: What it covers.
        form: "counter": readings are cumulative joules; "power": readings are watts.
        provenance: What an energy made from its readings is.
        max_power_w: More than it can ever draw: the gate for plausibility.
        summed: It belongs to the source's non-overlapping set. What does not is reported,
            never added.
        modulus_j: A counter wraps here; `None` if it never does.
        resolution_j: Smallest step of a counter.
        update_s: Time between two updates of the sensor.
        stuck_s: A counter that rests this long is broken; `None`: it may rest.
        low_ratio: Lower end of the 95 % interval of the sensor's or the model's own error,
            as a factor on the energy. 1 where its maker states none.
        high_ratio: The upper end, likewise.
        note: For people: what is behind it.
    """

    name: str
    kind: Kind
    form: Literal["counter", "power"]
    provenance: Provenance
    max_power_w: float
    summed: bool = True
    modulus_j: float | None = None
    resolution_j: float = 0.0
    update_s: float = 0.0
    stuck_s: float | None = None
    low_ratio: float = 1.0
    high_ratio: float = 1.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of one domain, in joules or watts as the domain's form says."""

    domain: Domain
    value: float


class Source(Protocol):
    """Something that can be read for energy or power."""

    @property
    def name(self) -> str:
        """Short name, for instance "powercap"."""

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The domains, in the order in which `sample` gives them; they never change."""

    def sample(self) -> tuple[Reading, ...]:
        """Read every domain once. One that cannot be read is left out, as long as another can.

        Raises:
            SourceUnavailable: The sensor is no longer there.
            SourceForbidden: It may not be read.
            SourceFailed: It answered nonsense.
        """


@runtime_checkable
class Choosy(Protocol):
    """A source that found more than it reads, and says so."""

    @property
    def dropped(self) -> Mapping[str, str]:
        """What it leaves out, each with the reason, for people."""


class SourceState(StrEnum):
    """What a source is good for on this machine."""

    MEASURED = "measured"
    INTEGRATED = "integrated"
    ESTIMATED = "estimated"
    FORBIDDEN = "forbidden"
    ABSENT = "absent"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """One row of the table that says what can be measured on this machine.

    Args:
        name: The source.
        state: What it is good for here.
        domains: The domains it would add to the total.
        what: One sentence: what it reads, or why it does not.
        remedy: What the reader can do about it, if anything.
    """

    name: str
    state: SourceState
    domains: tuple[str, ...]
    what: str
    remedy: str | None = None
