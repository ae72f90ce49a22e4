"""The neighbour's process: it uses a share of a CPU while it is told to, until its input ends.

`begin` on a line lets it work, `rest` lets it stop; it confirms both. See `neighbour` for the other
side. Only the standard library is imported, so that it starts at once.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time

__all__ = ["PERIOD_S"]

PERIOD_S = 0.02
"""In each such period it works once, for its share."""

_MOST_OWED_S = 0.1
"""Of the CPU time that it did not get, so much is made up for; the rest is let go."""

_NUMBERS = range(1000)
"""Adding these up takes some ten microseconds: so finely its work is cut."""


def _order(wait_s: float) -> bytes | None:
    """Return what was told by then: a line, nothing at the end of the input, `None` if silent."""
    ready, _, _ = select.select([0], [], [], wait_s)
    return os.read(0, 4096) if ready else None


def _work(share: float) -> bytes:
    """Use a share of a CPU until told otherwise; return what was told."""
    began_s, before_s = time.monotonic(), time.process_time()
    due_s = began_s
    while (order := _order(max(0.0, due_s - time.monotonic()))) is None:
        due_s = max(due_s + PERIOD_S, time.monotonic())
        until_s = before_s + share * (time.monotonic() - began_s)
        lost_s = max(0.0, until_s - time.process_time() - _MOST_OWED_S)
        before_s -= lost_s
        while time.process_time() < until_s - lost_s:
            sum(_NUMBERS)
    return order


def _main() -> None:
    share = float(sys.argv[1])
    # Who started us may be gone by the time we answer.
    with contextlib.suppress(BrokenPipeError):
        print("{}", flush=True)
        while order := os.read(0, 4096):
            print("{}", flush=True)
            if order.startswith(b"begin"):
                if not _work(share):
                    return
                print("{}", flush=True)


if __name__ == "__main__":
    _main()
