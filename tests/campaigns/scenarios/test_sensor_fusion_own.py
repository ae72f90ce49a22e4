"""Sensor fusion on a user's own recordings: real people, and models fitted when asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from joulery.campaigns.scenarios.fitted import save_models
from joulery.campaigns.scenarios.sensor_fusion import SensorFusion
from joulery.campaigns.scenarios.sensor_fusion import network as networks
from joulery.campaigns.scenarios.sensor_fusion.prune import keep_important
from joulery.campaigns.scenarios.sensor_fusion.recordings import user_recordings
from joulery.campaigns.scenarios.sensor_fusion.windows import Windows
from joulery.campaigns.scenarios.sensor_fusion.workload import FusionWorkload, Parts
from joulery.errors import SpecError

from .motion import motion_frame

TINY = networks.Size(name="fusion_s", channels=(4, 8, 8))


def _judge(
    workload: FusionWorkload, model: onnx.ModelProto, threshold: float | None = None
) -> dict[str, float]:
    """Ask every fifth sample; returns the figures that there are."""
    samples = np.arange(0, workload.size, 5)
    given = [workload.inputs(int(sample)) for sample in samples]
    inputs = {key: np.concatenate([one[key] for one in given]) for key in given[0]}
    if threshold is not None:
        inputs |= {"exit_threshold": np.array(threshold, np.float32), "max_exit": np.array(3)}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [one.name for one in session.get_outputs()]
    answers = dict(zip(names, session.run(names, inputs), strict=True))
    figures = workload.assess(samples, answers).figures
    return {key: value for key, value in figures.items() if value is not None}


def test_real_people(test_data: Path, tmp_path: Path) -> None:
    """On 30 people's recordings the classical model tells six activities of others apart."""
    workload = SensorFusion().prepare(test_data / "har" / "hapt.parquet", tmp_path)
    assert "17 users to fit to, 4 to calibrate on, 9 to judge by" in workload.source
    assert "307158 rows without a label and 67208 of transitions" in workload.source
    assert len(set(workload.parts.tested.owners)) == 9
    figures = _judge(workload, onnx.load(workload.model_path("logistic", "fp32")))
    assert figures["macro_f1_complete"] > 0.85
    # A phone that lies still tells its side by gravity alone, which a gyroscope does not see.
    assert 0.4 < figures["macro_f1_no_accelerometer"] < figures["macro_f1_complete"]


def test_networks_learn_real_people(test_data: Path) -> None:
    """A tiny network, looked at real people for seconds, already tells their activities apart."""
    recordings = user_recordings(test_data / "har" / "hapt.parquet")
    parts = Parts(recordings, "hapt")
    fitted, held = (
        # Every twelfth window: enough to learn from, and a fraction of the time.
        Windows(values=one.values[::12], labels=one.labels[::12], owners=one.owners[::12])
        for one in (parts.fitted, parts.held)
    )
    models = networks.fit_networks(
        fitted, held, parts.classes, parts.cut, "0" * 64, sizes=(TINY,), seen=12_000
    )
    workload = FusionWorkload(
        parts, Path(), SensorFusion.models, source="", licence="", sha256="0" * 64
    )
    assert set(models) == {("fusion_s", one) for one in ("fp32", "int8", "mixed")}
    for model in models.values():
        assert _judge(workload, model, 0.9)["macro_f1_complete"] > 0.7


@pytest.fixture
def own(tmp_path: Path) -> FusionWorkload:
    """Return a workload of a small file of a user's own."""
    path = tmp_path / "own.parquet"
    motion_frame(users=4).to_parquet(path)
    return SensorFusion().prepare(path, tmp_path / "work")


def test_networks_are_fitted_when_asked_for(
    own: FusionWorkload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Classical models are there at once, networks when the first of them is asked for, once."""
    assert own.model_path("logistic", "fp32").is_file()
    assert [path for path in (tmp_path / "work").iterdir() if "networks" in path.name] == []
    with pytest.raises(SpecError, match="int4"):
        own.model_path("fusion_s", "int4")
    assert [path for path in (tmp_path / "work").iterdir() if "networks" in path.name] == []
    # The real fit, of one tiny network: all of them take minutes.
    whole = networks.fit_networks
    monkeypatch.setattr(
        networks, "fit_networks", lambda *given: whole(*given, sizes=(TINY,), seen=8000)
    )
    path = own.model_path("fusion_s", "fp32")
    monkeypatch.undo()
    assert own.model_path("fusion_s", "int8").parent == path.parent
    figures = _judge(own, onnx.load(path), 2.0)
    assert figures["macro_f1_complete"] > 0.9


def test_without_pytorch_networks_say_what_is_needed(
    own: FusionWorkload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without PyTorch, a network for a user's own data is an error that names the extra."""
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SpecError, match=r"no PyTorch.*pip install 'joulery\[train\]'"):
        own.model_path("fusion_l", "int8")
    assert own.model_path("logistic", "fp32").is_file()


def test_serving_and_judging_need_no_pytorch() -> None:
    """The shipped workload is loaded and judged without PyTorch, scikit-learn or pyarrow."""
    code = """
import sys, numpy as np
from pathlib import Path
from joulery.campaigns.scenarios.sensor_fusion import SensorFusion
workload = SensorFusion().prepare(None, Path())
workload.model_path("fusion_l", "int8")
workload.assess(np.array([0]), {"probabilities": np.eye(4)[:1], "label": np.array([0])})
print([name for name in ("torch", "sklearn", "pyarrow", "onnx") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_same_fit_gives_the_same_bytes(own: FusionWorkload, tmp_path: Path) -> None:
    """Fitting twice writes the same files, pruned network included."""
    pruned = networks.Size(name="fusion_pruned", channels=(2, 6, 6), pruned_from="fusion_s")
    for name in ("first", "second"):
        parts = own.parts
        models = networks.fit_networks(
            parts.fitted, parts.held, parts.classes, parts.cut, "0" * 64,
            sizes=(TINY, pruned), seen=1,
        )  # fmt: skip
        save_models(models, tmp_path / name)
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()


def test_pruning_keeps_what_matters(own: FusionWorkload) -> None:
    """A network whose other channels are scaled by 0 answers the same without them."""
    parts = own.parts
    wide_, narrow_ = (
        networks.Size(name="w", channels=(4, 10, 10)),
        networks.Size(name="n", channels=(3, 6, 6)),
    )
    torch.manual_seed(3)
    wide, narrow = (networks.build(one, parts.fitted, 2, parts.cut) for one in (wide_, narrow_))
    for module in wide.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
            # Of the first layer the last channel of each sensor; of later ones the first ones.
            dropped = {8: [3, 7], 10: [0, 1, 2, 3]}[module.num_features]
            with torch.no_grad():
                module.weight[dropped] = 0.0
    keep_important(wide, narrow)
    wide.eval()
    narrow.eval()
    given = [
        torch.randn(5, parts.cut.steps, 3),
        torch.randn(5, parts.cut.steps, 3),
        torch.ones(5, 2),
    ]
    with torch.no_grad():
        for (one,), (other,) in zip(wide(*given), narrow(*given), strict=True):
            torch.testing.assert_close(one, other)
    with pytest.raises(ValueError, match="expected a narrower"):
        keep_important(
            networks.build(networks.Size(name="l", channels=(4, 8, 8), late=True),
                           parts.fitted, 2, parts.cut),
            narrow,
        )  # fmt: skip


def test_late_fusion_averages_the_sensors_present(own: FusionWorkload) -> None:
    """Every exit's probabilities are the mean of each sensor's own; a missing one has no part."""
    size = networks.Size(name="late", channels=(4, 6, 8), late=True)
    torch.manual_seed(4)
    network = networks.build(size, own.parts.fitted, 3, own.parts.cut).eval()
    sensors = [torch.randn(6, own.parts.cut.steps, 3) for _ in range(2)]

    def ask(*present: float) -> list[torch.Tensor]:
        with torch.no_grad():
            answers = network(*sensors, torch.tensor([present]).repeat(6, 1))
        return [one.exp() for (one,) in answers]

    for both, first, second in zip(ask(1, 1), ask(1, 0), ask(0, 1), strict=True):
        assert not torch.allclose(first, second, atol=1e-2)
        torch.testing.assert_close(both, (first + second) / 2, atol=1e-4, rtol=0.0)
