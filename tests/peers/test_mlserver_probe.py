"""Our probe asks MLServer, and finds what scikit-learn computes of the same model."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from joulery.exporters.dialects.reading import Reading
from joulery.exporters.metrics import Metric, high_of, low_of
from joulery.exporters.service_metrics import CORRECT, JUDGED, PROBE_REQUESTS, QUALITY
from joulery.exporters.services.golden import read_golden, write_golden
from joulery.exporters.services.judging import Judge
from joulery.exporters.services.probe import Prober
from joulery.exporters.services.target import Pod, Target

from .digits import Digits

POD = Pod(namespace="services", name="mlserver", uid="1", addresses=("127.0.0.1",))


def _probed(digits: Digits, path: Path, judge: Judge, requests: int) -> Reading:
    """Return what the probe tells after so many requests of a golden set, right or wrong."""
    write_golden(
        path, inputs={"image": digits.images}, judge=judge, labels=digits.truth, model="digits"
    )
    golden = read_golden(path)
    prober = Prober({golden.name: golden}, clock=time.monotonic, rate_hz=2000.0, most_hz=1e6)
    prober.update(
        [
            Target(
                pod=POD,
                golden=golden.name,
                infer_url=digits.server.url,
                model="digits",
                variant="v1",
            )
        ]
    )

    async def run() -> None:
        stop = asyncio.Event()
        running = asyncio.ensure_future(prober.run(stop))
        while not running.done() and _sum(prober.readings()[POD], PROBE_REQUESTS) < requests:
            await asyncio.sleep(0.02)
        stop.set()
        await running

    asyncio.run(run())
    return prober.readings()[POD]


def _values(reading: Reading, metric: Metric) -> dict[tuple[str, ...], Any]:
    return {told.labels: told.value for told in reading.told if told.metric == metric}


def _sum(reading: Reading, metric: Metric) -> float:
    return float(sum(_values(reading, metric).values()))


@pytest.mark.parametrize(
    "judge",
    [Judge(output="predict", rule="equal"), Judge(output="predict_proba", rule="argmax")],
    ids=["class", "probabilities"],
)
def test_accuracy_is_scikit_learns_own(digits: Digits, tmp_path: Path, judge: Judge) -> None:
    """After one pass the accuracy is the one computed offline, by class or by probabilities."""
    reading = _probed(digits, tmp_path / "numbers.json", judge, len(digits.truth))
    assert _sum(reading, PROBE_REQUESTS) == _values(reading, PROBE_REQUESTS)["digits", "v1", "ok"]
    series = ("digits", "v1", "", "accuracy", "probe")
    assert _values(reading, QUALITY)[(*series, "all")] == pytest.approx(digits.accuracy, abs=1e-12)
    low, high = (_values(reading, end(QUALITY))[(*series, "all")] for end in (low_of, high_of))
    assert low < digits.accuracy < high
    assert _values(reading, JUDGED)[series] == _sum(reading, PROBE_REQUESTS)
    assert _values(reading, CORRECT)[series] >= digits.accuracy * len(digits.truth) - 1e-6
