"""The lowest and highest power or load of late, told from means: one moment proves nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

__all__ = ["MEAN_S", "MeanRange"]

MEAN_S = 10.0
"""Of many noisy seconds the lowest lies far below any true value; of means much less so."""


@dataclass(slots=True)
class MeanRange:
    """Lowest and highest mean over `MEAN_S`, of this memory and of the one before.

    Until the first mean is complete, the one under way stands for it.

    Args:
        memory_s: What is older than twice this is forgotten.
    """

    memory_s: float
    _sum: float = field(default=0.0, init=False)
    _elapsed_s: float = field(default=0.0, init=False)
    _since_s: float = field(default=0.0, init=False)
    _now: tuple[float, float] = field(default=(math.inf, -math.inf), init=False)
    _before: tuple[float, float] = field(default=(math.inf, -math.inf), init=False)

    def add(self, value: float, duration_s: float) -> None:
        """Add one time."""
        self._sum += value * duration_s
        self._elapsed_s += duration_s
        self._since_s += duration_s
        if self._elapsed_s < MEAN_S * (1 - 1e-9):
            return
        mean = self._sum / self._elapsed_s
        self._sum = self._elapsed_s = 0.0
        self._now = (min(self._now[0], mean), max(self._now[1], mean))
        if self._since_s > self.memory_s:
            self._before, self._now, self._since_s = self._now, (mean, mean), 0.0

    @property
    def lowest(self) -> float:
        """The lowest mean."""
        found = min(self._now[0], self._before[0])
        return found if math.isfinite(found) else self._partial()

    @property
    def highest(self) -> float:
        """The highest mean."""
        found = max(self._now[1], self._before[1])
        return found if math.isfinite(found) else self._partial()

    def _partial(self) -> float:
        return self._sum / self._elapsed_s if self._elapsed_s > 0 else 0.0
