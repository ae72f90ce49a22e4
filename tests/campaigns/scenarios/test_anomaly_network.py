"""Early-exit autoencoders: how they are fitted, pruned, and what data they may see."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from joulery.campaigns.scenarios.anomaly_detection import AnomalyDetection
from joulery.campaigns.scenarios.anomaly_detection.fit import Front
from joulery.campaigns.scenarios.anomaly_detection.inject import faulty_windows
from joulery.campaigns.scenarios.anomaly_detection.split import TrainingWindows
from joulery.campaigns.scenarios.anomaly_detection.workload import injected_telemetry
from joulery.campaigns.scenarios.base import ModelFamily
from joulery.campaigns.scenarios.pruning import layers_of
from joulery.campaigns.scenarios.series import shipped_table
from joulery.errors import SpecError

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from joulery.campaigns.scenarios.anomaly_detection import (  # noqa: E402  # needs it
    autoencoder,
    network,
    pruning,
)


def _training() -> TrainingWindows:
    training = injected_telemetry(shipped_table()).training
    return TrainingWindows(
        windows=np.ascontiguousarray(training.windows[:400, :, :2]),
        slots=training.slots[:400],
        trended=training.trended[:2],
    )


SMALL = (
    network.Size(name="large", channels=(6, 8, 12)),
    network.Size(name="cut", channels=(4, 6, 8), pruned_from="large"),
)


def test_the_same_data_give_the_same_networks() -> None:
    """Fitting twice gives the same bytes, whatever was drawn before, in all precisions."""
    once = network.fit_networks(_training(), "0" * 64, sizes=SMALL, epochs=1)
    torch.rand(7)
    again = network.fit_networks(_training(), "0" * 64, sizes=SMALL, epochs=1)
    assert set(once) == {(s.name, p) for s in SMALL for p in ("fp32", "int8", "mixed")}
    for key, model in once.items():
        text = model.SerializeToString(deterministic=True)
        assert text == again[key].SerializeToString(deterministic=True)


def test_what_is_held_back_shares_no_row_with_what_is_fitted() -> None:
    """The last window of the fitted part ends before the first of the held-back part begins."""
    training = _training()
    fitted, held = network.held_back(training)
    rows = shipped_table().values[:, :2].astype(np.float32)
    np.testing.assert_array_equal(held.windows[0], rows[320 : 320 + 24])
    np.testing.assert_array_equal(fitted.windows[-1], rows[296:320])
    assert len(held.windows) == 80


def test_pruning_to_all_channels_changes_nothing() -> None:
    """A network cut into one of its own size answers as before, to the bit."""
    training = _training()
    front = Front.of(training)
    size = SMALL[0]
    with torch.no_grad():
        large, same = (
            autoencoder.network_of(size.channels, front).eval(),
            autoencoder.network_of(size.channels, front).eval(),
        )
        for stage in large.stages:
            for module in stage.modules():
                if isinstance(module, torch.nn.BatchNorm1d):
                    module.weight.uniform_(0.5, 2.0)
                    module.running_mean.normal_()
        pruning.prune_into(same, large)
        inputs = network._tensors(training.windows[:50], training.slots[:50])
        for before, after in zip(large(*inputs), same(*inputs), strict=True):
            torch.testing.assert_close(before[0], after[0], rtol=0, atol=0)


def test_pruning_drops_channels_that_say_nothing() -> None:
    """Channels that are scaled by 0 can go without any answer changing."""
    training = _training()
    front = Front.of(training)
    with torch.no_grad():
        large = autoencoder.network_of(SMALL[0].channels, front).eval()
        small = autoencoder.network_of(SMALL[1].channels, front).eval()
        stages: list[tuple[Any, Any]] = list(zip(small.stages, large.stages, strict=True))
        for to, of in stages:
            for narrow, wide in zip(
                layers_of(to.body.layers), layers_of(of.body.layers), strict=True
            ):
                silent = torch.randperm(wide[0].out_channels)[narrow[0].out_channels :]
                wide[1].weight[silent] = 0
        pruning.prune_into(small, large)
        inputs = network._tensors(training.windows[:50], training.slots[:50])
        for before, after in zip(large(*inputs), small(*inputs), strict=True):
            torch.testing.assert_close(before[0], after[0], rtol=1e-5, atol=1e-5)


def test_faults_of_windows_reach_their_last_row() -> None:
    """Each window ends inside a fault; one or two columns change, and others stay as they were."""
    windows = _training().windows
    faulty = faulty_windows(windows, windows, 1)
    changed = faulty != windows
    assert changed[:, -1].any(axis=1).mean() > 0.99
    assert changed.any(axis=1).sum(axis=1).max() <= 2
    assert faulty.min() >= 0
    np.testing.assert_array_equal(faulty, faulty_windows(windows, windows, 1))


_FAMILIES = tuple(
    ModelFamily(name=size.name, title=size.name, precisions=("fp32", "int8", "mixed"), exits=3)
    for size in SMALL
)


def _users(path: Path) -> Path:
    rows = shipped_table().values[:1100, :2]
    path.write_text("cpu,mem\n" + "\n".join(f"{a},{b}" for a, b in rows))
    return path


def test_networks_for_a_users_data_are_fitted_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Classical models come first; networks are fitted once, beside them, to the user's columns."""
    monkeypatch.setattr(network.fit_networks, "__kwdefaults__", {"sizes": SMALL, "epochs": 1})
    monkeypatch.setattr(AnomalyDetection, "models", (*AnomalyDetection.models[:3], *_FAMILIES))
    workload = AnomalyDetection().prepare(_users(tmp_path / "a.csv"), tmp_path / "work")
    assert not list((tmp_path / "work").glob("*-networks-*"))
    session = onnxruntime.InferenceSession(workload.model_path("large", "int8"))
    knobs = {"exit_threshold": np.array(0.9, np.float32), "max_exit": np.array(3)}
    assert session.run(["score"], {**workload.inputs(0), **knobs})[0].shape == (1, 1)
    assert workload.model_path("cut", "fp32").parent == workload.model_path("large", "fp32").parent
    with pytest.raises(SpecError, match="precision of large"):
        workload.model_path("large", "fp16")


def test_without_pytorch_a_users_networks_say_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Classical models work without it; asking for a network names the extra."""
    workload = AnomalyDetection().prepare(_users(tmp_path / "a.csv"), tmp_path / "work")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert workload.model_path("seasonal_zscore", "fp32").is_file()
    with pytest.raises(SpecError, match=r"no PyTorch.*pip install 'joulery\[train\]'"):
        workload.model_path("exit_autoencoder_s", "fp32")
