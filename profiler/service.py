"""What an AI service embeds: latency, outcome, batch, exit, precision and quality of its requests.

`ServiceProfiler` times and labels; `instruments` names what is recorded, `feedback` joins late
judgements with their requests, and `telemetry` decides where it all goes.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import math
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable, Generator
from contextvars import ContextVar, Token
from typing import Any, TypeVar, cast, overload

from opentelemetry import context as otel_context
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import (
    Span,
    Status,
    StatusCode,
    Tracer,
    TracerProvider,
    set_span_in_context,
)

from .. import __version__
from .feedback import Feedback, FeedbackStore, Joined
from .instruments import BoundedLabels, Labels, Series, instruments_of
from .telemetry import (
    Export,
    Telemetry,
    applications_providers,
    destination,
    open_telemetry,
    release,
)

__all__ = ["Request", "ServiceProfiler", "current_request"]

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Batch = int | Callable[..., int]
_log = logging.getLogger(__name__)


class Request:
    """One request being answered; `ServiceProfiler.request` makes it."""

    __slots__ = (
        "_ambient",
        "_attached",
        "_began_s",
        "_ended",
        "_error",
        "_exit",
        "_id",
        "_precision",
        "_profiler",
        "_reset",
        "_span",
        "batch",
    )

    def __init__(
        self,
        profiler: ServiceProfiler,
        *,
        batch: int,
        request_id: str | None,
        started_s: float | None,
        ambient: bool,
    ) -> None:
        self.batch = batch
        self._profiler, self._began_s, self._ambient = profiler, started_s, ambient
        self._exit: str | None = None
        self._precision: str | None = None
        self._error: str | None = None
        self._ended: Series | None = None
        self._span: Span | None = None
        self._attached: Token[otel_context.Context] | None = None
        self._reset: Token[Request | None] | None = None
        self._id = request_id
        if request_id is not None:
            profiler._feedback.begin(request_id)

    @property
    def id(self) -> str:
        """The id under which feedback finds this request; made up when none was given."""
        if self._id is None:
            self._id = uuid.uuid4().hex
            self._profiler._feedback.begin(self._id)
            if self._ended is not None:
                self._profiler._feedback.end(self._id, self._ended.quality)
        return self._id

    def exit_taken(self, name: str) -> None:
        """Say by which exit of an early-exit model the answer came."""
        self._exit = self._profiler._labels.admit("exit", name)

    def precision(self, name: str) -> None:
        """Say in which precision the answer was computed."""
        self._precision = self._profiler._labels.admit("precision", name)

    def failed(self, error_type: str) -> None:
        """Count this request as an error though it raises nothing, for instance "timeout"."""
        self._error = error_type

    def __enter__(self) -> Request:
        profiler = self._profiler
        now_s = profiler._clock()
        if self._began_s is None:
            self._began_s = now_s
        if profiler._tracer is not None:
            self._span = profiler._tracer.start_span(
                profiler._span_name,
                start_time=time.time_ns() - int(1e9 * (now_s - self._began_s)),
            )
            if self._ambient:
                self._attached = otel_context.attach(set_span_in_context(self._span))
        if self._ambient:
            self._reset = _current.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, _: object) -> None:
        duration_s = max(0.0, self._profiler._clock() - cast("float", self._began_s))
        if self._reset is not None:
            # Left in another context than entered (a generator closed elsewhere): that one is gone.
            with contextlib.suppress(ValueError):
                _current.reset(self._reset)
        outcome = "ok"
        if kind is not None:
            # Cancelled tasks, closed generators and interrupts are not the service's mistakes.
            outcome = "error" if issubclass(kind, Exception) else "cancelled"
            self._error = kind.__qualname__
        elif self._error is not None:
            outcome = "error"
        self._profiler._record(self, outcome, duration_s)
        if self._span is not None:
            self._end_span(self._span, outcome, error)

    def _end_span(self, span: Span, outcome: str, error: object) -> None:
        if self._attached is not None:
            otel_context.detach(self._attached)
        # All at once at the end, which is cheaper than at both ends.
        known = {
            **self._profiler._span_attributes,
            "joulery.batch": self.batch,
            "joulery.exit": self._exit,
            "joulery.precision": self._precision,
            "joulery.request.id": self._id,
            "error.type": self._error,
        }
        span.set_attributes({key: value for key, value in known.items() if value is not None})
        if outcome == "error":
            span.set_status(Status(StatusCode.ERROR, str(error) if error else self._error))
            if isinstance(error, Exception):
                span.record_exception(error)
        span.end()


_current: ContextVar[Request | None] = ContextVar("joulery_request", default=None)


def current_request() -> Request:
    """Return the innermost request that this thread or task is answering.

    Raises:
        LookupError: When there is none.
    """
    request = _current.get()
    if request is None:
        raise LookupError("no request is being answered here")
    return request


class ServiceProfiler:
    """Times the requests of an AI service, counts how they ended, and joins feedback with them.

        profiler = ServiceProfiler(model="resnet", variant="int8")

        @profiler
        def answer(image): ...

        with profiler.request(batch=8) as request:
            request.exit_taken("early")
        profiler.feedback(request.id, accuracy=1.0)

    Everything goes where the arguments say, else to the application's own OpenTelemetry SDK, else
    where the `OTEL_*` variables say (`OTEL_METRICS_EXPORTER=prometheus` or `otlp`,
    `OTEL_EXPORTER_OTLP_ENDPOINT`, ...), else nowhere. A collector that is away costs a request
    nothing. Several profilers of a process share one exporter.

    Args:
        model: The model's name.
        variant: Which form of it, for instance its precision or its size.
        export: "otlp" pushes metrics and spans over HTTP, "prometheus" serves metrics.
        endpoint: Base URL of the OTLP receiver, for instance "http://collector:4318".
        port: Of the Prometheus endpoint; 0 takes a free one, see `url`.
        meter_provider: An OpenTelemetry meter provider to record to instead.
        tracer_provider: A tracer provider likewise.
        label_limit: How many values each label may have; the others count as "other".
        feedback_s: How long a request can be judged.
        feedback_limit: How many requests can be, at most.
        clock: Monotonic seconds; `started_s` is on this clock.

    Raises:
        SpecError: When the environment asks for what is not known, or the port is taken.
        ValueError: When the model has no name.
    """

    def __init__(
        self,
        model: str,
        variant: str | None = None,
        *,
        export: Export | None = None,
        endpoint: str | None = None,
        port: int | None = None,
        meter_provider: MeterProvider | None = None,
        tracer_provider: TracerProvider | None = None,
        label_limit: int = 16,
        feedback_s: float = 3600.0,
        feedback_limit: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not model:
            raise ValueError("a profiled model needs a name")
        self.model, self.variant = model, variant
        self._clock = clock
        self._telemetry: Telemetry | None = None
        given = (export, endpoint, port, meter_provider, tracer_provider)
        own = applications_providers() if given == (None,) * len(given) else None
        if own is not None:
            meter_provider, tracer_provider = own
        elif meter_provider is None:
            where = destination(os.environ, export=export, endpoint=endpoint, port=port)
            self._telemetry = open_telemetry(where)
            meter_provider = self._telemetry.meter_provider
            tracer_provider = tracer_provider or self._telemetry.tracer_provider
            if where.silent:
                _log.warning(
                    "the profile of %s goes nowhere: OTEL_METRICS_EXPORTER=prometheus serves it, "
                    "OTEL_METRICS_EXPORTER=otlp pushes it",
                    model,
                )
        self._instruments = instruments_of(meter_provider)
        constant = (("model", model), *([("variant", variant)] if variant else []))
        self._constant: Labels = tuple(constant)
        self._labels = BoundedLabels(label_limit, self._instruments, self._constant)
        # By how requests end and how large they are: as many as labels allow.
        self._series: dict[tuple[str | None, ...], Series] = {}
        self._sizes: dict[int, Labels] = {}
        self._feedback = FeedbackStore(keep_s=feedback_s, limit=feedback_limit, clock=clock)
        self._tracer: Tracer | None = None
        if tracer_provider is not None:
            self._tracer = tracer_provider.get_tracer("joulery", __version__)
        self._span_name = f"inference {model}"
        self._span_attributes: dict[str, str | int] = {"gen_ai.request.model": model}
        if variant:
            self._span_attributes["joulery.variant"] = variant

    @property
    def url(self) -> str | None:
        """Address of the Prometheus endpoint, if there is one."""
        return None if self._telemetry is None else self._telemetry.url

    def request(
        self, *, batch: int = 1, request_id: str | None = None, started_s: float | None = None
    ) -> Request:
        """Return a request: a context manager around the work, also in `async` code.

        Args:
            batch: Items answered together.
            request_id: The id under which feedback will come.
            started_s: When it should have started, if it had to wait; latency counts from here.
        """
        return Request(self, batch=batch, request_id=request_id, started_s=started_s, ambient=True)

    def feedback(self, request_id: str, /, **metrics: float) -> bool:
        """Judge an answer: one or several metrics by name, each once.

        A late or wrong judgement raises nothing: what cannot be joined with a request is counted
        by its reason, in `joulery_inference_feedback_total`.

        Returns:
            Whether all of them were joined.
        """
        fates = [self._judge(request_id, name, value) for name, value in metrics.items()]
        return all(fate is Feedback.JOINED for fate in fates)

    def flush(self) -> None:
        """Push now what waits to be pushed."""
        if self._telemetry is not None:
            self._telemetry.flush()

    def close(self) -> None:
        """Push once more and stop exporting, once no other profiler uses the same exporter."""
        telemetry, self._telemetry = self._telemetry, None
        if telemetry is not None:
            release(telemetry)

    @overload
    def __call__(self, function: _Function, /) -> _Function: ...
    @overload
    def __call__(self, /, *, batch: _Batch) -> Callable[[_Function], _Function]: ...
    def __call__(self, function: Any = None, /, *, batch: _Batch = 1) -> Any:
        """Profile each call of a function: plain, async, or a generator of either kind.

        Within it, `current_request()` is the request; not in generators, whose steps run in
        their consumer's context. A generator takes until it is exhausted or closed.

        Args:
            function: The function.
            batch: Items per call, or a function of its arguments that tells.
        """
        if function is None:
            return functools.partial(self._profiled, batch=batch)
        return self._profiled(function, batch=batch)

    def _profiled(self, function: _Function, *, batch: _Batch) -> _Function:
        def request(args: Any, kwargs: Any, *, ambient: bool = True) -> Request:
            size = batch(*args, **kwargs) if callable(batch) else batch
            return Request(self, batch=size, request_id=None, started_s=None, ambient=ambient)

        def called(*args: Any, **kwargs: Any) -> Any:
            with request(args, kwargs):
                return function(*args, **kwargs)

        async def awaited(*args: Any, **kwargs: Any) -> Any:
            with request(args, kwargs):
                return await function(*args, **kwargs)

        def generated(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            with request(args, kwargs, ambient=False):
                return (yield from function(*args, **kwargs))

        async def streamed(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            with request(args, kwargs, ambient=False):
                async with contextlib.aclosing(function(*args, **kwargs)) as items:
                    async for item in items:
                        yield item

        wrapper: Callable[..., Any] = called
        if inspect.iscoroutinefunction(function):
            wrapper = awaited
        elif inspect.isasyncgenfunction(function):
            wrapper = streamed
        elif inspect.isgeneratorfunction(function):
            wrapper = generated
        return cast("_Function", functools.wraps(function)(wrapper))

    def _record(self, request: Request, outcome: str, duration_s: float) -> None:
        error = None
        if request._error is not None:
            error = self._labels.admit("error_type", request._error)
        key = (outcome, error, request._exit, request._precision)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = Series(self._constant, *key)
        request._ended = series
        self._instruments.duration.record(duration_s, series.duration)
        size = max(0, request.batch)
        # Above 16 the next power of two, so that there are few.
        size_class = size if size <= 16 else 1 << (size - 1).bit_length()
        sized = self._sizes.get(size_class)
        if sized is None:
            sized = (*self._constant, ("batch_size", str(size_class)))
            self._sizes[size_class] = sized
        self._instruments.count(
            ("requests", series.requests, 1), ("items", self._constant, size), ("batches", sized, 1)
        )
        if request._id is not None:
            for joined in self._feedback.end(request._id, series.quality):
                self._record_quality(joined)

    def _judge(self, request_id: str, metric: str, value: float) -> Feedback:
        name = self._labels.admit("metric", metric)
        fate: Feedback | Joined = Feedback.INVALID
        if math.isfinite(value) and value >= 0:
            fate = self._feedback.give(request_id, name, float(value))
        if isinstance(fate, Joined):
            self._record_quality(fate)
            fate = Feedback.JOINED
        labels = (*self._constant, ("metric", name), ("outcome", str(fate)))
        self._instruments.count(("feedback", labels, 1))
        return fate

    def _record_quality(self, joined: Joined) -> None:
        attributes = {**joined.attributes, "metric": joined.metric}
        self._instruments.quality.record(joined.value, attributes)
