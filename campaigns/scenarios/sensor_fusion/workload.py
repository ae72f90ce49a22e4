"""The test windows of motion recordings, each under every condition, and how answers are judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....errors import DatasetError, TrialError
from ....profiler.quality.calibration import expected_calibration_error, multiclass_brier_score
from ....profiler.quality.classification import accuracy, confusion_matrix, macro_f1
from ..base import Assessment, ModelFamily, Tensors, Workload
from ..fitted import check_torch, fitted_folder, model_path
from .recordings import Recordings, basic_motions, user_recordings
from .windows import CONDITIONS, Cut, cut_for, sensor_inputs, windows_of

__all__ = ["CLASSICAL", "SHIPPED_MODELS", "FusionWorkload", "Parts", "prepare_workload"]

SHIPPED_MODELS = Path(__file__).parent / "models"

CLASSICAL: tuple[ModelFamily, ...] = (
    ModelFamily(name="logistic", title="Logistic regression on features", precisions=("fp32",)),
)
"""The models that are fitted without PyTorch."""

_SUM_TOLERANCE = 1e-3
"""How far from 1 the probabilities of a window may sum up, in FP32."""


class Parts:
    """The windows of recordings, by what they are for.

    Args:
        recordings: Split.
        source: Where they came from, for errors.

    Attributes:
        cut: How they were cut.
        fitted: Windows to fit models to; they overlap.
        held: Windows to fit confidence to; they overlap.
        tested: Windows to judge by; they do not overlap.

    Raises:
        DatasetError: When a part lacks windows of a class.
    """

    def __init__(self, recordings: Recordings, source: str) -> None:
        self.classes = recordings.classes
        self.cut: Cut = cut_for(recordings.rate_hz)
        self.fitted = windows_of(recordings.fitted, self.cut, self.cut.step)
        self.held = windows_of(recordings.held, self.cut, self.cut.step)
        self.tested = windows_of(recordings.tested, self.cut, self.cut.steps)
        named = {"fitted to": self.fitted, "judged by": self.tested}
        for purpose, windows in named.items():
            for label, activity in enumerate(self.classes):
                if not (windows.labels == label).any():
                    raise DatasetError(
                        source,
                        place=f"activity {activity!r}",
                        found=f"no whole window among what models are {purpose}",
                        expected=f"{self.cut.steps} rows in a row, {self.cut.lead} rows or more "
                        "into a recording, of users on both sides of the split",
                        remedy="record it with more people and for longer, or leave it unlabelled",
                    )
        if not len(self.held.labels):
            raise DatasetError(
                source, found="no window of the users held back", expected="labelled recordings"
            )


class FusionWorkload(Workload):
    """Test windows, each under every condition: sample s is window s // 4 under condition s % 4.

    Networks for a user's own data are fitted in `work` when first asked for; without it they ship.
    """

    def __init__(
        self,
        windows: Parts,
        models: Path,
        families: Sequence[ModelFamily],
        *,
        source: str,
        licence: str,
        sha256: str,
        work: Path | None = None,
    ) -> None:
        self.source = source
        self.licence = licence
        self.sha256 = sha256
        self.classes = windows.classes
        self.size = len(windows.tested.labels) * len(CONDITIONS)
        self.parts = windows
        self._models = models
        self._families = families
        self._work = work

    def model_path(self, model: str, precision: str) -> Path:
        folder = self._models
        offered = {one.name: one.precisions for one in self._families if one not in CLASSICAL}
        # What does not exist is refused before anything is fitted.
        if self._work is not None and precision in offered.get(model, ()):
            folder = self._network_folder(self._work)
        return model_path(folder, self._families, model, precision)

    def _network_folder(self, work: Path) -> Path:
        def fit() -> Mapping[tuple[str, str], object]:
            check_torch("networks for your own data")
            # Imported here: only fitting needs PyTorch.
            from .network import fit_networks

            own = self.parts
            return fit_networks(own.fitted, own.held, own.classes, own.cut, self.sha256)

        return fitted_folder(work, "sensor_fusion-networks", self.sha256, fit)

    def inputs(self, sample: int) -> Tensors:
        window, condition = divmod(sample, len(CONDITIONS))
        values = self.parts.tested.values[window : window + 1]
        return dict(sensor_inputs(values, self.parts.cut, CONDITIONS[condition]))

    def assess(self, samples: NDArray[np.int64], answers: Tensors) -> Assessment:
        given, said = _checked(answers, len(samples), len(self.classes))
        truth = self.parts.tested.labels[samples // len(CONDITIONS)]
        condition = samples % len(CONDITIONS)
        confusion = confusion_matrix(truth, said, len(self.classes))
        right = truth == said
        figures = {
            "macro_f1": macro_f1(confusion),
            "accuracy": accuracy(confusion),
            "ece": expected_calibration_error(right, given.max(axis=1, initial=0.0)),
            "brier": multiclass_brier_score(truth, given),
        }
        for number, name in enumerate(CONDITIONS):
            rows = condition == number
            some = confusion_matrix(truth[rows], said[rows], len(self.classes))
            figures[f"macro_f1_{name}"] = macro_f1(some)
        return Assessment(
            figures=figures,
            per_request={
                "condition": condition.astype(np.float64),
                "activity": truth.astype(np.float64),
                "correct": right.astype(np.float64),
            },
        )


def _checked(
    answers: Tensors, rows: int, classes: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return probabilities, rounding beyond [0, 1] removed, and labels.

    Raises:
        TrialError: When they are not what a model of this scenario answers.
    """
    given = np.asarray(answers["probabilities"], dtype=np.float64)
    said = np.asarray(answers["label"], dtype=np.int64)
    if given.shape != (rows, classes) or said.shape != (rows,):
        raise TrialError(
            "probabilities and label",
            found=f"shapes {given.shape} and {said.shape}",
            expected=f"({rows}, {classes}) and ({rows},)",
        )
    off = np.abs(given.sum(axis=1) - 1.0)
    if not (off <= _SUM_TOLERANCE).all() or given.min(initial=0.0) < -_SUM_TOLERANCE:
        raise TrialError(
            "probabilities",
            found="a window whose probabilities are negative, no numbers, or do not sum up to 1",
            expected="probabilities",
        )
    if said.size and not 0 <= said.min() <= said.max() < classes:
        raise TrialError(
            "label", found=f"{said.min()} to {said.max()}", expected=f"0 to {classes - 1}"
        )
    return np.clip(given, 0.0, 1.0), said


def prepare_workload(
    data: Path | None, work: Path, scenario: str, families: Sequence[ModelFamily]
) -> FusionWorkload:
    """Load recordings and see that classical models exist for them; see `Scenario.prepare`."""
    if data is None:
        recordings = basic_motions()
        return FusionWorkload(
            Parts(recordings, "what ships"),
            SHIPPED_MODELS,
            families,
            source="BasicMotions (UEA archive), smartwatch at 10 Hz, split by whole series; "
            "whose they are was not published",
            licence="BSD-3-Clause (aeon), see campaigns/scenarios/data/README.md",
            sha256=recordings.sha256,
        )
    recordings = user_recordings(data)
    windows = Parts(recordings, str(data))

    def fit() -> Mapping[tuple[str, str], object]:
        # Imported here: only fitting needs scikit-learn and onnx.
        from .fit import fit_models

        return fit_models(windows.fitted, windows.classes, windows.cut, recordings.sha256)

    return FusionWorkload(
        windows,
        fitted_folder(work, scenario, recordings.sha256, fit),
        families,
        source=f"{data.name}: {_told(recordings)}",
        licence="unknown",
        sha256=recordings.sha256,
        work=work,
    )


def _told(recordings: Recordings) -> str:
    """Say who is on which side, and what was left out."""
    people = [
        len({one.owner for one in part})
        for part in (recordings.fitted, recordings.held, recordings.tested)
    ]
    out = recordings.left_out
    return (
        f"{people[0]} users to fit to, {people[1]} to calibrate on, {people[2]} to judge by; left "
        f"out {out['no label']} rows without a label and {out['transition']} of transitions"
    )
