"""What one consumer has used of a machine: work by kind of device, and counted signals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .sources.base import Kind

__all__ = ["Reader", "Usage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Cumulative work of one consumer; also the difference of two such.

    Args:
        cpu_s: CPU seconds.
        gpu_s: Busy seconds of GPUs, `None` where nobody counts them.
        npu_s: Busy seconds of neural processors, likewise.
        signals: Counts that tell unlike work apart: cycles, instructions, cache misses. The same
            ones for every consumer, or none.
    """

    cpu_s: float
    gpu_s: float | None = None
    npu_s: float | None = None
    signals: tuple[float, ...] = ()

    def work_s(self, kind: Kind) -> float | None:
        """Return the work that the energy of such a device is shared by; `None` if uncounted."""
        if kind is Kind.GPU:
            return self.gpu_s
        return self.npu_s if kind is Kind.NPU else self.cpu_s

    def plus(self, other: Usage) -> Usage:
        """Return the sum; what one of them does not count, the sum does not."""
        return Usage(
            cpu_s=self.cpu_s + other.cpu_s,
            gpu_s=_add(self.gpu_s, other.gpu_s),
            npu_s=_add(self.npu_s, other.npu_s),
            signals=tuple(a + b for a, b in zip(self.signals, other.signals, strict=False)),
        )

    def since(self, before: Usage) -> Usage:
        """Return what was used since an earlier reading; counts never fall."""
        return Usage(
            cpu_s=max(0.0, self.cpu_s - before.cpu_s),
            gpu_s=_step(self.gpu_s, before.gpu_s),
            npu_s=_step(self.npu_s, before.npu_s),
            signals=tuple(
                max(0.0, a - b) for a, b in zip(self.signals, before.signals, strict=False)
            ),
        )


Reader = Callable[[], "Usage | float"]
"""Reads one consumer's cumulative usage; a plain number is CPU seconds."""


def _add(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _step(now: float | None, before: float | None) -> float | None:
    return None if now is None or before is None else max(0.0, now - before)
