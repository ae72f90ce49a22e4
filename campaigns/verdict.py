"""Whether a trial may be believed: named reasons, each with the figures behind it.

A reason never removes a row; it flags it, and statistics leave it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..profiler.latency import requests_needed
from .circumstances import Circumstances
from .early_stopping import queries_needed
from .loads import Load, MultiStreamLoad, OfflineLoad, SingleStreamLoad, SteadyLoad
from .network.running import LinkReport
from .spec import Limits, Slo, TrialTimes

__all__ = ["Evidence", "Verdict", "judge"]

_SUBWINDOWS = 4
_FEW = 10
"""A backlog that grew by less may be chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The figures of one trial that a verdict needs.

    Args:
        warmup_medians_s: Median latency of each warm-up round, seconds.
        steady: Whether the last two rounds agree.
        due_s: Shape (queries,): when the answered queries became due, seconds. A query is a
            request, but for loads that send several together.
        latency_s: Shape (queries,): their latencies, seconds.
        requests: Requests of the window.
        answered: How many of them were answered.
        send_lag_p99_s: 99th percentile of the send lag, from when a request could have been
            sent, seconds; `None` without requests.
        idle_before_w: Power in the baseline before, watts; `None` when not known.
        idle_after_w: The same after.
        gaps: Names of the domains and reasons where a counter had a gap.
        generator_cpu_ratio: Share of its core that the generator's busiest process used.
        link: What the emulated network did, where there is one.
        circumstances: What changed around the trial.
    """

    warmup_medians_s: Sequence[float]
    steady: bool
    due_s: NDArray[np.float64]
    latency_s: NDArray[np.float64]
    requests: int
    answered: int
    send_lag_p99_s: float | None
    idle_before_w: float | None
    idle_after_w: float | None
    gaps: Sequence[str]
    generator_cpu_ratio: float
    link: LinkReport | None = None
    circumstances: Circumstances | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`valid`, or why not."""

    reasons: tuple[str, ...]

    @property
    def valid(self) -> bool:
        """Whether the trial counts in statistics."""
        return not self.reasons


def judge(
    evidence: Evidence, *, load: Load, limits: Limits, slo: Slo, times: TrialTimes
) -> Verdict:
    """Return the verdict on a trial; what means nothing under its load is not asked."""
    checks = (
        _requests(evidence, load, limits, slo),
        _generator(evidence, limits),
        () if evidence.link is None else evidence.link.reasons(late_ratio=limits.link_late_ratio),
        _steady(evidence, times),
        _throughput(evidence, limits)
        if isinstance(load, OfflineLoad)
        else _subwindows(evidence, load, limits, times),
        _backlog(evidence, limits, times) if isinstance(load, SteadyLoad) else (),
        _energy(evidence, limits),
        () if evidence.circumstances is None else evidence.circumstances.reasons(limits),
    )
    return Verdict(reasons=tuple(reason for found in checks for reason in found))


def _requests(evidence: Evidence, load: Load, limits: Limits, slo: Slo) -> list[str]:
    reasons: list[str] = []
    failed = evidence.requests - evidence.answered
    if failed > limits.failure_ratio * evidence.requests:
        reasons.append(f"requests_failed ({failed} of {evidence.requests})")
    if isinstance(load, OfflineLoad):
        return reasons  # it is about throughput, and no percentile of it
    answered, needed = len(evidence.latency_s), requests_needed(slo.percentile)
    if isinstance(load, SingleStreamLoad | MultiStreamLoad):
        needed = max(needed, queries_needed(slo.percentile))
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
            f"generator_saturated ({100 * evidence.generator_cpu_ratio:.0f} % of its core, "
            f"at most {100 * limits.generator_cpu_ratio:g} %)"
        )
    return reasons


def _steady(evidence: Evidence, times: TrialTimes) -> list[str]:
    if evidence.steady:
        return []
    medians = ", ".join(f"{1e3 * median_s:.2f}" for median_s in evidence.warmup_medians_s[-3:])
    return [f"not_steady (medians {medians} ms after {times.warmup_max_s:g} s of warm-up)"]


def _subwindows(evidence: Evidence, load: Load, limits: Limits, times: TrialTimes) -> list[str]:
    """Compare the median latencies of the quarters of the window.

    Where the load itself changes from quarter to quarter, so may the latency.
    """
    if not load.is_stationary:
        return []
    edges = np.linspace(0.0, times.window_s, _SUBWINDOWS + 1)[1:-1]
    quarter = np.searchsorted(edges, evidence.due_s)
    parts = [evidence.latency_s[quarter == index] for index in range(_SUBWINDOWS)]
    if any(len(part) == 0 for part in parts):
        return [f"unstable (a quarter of the window without an answer, of {_SUBWINDOWS})"]
    medians_s = np.array([np.median(part) for part in parts])
    return _varying("medians", medians_s, limits)


def _backlog(evidence: Evidence, limits: Limits, times: TrialTimes) -> list[str]:
    """Refuse a service that cannot keep up: its latency is that of the window's length alone.

    In the second half of the window as many answers are to come as requests. A long way to the
    service does no harm, as long as it is shorter than half a window.
    """
    done_s = evidence.due_s + evidence.latency_s
    halves = (times.window_s / 2, times.window_s)
    asked = int(np.ptp([(evidence.due_s <= end_s).sum() for end_s in halves]))
    answers = int(np.ptp([(done_s <= end_s).sum() for end_s in halves]))
    if asked - answers <= max(_FEW, limits.backlog_ratio * asked):
        return []
    return [
        f"overloaded ({answers} answers to {asked} requests in the second half of the window, "
        f"at most {100 * limits.backlog_ratio:g} % fewer)"
    ]


def _throughput(evidence: Evidence, limits: Limits) -> list[str]:
    """Compare the answers of the quarters of the time that everything took."""
    done_s = evidence.due_s + evidence.latency_s
    if not len(done_s):
        return []  # every request failed, and that is said already
    counts, _ = np.histogram(done_s, bins=_SUBWINDOWS, range=(0.0, float(done_s.max())))
    return _varying("answers", counts, limits)


def _varying(what: str, quarters: NDArray[Any], limits: Limits) -> list[str]:
    """Refuse figures of the quarters that are too far apart."""
    variation = float(np.std(quarters, ddof=1) / np.mean(quarters))
    if variation <= limits.subwindow_cv_ratio:
        return []
    return [
        f"unstable ({what} of the quarters vary by {variation:.2f}, "
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
