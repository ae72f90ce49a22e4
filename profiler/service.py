"""What an AI service embeds: latency, outcome, batch, exit, precision and quality of its requests.

`ServiceProfiler` is all that a service needs to know; `request` is one request, `recorder` labels
and counts them, `instruments` names what is recorded, `feedback` joins late judgements, `answers`
tells the service exporter what was answered, and `telemetry` decides where it all goes.
"""

from __future__ import annotations

import functools
import logging
import os
import time
from collections.abc import Callable
from typing import Any, TypeVar, overload

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from .calls import around_calls
from .feedback import Feedback
from .recorder import Recorder
from .request import Request, current_request
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
        answers: Base URL of the service exporter, which joins answers with labels by request id;
            default is what `JOULERY_ANSWERS_URL` says, "" is nowhere. Requests that were answered
            without an error and whose id is known are told.
        clock: Monotonic seconds; `started_s` is on this clock.

    Raises:
        SpecError: When the environment asks for what is not known, the port is taken, or `answers`
            is no URL.
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
        answers: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not model:
            raise ValueError("a profiled model needs a name")
        self.model, self.variant = model, variant
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
        if answers is None:
            answers = os.environ.get("JOULERY_ANSWERS_URL", "")
        self._recorder = Recorder(
            model,
            variant,
            meter_provider=meter_provider,
            tracer_provider=tracer_provider,
            label_limit=label_limit,
            feedback_s=feedback_s,
            feedback_limit=feedback_limit,
            answers=answers,
            clock=clock,
        )

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
        return Request(
            self._recorder, batch=batch, request_id=request_id, started_s=started_s, ambient=True
        )

    def feedback(self, request_id: str, /, **metrics: float) -> bool:
        """Judge an answer: one or several metrics by name, each once.

        A late or wrong judgement raises nothing: what cannot be joined with a request is counted
        by its reason, in `joulery_inference_feedback_total`.

        Returns:
            Whether all of them were joined.
        """
        request_id = str(request_id)
        fates = [self._recorder.judge(request_id, name, value) for name, value in metrics.items()]
        return all(fate is Feedback.JOINED for fate in fates)

    def flush(self) -> None:
        """Push now what waits to be pushed."""
        if self._telemetry is not None:
            self._telemetry.flush()

    def close(self) -> None:
        """Push once more and stop exporting, once no other profiler uses the same exporter."""
        self._recorder.close()
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
        def request(args: Any, kwargs: Any, *, ambient: bool) -> Request:
            size = batch(*args, **kwargs) if callable(batch) else batch
            return Request(
                self._recorder, batch=size, request_id=None, started_s=None, ambient=ambient
            )

        return around_calls(function, request)
