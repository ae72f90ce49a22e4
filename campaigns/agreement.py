"""Whether two readings of one device tell the same energy. Nothing here reads or prints.

Two sources that stand side by side are the cheapest test of either: a counter against its own
power, one library against another, the whole machine against the sum of its parts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ..profiler.quantities import Energy, sum_energy
from ..profiler.sources.base import Domain, Kind, Source
from ..profiler.window import DomainEnergy

__all__ = ["Agreement", "Pair", "Verdict", "device", "judge", "pairs", "seconds_needed"]

TELLING_RATIO = 0.5
"""A difference known no better than to half of the energy would pass almost anything."""

STEADY_UPDATES = 25
"""Updates of the slower sensor after which the meter trusts its mean power (20), and some more."""

_GENERIC = {"cpu", "package", "socket", "dram", "memory", "gpu", "npu", "ram"}


class Verdict(StrEnum):
    """What a comparison says."""

    AGREE = "agree"
    DISAGREE = "disagree"
    TOO_SHORT = "too short"
    """The difference is not known well enough to say."""
    UNKNOWN = "unknown"
    """One of the energies is not known: a gap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two readings that should tell one energy, each the sum of one or more domains.

    Args:
        device: What is read, for people.
        first: Keys `source:domain` of the one reading.
        second: Keys of the other.
        covers: The first holds the second and more: it may be larger, never smaller.
        update_s: Time between two updates of the slowest sensor in it.
    """

    device: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    covers: bool
    update_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What two readings of one device said in one window.

    Args:
        pair: Which.
        verdict: What it means.
        first: Energy of the first reading; `None` when it is not known.
        second: Energy of the second, likewise.
        difference_j: First less second, in joules, and its 95 % interval `low_j` to `high_j`;
            `None` where an energy is not known.
        gaps: Why an energy is not known.
    """

    pair: Pair
    verdict: Verdict
    first: Energy | None
    second: Energy | None
    difference_j: float | None = None
    low_j: float | None = None
    high_j: float | None = None
    gaps: tuple[str, ...] = ()


def device(domain: Domain) -> tuple[Kind, tuple[str, ...], tuple[int, ...]]:
    """Return which device a domain is, whatever its source calls it.

    The kind, the words of its name that say more than the kind, and its numbers: "dram-0" and
    "package-0/dram" are one device, "package-0/core" is another than "package-0".
    """
    words = set(re.findall(r"[a-z]+", domain.name.lower())) - _GENERIC
    return domain.kind, tuple(sorted(words)), tuple(map(int, re.findall(r"\d+", domain.name)))


def pairs(sources: Sequence[Source]) -> tuple[Pair, ...]:
    """Find what is read twice: one device by two sources, and the platform over its parts."""
    known = [
        (f"{source.name}:{d.name}", source.name, d) for source in sources for d in source.domains
    ]
    found: list[Pair] = []
    for index, (key, source, domain) in enumerate(known):
        for other_key, other_source, other in known[index + 1 :]:
            if source != other_source and device(domain) == device(other):
                found.append(
                    Pair(
                        device=domain.name,
                        first=(key,),
                        second=(other_key,),
                        covers=False,
                        update_s=max(domain.update_s, other.update_s),
                    )
                )
    parts = [(key, d) for key, _, d in known if d.summed and d.kind is not Kind.PLATFORM]
    for key, _, domain in known:
        # A sensor of nobody knows what is shown as the platform's, and need not hold its parts.
        if domain.kind is Kind.PLATFORM and "unknown" not in domain.note and parts:
            found.append(
                Pair(
                    device=domain.name,
                    first=(key,),
                    second=tuple(part for part, _ in parts),
                    covers=True,
                    update_s=max(domain.update_s, *(d.update_s for _, d in parts)),
                )
            )
    return tuple(found)


def seconds_needed(some: Iterable[Pair]) -> float:
    """Return how long to measure until the slowest sensor of some pairs can be trusted."""
    return STEADY_UPDATES * max((pair.update_s for pair in some), default=0.0)


def judge(pair: Pair, domains: Mapping[str, DomainEnergy]) -> Agreement:
    """Compare the two readings in one window.

    Errors of the two are taken as independent. Parts of one reading err together.

    Args:
        pair: Which.
        domains: The window's energies by `source:domain`.
    """
    first, second = (
        sum_energy((domains[key].energy for key in keys), errors="common")
        for keys in (pair.first, pair.second)
    )
    if first is None or second is None:
        gaps = [
            f"{key}: {', '.join(domains[key].gaps) or 'no reading'}"
            for key in (*pair.first, *pair.second)
            if domains[key].energy is None
        ]
        return Agreement(
            pair=pair, verdict=Verdict.UNKNOWN, first=first, second=second, gaps=tuple(gaps)
        )
    difference_j = first.value_j - second.value_j
    low_j = difference_j - math.hypot(first.value_j - first.low_j, second.high_j - second.value_j)
    high_j = difference_j + math.hypot(first.high_j - first.value_j, second.value_j - second.low_j)
    if high_j < 0 or (low_j > 0 and not pair.covers):
        verdict = Verdict.DISAGREE
    elif (high_j - low_j) / 2 >= TELLING_RATIO * max(first.value_j, second.value_j):
        verdict = Verdict.TOO_SHORT
    else:
        verdict = Verdict.AGREE
    return Agreement(
        pair=pair,
        verdict=verdict,
        first=first,
        second=second,
        difference_j=difference_j,
        low_j=low_j,
        high_j=high_j,
    )
