"""Numbers for people: the right prefix and as many digits as help."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulery.campaigns.units import human, human_interval


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0123, "J", "12.3 mJ"),
        (0.9996, "s", "1.00 s"),
        (4.56e-6, "s", "4.56 µs"),
        (0.0, "J", "0 J"),
        (-0.002, "J", "-2.00 mJ"),
        (1234.0, "1", "1234"),
        (0.0123, "1", "0.0123"),
        (None, "J", "–"),
        (float("nan"), "J", "–"),
    ],
)
def test_values_read_well(value: float | None, unit: str, text: str) -> None:
    """Three significant digits and a prefix; what is missing is a dash."""
    assert human(value, unit).replace("\N{NO-BREAK SPACE}", " ") == text


def test_an_interval_has_the_unit_of_its_value() -> None:
    """Both ends are scaled as the value is, though one of them would get another prefix."""
    assert human_interval(0.0009, 0.0021, "J", 0.0012) == "0.90 to 2.10"
    assert human_interval(None, 1.0, "J", 1.0) == "–"


@given(st.floats(1e-8, 1e8))
def test_rounding_keeps_three_digits(value: float) -> None:
    """What is printed is within half a percent of the value, whatever its size."""
    number, unit = human(value, "J").split("\N{NO-BREAK SPACE}")
    factor = {"GJ": 1e9, "MJ": 1e6, "kJ": 1e3, "J": 1, "mJ": 1e-3, "µJ": 1e-6, "nJ": 1e-9}[unit]
    assert float(number) * factor == pytest.approx(value, rel=0.0051)
