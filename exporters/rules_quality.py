"""Recording rules of quality: the best that is known, and joules per correct answer."""

from __future__ import annotations

from collections.abc import Iterator

from ..profiler.feedback import RIGHT_OR_WRONG
from .promql import labelled, rated, selected, summed
from .rule_words import (
    BOUNDS,
    CORRECT_ANSWER,
    ENDS,
    ENERGY_LABELS,
    EXIT,
    MIXED_EXIT,
    MODEL,
    NAMED,
    OTHER_END,
    POD_MODEL,
    QUALITY_LABELS,
    WINDOWS,
    Bound,
    Level,
    Names,
    Rule,
    bound_of,
    joined_on,
)
from .service_metrics import CORRECT, JUDGED, QUALITY

__all__ = ["quality_rules"]

_QUANTILE = 1.959964
"""The normal distribution's 97.5th percentile, for Wilson's interval."""

_SQUARE = _QUANTILE**2

_RIGHT = f'metric=~"{"|".join(RIGHT_OR_WRONG)}"'


def quality_rules(names: Names) -> Iterator[Rule]:
    """Yield the rules of one window; they build upon those of joules per inference."""
    yield from _judged(names)
    yield from _chosen_quality(names)
    yield from _weights(names)
    yield from _summed_quality(names)
    yield from _per_correct(names)


def _judged(names: Names) -> Iterator[Rule]:
    by = (*EXIT.labels, "metric")
    for record, metric, what in (
        (names.judged, JUDGED, "Answers whose truth became known by feedback."),
        (names.correct, CORRECT, "Answers that feedback called right."),
    ):
        yield Rule(
            record=record,
            expr=rated(
                metric.series, by, names.window, 'method="feedback"', _RIGHT, function="increase"
            ),
            by=by,
            unit="answers",
            help=f"{what} Only metrics that are a share of right answers.",
        )


def _chosen_quality(names: Names) -> Iterator[Rule]:
    by = (*EXIT.labels, *QUALITY_LABELS)
    for bound in BOUNDS:
        metric = bound_of(QUALITY, bound).series
        counted = labelled(_share_of(names, bound), method="feedback")
        told = [
            f"max by ({', '.join(by)}) ({selected(metric, method, window, _RIGHT)})"
            for method, window in (
                ('method="feedback"', f'window="{WINDOWS[names.window]}"'),
                ('method="probe"', f'window="{WINDOWS[names.window]}"'),
                ('method="probe"', 'window="all"'),
            )
        ]
        either = f"\nor {joined_on((*EXIT.labels, 'metric'))}\n"
        yield Rule(
            record=names.quality(EXIT, bound),
            expr=either.join((told[0], counted, *told[1:])),
            by=by,
            unit="ratio",
            help="Share of right answers, the best that is known: of feedback in the window, "
            "where the exporter or else the service joined it, else of the probe in the window, "
            "else of the probe's last answers to each sample. method says which." + ENDS[bound],
        )


def _share_of(names: Names, bound: Bound) -> str:
    """Return the share of right answers among those judged, or an end of Wilson's interval."""
    correct, judged = names.correct, f"({names.judged} > 0)"
    if not bound:
        return f"{correct} / {judged}"
    sign = "-" if bound == "low" else "+"
    spread = f"sqrt({correct} * ({judged} - {correct}) / {judged} + {_SQUARE / 4:.6f})"
    end = (
        f"clamp(({correct} + {_SQUARE / 2:.6f} {sign} {_QUANTILE} * {spread})\n"
        f"/ ({judged} + {_SQUARE:.6f}), 0, 1)"
    )
    # Nothing was right: rounding must not leave a trace of something.
    return f"{end} * ({correct} > bool 0)" if bound == "low" else end


def _weights(names: Names) -> Iterator[Rule]:
    single, several = (selected(names.answers, f'exit{sign}"{MIXED_EXIT}"') for sign in ("!=", "="))
    yield Rule(
        record=names.weights,
        expr=f"{single}\nor\n{several} and {EXIT.on} {names.quality(EXIT, '')}",
        by=EXIT.labels,
        unit="answers/s",
        help="Answers that weight the qualities of exits. Those to several inputs at once that "
        "took several exits count where feedback judges them: no probe asks like that.",
    )


def _summed_quality(names: Names) -> Iterator[Rule]:
    for level in (POD_MODEL, MODEL):
        for bound in BOUNDS:
            by = (*level.labels, "metric")
            whole = _complete(names, level, bound, (*by, "method"))
            mixed = labelled(_complete(names, level, bound, by), method="mixed")
            yield Rule(
                record=names.quality(level, bound),
                expr=f"(\n{whole}\n)\nor {joined_on(by)}\n{mixed}",
                by=(*level.labels, *QUALITY_LABELS),
                unit="ratio",
                help="Share of right answers, each exit (and pod) weighted by its answers. None "
                "while one of them is not judged. method: mixed where they are not judged alike."
                + ENDS[bound],
            )


def _complete(names: Names, level: Level, bound: Bound, by: tuple[str, ...]) -> str:
    """Return qualities weighted by answers, where there is one for all that answers."""
    answers = names.weights if level is POD_MODEL else selected(names.weights, NAMED)
    right = f"{names.quality(EXIT, bound)} * {EXIT.on} group_left () ({answers} > 0)"
    labels = ", ".join(level.labels)
    return (
        f"{summed(right, by)}\n/ {level.on} group_left () {summed(answers, level.labels)}\n"
        f"and\n(count by ({', '.join(by)}) ({right})\n"
        f"== {level.on} group_left () count by ({labels}) ({answers} > 0))"
    )


def _per_correct(names: Names) -> Iterator[Rule]:
    for level in (EXIT, POD_MODEL, MODEL):
        for bound in BOUNDS:
            yield Rule(
                record=names.energy(level, bound, CORRECT_ANSWER),
                expr=f"{names.energy(level, bound)}\n"
                f"/ {level.on} group_right ({', '.join(ENERGY_LABELS)})\n"
                f"({names.quality(level, OTHER_END[bound])} > 0)",
                by=(*level.labels, *QUALITY_LABELS, *ENERGY_LABELS),
                unit="J",
                help="Joules per correct answer: joules per inference over the share of right "
                "answers. The lower end takes the lower energy and the higher quality, the upper "
                "end the reverse; the latter is absent where no answer may have been right."
                + ENDS[bound],
            )
