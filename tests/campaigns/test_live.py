"""What a person sees while a campaign runs."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

from rich.console import Console

from joulery.campaigns.live import LiveScreen, PlainLog
from joulery.campaigns.network.presets import preset

from .tiny import PLANNED

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


def test_an_emulated_network_is_named() -> None:
    """Log lines and the screen say under which network a trial ran, and only where one did."""
    out = io.StringIO()
    log = PlainLog(Console(file=out, width=60))
    log.finished(VALID | {"network": "4g"})
    log.finished(VALID | {"network": None})
    first, second = out.getvalue().splitlines()
    assert "poisson 50 Hz, 4g |" in first
    assert "poisson 50 Hz |" in second
    console = Console(record=True, width=110, height=40, force_terminal=True, file=io.StringIO())
    with LiveScreen(console) as screen:
        screen.begin("Small", 9, 2, "estimated (estimate:cpu)")
        screen.trial(dataclasses.replace(PLANNED, network=preset("satellite")), 9)
        screen.finished(VALID | {"network": "4g"})
        text = _shown(screen)
    assert "50 Hz, 4g" in text
    assert "poisson 50 Hz, satellite" in text


def test_a_narrow_screen_cuts_no_number() -> None:
    """At 72 columns the figures and the verdict are whole, whatever the model is called."""
    console = Console(record=True, width=72, height=40, force_terminal=True, file=io.StringIO())
    with LiveScreen(console) as screen:
        screen.begin("Small", 9, 2, "estimated (estimate:cpu)")
        screen.finished(VALID | {"model": "a_model_with_a_very_long_name_that_does_not_fit"})
    text = console.export_text()
    for part in ("50 Hz", "1.23", "4.50", "0.500", "valid"):
        assert part in text


def test_power_is_drawn_trial_by_trial_below_latency() -> None:
    """Bars of power stand below those of latency, a blank where unknown; without any, no row."""
    console = Console(record=True, width=100, height=40, force_terminal=True, file=io.StringIO())
    with LiveScreen(console) as screen:
        screen.begin("Small", 9, 0, "measured (powercap:package-0)")
        screen.finished(VALID | {"device_energy_j": None, "window_s": 2.0})
        unknown = _shown(screen)
        for energy_j in (40.0, 80.0):
            screen.finished(VALID | {"device_energy_j": energy_j, "window_s": 2.0})
        known = _shown(screen)
    assert "power with idle" not in unknown
    [latency] = [line for line in known.splitlines() if "p95 latency" in line]
    [power] = [line for line in known.splitlines() if "power with idle, W" in line]
    assert "███" in latency
    assert " ▅█ 40.00" in power
    assert power.index("█") == latency.index("█") + 2
    assert latency.rstrip(" │").endswith("1.23")


def test_a_failed_trial_is_named_by_its_reason_alone() -> None:
    """What an error says, semicolons included, stays out of the column of verdicts."""
    console = Console(record=True, width=100, height=40, force_terminal=True, file=io.StringIO())
    with LiveScreen(console) as screen:
        screen.begin("Small", 9, 0, "estimated (estimate:cpu)")
        screen.finished(INVALID | {"reasons": "failed (service: found no answer; see its log)"})
        text = _shown(screen)
    assert " failed " in text
    assert "see its log" not in text


def _shown(screen: LiveScreen) -> str:
    console = Console(record=True, width=100, file=io.StringIO())
    console.print(screen._draw())
    return console.export_text()
