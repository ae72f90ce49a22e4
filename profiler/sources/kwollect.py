"""Grid'5000's wattmeters and board controllers through Kwollect: power of the whole node.

Service: "Monitoring Using Kwollect" of Grid'5000: `/sites/{site}/metrics`, rows with `timestamp`,
`device_id`, `metric_id`, `value`, `labels`. A wattmeter measures at the plug, 50 times a second,
and is stored as a value a second; a board controller's value comes every 5 s and is, in the
service's own words, unreliable. Told beside the other sources, never added to them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ...errors import SourceFailed, SourceUnavailable
from ..quantities import Provenance
from .base import Domain, Kind, Reading
from .polled import Polled, Sampled, ask, checked

if TYPE_CHECKING:  # slow to import, and most machines need none
    import requests

__all__ = ["METRICS", "Kwollect", "parse_rows"]

METRICS = {"wattmetre_power_watt": 1.0, "bmc_node_power_watt": 5.0}
"""The metrics that tell a node's power, and the seconds between two values of each."""

EVERY_S = 1.0
"""Pause between two questions."""

LOOK_BACK_S = 60.0
"""Rows arrive late; a row older than this is no present power."""

MAX_POWER_W = 5000.0
"""More than a node of Grid'5000 draws."""


def parse_rows(rows: object, node: str) -> dict[str, Sampled]:
    """Return the newest value of each metric and plug of a node, with its own time.

    A node with several power supplies has several plugs, and a row for each. A row without a
    value is none.

    Raises:
        ValueError: When these are not rows of Kwollect.
    """
    if not isinstance(rows, list):
        raise ValueError(f"not a list of rows: {str(rows)[:80]}")
    newest: dict[str, Sampled] = {}
    for row in rows:
        try:
            if row["device_id"] != node or row["value"] is None:
                continue
            value = float(row["value"])
            stamp = datetime.fromisoformat(row["timestamp"]).timestamp()
            name = _name(row)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"not a row of Kwollect: {str(row)[:80]} ({error!r})") from error
        if value < 0 or not math.isfinite(value):
            continue
        if name not in newest or stamp > (newest[name].stamp or 0.0):
            newest[name] = Sampled(value=value, stamp=stamp)
    return newest


def _name(row: dict[str, Any]) -> str:
    plugs = (row.get("labels") or {}).get("_device_orig") or []
    return "/".join([str(row["metric_id"]), *(["+".join(map(str, plugs))] if plugs else [])])


class Kwollect:
    """The power of one node, at its plugs and as its board controller tells it.

    Args:
        session: The HTTP client, with name and password when asked from outside Grid'5000.
        url: The site, for instance "https://api.grid5000.fr/stable/sites/lyon".
        node: The node's short name, for instance "taurus-7".
        clock: Monotonic seconds.
        wall: Seconds since 1970: rows are asked for, and carry, wall-clock time.
        metrics: Which metrics.

    Raises:
        SourceUnavailable: Nobody answers, or the node has none of these metrics now.
        SourceForbidden: The service does not let us in.
        SourceFailed: It answers nonsense.
    """

    name = "kwollect"

    def __init__(
        self,
        session: requests.Session,
        url: str,
        node: str,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        metrics: Sequence[str] = tuple(METRICS),
    ) -> None:
        self._session, self._url = session, f"{url.rstrip('/')}/metrics"
        self._node, self._metrics, self._wall = node, tuple(metrics), wall
        self._polled = Polled(self._fetch, subject=self.name, every_s=EVERY_S, clock=clock)
        known = self._polled.refresh()
        if not known:
            raise SourceUnavailable(
                f"kwollect {node}",
                place=self._url,
                found=f"no value in the last {LOOK_BACK_S:.0f} s",
                expected=" or ".join(self._metrics),
                remedy="not every cluster has wattmeters; some metrics are collected only for "
                "jobs submitted with 'oarsub -t monitor'",
            )
        now_s = wall()
        self.domains = tuple(
            self._domain(name, max(0.0, now_s - (sampled.stamp or now_s)))
            for name, sampled in sorted(known.items())
        )

    def _domain(self, name: str, late_s: float) -> Domain:
        """Describe one metric, whose values are as late as the first one was."""
        period_s = METRICS.get(name.partition("/")[0], max(METRICS.values()))
        return Domain(
            name=name,
            kind=Kind.PLATFORM,
            form="power",
            provenance=Provenance.INTEGRATED,
            max_power_w=MAX_POWER_W,
            summed=False,
            update_s=period_s + EVERY_S + late_s,
            note=f"{self._node}, a value every {period_s:g} s, {late_s:.1f} s late",
        )

    def _fetch(self) -> dict[str, Sampled]:
        options = {
            "nodes": self._node,
            "metrics": ",".join(self._metrics),
            "start_time": int(self._wall() - LOOK_BACK_S),
        }
        response = checked(
            ask(self._session, "GET", self._url, subject=self.name, params=options),
            subject=self.name,
            remedy="outside Grid'5000 set JOULERY_KWOLLECT_USER and JOULERY_KWOLLECT_PASSWORD",
        )
        try:
            return parse_rows(response.json(), self._node)
        except ValueError as error:
            raise SourceFailed(self.name, place=self._url, found=str(error)[:200]) from error

    def sample(self) -> tuple[Reading, ...]:
        """Return the latest power of every metric; see `Source`."""
        return self._polled.readings(self.domains)

    def close(self) -> None:
        """End the thread that asks the service."""
        self._polled.close()
