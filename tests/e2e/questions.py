"""What the services are asked, what would be right, and what each precision answers offline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from joulery.campaigns.scenarios import scenario
from joulery.exporters.services.golden import write_golden
from joulery.exporters.services.judging import Judge
from joulery.profiler.oip import Message, encode_request

__all__ = ["MODEL", "PREDICTION", "SCENARIO", "Questions"]

SCENARIO, MODEL, PREDICTION = "anomaly_detection", "autoencoder", "alarm"


class Questions:
    """The samples of the scenario.

    Args:
        folder: For what the scenario may have to fit.

    Attributes:
        labels: Shape (samples,): whether an alarm would be right.
        golden: The samples of the golden set: all faults, and as many others.
    """

    def __init__(self, folder: Path) -> None:
        self._workload = scenario(SCENARIO).prepare(None, folder)
        every = np.arange(self._workload.size)
        nothing = {"score": np.zeros(len(every)), "alarm": np.zeros(len(every), dtype=bool)}
        assessed = self._workload.assess(every, nothing)
        self.labels: NDArray[np.bool_] = assessed.per_request["label"].astype(bool)
        faults, others = np.flatnonzero(self.labels), np.flatnonzero(~self.labels)
        self.golden: NDArray[np.int64] = np.sort(np.concatenate([faults, others[: len(faults)]]))

    def __len__(self) -> int:
        return self._workload.size

    def request(self, sample: int, name: str) -> Message:
        """Return a request for a sample, with an id."""
        return encode_request(self._workload.inputs(sample), id=name)

    def right(self, precision: str) -> NDArray[np.bool_]:
        """Return for each sample whether the model in this precision answers right, run here."""
        path = self._workload.model_path(MODEL, precision)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        alarms = [
            session.run([PREDICTION], dict(self._workload.inputs(sample)))[0].item()
            for sample in range(len(self))
        ]
        return np.equal(alarms, self.labels)

    def write_golden(self, path: Path) -> None:
        """Write the golden set, as a JSON file and what belongs beside it."""
        inputs = [self._workload.inputs(int(sample)) for sample in self.golden]
        write_golden(
            path,
            inputs={name: np.concatenate([one[name] for one in inputs]) for name in inputs[0]},
            judge=Judge(output=PREDICTION, rule="equal"),
            labels=self.labels[self.golden],
        )
