"""Energies in columns read like a mapping of energies."""

from __future__ import annotations

import numpy as np
import pytest

from joulery.profiler.parts import Parts
from joulery.profiler.quantities import Energy, Provenance


def energy(value_j: float, provenance: Provenance) -> Energy:
    """Return an energy that may be one joule less or two more."""
    return Energy(value_j=value_j, low_j=value_j - 1, high_j=value_j + 2, provenance=provenance)


def test_columns_read_like_the_mapping_they_hold() -> None:
    """What goes into columns comes out again, in order; who is not there is missed."""
    mapping = {"b": energy(3.0, Provenance.APPORTIONED), "a": energy(2.0, Provenance.ESTIMATED)}
    parts = Parts.of(mapping)
    assert parts == mapping
    assert list(parts) == ["b", "a"]
    assert Parts.of(parts) is parts
    assert "a" in parts
    assert "c" not in parts
    with pytest.raises(KeyError, match="c"):
        parts["c"]
    assert Parts.of({}) == {}


@pytest.mark.parametrize(("low_j", "high_j"), [(4.0, 5.0), (1.0, 2.0), (float("nan"), 5.0)])
def test_bounds_are_finite_and_ordered(low_j: float, high_j: float) -> None:
    """As for an energy alone, an interval that does not hold its value is refused, by name."""
    with pytest.raises(ValueError, match=r"ordered, found .* of 'pod'"):
        Parts(
            names=("other", "pod"),
            value_j=np.array([1.0, 3.0]),
            low_j=np.array([0.0, low_j]),
            high_j=np.array([1.0, high_j]),
            ranks=np.zeros(2, dtype=np.intp),
        )
