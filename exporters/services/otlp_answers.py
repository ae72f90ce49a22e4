"""Answers to OTLP/HTTP requests, in the form in which these came.

Source: opentelemetry.io, "OTLP Specification", OTLP/HTTP Response.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from google.protobuf import json_format
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # it has no py.typed
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)

__all__ = ["Form", "failure", "success"]


class Form(StrEnum):
    """How a request and its answer are written, by content type."""

    PROTOBUF = "application/x-protobuf"
    JSON = "application/json"


_CODES = {400: 3, 403: 7, 413: 8, 415: 3, 429: 8}
"""What google.rpc calls these: invalid argument, permission denied, resource exhausted."""


def _written(message: Any, form: Form) -> bytes:
    if form is Form.JSON:
        text: str = json_format.MessageToJson(message, indent=None)
        return text.encode()
    return bytes(message.SerializeToString())


def success(form: Form, *, rejected: int = 0, text: str = "") -> bytes:
    """Return the body of an answer with status 200.

    Args:
        form: That of the request.
        rejected: How many data points were refused; none is a full success.
        text: Why, for people.
    """
    message = ExportMetricsServiceResponse()
    if rejected:
        message.partial_success.rejected_data_points = rejected
        message.partial_success.error_message = text
    return _written(message, form)


def failure(form: Form, status: int, text: str) -> bytes:
    """Return the body of an answer with status 4xx.

    Args:
        form: That of the request.
        status: Of HTTP.
        text: What is wrong, for people.
    """
    return _written(Status(code=_CODES.get(status, 2), message=text), form)
