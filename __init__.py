"""Joulery: energy, latency and answer quality of AI services, measured together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .profiler.measure import Measure, measure
    from .profiler.service import ServiceProfiler, current_request

__all__ = ["Measure", "ServiceProfiler", "__version__", "current_request", "measure"]

__version__ = "0.1.0"


if not TYPE_CHECKING:  # so that type checkers see the names above, and no others

    def __getattr__(name: str) -> object:
        """Import what people use when they use it, so that `import joulery` is quick (PEP 562)."""
        if name in ("Measure", "measure"):
            from .profiler import measure as measuring

            return getattr(measuring, name)
        if name in ("ServiceProfiler", "current_request"):
            from .profiler import service

            return getattr(service, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
