"""The registry of scenarios, and what importing it costs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from joulery.campaigns.scenarios import scenario, scenarios
from joulery.errors import SpecError


def test_every_scenario_is_found_by_its_name() -> None:
    """Each listed scenario is the one its name gives."""
    assert [scenario(one.name).title for one in scenarios()] == [one.title for one in scenarios()]


def test_an_unknown_scenario_is_refused_with_the_nearest_name() -> None:
    """A misspelt name is answered with the name that was probably meant."""
    with pytest.raises(SpecError, match="did you mean 'traffic_prediction'"):
        scenario("trafic_prediction")


def test_an_unknown_model_and_precision_are_refused() -> None:
    """A model or precision that a scenario lacks is a mistake of the specification."""
    for one in scenarios():
        workload = one.prepare(None, Path())
        with pytest.raises(SpecError, match="nonesuch"):
            workload.model_path("nonesuch", "fp32")
        with pytest.raises(SpecError, match="int4"):
            workload.model_path(one.models[0].name, "int4")


def test_importing_scenarios_loads_no_training_library() -> None:
    """A service that imports the scenarios starts without scikit-learn, onnx or pyarrow."""
    heavy = "'sklearn', 'onnx', 'onnxruntime', 'skl2onnx', 'pandas', 'pyarrow', 'scipy'"
    look = f"print([name for name in ({heavy}) if name in sys.modules])"
    code = f"import sys, joulery.campaigns.scenarios; {look}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("module", "before", "after"),
    [("model", None, "1"), ("graphs", None, "1"), ("quantise", None, "1"), ("model", "0", "0")],
)
def test_onnx_runtime_reports_to_nobody(module: str, before: str | None, after: str) -> None:
    """It is told not to report before it is loaded, unless the user has said otherwise."""
    look = """
import os, sys
from importlib.abc import MetaPathFinder
class Look(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "onnxruntime":
            print(os.environ.get("ORT_DISABLE_TELEMETRY"))
sys.meta_path.insert(0, Look())
"""
    environ = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", f"{look}import joulery.campaigns.scenarios.{module}"],
        env=environ | ({} if before is None else {"ORT_DISABLE_TELEMETRY": before}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{after}\n"
