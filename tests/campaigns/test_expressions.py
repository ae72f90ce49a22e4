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
        ("batch = 8", "'batch = 8' (invalid syntax", "precision == 'int8'"),
        ("True; batch > 8", "(invalid syntax", "precision == 'int8'"),
        ("{'fp32': True}[precision]", "for precision=int8: it has no 'int8'", "expected a value"),
        ("model[100] == 'x'", "string index out of range", "expected a value"),
        ("[batch]", "neither a number nor text", "expected a value"),
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


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("-" * 900 + "1", "too deep"),
        ("(" * 400 + "1" + ")" * 400, "too many nested parentheses"),
        ("not " * 20000 + "True", "80004 characters"),
        ("4000000 ** 4000000 > 1", "an exponent above 64"),
        ("1 << 10000", "a number beyond"),
        ("[[[[1] * 9999] * 9999] * 9999] * 9999 == 1", "take numbers"),
        ("'%100000000000d' % 1 == 'b'", "take numbers"),
        ("f'{batch:100000000000}' == 'b'", "not available"),
        ("model.zfill(100000000000) == 'b'", "'.zfill' access not allowed"),
        ("[batch for batch in [1]] == 1", "not available"),
        ("list(model) == 1", "unknown name 'list'"),
    ],
)
def test_nothing_takes_the_machines_memory_or_time(text: str, found: str) -> None:
    """What nests deeply, grows without bound or loops is refused, as any other mistake."""
    for _ in range(2):
        with pytest.raises(SpecError) as wrong:
            expression(text).holds(CELL)
        assert found in str(wrong.value)


def test_text_is_told_by_its_ends() -> None:
    """Models of one kind are told by their names."""
    assert expression("model.startswith('tcn')").holds(CELL)
    assert not expression("model.endswith('_s')").holds(CELL)
