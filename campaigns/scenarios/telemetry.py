"""Whether and how a service is profiled: only where something is to be told, and nothing of probes.

The profiler and OpenTelemetry are imported when they are wanted, and not before: they take memory
and half the time of a start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ...profiler.oip import Tensors
from .live_config import Settings

if TYPE_CHECKING:
    from ...profiler.service import ServiceProfiler

__all__ = [
    "PROBE_HEADER",
    "PROBE_PARAMETER",
    "is_marked",
    "prediction_of",
    "profiles",
]

PROBE_HEADER = "X-Joulery-Probe"
"""A request with the value 1 is answered and not recorded."""

PROBE_PARAMETER = "joulery_probe"
"""So is one with this parameter, true."""

_SIGNALS = ("METRICS", "TRACES")


def profiles(
    environ: Mapping[str, str], metrics_port: int | None
) -> Callable[[Settings], ServiceProfiler] | None:
    """Return what makes the profiler of a model; `None`: nothing is to be told anywhere.

    Several profilers of one process share what they export to. Making one raises SpecError, see
    `ServiceProfiler`.

    Args:
        environ: The usual variables: `OTEL_*`, and `JOULERY_ANSWERS_URL`.
        metrics_port: Of the Prometheus endpoint; `None`: as the variables say.
    """
    exports = metrics_port is not None or any(_exports(one, environ) for one in _SIGNALS)
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        exports = False
    if not exports and not environ.get("JOULERY_ANSWERS_URL"):
        return None

    def make(settings: Settings) -> ServiceProfiler:
        from ...profiler.service import ServiceProfiler

        return ServiceProfiler(
            settings.model,
            settings.variant or None,
            export=None if exports else "none",
            port=metrics_port if exports else None,
        )

    return make


def _exports(signal: str, environ: Mapping[str, str]) -> bool:
    """Return whether a signal goes anywhere, as the profiler's own `destination` would say."""
    chosen = environ.get(f"OTEL_{signal}_EXPORTER", "").strip().lower()
    if chosen:
        return chosen != "none"
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    return any(environ.get(name) for name in endpoints)


def is_marked(headers: Mapping[str, str]) -> bool:
    """Return whether the header says that a request only tries the service."""
    return headers.get(PROBE_HEADER) == "1"


def prediction_of(outputs: Tensors, output: str | None) -> Any:
    """Return the answer as one value, where an output is told to hold it, and holds one."""
    tensor = None if output is None else outputs.get(output)
    return tensor.item() if tensor is not None and tensor.size == 1 else None
