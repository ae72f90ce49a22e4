"""The NPU inside Intel Core Ultra processors: an estimate, its busy time times a stated power.

Kernel document: drivers/accel/ivpu/ivpu_sysfs.c, `npu_busy_time_us`: microseconds in which jobs
were submitted. No counter shows this NPU alone; the package's RAPL counter holds it. So its
energy is told beside the package, never added to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from ...errors import SourceFailed, SourceForbidden, SourceUnavailable
from ..quantities import Provenance
from .base import Domain, Kind, Reading
from .npu import read_each

__all__ = ["IntelNpu", "parse_busy_us"]

UPDATE_S = 1.0
"""The driver asks to be read once a second: reading slows the submission of jobs."""

POWER_W = 5.0
"""Taken for a busy NPU, and no power for an idle one, which the driver suspends."""

RATIOS = (0.1, 5.0)
"""Intel states no power for its NPU. Half a watt is a light network at a low clock; 25 W is most
of the 28 W that a mobile package is rated for."""

_NUMBER = re.compile(r"accel(\d+)")


def parse_busy_us(text: str) -> int:
    """Read `npu_busy_time_us`.

    Raises:
        ValueError: When it is not a count.
    """
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


class IntelNpu:
    """Every Intel NPU of the machine, as a counter that a model drives.

    Args:
        sys: Root of sysfs.
        clock: Monotonic seconds, so that the driver is not asked more often than it wants.
        power_w: Power of a busy NPU.

    Raises:
        SourceUnavailable: There is none, or the kernel is older than its busy time (6.11).
        SourceForbidden: The busy time may not be read.
        SourceFailed: It is not a number.
    """

    name = "intel-npu"

    def __init__(self, sys: Path, clock: Callable[[], float], *, power_w: float = POWER_W) -> None:
        self._clock, self._power_w = clock, power_w
        root = sys / "class/accel"
        self._paths = {
            f"npu-{number[1]}": path
            for path in sorted(root.glob("accel*/device/npu_busy_time_us"))
            if (number := _NUMBER.fullmatch(path.parts[-3]))
        }
        if not self._paths:
            raise SourceUnavailable(
                f"intel-npu {root}",
                found="no npu_busy_time_us",
                remedy="an Intel Core Ultra has one with the driver intel_vpu of Linux 6.11 or "
                "newer",
            )
        self._read_s: dict[str, float] = {}
        self._seen_s: dict[str, float] = {}
        self._work_s: dict[str, float] = {}
        self.domains = tuple(
            Domain(
                name=name,
                kind=Kind.NPU,
                form="counter",
                provenance=Provenance.ESTIMATED,
                max_power_w=power_w,
                summed=False,
                resolution_j=1e-6 * power_w,
                update_s=UPDATE_S,
                low_ratio=RATIOS[0],
                high_ratio=RATIOS[1],
                note=f"busy time x {power_w:g} W; within the processor's package",
            )
            for name in self._paths
        )
        self.sample()

    def sample(self) -> tuple[Reading, ...]:
        """Read every NPU, at most once a second; see `Source`."""
        return read_each(
            self.name, self.domains, lambda domain: self._power_w * self._busy(domain.name)
        )

    def busy_s(self) -> dict[str, float]:
        """Return the busy seconds of each NPU; they never fall, though the driver be reloaded.

        Raises:
            SourceError: One cannot be read.
        """
        for name in self._paths:
            self._work_s[name] = max(self._work_s.get(name, 0.0), self._busy(name))
        return dict(self._work_s)

    def _busy(self, name: str) -> float:
        now_s = self._clock()
        if name not in self._seen_s or now_s - self._read_s[name] >= UPDATE_S:
            self._seen_s[name] = _read_s(self._paths[name])
            self._read_s[name] = now_s
        return self._seen_s[name]


def _read_s(path: Path) -> float:
    try:
        text = path.read_text()
    except PermissionError as error:
        raise SourceForbidden(f"intel-npu {path}", remedy=f"as root: chmod a+r {path}") from error
    except FileNotFoundError as error:
        raise SourceUnavailable(f"intel-npu {path}", found="no such file") from error
    except OSError as error:
        raise SourceFailed(f"intel-npu {path}", found=error.strerror) from error
    try:
        return parse_busy_us(text) / 1e6
    except ValueError as error:
        raise SourceFailed(
            f"intel-npu {path}", found=repr(text[:40]), expected="a count of microseconds"
        ) from error
