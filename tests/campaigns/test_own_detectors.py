"""Detectors of users in whole campaigns: measured beside those that ship, or refused before."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from joulery.campaigns.campaign import Campaign
from joulery.campaigns.scenarios.video_analytics.mot import write_mot
from joulery.datasets.store import Dataset, load
from joulery.datasets.verify import verify
from joulery.errors import SpecError
from joulery.profiler.quality.detection import FrameTruth

from .command import joulery
from .scenarios.detector_models import bright_detector, telling_detector
from .scenarios.detector_outputs import yolov8

_SPEC = """\
name: own
seed: 4
scenarios:
  - scenario: video_analytics
    data: street
    detectors:
      lamp:
        files: {fp32: models/lamp.onnx}
        classes: {vehicle: [0]}
      teller:
        files: {fp32: models/teller.onnx, int8: models/other.onnx}
    factors:
      model: [detector_s, lamp, teller]
      precision: [fp32]
      batch: [2]
      score_threshold: [0.3, 1]
      stride: [2]
loads:
  - {arrival: constant, rate_hz: 30}
repeats: 1
trial: {idle_s: 0.1, warmup_round_s: 0.2, warmup_max_s: 0.6, window_s: 1.5}
slo: {latency_s: 0.5, percentile: 0.5}
limits: {send_lag_p99_s: 0.5, steady_ratio: 5, subwindow_cv_ratio: 5, idle_drift_ratio: 50,
         neighbour_ratio: 0.99}
"""
_FRAMES = 12


def _street(folder: Path) -> None:
    """Write a video of a dark street, and in it a vehicle of 16 by 32 pixels with one red lamp."""
    (folder / "img1").mkdir(parents=True)
    truths = []
    for number in range(_FRAMES):
        x, y = 102, 62 + 4 * number  # the lamp fills one cell of a heat map
        picture = np.zeros((256, 256, 3), dtype=np.uint8)
        picture[y - 2 : y + 2, x - 2 : x + 2, 2] = 255  # OpenCV's order: blue, green, red
        assert cv2.imwrite(str(folder / "img1" / f"{number:03}.png"), picture)
        truths.append(
            FrameTruth(
                boxes=np.array([(x - 8, y - 16, x + 8, y + 16)], dtype=np.float32),
                classes=np.array([1]),
                ids=np.array([1]),
            )
        )
    write_mot(folder / "gt" / "gt.txt", truths)


def _written(folder: Path) -> Path:
    """Write specification, video and detectors."""
    _street(folder / "street")
    models = folder / "models"
    models.mkdir()
    bright_detector(models / "lamp.onnx", batch="N")
    for name in ("teller", "other"):
        telling_detector(models / f"{name}.onnx", yolov8(), names={0: "person", 2: "car"})
    (folder / "own.yaml").write_text(_SPEC, encoding="utf-8")
    return folder / "own.yaml"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of such a campaign."""
    folder = tmp_path_factory.mktemp("own")
    joulery("run", _written(folder), "--out", folder / "out", "--plain")
    assert verify(folder / "out") == []
    return folder / "out"


@pytest.fixture
def dataset(measured: Path) -> Dataset:
    """It, loaded."""
    return load(measured)


def test_own_detectors_are_measured_like_others(dataset: Dataset) -> None:
    """They have latency, energy and figures of their own answers, in rows like all others."""
    trials = dataset.trials
    assert len(trials) == 6
    assert (trials["verdict"] == "valid").all(), trials["reasons"].tolist()
    assert (trials["requests_answered"] == trials["requests_sent"]).all()
    assert (trials["latency_p50_s"] > 0).all()
    assert trials["inference_energy_j"].notna().all()
    found = {(row["model"], row["score_threshold"]): row for row in trials.to_dict("records")}
    # It finds the one vehicle in each frame, the other sees what nobody put there.
    assert found["lamp", 0.3]["map_50"] == pytest.approx(1)
    assert found["lamp", 0.3]["mota"] > 0.4
    assert found["lamp", 0.3]["idf1"] > 0.5
    assert found["teller", 0.3]["map_50"] == 0
    requests = dataset.requests("video_analytics")
    lamp = requests[requests["trial"] == found["lamp", 0.3]["trial"]]
    assert (lamp["found_ratio"] == 1).all()


def test_a_score_threshold_of_one_leaves_nothing(dataset: Dataset) -> None:
    """The factor reaches each service, of detectors that ship too."""
    strict = dataset.trials[dataset.trials["score_threshold"] == 1]
    assert set(strict["model"]) == {"detector_s", "lamp", "teller"}
    assert (strict["map_50"] == 0).all()
    requests = dataset.requests("video_analytics")
    assert (requests[requests["trial"].isin(strict["trial"])]["detections"] == 0).all()


def test_the_dataset_tells_which_files_they_were(measured: Path, dataset: Dataset) -> None:
    """Each row has name and SHA-256 of its model's file; no path of a machine is in any file."""
    folder = measured.parent / "models"
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    told = dataset.trials.groupby("model")[["model_file", "model_sha256"]].first()
    for model in ("lamp", "teller"):
        assert tuple(told.loc[model]) == (f"{model}.onnx", hashes[f"{model}.onnx"])
    assert told.loc["detector_s", "model_file"] == "detector_s_fp32.onnx"
    [part] = dataset.about.spec["scenarios"]
    assert part["detectors"]["teller"]["files"] == {"fp32": "teller.onnx", "int8": "other.onnx"}
    assert part["detectors"]["teller"]["sha256"]["int8"] == hashes["other.onnx"]
    for path in measured.rglob("*"):
        assert not path.is_file() or str(measured.parent).encode() not in path.read_bytes(), path


def test_another_file_is_another_campaign(measured: Path) -> None:
    """A finished campaign is known again by its detectors' files, wherever they lie."""
    spec = measured.parent / "own.yaml"
    done = joulery("run", spec, "--out", measured, "--plain", "--resume")
    assert "nothing is left to measure" in done.stdout
    lamp = measured.parent / "models" / "lamp.onnx"
    before = lamp.read_bytes()
    try:
        bright_detector(lamp)
        refused = joulery("run", spec, "--out", measured, "--plain", "--resume", code=2)
    finally:
        lamp.write_bytes(before)
    assert "detectors.lamp.sha256.fp32" in refused.stderr


_GRAPH = "outputs: found output0 (1, 7), expected yolov5: "


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("models/lamp.onnx", "models/lamb.onnx", "lamb.onnx: found no such file, expected a det"),
        ("models/lamp.onnx", "own.yaml", "expected a detector in ONNX that can be loaded"),
        ("models/lamp.onnx", "models/sevens.onnx", _GRAPH),
        ("models/lamp.onnx", "models/sound.onnx", "inputs: found picture tensor(float) [1, 64]"),
        ("{vehicle: [0]}", "{vehicle: [1]}", "lamp.onnx, classes: found 1, expected a number from"),
        ("{vehicle: [0]}", "{car: [0]}", "line 9, scenarios[0].detectors.lamp.classes.car: found"),
        ("        classes: {vehicle: [0]}\n", "", "found 1 classes without names"),
        ("        classes: {", "        klasses: {", "did you mean 'classes'?"),
        ("classes: {vehicle: [0]}", "layout: yolo", "'yolov5', 'yolov8'"),
        ("      lamp:", "      detector_l:", "'detector_l', which ships already"),
        ("      lamp:", "      The Lamp:", "lower case letters, digits, - and _"),
        ("detector_s, lamp,", "detector_s, lamb,", "did you mean 'lamp'?"),
        ("classes: {v", f"sha256: {{fp32: {'f' * 64}}}\n        classes: {{v", "expected ffffff"),
        ("stride: [2]", "resolution: [0.5]\n      model: [lamp]", "the key a second time"),
        ("score_threshold: [0.3, 1]", "score_threshold: [1.5]", "a number <= 1"),
        ("video_analytics", "sensor_fusion", "found own models: lamp, teller, expected none"),
    ],
)
def test_what_cannot_be_measured_is_refused_before(
    old: str, new: str, words: str, tmp_path: Path
) -> None:
    """One message names file or line, what was found and what was expected."""
    path = _written(tmp_path)
    telling_detector(
        tmp_path / "models" / "sevens.onnx", {"output0": np.zeros((1, 7), dtype=np.float32)}
    )
    telling_detector(tmp_path / "models" / "sound.onnx", yolov8(), shape=(1, 64))
    assert old in _SPEC
    path.write_text(_SPEC.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        Campaign.from_file(path, tmp_path / "out")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_tells_it_in_one_message(tmp_path: Path) -> None:
    """A wrong file ends the command with 2 and one message; nothing is left behind."""
    path = _written(tmp_path)
    (tmp_path / "models" / "lamp.onnx").write_text("no model")
    done = joulery("run", path, "--out", tmp_path / "out", "--plain", code=2)
    assert "lamp.onnx: found" in done.stderr
    assert done.stderr.count("Error: ") == 1
    assert not list(tmp_path.glob("out*"))


def test_a_resolution_is_not_asked_of_own_detectors(tmp_path: Path) -> None:
    """Their pictures have a size of their own: alone, they have no such factor."""
    path = _written(tmp_path)
    text = _SPEC.replace("detector_s, lamp, teller", "lamp")
    path.write_text(text.replace("stride: [2]", "resolution: [1]"), encoding="utf-8")
    with pytest.raises(SpecError, match="resolution: found levels, and no model that has it"):
        Campaign.from_file(path, tmp_path / "out")
