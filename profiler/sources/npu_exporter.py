"""Neural processors through their vendor's Prometheus exporter: the power that it publishes.

Vendor documents: Huawei MindCluster "Prometheus Metrics" (`npu_chip_info_power`, watts), Intel
Gaudi "Prometheus Metric Exporter" (`habanalabs_power_mW`), Furiosa "Metrics Exporter"
(`furiosa_npu_hw_power`, watts). For other cards nobody has told us a metric and its unit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from ...errors import SourceFailed, SourceUnavailable
from ..quantities import Provenance
from .base import Domain, Kind, Reading
from .npu import BusySeconds
from .polled import Polled, Sampled, ask, checked

if TYPE_CHECKING:  # slow to import, and most machines need none
    import requests

__all__ = ["Family", "NpuExporter", "Series", "parse_metrics"]

EVERY_S = 2.0
"""Pause between two questions: exporters renew every second (Furiosa) to 5 s (Ascend)."""

UPDATE_S = 7.0
"""The slowest exporter's own renewal, 5 s (the default of Ascend's), and our pause."""

MAX_POWER_W = 2000.0
"""More than any single card draws; exporters tell no limit that all have in common."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What one vendor's exporter calls the power of a card.

    Args:
        vendor: The vendor's name for its cards; domains begin with it.
        power: The metric with the power.
        watts: One unit of the metric in watts.
        busy: The metric with the utilisation in per cent; several of a card are averaged.
        names: Labels that name a card, the first one that is there.
        where: Labels that a series of the power must have.
        model: The label with the model.
        board: The label with the board's address, on which several chips may sit.
        shared: Models whose chips each tell the power of the whole board.
    """

    vendor: str
    power: str
    watts: float
    busy: str
    names: tuple[str, ...]
    where: tuple[tuple[str, str], ...] = ()
    model: str = ""
    board: str = ""
    shared: re.Pattern[str] | None = None


FAMILIES = (
    # Ascend's exporter reads the board's controller on the 310P, for each of its chips: the two
    # chips of an Atlas 300I Duo would count their board twice.
    Family(
        vendor="ascend",
        power="npu_chip_info_power",
        watts=1.0,
        busy="npu_chip_info_utilization",
        names=("id", "npuID"),
        model="model_name",
        board="pcie_bus_info",
        shared=re.compile(r".*310P.*"),
    ),
    # The same exporter's `accelerator_power_usage_watts` holds milliwatts.
    Family(
        vendor="gaudi",
        power="habanalabs_power_mW",
        watts=1e-3,
        busy="habanalabs_utilization",
        names=("id", "device"),
    ),
    Family(
        vendor="furiosa",
        power="furiosa_npu_hw_power",
        watts=1.0,
        busy="furiosa_npu_core_utilization",
        names=("device",),
        where=(("label", "rms"),),
        model="arch",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The power of one card, and how busy it is.

    Args:
        power_w: Power; `None` when the exporter has no value for it now.
        stamp: The exporter's own time of the power, if it gives one.
        busy_ratio: Utilisation, 0 to 1; `None` if it is not told.
        note: Model and address, for people.
    """

    power_w: float | None
    stamp: float | None
    busy_ratio: float | None
    note: str


def parse_metrics(text: str, families: Iterable[Family] = FAMILIES) -> dict[str, Series]:
    """Read the cards out of an exporter's metrics.

    A value below 0, infinite or not a number is none: exporters put such for "not known".

    Raises:
        ValueError: When the text is not in Prometheus' format.
    """
    from prometheus_client.parser import text_string_to_metric_families

    samples: dict[str, list[tuple[Mapping[str, str], float, float | None]]] = {}
    for metric in text_string_to_metric_families(text):
        for sample in metric.samples:
            stamp = None if sample.timestamp is None else float(sample.timestamp)
            samples.setdefault(sample.name, []).append((sample.labels, sample.value, stamp))
    found: dict[str, Series] = {}
    for family in families:
        busy: dict[str, list[float]] = {}
        for labels, value, _ in samples.get(family.busy, []):
            if 0 <= value <= 100:
                busy.setdefault(_name(family, labels), []).append(value / 100)
        boards: set[str] = set()
        for labels, value, stamp in samples.get(family.power, []):
            if any(labels.get(key) != wanted for key, wanted in family.where):
                continue
            name, model = _name(family, labels), labels.get(family.model, "")
            board = labels.get(family.board, "")
            if family.shared and family.shared.fullmatch(model) and board and name not in found:
                if board in boards:
                    continue
                boards.add(board)
            ratios = busy.get(name)
            found[name] = Series(
                power_w=value * family.watts if value >= 0 and math.isfinite(value) else None,
                stamp=stamp,
                busy_ratio=fmean(ratios) if ratios else None,
                note=" ".join(filter(None, (model, board))) or family.vendor,
            )
    return found


def _name(family: Family, labels: Mapping[str, str]) -> str:
    number = next((labels[key] for key in family.names if labels.get(key)), "?")
    return f"{family.vendor}-{number}"


class NpuExporter:
    """Every card that a vendor's exporter tells the power of, and no other source does.

    Args:
        session: The HTTP client.
        url: The exporter's metrics, for instance "http://localhost:8082/metrics".
        clock: Monotonic seconds.
        told: Vendors whose cards have a source of their own on this machine: left out here, or
            they would count twice.

    Attributes:
        dropped: Cards that are left out, each with the reason.

    Raises:
        SourceUnavailable: Nobody answers there, or no card is left among the metrics.
        SourceForbidden: The exporter does not let us in.
        SourceFailed: It answers nonsense.
    """

    name = "npu-exporter"

    def __init__(
        self,
        session: requests.Session,
        url: str,
        clock: Callable[[], float],
        *,
        told: Collection[str] = (),
    ) -> None:
        self._session, self._url = session, url
        self._families = [family for family in FAMILIES if family.vendor not in told]
        self._busy, self._ratios = BusySeconds(clock), dict[str, float]()
        self._polled = Polled(self._fetch, subject=self.name, every_s=EVERY_S, clock=clock)
        self._notes: dict[str, str] = {}
        self.dropped = {f"{vendor} cards": "their own source tells them" for vendor in told}
        known = self._polled.refresh()
        if not known:
            wanted = ", ".join(family.power for family in self._families)
            raise SourceUnavailable(
                self.name, place=url, found="no power of a card", expected=f"one of {wanted}"
            )
        self.domains = tuple(
            Domain(
                name=name,
                kind=Kind.NPU,
                form="power",
                provenance=Provenance.INTEGRATED,
                max_power_w=MAX_POWER_W,
                update_s=UPDATE_S,
                note=f"{self._notes[name]}, as told by {url}",
            )
            for name in known
        )

    def _fetch(self) -> dict[str, Sampled]:
        response = checked(
            ask(self._session, "GET", self._url, subject=self.name),
            subject=self.name,
            remedy="give the address of an exporter that this machine may read",
        )
        try:
            cards = parse_metrics(response.text, self._families)
        except ValueError as error:
            raise SourceFailed(self.name, place=self._url, found=str(error)[:200]) from error
        self._notes = {name: card.note for name, card in cards.items()}
        self._ratios = {
            name: card.busy_ratio for name, card in cards.items() if card.busy_ratio is not None
        }
        return {
            name: Sampled(value=card.power_w, stamp=card.stamp)
            for name, card in cards.items()
            if card.power_w is not None
        }

    def sample(self) -> tuple[Reading, ...]:
        """Return the latest power of every card; see `Source`."""
        return self._polled.readings(self.domains)

    def busy_s(self) -> dict[str, float]:
        """Return the busy seconds of each card that tells its utilisation; they never fall."""
        return self._busy.update(self._ratios)

    def close(self) -> None:
        """End the thread that asks the exporter."""
        self._polled.close()
