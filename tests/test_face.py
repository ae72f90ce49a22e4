"""The package's face: what `import joulery` shows, and what it does not load."""

from __future__ import annotations

import subprocess
import sys

import pytest

import joulery


def test_importing_joulery_imports_nothing_else() -> None:
    """`import joulery` alone loads none of what measuring needs; using it does."""
    program = """
import sys
heavy = ("asyncio", "numpy", "opentelemetry", "prometheus_client", "psutil", "joulery.profiler")
import joulery
assert not [name for name in heavy if name in sys.modules]
joulery.measure
assert "numpy" in sys.modules
assert "opentelemetry" not in sys.modules
joulery.ServiceProfiler
assert "opentelemetry" in sys.modules
assert set(joulery.__all__) <= set(dir(joulery))
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    with pytest.raises(AttributeError, match="no attribute 'measured'"):
        _ = joulery.measured  # type: ignore[attr-defined]
