"""An accelerator shared by requests: whose busy seconds they are, where only the whole is counted.

Neural processors tell how long they were busy, not for whom. Those to whom one is allocated share
its busy time by the requests they sent it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

__all__ = ["RequestShares"]


class RequestShares:
    """Busy seconds of one accelerator's consumers, by their requests: cumulative, never falling.

    One consumer alone has all of the time, requests or not. Where several have it and none sent a
    request, the time is nobody's.

    Args:
        busy_s: Cumulative busy seconds of the accelerator.
        requests: For each consumer it is allocated to, a callable that returns how many requests
            it has sent so far.
    """

    def __init__(
        self, busy_s: Callable[[], float], requests: Mapping[str, Callable[[], float]]
    ) -> None:
        self._busy_s, self._requests = busy_s, dict(requests)
        self._seen_s = busy_s()
        self._counted = {name: read() for name, read in self._requests.items()}
        self._shares_s = dict.fromkeys(self._requests, 0.0)

    def read(self) -> Mapping[str, float]:
        """Return each consumer's busy seconds since the beginning."""
        now_s = self._busy_s()
        passed_s, self._seen_s = max(0.0, now_s - self._seen_s), max(now_s, self._seen_s)
        sent: dict[str, float] = {}
        for name, read in self._requests.items():
            count = read()
            # Fewer than before: the service was restarted and counts from zero.
            step = count - self._counted[name]
            sent[name], self._counted[name] = step if step >= 0 else count, count
        whole = math.fsum(sent.values())
        if len(sent) == 1:
            sent, whole = dict.fromkeys(sent, 1.0), 1.0
        for name, number in sent.items() if whole > 0 else ():
            self._shares_s[name] += passed_s * number / whole
        return dict(self._shares_s)
