"""Whole campaigns through the command, as a user runs them: real services, real answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from joulery.datasets.store import load
from joulery.datasets.verify import verify

from .command import SPEC, TRIALS, command, joulery


def _first_attempts(folder: Path) -> pd.DataFrame:
    trials = load(folder).trials
    return trials[trials["attempt"] == 1].set_index("trial").sort_index()


def test_a_run_leaves_a_whole_dataset_and_a_report(finished: Path) -> None:
    """Every trial has latency, energy with its interval and provenance, quality and a verdict."""
    assert verify(finished) == []
    trials = _first_attempts(finished)
    assert len(trials) == TRIALS
    assert (trials["latency_p50_s"] > 0).all()
    assert (trials["latency_p50_low_s"] <= trials["latency_p50_s"]).all()
    assert (trials["inference_energy_low_j"] <= trials["inference_energy_j"]).all()
    assert (trials["inference_energy_j"] <= trials["inference_energy_high_j"]).all()
    assert (trials["service_energy_j"] <= trials["device_energy_j"]).all()
    assert (trials["idle_energy_j"] <= trials["device_energy_j"]).all()
    assert set(trials["energy_provenance"]) <= {"apportioned", "estimated"}
    assert trials["quality_value"].notna().all()
    assert "report.html" in {path.name for path in finished.iterdir()}
    assert not finished.with_name("small.campaign").exists()


def test_requests_and_trials_tell_the_same_story(finished: Path) -> None:
    """The trial's median latency is the median of its requests', and so is their number."""
    dataset = load(finished)
    requests = dataset.requests("traffic_prediction")
    for trial, group in requests.groupby("trial"):
        row = dataset.trials.set_index("trial").loc[trial]
        answered = group[group["status"] == "ok"]
        assert len(group) == row["requests_sent"]
        assert len(answered) == row["requests_answered"]
        assert answered["latency_s"].median() == pytest.approx(row["latency_p50_s"], rel=0.05)
        assert (answered["latency_s"] >= answered["sent_s"] - answered["intended_s"]).all()


def test_two_runs_with_one_seed_have_the_same_order_and_quality(
    spec: Path, finished: Path, tmp_path: Path
) -> None:
    """The order of the trials and every quality figure follow from the seed."""
    joulery("run", spec, "--out", tmp_path / "again", "--plain")
    first, second = _first_attempts(finished), _first_attempts(tmp_path / "again")
    same = ["scenario", "configuration", "load", "block", "requests_sent"]
    quality = [figure["name"] for figure in load(finished).about.figures]
    pd.testing.assert_frame_equal(first[same], second[same])
    pd.testing.assert_frame_equal(first[quality], second[quality], check_exact=True)


def test_services_that_do_not_start_are_recorded_and_told(tmp_path: Path) -> None:
    """A trial that fails is kept as invalid; three in a row, of all there are, end the campaign."""
    path = tmp_path / "small.yaml"
    path.write_text(SPEC.replace("trial: {", "trial: {startup_max_s: 0.001, "))
    done = joulery("run", path, "--out", tmp_path / "small", "--plain", code=1)
    assert "3 failures in a row" in done.stderr
    assert "startup_max_s allows it more time" in done.stderr
    assert done.stdout.count("invalid: failed") == 3


def test_one_service_that_never_starts_does_not_end_a_campaign(tmp_path: Path) -> None:
    """Its trials and their retries, which come in a row, are invalid; the others are a dataset."""
    path = tmp_path / "small.yaml"
    dead = '- endpoint: {url: "http://127.0.0.1:9"}\n    scenario: anomaly_detection'
    text = SPEC.replace("- scenario: anomaly_detection", dead).replace("[1, 8]", "[1]")
    text = text.replace("trial: {", "trial: {startup_max_s: 4, ")
    path.write_text(text.replace("repeats: 2", "repeats: 3"))
    joulery("run", path, "--out", tmp_path / "small", "--plain")
    trials = load(tmp_path / "small").trials
    failed = trials[trials["scenario"] == "anomaly_detection"]
    assert len(failed) == 6
    assert list(failed[failed["attempt"] == 2]["trial"]) == [7, 8, 9]
    assert failed["reasons"].str.startswith("failed").all()
    assert (trials[trials["scenario"] == "traffic_prediction"]["verdict"] == "valid").all()


def test_what_joulery_did_not_write_is_never_deleted(spec: Path, tmp_path: Path) -> None:
    """A file of the user's in the place of the working folder is refused, and stays."""
    work = tmp_path / "small.campaign"
    work.mkdir()
    (work / "thesis.txt").write_text("keep")
    for option in ("--plain", "--force", "--resume"):
        refused = joulery("run", spec, "--out", tmp_path / "small", option, code=2)
        assert "thesis.txt, which belongs to no campaign" in refused.stderr
    assert (work / "thesis.txt").read_text() == "keep"


def test_modules_in_the_working_folder_do_not_reach_the_service(tmp_path: Path) -> None:
    """A user's own `random.py` beside the specification breaks no service."""
    (tmp_path / "random.py").write_text("raise SystemExit('not the one')")
    one = tmp_path / "one.yaml"
    one.write_text(SPEC.replace("repeats: 2", "repeats: 1").replace("batch: [1, 8]", "batch: [1]"))
    command = Path(sys.executable).with_name("joulery")
    done = subprocess.run(
        [str(command), "run", "one.yaml", "--plain"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/small/trials.csv").exists()


@pytest.mark.parametrize("out", [".", "/", ".."])
def test_a_folder_that_cannot_be_a_dataset_is_refused(spec: Path, tmp_path: Path, out: str) -> None:
    """The working directory, its parent and the root are nobody's dataset."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine.txt").write_text("keep")
    done = subprocess.run(
        command("run", spec, "--out", out, "--force"),
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path / "a",
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.rglob("*")} == {"a", "mine.txt"}


def test_a_finished_dataset_is_not_overwritten_unasked(spec: Path, finished: Path) -> None:
    """Without --force the folder is refused, and what is in it stays."""
    before = (finished / "trials.csv").read_bytes()
    refused = joulery("run", spec, "--out", finished, "--plain", code=2)
    assert str(finished) in refused.stderr
    assert (finished / "trials.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("repeats: 2", "repeat: 2", "did you mean 'repeats'?"),
        ("rate_hz: 150", "rate_hz: -150", "found -150"),
        ("traffic_prediction", "trafic_prediction", "traffic_prediction"),
        ("[seasonal_zscore]", "[zscore]", "seasonal_zscore"),
    ],
)
def test_a_wrong_specification_gives_one_message_and_exit_2(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    """A mistake is told in one message, and nothing is left on disk."""
    path = tmp_path / "wrong.yaml"
    path.write_text(SPEC.replace(old, new))
    done = joulery("run", path, "--out", tmp_path / "out", code=2)
    assert words in done.stderr
    assert done.stderr.count("Error") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["wrong.yaml"]


HEADER = "net_in,net_out\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        ("", "empty"),
        (HEADER, "row"),
        (HEADER + "1.0,2.0\n" * 300 + "1.0\n", "line 302"),
        (HEADER + "1.0,2.0\n" * 50, "row"),
        (HEADER + "1.0,2.0\n" * 300 + "1.0,many\n" + "1.0,2.0\n" * 2000, "many"),
    ],
    ids=["missing", "empty", "header", "truncated", "short", "not numeric"],
)
def test_broken_data_gives_one_message_and_exit_2(
    spec: Path, tmp_path: Path, content: str | None, words: str
) -> None:
    """Data that is missing, empty, truncated or not numeric is named, and no dataset is left."""
    path = tmp_path / "own.csv"
    if content is not None:
        path.write_text(content)
    out = tmp_path / "out"
    done = joulery("run", spec, "--out", out, "--data", f"traffic_prediction={path}", code=2)
    assert "DatasetError" in done.stderr
    assert str(path) in done.stderr
    assert words in done.stderr
    assert not out.exists()


def test_the_labelled_series_of_numenta_are_measured(test_data: Path, tmp_path: Path) -> None:
    """With --data the models are fitted to other people's labelled series, and judged on them."""
    path = tmp_path / "numenta.yaml"
    path.write_text(
        SPEC.replace("model: [seasonal_zscore]", "model: [seasonal_zscore, autoencoder]")
        .replace("batch: [1, 8]", "batch: [1]")
        .replace("repeats: 2", "repeats: 1")
    )
    out = tmp_path / "numenta"
    data = test_data / "nab"
    joulery("run", path, "--out", out, "--plain", "--data", f"anomaly_detection={data}")
    dataset = load(out)
    trials = dataset.trials[dataset.trials["scenario"] == "anomaly_detection"]
    assert set(trials["model"]) == {"seasonal_zscore", "autoencoder"}
    assert trials["pr_auc"].between(0, 1).all()
    source = next(s for s in dataset.about.data_sources if s["scenario"] == "anomaly_detection")
    assert "numenta" in source["source"].lower()
    assert "injected" not in source["source"].lower()


def test_a_traceback_is_for_those_who_ask(tmp_path: Path) -> None:
    """JOULERY_DEBUG=1 shows where an error came from."""
    done = joulery("run", tmp_path / "no.yaml", code=1, environment={"JOULERY_DEBUG": "1"})
    assert "Traceback" in done.stderr
    assert "SpecError" in done.stderr
