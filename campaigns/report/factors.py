"""The factors of a scenario's trials, found in the columns of its dataset.

A dataset says what was varied: nothing here has a list of it, so a factor that comes later is
analysed as the others are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..cells import ANSWER_FACTORS, condition_names
from ..configuration import FACTORS

__all__ = ["Factors", "conditions_of", "factors_of", "level_text", "valid_trials"]

_FIRST, _LAST = "configuration", "started_at"
"""Between these columns stands what a trial was to be; what came out follows."""
_WHAT_RAN = frozenset(
    (
        *("model_file", "model_sha256", "image", "image_digest"),
        *("pod_uid", "pod_node", "kubelet_version", "exporter_version"),
    )
)
"""Columns there that tell what was found to run, which nobody varied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """What varies between the trials of a scenario.

    Args:
        service: Factors of the service: what somebody may choose.
        conditions: Factors of what surrounds it: load, and whatever else a dataset has.
        levels: Levels of each, in the order in which they are shown; none where a trial says none.
    """

    service: tuple[str, ...]
    conditions: tuple[str, ...]
    levels: Mapping[str, tuple[str, ...]]

    @property
    def all(self) -> tuple[str, ...]:
        """All of them, those of the service first."""
        return (*self.service, *self.conditions)

    @property
    def answering(self) -> tuple[str, ...]:
        """Those that decide which answers are given."""
        return tuple(name for name in self.service if name in ANSWER_FACTORS)


def valid_trials(trials: pd.DataFrame, scenario: str) -> pd.DataFrame:
    """Return the trials of a scenario that count."""
    return trials[(trials["scenario"] == scenario) & (trials["verdict"] == "valid")]


def factors_of(trials: pd.DataFrame, spec: Mapping[str, Any], scenario: str) -> Factors:
    """Return the factors that have two levels or more.

    A column that only repeats another condition, as the rate of a load does, is none of its own.

    Args:
        trials: Trials of one scenario.
        spec: What was asked for; it knows the order of levels.
        scenario: Its name.
    """
    service = _of_service(trials)
    conditions = conditions_of(trials)
    levels = {
        name: tuple(_levels(trials, name, _asked(spec, scenario, name)))
        for name in (*service, *conditions)
    }
    varying = {name: found for name, found in levels.items() if len(found) > 1}
    return Factors(
        service=tuple(name for name in service if name in varying),
        conditions=tuple(name for name in conditions if name in varying),
        levels=varying,
    )


def conditions_of(trials: pd.DataFrame) -> list[str]:
    """Return the columns that say under what a service ran, whether they vary or not."""
    conditions: list[str] = []
    for name in _surroundings(trials, _of_service(trials)):
        if not any(_repeats(trials, name, other) for other in conditions):
            conditions.append(name)
    return conditions


def _of_service(trials: pd.DataFrame) -> list[str]:
    named = {part.partition("=")[0] for text in trials[_FIRST] for part in str(text).split()}
    return [name for name in dict.fromkeys([*FACTORS, *sorted(named)]) if name in trials]


def level_text(value: object) -> str | None:
    """Return a level for people; `None` where nothing was said."""
    if value is None or (not isinstance(value, str) and pd.isna(value)):  # type: ignore[call-overload]
        return None
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _surroundings(trials: pd.DataFrame, service: Sequence[str]) -> list[str]:
    """Return the columns of a trial's surroundings; names for people go before numbers."""
    columns = list(trials.columns)
    if _LAST not in columns:
        return ["load"]
    between = columns[columns.index(_FIRST) + 1 : columns.index(_LAST)]
    names = [name for name in between if name not in service and name not in _WHAT_RAN]
    return sorted(names, key=lambda name: (name != "load", _is_number(trials[name])))


def _is_number(column: pd.Series[Any] | pd.DataFrame) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column))


def _repeats(trials: pd.DataFrame, name: str, other: str) -> bool:
    """Whether each level of the other column goes with one level of this one."""
    return bool((trials.groupby(other, dropna=False)[name].nunique(dropna=False) <= 1).all())


def _asked(spec: Mapping[str, Any], scenario: str, name: str) -> Sequence[object]:
    if name in ("network", "environment"):
        return condition_names(spec, name)
    parts: Iterable[Mapping[str, Any]] = spec.get("scenarios", ())
    for part in parts:
        if part.get("scenario") == scenario:
            found: Sequence[object] = part.get("factors", {}).get(name) or ()
            return found
    return ()


def _levels(trials: pd.DataFrame, name: str, asked: Sequence[object]) -> list[str]:
    """Return the levels: numbers by size, loads by rate, others as they were asked for."""
    said = trials[trials[name].notna()]
    if _is_number(said[name]):
        ordered: list[Any] = sorted(said[name].unique())
    elif name == "load":
        ordered = list(said.sort_values("rate_hz", kind="stable")[name].unique())
    else:
        known = [str(one) for one in asked]
        ordered = sorted(
            dict.fromkeys(map(str, said[name])),
            key=lambda one: known.index(one) if one in known else len(known),
        )
    return [text for one in ordered if (text := level_text(one)) is not None]
