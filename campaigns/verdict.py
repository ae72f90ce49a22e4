"""Whether a trial may be believed: named reasons, each with the figures behind it.

A reason never removes a row; it flags it, and statistics leave it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..profiler.latency import requests_needed
from .spec import Limits, Slo, TrialTimes

__all__ = ["Evidence", "Verdict", "judge"]

_SUBWINDOWS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The figures of one trial that a verdict needs.

    Args:
        warmup_medians_s: Median latency of each warm-up round, seconds.
        steady: Whether the last two rounds agree.
        intended_s: Shape (answered,): intended times of the answered requests, seconds.
        latency_s: Shape (answered,): their latencies, seconds.
        requests: Requests of the window.
        send_lag_p99_s: 99th percentile of the send lag, seconds; `None` without requests.
        idle_before_w: Power in the baseline before, watts; `None` when not known.
        idle_after_w: The same after.
        gaps: Names of the domains and reasons where a counter had a gap.
        generator_cpu_ratio: Share of one core that the generator used.
    """

    warmup_medians_s: Sequence[float]
    steady: bool
    intended_s: NDArray[np.float64]
    latency_s: NDArray[np.float64]
    requests: int
    send_lag_p99_s: float | None
    idle_before_w: float | None
    idle_after_w: float | None
    gaps: Sequence[str]
    generator_cpu_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`valid`, or why not."""

    reasons: tuple[str, ...]

    @property
    def valid(self) -> bool:
        """Whether the trial counts in statistics."""
        return not self.reasons


def judge(evidence: Evidence, *, limits: Limits, slo: Slo, times: TrialTimes) -> Verdict:
    """Return the verdict on a trial."""
    checks = (
        _requests(evidence, limits, slo),
        _generator(evidence, limits),
        _steady(evidence, times),
        _subwindows(evidence, limits, times),
        _energy(evidence, limits),
    )
    return Verdict(reasons=tuple(reason for found in checks for reason in found))


def _requests(evidence: Evidence, limits: Limits, slo: Slo) -> list[str]:
    reasons: list[str] = []
    answered = len(evidence.latency_s)
    failed = evidence.requests - answered
    if failed > limits.failure_ratio * evidence.requests:
        reasons.append(f"requests_failed ({failed} of {evidence.requests})")
    needed = requests_needed(slo.percentile)
    if answered < needed:
        reasons.append(
            f"too_few_requests ({answered} answered, {needed} needed for "
            f"the {100 * slo.percentile:g}th percentile)"
        )
    return reasons


def _generator(evidence: Evidence, limits: Limits) -> list[str]:
    reasons: list[str] = []
    lag_s = evidence.send_lag_p99_s
    if lag_s is not None and lag_s > limits.send_lag_p99_s:
        reasons.append(
            f"send_lag (p99 {1e3 * lag_s:.1f} ms, at most {1e3 * limits.send_lag_p99_s:g} ms)"
        )
    if evidence.generator_cpu_ratio > limits.generator_cpu_ratio:
        reasons.append(
            f"generator_saturated ({100 * evidence.generator_cpu_ratio:.0f} % of a core, "
            f"at most {100 * limits.generator_cpu_ratio:g} %)"
        )
    return reasons


def _steady(evidence: Evidence, times: TrialTimes) -> list[str]:
    if evidence.steady:
        return []
    medians = ", ".join(f"{1e3 * median_s:.2f}" for median_s in evidence.warmup_medians_s[-3:])
    return [f"not_steady (medians {medians} ms after {times.warmup_max_s:g} s of warm-up)"]


def _subwindows(evidence: Evidence, limits: Limits, times: TrialTimes) -> list[str]:
    """Compare the median latencies of the quarters of the window."""
    edges = np.linspace(0.0, times.window_s, _SUBWINDOWS + 1)[1:-1]
    quarter = np.searchsorted(edges, evidence.intended_s)
    parts = [evidence.latency_s[quarter == index] for index in range(_SUBWINDOWS)]
    if any(len(part) == 0 for part in parts):
        return [f"unstable (a quarter of the window without an answer, of {_SUBWINDOWS})"]
    medians_s = np.array([np.median(part) for part in parts])
    variation = float(np.std(medians_s, ddof=1) / np.mean(medians_s))
    if variation <= limits.subwindow_cv_ratio:
        return []
    return [
        f"unstable (medians of the quarters vary by {variation:.2f}, "
        f"at most {limits.subwindow_cv_ratio:g})"
    ]


def _energy(evidence: Evidence, limits: Limits) -> list[str]:
    reasons = [f"counter_gap ({gap})" for gap in evidence.gaps]
    before_w, after_w = evidence.idle_before_w, evidence.idle_after_w
    if before_w is not None and after_w is not None and before_w > 0:
        drift = abs(after_w - before_w) / before_w
        if drift > limits.idle_drift_ratio:
            reasons.append(
                f"idle_drift ({before_w:.2f} W before, {after_w:.2f} W after, "
                f"at most {100 * limits.idle_drift_ratio:g} % apart)"
            )
    return reasons
