"""What a person sees while a campaign runs."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from joulery.campaigns.design import Configuration, PlannedTrial
from joulery.campaigns.live import LiveScreen, PlainLog
from joulery.campaigns.spec import Load

PLANNED = PlannedTrial(
    number=3,
    attempt=1,
    block=1,
    repeat=1,
    configuration=Configuration(
        scenario="tiny", model="double", precision="fp32", batch=1, threads=1
    ),
    load_index=0,
    load=Load(rate_hz=50.0),
)
VALID: dict[str, Any] = {
    "trial": 3,
    "scenario": "tiny",
    "configuration": str(PLANNED.configuration),
    "model": "double",
    "precision": "fp32",
    "batch": 1,
    "load": "poisson 50 Hz",
    "rate_hz": 50.0,
    "latency_p95_s": 0.00123,
    "inference_energy_j": 0.0045,
    "quality_figure": "error",
    "quality_value": 0.5,
    "verdict": "valid",
    "reasons": None,
}
INVALID = VALID | {
    "trial": 4,
    "latency_p95_s": None,
    "inference_energy_j": None,
    "quality_value": None,
    "verdict": "invalid",
    "reasons": "send_lag (p99 9.0 ms, at most 5 ms)",
}


def test_the_log_has_a_line_per_trial() -> None:
    """A log line names trial, configuration, load, the three figures and the verdict."""
    out = io.StringIO()
    log = PlainLog(Console(file=out, width=60))
    log.begin("Small", 9, 2, "estimated (estimate:cpu)")
    log.trial(PLANNED, 9)
    log.phase("window")
    log.finished(VALID)
    log.finished(INVALID)
    head, first, second = out.getvalue().splitlines()
    assert head == "Small: 9 trials, 2 done; energy: estimated (estimate:cpu)"
    for part in ("3/9", "double", "poisson 50 Hz", "1.23 ms", "4.50 mJ", "error 0.500", "| valid"):
        assert part in first
    assert "p95 - ms" in second
    assert second.endswith("invalid: send_lag (p99 9.0 ms, at most 5 ms)")


def test_the_screen_shows_the_trial_the_verdicts_and_what_is_left() -> None:
    """The last frame has the finished trials, the count of verdicts and the kind of energy."""
    console = Console(record=True, width=110, height=40, force_terminal=True, file=io.StringIO())
    with LiveScreen(console) as screen:
        screen.begin("Small", 9, 2, "estimated (estimate:cpu)")
        screen.trial(PLANNED, 9)
        screen.phase("window")
        screen.finished(VALID)
        screen.finished(INVALID)
        screen.note("left out: something")
    text = console.export_text()
    for part in (
        "Small",
        "4/9",
        "left out: something",
        "1 invalid, 1 valid",
        "estimated",
        "send_lag",
    ):
        assert part in text


def test_a_narrow_screen_cuts_no_number() -> None:
    """At 72 columns the figures and the verdict are whole, whatever the model is called."""
    console = Console(record=True, width=72, height=40, force_terminal=True, file=io.StringIO())
    with LiveScreen(console) as screen:
        screen.begin("Small", 9, 2, "estimated (estimate:cpu)")
        screen.finished(VALID | {"model": "a_model_with_a_very_long_name_that_does_not_fit"})
    text = console.export_text()
    for part in ("50 Hz", "1.23", "4.50", "0.500", "valid"):
        assert part in text
