"""Fit every shipped model again from the shipped data.

Run it as `python -m joulery.campaigns.scenarios.train`.
With `--check` nothing is written: what ships is compared with what the data give today.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from rich.console import Console

from ...errors import JouleryError
from . import anomaly_detection, traffic_prediction
from .anomaly_detection.fit import fit_models as fit_detectors
from .anomaly_detection.workload import SHIPPED_MODELS as DETECTORS
from .anomaly_detection.workload import injected_telemetry
from .base import Scenario
from .fitted import model_file, save_models
from .graphs import run
from .series import shipped_table
from .traffic_prediction import SHIPPED_MODELS as FORECASTERS
from .traffic_prediction.fit import fit_models as fit_forecasters
from .traffic_prediction.split import CHANNELS, training_part

__all__ = ["ANSWER_TOLERANCE", "Shipped", "differences", "main", "shipped"]

Models = Mapping[tuple[str, str], onnx.ModelProto]

WEIGHT_TOLERANCE = 1e-2
"""Largest difference of a weight, over the largest weight of its tensor: fits on another CPU start
from features that differ in the last digit, and int8 weights may round to the next step."""
ANSWER_TOLERANCE = 1e-2
"""Largest mean difference of an answer, over the standard deviation of that answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """A scenario with the folder of its shipped models, and what fits them."""

    scenario: Scenario
    folder: Path
    fit: Callable[[], Models]


def _fit_forecasters() -> Models:
    table = shipped_table(CHANNELS)
    return fit_forecasters(training_part(table.values), table.sha256)


def _fit_detectors() -> Models:
    table = shipped_table()
    return fit_detectors(injected_telemetry(table).training, table.sha256)


def shipped() -> tuple[Shipped, ...]:
    """Return everything that ships with models."""
    traffic = traffic_prediction.TrafficPrediction()
    anomaly = anomaly_detection.AnomalyDetection()
    return (
        Shipped(scenario=traffic, folder=FORECASTERS, fit=_fit_forecasters),
        Shipped(scenario=anomaly, folder=DETECTORS, fit=_fit_detectors),
    )


def differences(
    old: onnx.ModelProto, new: onnx.ModelProto, inputs: Mapping[str, NDArray[Any]]
) -> list[str]:
    """Return how two models differ beyond the tolerances, one sentence each; none when alike.

    Args:
        old: The shipped model.
        new: The model fitted again.
        inputs: Samples to ask both.
    """

    def shape(model: onnx.ModelProto) -> list[tuple[Any, ...]]:
        return [(n.op_type, list(n.input), list(n.output)) for n in model.graph.node]

    if shape(old) != shape(new):
        return ["the graphs differ"]
    found = []
    tensors = [
        {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        for model in (old, new)
    ]
    for name, was in tensors[0].items():
        now = tensors[1][name].astype(np.float64)
        size = np.abs(was.astype(np.float64)).max(initial=0.0)
        if was.shape != now.shape or np.abs(was - now).max(initial=0.0) > WEIGHT_TOLERANCE * size:
            found.append(f"weights {name} differ")
    answers = [run(model, inputs) for model in (old, new)]
    for name, said in answers[0].items():
        gap = np.abs(said.astype(np.float64) - answers[1][name].astype(np.float64)).mean()
        if gap > ANSWER_TOLERANCE * said.astype(np.float64).std():
            found.append(f"answers {name} differ by {gap:g} on average")
    return found


def _samples(scenario: Scenario) -> dict[str, NDArray[Any]]:
    workload = scenario.prepare(None, Path())
    chosen = [workload.inputs(sample) for sample in range(0, workload.size, 3)]
    return {name: np.concatenate([one[name] for one in chosen]) for name in chosen[0]}


def _check(one: Shipped, models: Models, console: Console) -> bool:
    inputs = _samples(one.scenario)
    alike = True
    for key, model in models.items():
        path = one.folder / model_file(*key)
        found = (
            differences(onnx.load(path), model, inputs) if path.is_file() else ["it does not ship"]
        )
        alike &= not found
        console.print(f"{path.name}: {'; '.join(found) or 'as shipped'}")
    return alike


def main(arguments: list[str] | None = None) -> int:
    """Fit and write, or with `--check` compare; returns 0, or 1 when something differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    check = parser.parse_args(arguments).check
    console = Console()
    alike = True
    try:
        for one in shipped():
            with console.status(f"fitting {one.scenario.title}"):
                models = one.fit()
            if check:
                alike &= _check(one, models, console)
            else:
                save_models(models, one.folder)
                console.print(f"{one.scenario.title}: {len(models)} models in {one.folder}")
    except JouleryError as error:
        console.print(str(error), style="red")
        return error.exit_code
    return 0 if alike else 1


if __name__ == "__main__":
    sys.exit(main())
