"""The workload of video analytics: frames in order, figures that mean what they say, own videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from joulery.campaigns.scenarios.model import Model
from joulery.campaigns.scenarios.video_analytics import VideoAnalytics, clips
from joulery.campaigns.scenarios.video_analytics.mot import write_mot
from joulery.campaigns.scenarios.video_analytics.scenes import SHAPE, Street
from joulery.campaigns.scenarios.video_analytics.workload import VideoWorkload
from joulery.errors import DatasetError, TrialError

SLOTS = 32


@pytest.fixture(scope="module")
def workload() -> VideoWorkload:
    """Return the workload of generated streets."""
    return VideoAnalytics().prepare(None, Path())


def _perfect(workload: VideoWorkload, samples: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Return the truth as an answer."""
    boxes = np.zeros((len(samples), SLOTS, 4), dtype=np.float32)
    scores = np.zeros((len(samples), SLOTS), dtype=np.float32)
    classes = np.zeros((len(samples), SLOTS), dtype=np.int64)
    for row, sample in enumerate(samples.tolist()):
        truth = workload._footage.truths[sample]
        count = len(truth.boxes)
        boxes[row, :count], classes[row, :count] = truth.boxes, truth.classes
        scores[row, :count] = 0.9
    return {"boxes": boxes, "scores": scores, "classes": classes}


def _asked(
    workload: VideoWorkload, samples: NDArray[np.int64], model: str, **said: float
) -> dict[str, NDArray[Any]]:
    """Return what a shipped model says, with knobs as they are said to be."""
    runtime = Model(workload.model_path(model, "fp32"), 1)
    frames = np.concatenate([workload.inputs(int(sample))["frame"] for sample in samples])
    return runtime.run({"frame": frames, **runtime.constants(said)})


def test_samples_are_frames_in_order(workload: VideoWorkload) -> None:
    """Sample by sample the clips follow each other, each from its first frame to its last."""
    streets = clips.judged_streets()
    assert workload.size == sum(street.frames for street in streets) == 600
    for sample in (0, 99, 100, 357):
        frame = workload.inputs(sample)["frame"]
        expected = streets[sample // 100].frame(sample % 100).pixels
        assert frame.shape == (1, *SHAPE, 3)
        assert frame.tobytes() == expected.tobytes()


def test_perfect_answers_are_perfect(workload: VideoWorkload) -> None:
    """The truth as the answer has an mAP of 1, and finds everything in every frame."""
    samples = np.arange(200)
    judged = workload.assess(samples, _perfect(workload, samples))
    assert judged.figures["map_50"] == pytest.approx(1, abs=1e-6)
    assert judged.figures["map_50_95"] == pytest.approx(1, abs=1e-6)
    # A new object is told from its second frame on, and who was hidden may have another number.
    for name in ("mota", "idf1"):
        value = judged.figures[name]
        assert value is not None
        assert 0.9 < value <= 1
    found = judged.per_request["found_ratio"]
    counts = [len(workload._footage.truths[sample].boxes) for sample in samples.tolist()]
    assert judged.per_request["detections"].tolist() == counts
    assert set(found[~np.isnan(found)].tolist()) == {1.0}
    assert np.isnan(found).tolist() == [count == 0 for count in counts]


def test_frames_without_an_answer_are_gaps(workload: VideoWorkload) -> None:
    """With every third frame answered, tracks go on between; in any order they are the same."""
    samples = np.arange(100, 200, 3)
    answers = _perfect(workload, samples)
    judged = workload.assess(samples, answers)
    assert judged.figures["map_50"] == pytest.approx(1, abs=1e-6)
    mota = judged.figures["mota"]
    assert mota is not None
    assert 0.3 < mota < 1
    order = np.random.default_rng(1).permutation(len(samples))
    turned = workload.assess(samples[order], {name: one[order] for name, one in answers.items()})
    assert turned.figures["mota"] == mota
    assert turned.figures["idf1"] == judged.figures["idf1"]


def test_a_frame_answered_twice_is_followed_once(workload: VideoWorkload) -> None:
    """Requests that come round again count for mAP, and change no track."""
    samples = np.arange(40)
    once = workload.assess(samples, _perfect(workload, samples))
    twice = np.concatenate([samples, samples])
    again = workload.assess(twice, _perfect(workload, twice))
    assert again.figures == pytest.approx(once.figures)
    assert len(again.per_request["detections"]) == 80


def test_answers_of_another_shape_are_refused(workload: VideoWorkload) -> None:
    """Missing tensors, other shapes and numbers that are none are errors of the trial."""
    samples = np.arange(3)
    for name, wrong in (
        ("scores", np.zeros((3, 5), dtype=np.float32)),
        ("boxes", np.zeros((2, SLOTS, 4), dtype=np.float32)),
        ("scores", np.full((3, SLOTS), np.nan, dtype=np.float32)),
    ):
        with pytest.raises(TrialError, match="detections"):
            workload.assess(samples, _perfect(workload, samples) | {name: wrong})
    answers = _perfect(workload, samples)
    del answers["classes"]
    with pytest.raises(TrialError, match="no classes"):
        workload.assess(samples, answers)


def test_no_answers_have_no_figures(workload: VideoWorkload) -> None:
    """Without answers every figure is unknown, none is zero; all are those declared."""
    none = np.arange(0)
    judged = workload.assess(none, _perfect(workload, none))
    assert judged.figures == {figure.name: None for figure in VideoAnalytics.figures}
    assert set(judged.per_request) == {field.name for field in VideoAnalytics.request_fields}


@pytest.mark.parametrize("family", VideoAnalytics.models, ids=lambda family: family.name)
def test_shipped_detectors_find_more_the_later_they_leave(
    workload: VideoWorkload, family: Any
) -> None:
    """On streets that it never saw, a shipped detector is useful, and the last exit is the best."""
    samples = np.arange(0, 600, 12)
    found = []
    for number in range(1, family.exits + 1):
        answers = _asked(workload, samples, family.name, max_exit=number)
        assert set(answers["exit"].tolist()) == {number}
        found.append(workload.assess(samples, answers).figures["map_50"])
    assert found[0] is not None
    assert found[-1] is not None
    assert 0.4 < found[0] < found[-1] - 0.03
    assert found[-1] > 0.6


def test_shipped_confidences_let_some_frames_leave(workload: VideoWorkload) -> None:
    """At a middle threshold some frames leave early, more of the easy ones than of the hard."""
    shares = []
    for first in (0, 200):
        samples = np.concatenate(
            [np.arange(first, first + 100, 5), np.arange(first + 300, first + 400, 5)]
        )
        exits = _asked(workload, samples, "detector_s", exit_threshold=0.6)["exit"]
        shares.append(float((exits == 1).mean()))
    assert shares[0] > shares[1]


def test_a_lower_resolution_finds_less(workload: VideoWorkload) -> None:
    """Half of the resolution costs quality, and is still worth something."""
    samples = np.arange(0, 600, 12)
    found = [
        workload.assess(samples, _asked(workload, samples, "detector_s", resolution=share)).figures[
            "map_50"
        ]
        for share in (0.5, 1.0)
    ]
    assert found[0] is not None
    assert found[1] is not None
    assert 0.15 < found[0] < found[1]


def test_a_score_threshold_leaves_the_less_sure_out(workload: VideoWorkload) -> None:
    """Slots under it are not used, the others are as they were, and 0 changes nothing."""
    samples = np.arange(0, 600, 60)
    whole = _asked(workload, samples, "detector_s")
    none_said = _asked(workload, samples, "detector_s", score_threshold=0.0)
    sure = _asked(workload, samples, "detector_s", score_threshold=0.5)
    assert all(np.array_equal(whole[name], none_said[name]) for name in whole)
    assert sure["scores"].dtype == whole["scores"].dtype
    is_sure = whole["scores"] >= 0.5
    assert 0 < is_sure.sum() < (whole["scores"] > 0).sum()
    assert np.array_equal(sure["scores"], np.where(is_sure, whole["scores"], 0))
    assert all(np.array_equal(whole[name], sure[name]) for name in whole if name != "scores")
    recalls = [
        np.nanmean(workload.assess(samples, one).per_request["found_ratio"])
        for one in (whole, sure, _asked(workload, samples, "detector_s", score_threshold=1.0))
    ]
    assert recalls[0] > recalls[1] > recalls[2] == 0


def _pictures(folder: Path, frames: int) -> list[Any]:
    """Write a generated clip as a user's pictures; returns its truth."""
    (folder / "img1").mkdir(parents=True)
    street = Street(31, "easy")
    truths = []
    for index in range(frames):
        frame = street.frame(index)
        path = folder / "img1" / f"{index + 1:06}.png"
        assert cv2.imwrite(str(path), frame.pixels[:, :, ::-1])
        truths.append(frame.truth)
    return truths


def test_a_video_of_ones_own(tmp_path: Path) -> None:
    """Pictures with ground truth are judged by it, and nothing is fitted to them."""
    truths = _pictures(tmp_path, 12)
    write_mot(tmp_path / "gt" / "gt.txt", truths)
    workload = VideoAnalytics().prepare(tmp_path, tmp_path / "work")
    assert workload.size == 12
    assert workload.licence == "unknown"
    assert not (tmp_path / "work").exists()
    samples = np.arange(12)
    perfect = workload.assess(samples, _perfect(workload, samples))
    assert perfect.figures["map_50"] == pytest.approx(1, abs=1e-6)
    assert workload.model_path("detector_s", "int8").is_file()


def test_without_ground_truth_figures_say_the_agreement(tmp_path: Path) -> None:
    """What the reference itself says then agrees best, and the source tells whose word it is."""
    _pictures(tmp_path, 12)
    workload = VideoAnalytics().prepare(tmp_path, tmp_path / "work")
    assert "no ground truth" in workload.source
    assert "detector_l" in workload.source
    samples = np.arange(12)
    figures = [
        workload.assess(samples, _asked(workload, samples, model, max_exit=last)).figures
        for model, last in (("detector_l", 3), ("detector_s", 1))
    ]
    assert figures[0]["agreement_idf1"] == 1
    assert figures[0]["mota"] is None
    assert figures[0]["map_50"] is None
    best, other = figures[0]["agreement_map_50"], figures[1]["agreement_map_50"]
    assert best is not None
    assert other is not None
    assert best > other


def test_a_real_video_is_answered(test_data: Path, tmp_path: Path) -> None:
    """A surveillance video is shrunk, answered in its own pixels, and judged by agreement."""
    path = tmp_path / "street.avi"
    reader = cv2.VideoCapture(str(test_data / "video" / "vtest.avi"))
    size = (768, 576)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, size)
    for _ in range(6):
        writer.write(reader.read()[1])
    writer.release()
    workload = VideoAnalytics().prepare(path, tmp_path)
    frame = workload.inputs(0)["frame"]
    assert frame.shape == (1, 240, 320, 3)
    samples = np.arange(workload.size)
    answers = _asked(workload, samples, "detector_s")
    assert (answers["boxes"] <= [320, 240, 320, 240]).all()
    assert workload.assess(samples, answers).per_request["detections"].shape == (6,)


def test_a_missing_video_is_refused(tmp_path: Path) -> None:
    """A path that is not there is an error of the data."""
    with pytest.raises(DatasetError, match="no such file"):
        VideoAnalytics().prepare(tmp_path / "none.mp4", tmp_path)


def test_a_detector_has_the_knobs(workload: VideoWorkload) -> None:
    """Each shipped model takes frames alone from clients; the rest is told by the server."""
    for family in VideoAnalytics.models:
        for precision in family.precisions:
            path = workload.model_path(family.name, precision)
            model = Model(path, 1)
            assert [spec.name for spec in model.inputs] == ["frame"]
            graph = {"exit_threshold", "max_exit", "resolution"}
            assert model.knobs == graph | {"score_threshold"}
            assert model.batches
            onnxruntime.InferenceSession(path)
