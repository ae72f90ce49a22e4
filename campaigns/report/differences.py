"""What two datasets were measured on and asked for, where it is not the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...datasets.store import Dataset

__all__ = ["Difference", "differences", "spec_hash"]

_PASSING = ("load_average_1min",)
"""Facts of the moment, which never agree."""
_MISSING = "not said"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One fact that differs.

    Args:
        about: `machine`, `energy`, `data`, `specification`, `software` or `surroundings`.
        what: The fact.
        values: What each dataset says.
    """

    about: str
    what: str
    values: tuple[str, str]


def differences(one: Dataset, other: Dataset) -> list[Difference]:
    """Return every fact of the environment, the specification and the data that differs."""
    both = one, other
    found = list(_of_environment(one.environment, other.environment))
    for what, column in (("provenance", "energy_provenance"), ("sources", "energy_sources")):
        values = (_all_of(one, column), _all_of(other, column))
        if values[0] != values[1]:
            found.append(Difference(about="energy", what=what, values=values))
    data = [{d["scenario"]: str(d["sha256"])[:12] for d in x.about.data_sources} for x in both]
    shared = data[0].keys() & data[1].keys()
    found += _unlike("data", *({name: each[name] for name in sorted(shared)} for each in data))
    specs = one.about.spec, other.about.spec
    found += _unlike("specification", dict(_flat(specs[0])), dict(_flat(specs[1])))
    found += _unlike("software", {"joulery": one.about.version}, {"joulery": other.about.version})
    return found


def spec_hash(spec: Mapping[str, Any]) -> str:
    """Return the first digits of the SHA-256 of a specification, whatever the order of its keys."""
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _of_environment(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Difference]:
    for part in dict.fromkeys([*one, *other]):
        about = {"machine": "machine", "hardware": "machine", "software": "software"}
        facts = [
            dict(_flat(x[part] if isinstance(x.get(part), Mapping) else {part: x.get(part)}))
            for x in (one, other)
        ]
        yield from _unlike(about.get(part, "surroundings"), facts[0], facts[1])


def _flat(value: Any, above: str = "") -> Iterator[tuple[str, str]]:
    """Yield the leaves of nested facts with their dotted places."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{above}.{key}" if above else str(key))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        if any(isinstance(inner, Mapping) for inner in value):
            for place, inner in enumerate(value):
                yield from _flat(inner, f"{above}[{place}]")
        else:
            yield above, ", ".join(map(str, value)) or "none"
    else:
        yield above, _MISSING if value is None else str(value)


def _unlike(about: str, one: Mapping[str, str], other: Mapping[str, str]) -> Iterator[Difference]:
    for what in dict.fromkeys([*one, *other]):
        values = (one.get(what, _MISSING), other.get(what, _MISSING))
        if values[0] != values[1] and what not in _PASSING:
            yield Difference(about=about, what=what.replace("_", " "), values=values)


def _all_of(dataset: Dataset, column: str) -> str:
    trials = dataset.trials
    known = trials.loc[trials["verdict"] == "valid", column].dropna().unique()
    return ", ".join(sorted(map(str, known))) or "none"
