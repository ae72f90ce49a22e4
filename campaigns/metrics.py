"""What Prometheus is told of a campaign while it runs.

Each event makes a new snapshot, and a scrape reads one: nothing is worked out for it. What is not
known has no sample.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from .. import __version__
from ..errors import SpecError
from .design import PlannedTrial
from .observer import PHASES, Pace, device_power_w, reason_names

__all__ = ["CATALOGUE", "CampaignMetric", "CampaignMetrics", "serve_metrics"]

Samples = Mapping[tuple[str, ...], float]
"""Values by the values of the labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignMetric:
    """One metric: its name, without the prefix, its labels, and what it says in a sentence."""

    stem: str
    labels: tuple[str, ...] = ()
    help: str

    @property
    def name(self) -> str:
        """The name under which Prometheus stores it."""
        return f"joulery_campaign_{self.stem}"

    @property
    def type(self) -> Literal["counter", "gauge"]:
        """As Prometheus names it; names of counters end with `_total`."""
        return "counter" if self.stem.endswith("_total") else "gauge"

    def family(self, samples: Samples) -> CounterMetricFamily | GaugeMetricFamily:
        """Return it with its samples."""
        make = CounterMetricFamily if self.type == "counter" else GaugeMetricFamily
        family = make(self.name, self.help, labels=self.labels)
        for labels, value in samples.items():
            family.add_metric(labels, value)
        return family


_CELL = ("scenario", "configuration", "load", "network", "environment")
_LAST = (*_CELL, "verdict")
_PERCENTILES = ("p50", "p95", "p99")

INFO = CampaignMetric(
    stem="info",
    labels=("campaign", "title", "version"),
    help="Always 1: which campaign runs, and the version of joulery that runs it.",
)
START = CampaignMetric(
    stem="start_timestamp_seconds", help="Unix time from which this run has measured trials."
)
END = CampaignMetric(
    stem="expected_end_timestamp_seconds",
    help="Unix time at which all trials are done if they take as long as those of this run; known "
    "from its first trial on.",
)
PLANNED = CampaignMetric(
    stem="planned_trials",
    help="Trials of the campaign, retries that are known included; a stopping rule or a search "
    "may need fewer.",
)
DONE = CampaignMetric(
    stem="done_trials", help="Trials that are recorded, those of earlier runs included."
)
TRIALS = CampaignMetric(
    stem="trials_total",
    labels=("verdict",),
    help="Trials of this run by verdict, valid or invalid.",
)
INVALID = CampaignMetric(
    stem="invalid_trials_total",
    labels=("reason",),
    help="Invalid trials of this run by reason; one counts once for each of its reasons.",
)
RETRIES = CampaignMetric(
    stem="retries_total", help="Trials of this run that were another try of an invalid one."
)
RUNNING = CampaignMetric(
    stem="running_trial_info", labels=_CELL, help="Always 1: what the trial that runs measures."
)
NUMBER = CampaignMetric(
    stem="running_trial_number", help="Number of the trial that runs, as in the dataset."
)
BLOCK = CampaignMetric(stem="running_trial_block", help="Block of the trial that runs.")
PHASE = CampaignMetric(
    stem="phase",
    labels=("phase",),
    help="1 for the phase that the running trial is in, 0 for the others.",
)
LAST_END = CampaignMetric(
    stem="last_trial_timestamp_seconds", help="Unix time at which the last trial was recorded."
)
LATENCY = CampaignMetric(
    stem="last_trial_latency_seconds",
    labels=(*_LAST, "percentile"),
    help="Latency of the last trial: p50, p95, p99.",
)
ENERGY, ENERGY_LOW, ENERGY_HIGH = (
    CampaignMetric(
        stem=f"last_trial_inference_energy{end}_joules",
        labels=(*_LAST, "provenance"),
        help=f"{which} of the last trial's energy above idle for an answered request.",
    )
    for end, which in (
        ("", "Value"),
        ("_low", "Lower end of the 95 % interval"),
        ("_high", "Upper end of the 95 % interval"),
    )
)
DEVICE_ENERGY = CampaignMetric(
    stem="last_trial_device_energy_joules",
    labels=(*_LAST, "provenance"),
    help="Energy of all devices in the last trial's window, idle included.",
)
DEVICE_POWER = CampaignMetric(
    stem="last_trial_device_power_watts",
    labels=(*_LAST, "provenance"),
    help="The same by the window's duration: mean power.",
)
QUALITY = CampaignMetric(
    stem="last_trial_quality",
    labels=(*_LAST, "figure"),
    help="Headline quality figure of the last trial, in its own unit.",
)

CATALOGUE = (
    *(INFO, START, END, PLANNED, DONE, TRIALS, INVALID, RETRIES),
    *(RUNNING, NUMBER, BLOCK, PHASE, LAST_END),
    *(LATENCY, ENERGY, ENERGY_LOW, ENERGY_HIGH, DEVICE_ENERGY, DEVICE_POWER, QUALITY),
)
"""All of them, in the order in which they are served."""


class CampaignMetrics(Collector):
    """Observes a campaign for Prometheus.

    Args:
        name: Of the campaign.
        title: Its name for people.
        pace: Tells how long the rest takes.
        wall: Unix time, seconds.
    """

    def __init__(
        self,
        name: str,
        title: str,
        *,
        pace: Pace | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._pace, self._wall = pace or Pace(), wall
        self._snapshot: Mapping[CampaignMetric, Samples] = {INFO: {(name, title, __version__): 1}}

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Yield what a scrape says."""
        snapshot = self._snapshot
        return (one.family(snapshot[one]) for one in CATALOGUE if snapshot.get(one))

    def begin(self, title: str, total: int, done: int, energy: str) -> None:  # noqa: ARG002 - rows say
        """Start to count."""
        self._pace.begin(total, done)
        counters: dict[CampaignMetric, Samples] = {
            TRIALS: {("valid",): 0, ("invalid",): 0},
            RETRIES: {(): 0},
        }
        self._set({START: {(): self._wall()}}, counters, self._counts(), _running(None), _at(None))

    def trial(self, planned: PlannedTrial, total: int) -> None:
        """Tell which trial runs."""
        self._pace.total = total
        self._set(self._counts(), _running(planned))

    def phase(self, name: str) -> None:
        """Tell the phase."""
        self._set(_at(name))

    def finished(self, row: Mapping[str, Any]) -> None:
        """Count a trial, and tell its figures instead of those of the one before."""
        left_s, now_s = self._pace.finished(), self._wall()
        counters = {
            TRIALS: self._counted(TRIALS, (row["verdict"],)),
            INVALID: self._counted(INVALID, *((name,) for name in reason_names(row))),
            RETRIES: self._counted(RETRIES, *([()] if row["attempt"] > 1 else [])),
        }
        times: dict[CampaignMetric, Samples] = {END: {(): now_s + left_s}, LAST_END: {(): now_s}}
        self._set(times, counters, self._counts(), _running(None), _at(None), _figures(row))

    def note(self, text: str) -> None:
        """A line is no metric."""

    def _set(self, *parts: Mapping[CampaignMetric, Samples]) -> None:
        """Replace what is told of some metrics, all at once."""
        snapshot = dict(self._snapshot)
        for part in parts:
            snapshot |= part
        self._snapshot = snapshot

    def _counts(self) -> dict[CampaignMetric, Samples]:
        return {PLANNED: {(): self._pace.total}, DONE: {(): self._pace.done}}

    def _counted(self, metric: CampaignMetric, *events: tuple[str, ...]) -> Samples:
        """Return a counter's samples after some events, each given by its labels."""
        before = self._snapshot.get(metric, {})
        return {**before, **{event: before.get(event, 0) + 1 for event in events}}


def _running(planned: PlannedTrial | None) -> dict[CampaignMetric, Samples]:
    """Return which trial runs; nothing without one."""
    if planned is None:
        return {RUNNING: {}, NUMBER: {}, BLOCK: {}}
    configuration = planned.configuration
    under = (name or "" for name in planned.under.values())
    cell = (configuration.scenario, str(configuration), *under)
    return {RUNNING: {cell: 1}, NUMBER: {(): planned.number}, BLOCK: {(): planned.block}}


def _at(phase: str | None) -> dict[CampaignMetric, Samples]:
    """Return in which phase the running trial is, `None` without one; names as in the dataset."""
    names = {name: name.replace(" ", "_").replace("-", "") for name in PHASES}
    return {PHASE: {(label,): float(name == phase) for name, label in names.items()}}


def _figures(row: Mapping[str, Any]) -> dict[CampaignMetric, Samples]:
    """Return what a trial found; what is not known is left out."""
    cell = tuple(row.get(name) or "" for name in _LAST)
    energy = (*cell, row["energy_provenance"] or "")
    found: dict[CampaignMetric, dict[tuple[str, ...], float | None]] = {
        LATENCY: {(*cell, name): row[f"latency_{name}_s"] for name in _PERCENTILES},
        ENERGY: {energy: row["inference_energy_j"]},
        ENERGY_LOW: {energy: row["inference_energy_low_j"]},
        ENERGY_HIGH: {energy: row["inference_energy_high_j"]},
        DEVICE_ENERGY: {energy: row["device_energy_j"]},
        DEVICE_POWER: {energy: device_power_w(row)},
        QUALITY: {(*cell, row["quality_figure"]): row["quality_value"]},
    }
    return {
        metric: {labels: value for labels, value in samples.items() if value is not None}
        for metric, samples in found.items()
    }


@contextlib.contextmanager
def serve_metrics(metrics: Collector, host: str, port: int) -> Iterator[str]:
    """Serve metrics over HTTP until the block ends.

    Args:
        metrics: What to serve.
        host: Address to listen on.
        port: Port; 0 takes a free one.

    Yields:
        The URL.

    Raises:
        SpecError: When the address or the port cannot be had.
    """
    registry = CollectorRegistry()
    registry.register(metrics)
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise SpecError(
            "--metrics-port",
            place=f"{host}:{port}",
            found=error.strerror or str(error),
            expected="an address of this machine, and a port that is free",
            remedy="0 takes any free port",
        ) from error
    try:
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
