"""The wall clock labels and measures nothing: a step of it changes no duration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from joulery.datasets.store import load

from .command import SPEC, joulery

_CLOCK = """
import itertools, time
_steps, _true_s = itertools.cycle([0, 86400, -86400, 3600]), time.time
time.time = lambda: _true_s() + next(_steps)
time.time_ns = lambda: int(1e9 * time.time())
"""
"""Every process of Python runs this first: by each look at the clock, it has been set anew."""


def test_a_clock_that_is_set_all_the_time_changes_no_measurement(tmp_path: Path) -> None:
    """With days between two looks at the wall clock, windows and latencies are what they are."""
    (tmp_path / "sitecustomize.py").write_text(_CLOCK)
    path, out = tmp_path / "one.yaml", tmp_path / "one"
    spec = SPEC.replace("repeats: 2", "repeats: 1").replace("batch: [1, 8]", "batch: [1]")
    path.write_text(spec.replace("limits: {", "limits: {clock_step_s: 1000000, "))
    joulery("run", path, "--out", out, "--plain", environment={"PYTHONPATH": str(tmp_path)})
    dataset = load(out)
    trials = dataset.trials
    assert len(trials) == 2
    assert trials["window_s"].between(0.3, 5).all()
    assert trials["startup_s"].between(0, 60).all()
    assert trials["warmup_s"].between(0, 10).all()
    assert (trials["requests_answered"] == trials["requests_sent"]).all()
    for scenario in dataset.scenarios:
        assert dataset.requests(scenario)["latency_s"].between(0, 10).all()
    energy = dataset.energy
    length_s = energy["end_s"] - energy["start_s"]
    assert length_s.between(0, 5).all()
    assert np.isfinite(trials["device_energy_j"]).all()
    window_j = energy[energy["phase"] == "window"].groupby("trial")["energy_j"].sum()
    assert window_j.to_list() == pytest.approx(trials["device_energy_j"].to_list(), rel=1e-6)
