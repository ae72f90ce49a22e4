"""What the sources of neural processors share: reading one after the other, and busy seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ...errors import SourceError, SourceFailed
from .base import Domain, Reading

__all__ = ["BusySeconds", "read_each"]


def read_each(
    subject: str, domains: Iterable[Domain], read: Callable[[Domain], float]
) -> tuple[Reading, ...]:
    """Read domains; one that cannot be read is left out, as long as another can.

    Raises:
        SourceError: None can be read: the last one's reason.
    """
    readings: list[Reading] = []
    lost: SourceError = SourceFailed(subject, found="nothing to read")
    for domain in domains:
        try:
            readings.append(Reading(domain, read(domain)))
        except SourceError as error:
            lost = error
    if not readings:
        raise lost
    return tuple(readings)


class BusySeconds:
    """Busy seconds of devices that tell a utilisation; cumulative, so that they never fall.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last_s: float | None = None
        self._busy_s: dict[str, float] = {}

    def update(self, ratios: Mapping[str, float]) -> dict[str, float]:
        """Count the time since the last call; return the busy seconds so far by name.

        Args:
            ratios: Utilisation since the last call, 0 to 1. A device that is missing did not
                tell: its seconds stand still.
        """
        now_s = self._clock()
        elapsed_s = 0.0 if self._last_s is None else max(0.0, now_s - self._last_s)
        self._last_s = now_s
        for name, ratio in ratios.items():
            busy_s = elapsed_s * min(1.0, max(0.0, ratio))
            self._busy_s[name] = self._busy_s.get(name, 0.0) + busy_s
        return dict(self._busy_s)
