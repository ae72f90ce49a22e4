"""Fit every shipped model again from the shipped data.

Run it as `python -m joulery.campaigns.scenarios.train`; networks need the extra `train`.
With `--check` nothing is written: what ships is compared with what the data give today. Classical
models are compared weight by weight; networks, whose training follows the last digit of the CPU's
sums, by whether they answer as well within what their test data can tell.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from ...errors import JouleryError
from . import scenario
from .base import Workload
from .fitted import SHIPPED, model_file, save_models
from .graphs import run
from .judging import answers_of, inputs_of, judged
from .model import Model
from .series import shipped_table

__all__ = ["ANSWER_TOLERANCE", "FITS", "Fit", "differences", "main", "worse"]

Models = Mapping[tuple[str, str], onnx.ModelProto]

WEIGHT_TOLERANCE = 1e-2
"""Largest difference of a weight, over the largest weight of its tensor: fits on another CPU start
from features that differ in the last digit, and int8 weights may round to the next step."""
ANSWER_TOLERANCE = 1e-2
"""Largest mean difference of an answer, over the standard deviation of that answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A fit of some of a scenario's models.

    Args:
        scenario: Its name.
        kind: What is fitted: `models`, or `networks`, which need PyTorch.
        fit: Fits them. What it needs is imported in it: processes of their own do the work.
    """

    scenario: str
    kind: str
    fit: Callable[[], Models]

    def __str__(self) -> str:
        """Return it for people."""
        return f"{self.scenario}, {self.kind}"

    @property
    def folder(self) -> Path:
        """Where its models ship."""
        return SHIPPED / self.scenario / "models"


def _forecasters() -> Models:
    from .traffic_prediction.fit import fit_models
    from .traffic_prediction.split import CHANNELS, training_part

    table = shipped_table(CHANNELS)
    return fit_models(training_part(table.values), table.sha256)


def _forecasting_networks() -> Models:
    from .traffic_prediction.network import fit_networks
    from .traffic_prediction.split import CHANNELS, training_part

    table = shipped_table(CHANNELS)
    return fit_networks(training_part(table.values), table.sha256)


def _detectors() -> Models:
    from .anomaly_detection.fit import fit_models
    from .anomaly_detection.workload import injected_telemetry

    table = shipped_table()
    return fit_models(injected_telemetry(table).training, table.sha256)


def _detecting_networks() -> Models:
    from .anomaly_detection.network import fit_networks
    from .anomaly_detection.workload import injected_telemetry

    table = shipped_table()
    return fit_networks(injected_telemetry(table).training, table.sha256)


def _motion_models() -> Models:
    from .sensor_fusion import SensorFusion
    from .sensor_fusion.fit import fit_models

    workload = SensorFusion().prepare(None, Path())
    own = workload.parts
    return fit_models(own.fitted, own.classes, own.cut, workload.sha256)


def _motion_networks() -> Models:
    from .sensor_fusion import SensorFusion
    from .sensor_fusion.network import fit_networks

    workload = SensorFusion().prepare(None, Path())
    own = workload.parts
    return fit_networks(own.fitted, own.held, own.classes, own.cut, workload.sha256)


def _video_networks() -> Models:
    from .video_analytics import VideoAnalytics
    from .video_analytics.fit import fit_networks

    return fit_networks(VideoAnalytics().prepare(None, Path()).sha256)


FITS = (
    Fit(scenario="video_analytics", kind="networks", fit=_video_networks),
    Fit(scenario="traffic_prediction", kind="networks", fit=_forecasting_networks),
    Fit(scenario="anomaly_detection", kind="networks", fit=_detecting_networks),
    Fit(scenario="sensor_fusion", kind="networks", fit=_motion_networks),
    Fit(scenario="traffic_prediction", kind="models", fit=_forecasters),
    Fit(scenario="anomaly_detection", kind="models", fit=_detectors),
    Fit(scenario="sensor_fusion", kind="models", fit=_motion_models),
)
"""All of them, the longest first."""


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


def worse(workload: Workload, shipped: Path, fitted: Path, figure: str, exits: int) -> list[str]:
    """Return where a network answers otherwise than the shipped one, beyond the interval of that.

    Args:
        workload: The data to judge by.
        shipped: The shipped network.
        fitted: The network fitted again.
        figure: By which quality.
        exits: How many it has; each is judged alone.
    """
    inputs = inputs_of(workload)
    found = []
    for number in range(1, exits + 1):
        values = [
            judged(workload, answers_of(Model(path, 1), inputs, {"max_exit": number}), figure)
            for path in (shipped, fitted)
        ]
        if values[0] is None or values[1] is None:
            found.append(f"exit {number}: {figure} is not known")
        elif not values[0][1] <= values[1][0] <= values[0][2]:
            low, high = values[0][1:]
            found.append(
                f"exit {number}: {figure} {values[1][0]:.3f} not in {low:.3f} to {high:.3f}"
            )
    return found


def _compared(one: Fit, models: Models) -> Iterator[tuple[str, list[str]]]:
    """Yield each model's file name, and how it differs from the shipped one."""
    known = scenario(one.scenario)
    exits = {family.name: family.exits for family in known.models}
    workload = known.prepare(None, Path())
    inputs = {name: value[::3] for name, value in inputs_of(workload).items()}
    with tempfile.TemporaryDirectory() as folder:
        save_models(models, Path(folder))
        for key, model in models.items():
            name = model_file(*key)
            path = one.folder / name
            if not path.is_file():
                yield name, ["it does not ship"]
            elif exits[key[0]] > 1:
                figure = known.figures[0].name
                yield name, worse(workload, path, Path(folder) / name, figure, exits[key[0]])
            else:
                yield name, differences(onnx.load(path), model, inputs)


def _do(place: int, check: bool) -> list[tuple[str, list[str]]]:
    """Fit, in a process of its own, and write or compare; returns what is to be told of each."""
    one = FITS[place]
    models = one.fit()
    if check:
        return list(_compared(one, models))
    save_models(models, one.folder)
    return [(f"{len(models)} models in {one.folder}", [])]


def main(arguments: list[str] | None = None) -> int:
    """Fit and write, or with `--check` compare; returns 0, or 1 when something differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    parser.add_argument("--only", choices=[str(one) for one in FITS], help="this alone")
    options = parser.parse_args(arguments)
    console = Console()
    alike = True
    chosen = [at for at, one in enumerate(FITS) if options.only in (None, str(one))]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    workers = min(len(chosen), len(os.sched_getaffinity(0)))
    with Progress(console=console) as progress, ProcessPoolExecutor(workers) as pool:
        task = progress.add_task("fitting", total=len(chosen))
        waiting = {pool.submit(partial(_do, at, options.check)): FITS[at] for at in chosen}
        for done in as_completed(waiting):
            try:
                told = done.result()
            except JouleryError as error:
                console.print(str(error), style="red")
                return error.exit_code
            for name, found in told:
                alike &= not found
                text = "; ".join(found) or ("as shipped" if options.check else "done")
                console.print(f"{waiting[done]}: {name}: {text}", highlight=False, soft_wrap=True)
            progress.advance(task)
    return 0 if alike else 1


if __name__ == "__main__":
    sys.exit(main())
