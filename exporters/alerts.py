"""The alerts: what somebody should look at, without a threshold that only its service knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from . import service_metrics as s
from .metrics import DEVICE_TIME, SOURCE_UP, high_of, low_of
from .promql import selected

__all__ = ["ALERTS", "Alert"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert.

    Args:
        name: In camel case.
        expr: In PromQL; each of its samples is an alert.
        wait: How long it must hold, as Prometheus writes durations.
        severity: A value of the label that receivers look at.
        summary: One line, with labels in double braces.
        description: What it means, and what to do.
    """

    name: str
    expr: str
    wait: str
    severity: Literal["info", "warning"]
    summary: str
    description: str


_UNKNOWN_RATIO = 0.1
"""More time than this without energy makes sums of joules visibly too small."""

_FEEDBACK = 'method="feedback"'
_HOUR, _EVER = 'window="3600"', 'window="all"'
_DROPPED, _UNKNOWN = 'outcome="dropped"', 'state="unknown"'
_REFUSED = 'outcome=~"unknown_sender|foreign_identity"'
_POD = "{{ $labels.namespace }}/{{ $labels.pod }}"

ALERTS = (
    Alert(
        name="JouleryTargetDown",
        expr=f"max by ({', '.join(s.TARGET_UP.labels)}) ({s.TARGET_UP.series}) == 0",
        wait="5m",
        severity="warning",
        summary=f"The metrics of {_POD} cannot be read.",
        description="Its scrapes fail, or are not understood as {{ $labels.dialect }}. Its latency "
        "and joules per inference are missing. The log of the service exporter says why.",
    ),
    Alert(
        name="JouleryEnergySourceDown",
        expr=f"{SOURCE_UP.series} == 0",
        wait="5m",
        severity="warning",
        summary="The energy source {{ $labels.source }} on {{ $labels.instance }} cannot be read.",
        description="The energy of pods on this node is missing or too small. The log of the "
        "energy exporter says why.",
    ),
    Alert(
        name="JouleryEnergyUnknown",
        expr=f"rate({selected(DEVICE_TIME.series, _UNKNOWN)}[1h]) > {_UNKNOWN_RATIO}",
        wait="15m",
        severity="warning",
        summary="The energy of {{ $labels.device }} on {{ $labels.instance }} is unknown for a "
        "share of {{ $value | humanizePercentage }} of the time.",
        description="That time is in no pod's joules, which are too small by as much. The default "
        f"is to tell above {_UNKNOWN_RATIO:.0%}.",
    ),
    Alert(
        name="JouleryLabelsDropped",
        expr=f"increase({selected(s.FEEDBACK.series, _DROPPED)}[15m]) > 0",
        wait="0s",
        severity="warning",
        summary="The service exporter {{ $labels.instance }} drops labels: its store is full.",
        description="Quality by feedback rests on fewer answers than were labelled. Let it keep "
        "more answers, or keep them for less long.",
    ),
    Alert(
        name="JouleryIdentityRefused",
        expr=f"increase({selected(s.RECEIVER_REQUESTS.series, _REFUSED)}[15m]) > 0",
        wait="5m",
        severity="warning",
        summary="The receiver {{ $labels.instance }} refuses senders: {{ $labels.outcome }}.",
        description="foreign_identity: a pod claims to be another one. unknown_sender: the address "
        "is of no pod of this node; services send to the exporter of their own node.",
    ),
    Alert(
        name="JouleryQualityFell",
        expr=f"{selected(high_of(s.QUALITY).series, _FEEDBACK, _HOUR)}\n"
        "< ignoring (window)\n"
        f"{selected(low_of(s.QUALITY).series, _FEEDBACK, _EVER)}",
        wait="15m",
        severity="warning",
        summary=f"{{{{ $labels.metric }}}} of {{{{ $labels.model }}}} in {_POD} has fallen.",
        description="By feedback, the 95 % interval of the last hour lies below that of all "
        "answers so far: that is no chance. Look at the inputs, and at what was deployed.",
    ),
)
"""All of them."""
