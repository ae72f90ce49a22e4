"""Fuzzes all that the receiver does with a body, guided by coverage; to be run by hand.

    pip install atheris
    python -m joulery.tests.exporters.services.fuzz_otlp CORPUS -max_total_time=600

Any exception but a refusal is a finding, and so is what cannot be true of the totals.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

__all__ = ["main"]


def main(arguments: list[str]) -> None:
    """Fuzz until something is found, or what was asked for is done."""
    atheris: Any = importlib.import_module("atheris")  # it has no types
    with atheris.instrument_imports(include=["joulery.exporters.services"]):
        from .otlp_fuzzed import Fuzzed
    fuzzed = Fuzzed()

    def take(data: bytes) -> None:
        fuzzed.take(data)

    atheris.Setup(arguments, take)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
