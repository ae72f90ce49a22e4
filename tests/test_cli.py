"""The command: what it prints, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import joulery
from joulery.campaigns.scenarios import scenarios

from .conftest import REPOSITORY


def _joulery(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "joulery.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_version_and_help() -> None:
    """The version is the package's, and the help names every command and where to begin."""
    assert _joulery("--version").stdout == f"joulery {joulery.__version__}\n"
    text = _joulery("--help").stdout
    for word in ("run", "report", "doctor", "scenarios", "spec", "dataset", "quickstart.yaml"):
        assert word in text


def test_scenarios_are_listed_with_models_and_figures() -> None:
    """Each scenario is there with each of its models and quality figures."""
    text = _joulery("scenarios").stdout
    for scenario in scenarios():
        assert scenario.name in text
        names = [family.name for family in scenario.models]
        names += [figure.name for figure in scenario.figures]
        assert [name for name in names if name not in text] == []


def test_the_schema_is_the_one_that_is_checked_in() -> None:
    """`joulery spec schema` prints the schema that editors find in the repository."""
    shipped = REPOSITORY / "campaigns/spec.schema.json"
    assert json.loads(_joulery("spec", "schema").stdout) == json.loads(shipped.read_text())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("run",), 2, "SPEC"),
        (("run", "x.yaml", "--no-such"), 2, "--no-such"),
        (("run", "x.yaml", "--resume", "--force"), 2, "--resume keeps"),
        (("run", "nothing.yaml"), 2, "no such file"),
        (("report", "nothing"), 2, "no such folder"),
        (("dataset", "verify", "nothing"), 2, "no such folder"),
        (("dataset", "describe", "nothing"), 2, "no such folder"),
    ],
)
def test_mistakes_end_with_2_and_one_message(
    arguments: tuple[str, ...], code: int, words: str
) -> None:
    """A user's mistake gives a message and exit 2, and never a traceback."""
    done = _joulery(*arguments)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_data_for_a_scenario_that_is_not_in_the_campaign_is_refused(tmp_path: Path) -> None:
    """`--data` names a scenario of the campaign, and a path."""
    spec = str(REPOSITORY / "campaigns/quickstart.yaml")
    out = str(tmp_path / "out")
    for given, words in (("video=x.csv", "'video'"), ("x.csv", "SCENARIO=PATH")):
        done = _joulery("run", spec, "--out", out, "--data", given)
        assert done.returncode == 2
        assert words in done.stderr
