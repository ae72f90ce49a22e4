"""What the server counts of its own work, as Triton's statistics extension tells it.

All requests count here, probes as well: it is what the server did. What clients saw, the profiler
records. Everything happens on the event loop, so nothing needs a lock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Run", "Statistics"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One model run that went well; times are monotonic nanoseconds.

    Args:
        rows: Of all its requests.
        requests: How many it answered.
        waited_ns: The times that its requests waited, together.
        input_ns: Time to join the inputs.
        infer_ns: Time of the model.
        output_ns: Time to split the outputs.
    """

    rows: int
    requests: int
    waited_ns: int
    input_ns: int
    infer_ns: int
    output_ns: int


@dataclass(slots=True)
class _Sum:
    """How often, and how long altogether."""

    count: int = 0
    ns: int = 0

    def add(self, count: int, ns: int) -> None:
        self.count += count
        self.ns += ns

    def told(self) -> dict[str, int]:
        return {"count": self.count, "ns": self.ns}


@dataclass(slots=True)
class _Compute:
    """The three parts of a model run."""

    compute_input: _Sum = field(default_factory=_Sum)
    compute_infer: _Sum = field(default_factory=_Sum)
    compute_output: _Sum = field(default_factory=_Sum)

    def add(self, run: Run, times: int) -> None:
        self.compute_input.add(times, times * run.input_ns)
        self.compute_infer.add(times, times * run.infer_ns)
        self.compute_output.add(times, times * run.output_ns)

    def told(self) -> dict[str, dict[str, int]]:
        return {
            "compute_input": self.compute_input.told(),
            "compute_infer": self.compute_infer.told(),
            "compute_output": self.compute_output.told(),
        }


class Statistics:
    """Counts since the server started, over all its configurations."""

    def __init__(self) -> None:
        self._success, self._fail, self._queue = _Sum(), _Sum(), _Sum()
        self._compute = _Compute()
        self._by_rows: dict[int, _Compute] = {}
        self._rows = self._runs = self._last_ms = 0

    def ended(self, duration_ns: int, *, is_ok: bool, now_s: float) -> None:
        """Count a request: how long it took, and wall time now."""
        (self._success if is_ok else self._fail).add(1, duration_ns)
        self._last_ms = int(1e3 * now_s)

    def ran(self, run: Run) -> None:
        """Count a model run."""
        self._rows += run.rows
        self._runs += 1
        self._queue.add(run.requests, run.waited_ns)
        # As Triton has it: for each request, the whole run that it was part of.
        self._compute.add(run, run.requests)
        # Few sizes, but a client may send any: above 1024 the next power of two.
        size = run.rows if run.rows <= 1024 else 1 << (run.rows - 1).bit_length()
        self._by_rows.setdefault(size, _Compute()).add(run, 1)

    def told(self, name: str, version: str) -> dict[str, Any]:
        """Return a `model_stat` of the extension."""
        return {
            "name": name,
            "version": version,
            "last_inference": self._last_ms,
            "inference_count": self._rows,
            "execution_count": self._runs,
            "inference_stats": {
                "success": self._success.told(),
                "fail": self._fail.told(),
                "queue": self._queue.told(),
                **self._compute.told(),
            },
            "batch_stats": [
                {"batch_size": size, **compute.told()}
                for size, compute in sorted(self._by_rows.items())
            ],
        }
