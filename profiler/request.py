"""One request that a service answers: when it began, how it ended, and what was said of it."""

from __future__ import annotations

import contextlib
import time
import uuid
from contextvars import ContextVar, Token
from typing import cast

from opentelemetry import context as otel_context
from opentelemetry.trace import Span, Status, StatusCode, set_span_in_context

from .answers import Scalar
from .instruments import Series
from .recorder import Recorder

__all__ = ["Request", "current_request"]


class Request:
    """One request being answered; `ServiceProfiler.request` makes it.

    Attributes:
        batch: Items answered together; may be set until the request ends.
        items: Those of them that are this request's own, where a server joins requests of several
            clients; `None`: all.
    """

    __slots__ = (
        "_ambient",
        "_attached",
        "_began_s",
        "_ended",
        "_error",
        "_exit",
        "_forgotten",
        "_id",
        "_precision",
        "_prediction",
        "_recorder",
        "_reset",
        "_span",
        "batch",
        "items",
    )

    def __init__(
        self,
        recorder: Recorder,
        *,
        batch: int,
        request_id: str | None,
        started_s: float | None,
        ambient: bool,
    ) -> None:
        self.batch = batch
        self.items: int | None = None
        self._recorder, self._began_s, self._ambient = recorder, started_s, ambient
        self._exit: str | None = None
        self._precision: str | None = None
        self._error: str | None = None
        self._prediction: Scalar = None
        self._forgotten = False
        self._ended: Series | None = None
        self._span: Span | None = None
        self._attached: Token[otel_context.Context] | None = None
        self._reset: Token[Request | None] | None = None
        self._id: str | None = None
        if request_id is not None:
            self.named(request_id)

    @property
    def id(self) -> str:
        """The id under which feedback finds this request; made up when none was given."""
        if self._id is None:
            self.named(uuid.uuid4().hex)
            if self._ended is not None:
                self._join(self._ended)
        return cast("str", self._id)

    def named(self, request_id: str) -> None:
        """Give the id that became known only now; once, and before the request ends.

        Numbers and UUIDs are ids by their text.
        """
        self._id = request_id = str(request_id)
        if not self._forgotten:
            self._recorder.feedback.begin(request_id)

    def exit_taken(self, name: str) -> None:
        """Say by which exit of an early-exit model the answer came."""
        self._exit = self._recorder.labels.admit("exit", name)

    def precision(self, name: str) -> None:
        """Say in which precision the answer was computed."""
        self._precision = self._recorder.labels.admit("precision", name)

    def predicted(self, value: Scalar) -> None:
        """Say what was answered, so that labels can be compared with it: a number or a text."""
        self._prediction = value

    def failed(self, error_type: str) -> None:
        """Count this request as an error though it raises nothing, for instance "timeout"."""
        self._error = error_type

    def forget(self) -> None:
        """Record nothing of this request: it is a probe, and no client waited for it.

        To be said before its id is given, or feedback for it counts as joined.
        """
        self._forgotten = True

    def __enter__(self) -> Request:
        recorder = self._recorder
        now_s = recorder.clock()
        if self._began_s is None:
            self._began_s = now_s
        if recorder.tracer is not None:
            self._span = recorder.tracer.start_span(
                recorder.span_name,
                start_time=time.time_ns() - int(1e9 * (now_s - self._began_s)),
            )
            if self._ambient:
                self._attached = otel_context.attach(set_span_in_context(self._span))
        if self._ambient:
            self._reset = _current.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, _: object) -> None:
        duration_s = max(0.0, self._recorder.clock() - cast("float", self._began_s))
        if self._reset is not None:
            # Left in another context than entered (a generator closed elsewhere): that one is gone.
            with contextlib.suppress(ValueError):
                _current.reset(self._reset)
        if self._forgotten:
            if self._attached is not None:
                otel_context.detach(self._attached)
            return  # a span that does not end is not exported
        outcome = "ok"
        if kind is not None:
            # Cancelled tasks, closed generators and interrupts are not the service's mistakes.
            outcome = "error" if issubclass(kind, Exception) else "cancelled"
            self._error = kind.__qualname__
        elif self._error is not None:
            outcome = "error"
        self._ended = self._recorder.record(
            outcome,
            self._error,
            self._exit,
            self._precision,
            duration_s=duration_s,
            batch=self.batch,
            items=self.items,
        )
        if self._id is not None:
            self._join(self._ended)
        if self._span is not None:
            self._end_span(self._span, outcome, error)

    def _join(self, series: Series) -> None:
        self._recorder.named(
            cast("str", self._id), series, exit_=self._exit, prediction=self._prediction
        )

    def _end_span(self, span: Span, outcome: str, error: object) -> None:
        if self._attached is not None:
            otel_context.detach(self._attached)
        # All at once at the end, which is cheaper than at both ends.
        known = {
            **self._recorder.span_attributes,
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
