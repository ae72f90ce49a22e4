"""Conditions and computed levels: what they say, and what is refused."""

from __future__ import annotations

import pytest

from joulery.campaigns.expressions import Expression
from joulery.errors import SpecError

KNOWN = ("model", "precision", "batch", "threads", "exit_threshold")
CELL = {"model": "tcn_m", "precision": "int8", "batch": 8, "threads": 2, "exit_threshold": None}


def expression(text: str) -> Expression:
    """Return an expression as it stands in a specification."""
    return Expression(text, KNOWN, subject="campaign.yaml", place="constraints[0]")


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("batch <= 8", True),
        ("batch < 8 or precision == 'int8'", True),
        ("batch < 8 and precision == 'int8'", False),
        ("not (model == 'tcn_m' and threads > 1)", False),
        ("model in ['tcn_s', 'tcn_m']", True),
        ("batch % threads == 0", True),
        ("4 < batch < 16", True),
        ("max(batch, threads) == 8", True),
    ],
)
def test_conditions_hold_or_not(text: str, holds: bool) -> None:
    """They mean what they mean in Python."""
    assert expression(text).holds(CELL) is holds


def test_a_condition_says_nothing_of_cells_without_what_it_names() -> None:
    """A model without exits has no threshold, and is no worse for it."""
    condition = expression("exit_threshold >= 0.8")
    assert condition.holds(CELL)
    assert condition(CELL) is None
    assert not condition.holds({**CELL, "exit_threshold": 0.5})


def test_levels_are_computed() -> None:
    """An expression may be a level."""
    assert expression("min(batch, 4)")(CELL) == 4
    assert expression("'cpu' if batch < 4 else 'cuda'")(CELL) == "cuda"


@pytest.mark.parametrize(
    ("text", "found", "remedy"),
    [
        ("bach > 3", "unknown name 'bach'", "did you mean 'batch'?"),
        ("batch >", "'batch >' (", "precision == 'int8'"),
        ("", "'' (", "precision == 'int8'"),
        ("batch + 1", "is 9", "true or false"),
        ("precision < 3", "precision=int8", "expected a value"),
        ("1 / (batch - 8) > 1", "batch=8", "division by zero"),
        ("precision == int8", "unknown name 'int8'", "quote"),
        ("open('/etc/passwd')", "unknown name 'open'", "quote text"),
        ("().__class__.__bases__", "cannot be computed", "expected a value"),
        ("'a' * 10 ** 9 == 'b'", "cannot be computed", "expected a value"),
    ],
)
def test_what_is_wrong_is_told(text: str, found: str, remedy: str) -> None:
    """The message names file, place and what was found; nothing runs code or fills memory."""
    with pytest.raises(SpecError) as wrong:
        expression(text).holds(CELL)
    said = str(wrong.value)
    assert said.startswith("campaign.yaml, constraints[0]: found ")
    assert found in said
    assert remedy in said
