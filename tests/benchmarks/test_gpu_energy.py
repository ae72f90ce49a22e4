"""The GPU benchmark over the compiled NVML library: all of it but the kernels of torch."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ..conftest import REPOSITORY
from ..profiler.nvml_library import compile_nvml, run_with

QUICK = """
import json, time, pynvml
from pathlib import Path
from joulery.benchmarks.gpu.parts import Job, Plan
from joulery.benchmarks.gpu_energy import measure

class Heater:
    '''Raises the library's power while it runs, and lowers it when it rests.'''

    def __init__(self):
        self.mw = 50000

    def draw(self, mw):
        if mw != self.mw:
            pynvml.nvmlLib.fake_power_mw(mw)
            self.mw = mw

    def job(self, mw, items):
        def run():
            self.draw(mw)
            time.sleep(0.002)
        return Job(run, items)

    def product(self, size):
        return self.job(300000, 3)

    def network(self, precision, batch):
        return self.job({"fp32": 250000, "bf16": 150000}[precision], batch)

    def rest(self):
        self.draw(50000)

    def facts(self):
        return {"load": "heater"}

plan = Plan(sizes=(64,), repeats=1, steady_s=0.8, settle_s=1.1, renewal_s=0.9, step_s=1.6,
            windows_s=(0.02, 0.4), cuts=3, gap_s=0.2, precisions=("fp32", "bf16"),
            batches=(1, 8), inference_s=0.4, limit_s=LIMIT)
print(json.dumps(measure(pynvml, Heater(), Path(OUT), plan)))
"""


def table(path: Path) -> list[dict[str, str]]:
    """Read a file of rows."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Return the folder of a short run on a GPU that draws 50 W at rest and 300 W in products."""
    library = compile_nvml(tmp_path_factory.mktemp("nvml"))
    out = tmp_path_factory.mktemp("out") / "gpu"
    code = QUICK.replace("OUT", repr(str(out))).replace("LIMIT", "60.0")
    return out, run_with(library, code, FAKE_NVML="denied1")


def test_every_part_is_written(measured: tuple[Path, Any]) -> None:
    """Each part leaves its rows, and the environment says on what they were measured."""
    out, environment = measured
    names = ["renewal", "trace", "lags", "steady", "windows", "coverage", "inference"]
    assert all(len(table(out / f"{name}.csv")) > 0 for name in names)
    assert environment["not_measured"] == []
    assert not any(part["cut_short"] for part in environment["parts"].values())
    assert environment["driver"] == "590.00"
    assert "Counting GPU, GPU-aaaa" in environment["gpu"]
    assert environment["load"] == {"load": "heater"}


def test_steady_power_is_what_was_drawn(measured: tuple[Path, Any]) -> None:
    """At rest and under load the three readings give the power that the GPU drew, and agree."""
    for row in table(measured[0] / "steady.csv"):
        drawn_w = 300.0 if row["size"] == "64" else 50.0
        assert float(row["nvml:gpu-0_low_w"]) < drawn_w < float(row["nvml:gpu-0_high_w"])
        for key in ("nvml-power-instant", "nvml-power-averaged"):
            assert float(row[f"{key}:gpu-0_w"]) == pytest.approx(drawn_w, rel=0.02)
        assert (float(row["j_per_product"]) > 0) == (row["size"] == "64")


def test_renewal_and_lag_are_seen(measured: tuple[Path, Any]) -> None:
    """The counter's 100 ms between renewals, and the half second by which a mean lags, show."""
    loaded = {r["source"]: r for r in table(measured[0] / "renewal.csv") if r["loaded"] == "1.0"}
    assert float(loaded["nvml"]["renewal_median_s"]) == pytest.approx(0.1, rel=0.2)
    lags = {row["reading"].split(":")[0]: row for row in table(measured[0] / "lags.csv")}
    assert float(lags["nvml-power-instant"]["rise_0.9_s"]) < 0.1
    assert float(lags["nvml-power-averaged"]["rise_0.5_s"]) == pytest.approx(0.5, abs=0.15)
    for row in lags.values():
        assert float(row["rest_w"]) == pytest.approx(50, rel=0.05)
        assert float(row["full_w"]) == pytest.approx(300, rel=0.05)


def test_stated_intervals_hold_what_was_drawn(measured: tuple[Path, Any]) -> None:
    """Windows cut out of steady load hold the drawn energy within the counter's interval."""
    rows = table(measured[0] / "coverage.csv")
    assert {(row["kind"], row["window_s"]) for row in rows} == {
        (kind, window_s) for kind in ("within", "burst") for window_s in ("0.02", "0.4")
    }
    cut = [r for r in rows if r["kind"] == "within" and r["reading"] == "nvml:gpu-0"]
    assert all(float(row["covered_ratio"]) == 1.0 for row in cut)


def test_inference_has_its_price(measured: tuple[Path, Any]) -> None:
    """Joules per inference are the drawn power over the throughput, for every combination."""
    rows = table(measured[0] / "inference.csv")
    assert [(r["precision"], r["batch"]) for r in rows] == [
        (precision, batch) for precision in ("fp32", "bf16") for batch in ("1", "8")
    ]
    for row in rows:
        drawn_w = {"fp32": 250.0, "bf16": 150.0}[row["precision"]]
        high_w = float(row["high_j_per_inference"]) * float(row["throughput_hz"])
        low_w = float(row["low_j_per_inference"]) * float(row["throughput_hz"])
        assert low_w < drawn_w < high_w
        assert float(row["latency_p50_s"]) <= float(row["latency_p99_s"])


def test_time_is_kept(tmp_path: Path) -> None:
    """When the time is up the rest is left, and said to be left."""
    library = compile_nvml(tmp_path)
    code = QUICK.replace("OUT", repr(str(tmp_path / "out"))).replace("LIMIT", "0.5")
    environment = run_with(library, code, FAKE_NVML="denied1")
    assert environment["parts"]["renewal"]["cut_short"]
    assert environment["not_measured"] == ["trace", "steady", "windows", "inference"]


@pytest.mark.parametrize(("words", "text"), [(None, "no NVIDIA driver"), ("none", "no GPU")])
def test_without_a_gpu(tmp_path: Path, words: str | None, text: str) -> None:
    """Without driver or GPU the script exits 2 with one line that says why."""
    if words is None:
        (tmp_path / "libnvidia-ml.so.1").write_bytes(b"")
    else:
        compile_nvml(tmp_path)
    ended = subprocess.run(
        [sys.executable, str(REPOSITORY / "benchmarks" / "gpu_energy.py"), "--out", str(tmp_path)],
        env=os.environ | {"LD_LIBRARY_PATH": str(tmp_path), "FAKE_NVML": words or ""},
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    assert text in ended.stderr
    assert "Traceback" not in ended.stderr
