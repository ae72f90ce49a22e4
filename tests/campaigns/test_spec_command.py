"""`joulery spec validate` and `explain`: what a campaign will do, before it does it."""

from __future__ import annotations

from pathlib import Path

import pytest

from joulery.campaigns.campaign import Campaign
from joulery.campaigns.explain import duration, hms

from ..conftest import REPOSITORY
from .command import joulery

QUICKSTART = REPOSITORY / "campaigns" / "quickstart.yaml"


def test_every_shipped_campaign_is_valid() -> None:
    """Each says how many trials it has and how long they take."""
    specs = sorted((REPOSITORY / "campaigns").glob("*.yaml"))
    assert len(specs) >= 5
    said = joulery("spec", "validate", *specs)
    for spec, line in zip(specs, said.stdout.splitlines(), strict=True):
        trials = len(Campaign.from_file(spec).plan.trials)
        assert line.startswith(f"{spec}: {trials} trials, ")


def test_a_wrong_one_is_refused(tmp_path: Path) -> None:
    """A level that does not exist is found before anything runs."""
    path = tmp_path / "wrong.yaml"
    path.write_text(QUICKSTART.read_text().replace("rocket", "rokcet"))
    said = joulery("spec", "validate", QUICKSTART, path, code=2)
    assert "did you mean 'rocket'?" in " ".join(said.stderr.split())


def test_a_plan_is_explained() -> None:
    """Factors with their levels, what is left out and why, and the trials in their order."""
    said = joulery("spec", "explain", QUICKSTART, "--trials", 3)
    lines = [" ".join(line.split()) for line in said.stdout.splitlines()]
    campaign = Campaign.from_file(QUICKSTART)
    planned = campaign.plan.trials
    assert f"= {len(planned)} trials" in lines[1]
    assert str(duration(campaign)) in lines[1]
    assert "load poisson 150 Hz (24), poisson 600 Hz (24)" in lines
    assert "ridge exists in fp32 only" in said.stdout
    for trial in planned[:3]:
        at = f"{trial.number} {trial.block} {trial.configuration.scenario} {trial.configuration}"
        assert f"{at} {trial.load}" in lines
    assert lines[-1] == f"and {len(planned) - 3} more; --trials lists them"


def test_a_plan_says_what_may_come_on_top(tmp_path: Path) -> None:
    """How long the machine takes to cool down is not known before: its bound is told, if any."""
    path = tmp_path / "hot.yaml"
    for most_s, told in ((45, True), (0, False)):
        hot = f"trial:\n  cool_down_max_s: {most_s}\n"
        path.write_text(QUICKSTART.read_text().replace("trial:\n", hot))
        said = " ".join(joulery("spec", "explain", path).stdout.split())
        assert ("Before each trial up to 45 s more" in said) is told


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(40, "40 s"), (89.6, "90 s"), (90, "2 min"), (3540, "59 min"), (3900, "1 h 05 min")],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    """Seconds, then minutes, then hours."""
    assert hms(seconds) == text
