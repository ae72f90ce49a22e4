"""Records the requests of one model: labels, instruments, feedback and answers, put together.

`request` tells what happened; where it all goes, `telemetry` decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Tracer, TracerProvider

from .. import __version__
from .answers import AnswerReporter, Scalar
from .feedback import RIGHT_OR_WRONG, Feedback, FeedbackStore, Joined
from .instruments import BoundedLabels, Labels, Series, instruments_of
from .telemetry import own_pod

__all__ = ["Recorder"]


class Recorder:
    """What the requests of one model are recorded to.

    Args:
        model: The model's name.
        variant: Which form of it.
        meter_provider: Records metrics.
        tracer_provider: Records spans; `None`: there are none.
        label_limit: How many values each label may have.
        feedback_s: How long a request can be judged.
        feedback_limit: How many requests can be, at most.
        answers: Base URL of the service exporter that is told answers; empty: nobody is.
        clock: Monotonic seconds.

    Raises:
        SpecError: `answers` is no URL.
    """

    def __init__(
        self,
        model: str,
        variant: str | None,
        *,
        meter_provider: MeterProvider,
        tracer_provider: TracerProvider | None,
        label_limit: int,
        feedback_s: float,
        feedback_limit: int,
        answers: str,
        clock: Callable[[], float],
    ) -> None:
        self.clock = clock
        self._instruments = instruments_of(meter_provider)
        constant = (("model", model), *([("variant", variant)] if variant else []))
        self._constant: Labels = tuple(constant)
        self.labels = BoundedLabels(label_limit, self._instruments, self._constant)
        # By how requests end and how large they are: as many as labels allow.
        self._series: dict[tuple[str | None, ...], Series] = {}
        self._sizes: dict[int, Labels] = {}
        self.feedback = FeedbackStore(keep_s=feedback_s, limit=feedback_limit, clock=clock)
        self._answers: AnswerReporter | None = None
        if answers:
            self._answers = AnswerReporter(
                answers, model=model, variant=variant, pod=own_pod(), count=self._count_answers
            )
        self.tracer: Tracer | None = None
        if tracer_provider is not None:
            self.tracer = tracer_provider.get_tracer("joulery", __version__)
        self.span_name = f"inference {model}"
        self.span_attributes: dict[str, str | int] = {"gen_ai.request.model": model}
        if variant:
            self.span_attributes["joulery.variant"] = variant

    def close(self) -> None:
        """Tell the answers that wait, within two seconds."""
        answers, self._answers = self._answers, None
        if answers is not None:
            answers.close()

    def record(
        self,
        outcome: str,
        error: str | None,
        exit_: str | None,
        precision: str | None,
        *,
        duration_s: float,
        batch: int,
        items: int | None,
    ) -> Series:
        """Record a request that has ended; return the series that it belongs to."""
        if error is not None:
            error = self.labels.admit("error_type", error)
        key = (outcome, error, exit_, precision)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = Series(self._constant, *key)
        self._instruments.duration.record(duration_s, series.duration)
        size = _whole(batch, 1)
        # Above 16 the next power of two, so that there are few.
        size_class = size if size <= 16 else 1 << (size - 1).bit_length()
        sized = self._sizes.get(size_class)
        if sized is None:
            sized = (*self._constant, ("batch_size", str(size_class)))
            self._sizes[size_class] = sized
        self._instruments.count(
            ("requests", series.requests, 1),
            ("items", self._constant, size if items is None else _whole(items, size)),
            ("batches", sized, 1),
        )
        return series

    def named(
        self, request_id: str, series: Series, *, exit_: str | None, prediction: Scalar
    ) -> None:
        """Join a request that has ended, and has an id, with what is or will be said of it."""
        for joined in self.feedback.end(request_id, series.quality):
            self._record_quality(joined)
        if self._answers is not None and series.is_ok:
            self._answers.report(request_id, exit_=exit_, prediction=prediction)

    def judge(self, request_id: str, metric: str, value: float) -> Feedback:
        """Join one value of feedback with its request; count what became of it."""
        name = self.labels.admit("metric", metric)
        fate: Feedback | Joined = Feedback.INVALID
        number = _number(value)
        if number >= 0 and not (name in RIGHT_OR_WRONG and number > 1):
            fate = self.feedback.give(request_id, name, number)
        if isinstance(fate, Joined):
            self._record_quality(fate)
            fate = Feedback.JOINED
        labels = (*self._constant, ("metric", name), ("outcome", str(fate)))
        self._instruments.count(("feedback", labels, 1))
        return fate

    def _record_quality(self, joined: Joined) -> None:
        attributes = {**joined.attributes, "metric": joined.metric}
        self._instruments.quality.record(joined.value, attributes)

    def _count_answers(self, outcome: str, count: int) -> None:
        self._instruments.count(("answers", (*self._constant, ("outcome", outcome)), count))


def _whole(given: object, otherwise: int) -> int:
    """Return a number of items as `int`, whatever numbers a service counts in: never an error."""
    if type(given) is int:
        return max(0, given)
    number = _number(given)
    return otherwise if math.isnan(number) else max(0, int(number))


def _number(given: object) -> float:
    """Return a number that is finite, or NaN."""
    try:
        number = float(given)  # type: ignore[arg-type]  # anything may come
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan
