"""What the tests with peers share: their environments, and a service of ours to ask."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper

from joulery.campaigns.configuration import Configuration
from joulery.campaigns.executor import split_cores, start_service
from joulery.campaigns.scenarios import scenario
from joulery.campaigns.scenarios.base import Workload
from joulery.profiler.oip import DATATYPES

from ..campaigns.scenarios.onnx_models import doubling_model
from .digits import Digits, fit
from .environments import environment
from .mlserver import serving
from .peer import INSIDE, Peer


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give what lies here the time that an installation takes."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def triton() -> Iterator[Peer]:
    """Yield Triton's client."""
    with Peer(environment("clients"), "ask_triton.py") as peer:
        yield peer


@pytest.fixture(scope="session")
def kserve() -> Iterator[Peer]:
    """Yield KServe's client."""
    with Peer(environment("clients"), "ask_kserve.py") as peer:
        yield peer


@dataclass(frozen=True)
class Service:
    """A server, and a model that it serves.

    Args:
        url: Its base URL.
        name: Of the model.
        path: The model itself.
    """

    url: str
    name: str
    path: Path

    @property
    def address(self) -> str:
        """Host and port."""
        return self.url.removeprefix("http://")

    def run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the model here, without a server."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(self.path), options)
        names = [node.name for node in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs), strict=True))


@contextlib.contextmanager
def _serving(path: Path, name: str) -> Iterator[Service]:
    configuration = Configuration(
        scenario="peers", model=name, precision="fp32", batch=1, threads=1
    )
    cores = split_cores(1, os.sched_getaffinity(0))
    with start_service(
        path, configuration, batch_wait_s=0.0, startup_max_s=60.0, cores=cores
    ) as running:
        yield Service(running.url.partition("/v2/")[0], name, path)


@pytest.fixture(scope="session")
def traffic() -> Workload:
    """Return the workload of the shipped traffic data."""
    return scenario("traffic_prediction").prepare(None, Path())


@pytest.fixture(scope="session")
def forecaster(traffic: Workload) -> Iterator[Service]:
    """Serve a shipped model."""
    with _serving(traffic.model_path("mlp", "fp32"), "mlp") as service:
        yield service


@pytest.fixture(scope="session")
def doubler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Serve a model of two outputs."""
    path = doubling_model(tmp_path_factory.mktemp("model") / "twice.onnx")
    with _serving(path, "twice") as service:
        yield service


@pytest.fixture(scope="session")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Serve a model that answers a tensor of each datatype with itself."""
    path = tmp_path_factory.mktemp("model") / "echo.onnx"
    kinds = {name: helper.np_dtype_to_tensor_dtype(kind) for name, kind in DATATYPES.items()}
    graph = helper.make_graph(
        [helper.make_node("Identity", [name], [f"same_{name}"]) for name in kinds],
        "echo",
        [helper.make_tensor_value_info(name, kind, ["rows", 4]) for name, kind in kinds.items()],
        [
            helper.make_tensor_value_info(f"same_{name}", kind, ["rows", 4])
            for name, kind in kinds.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))
    with _serving(path, "echo") as service:
        yield service


@pytest.fixture(scope="session")
def of_each_datatype() -> dict[str, NDArray[Any]]:
    """Return what the echo is asked: each datatype's own limits among its values."""
    tensors: dict[str, NDArray[Any]] = {}
    for name, kind in DATATYPES.items():
        if kind.kind == "b":
            values: list[Any] = [True, False, False, True]
        elif kind.kind == "f":
            limits = np.finfo(kind.name)
            values = [limits.min, limits.max, limits.tiny, 0.1]
        else:
            edges = np.iinfo(kind.name)
            values = [edges.min, edges.max, 0, 1]
        tensors[name] = np.array([values, values[::-1]], dtype=kind)
    return tensors


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Digits]:
    """Run MLServer with a model of scikit-learn."""
    python, folder = environment("mlserver"), tmp_path_factory.mktemp("digits")
    fitted = fit(python, folder / "digits.joblib")
    settings = {
        "name": "digits",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "./digits.joblib", "version": "v1"},
    }
    with serving(python, folder, settings) as server:
        yield Digits.of(fitted, server)


@pytest.fixture(scope="session")
def foreign_forecaster(
    traffic: Workload, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """Run MLServer with a shipped model, by ONNX Runtime."""
    folder = tmp_path_factory.mktemp("forecaster")
    shutil.copy(INSIDE / "serve_onnx.py", folder)
    path = traffic.model_path("mlp", "fp32")
    settings = {
        "name": "mlp",
        "implementation": "serve_onnx.OnnxModel",
        "parameters": {"uri": str(path)},
    }
    with serving(environment("mlserver"), folder, settings) as server:
        yield Service(server.url, "mlp", path)
