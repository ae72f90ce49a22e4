"""Run trials: specification, design, load, executors, verdicts, journal, report."""

from __future__ import annotations

import os

__all__: list[str] = []

# Official builds of ONNX Runtime report to their maker, from a thread of their own, unless told
# otherwise before they are loaded: all our imports of it come after this, and so do the processes
# that we start. What is measured shall talk to nobody, and its energy shall be the model's.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
