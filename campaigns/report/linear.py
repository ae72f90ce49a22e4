"""A linear model of the trials: blocks, factors and their interactions as columns, fitted once.

The columns may depend on each other, as they do when some combinations of levels cannot exist:
everything is asked of an orthonormal basis of their span.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Model", "Sample", "basis", "contrasts", "fit", "pairs", "term_columns"]

_Floats = NDArray[np.float64]
_Level = str | None
_TOLERANCE = 1e-9
"""Relative size below which a direction is rounding, not data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What is analysed.

    Args:
        values: One value a trial, on the scale of the analysis; shape (n,).
        block: Block of each.
        levels: Level of each factor, for each; `None` where the factor does not apply.
    """

    values: _Floats
    block: Sequence[str]
    levels: Mapping[str, Sequence[_Level]]

    @property
    def cells(self) -> list[tuple[_Level, ...]]:
        """The combination of levels of each value."""
        return list(zip(*self.levels.values(), strict=True)) or [()] * len(self.values)


def contrasts(levels: Sequence[_Level]) -> _Floats:
    """Return deviations from the mean of the levels, shape (n, levels - 1).

    Where a factor does not apply all are 0. So a factor that only some models have says how its
    levels differ within these, and the difference between models is left to the models.
    """
    said = sorted({level for level in levels if level is not None})
    columns = np.zeros((len(levels), max(0, len(said) - 1)))
    for row, level in enumerate(levels):
        if level is not None and len(said) > 1:
            if level == said[-1]:
                columns[row, :] = -1.0
            else:
                columns[row, said.index(level)] = 1.0
    return columns


def term_columns(sample: Sample, term: Sequence[str]) -> _Floats:
    """Return the columns of a factor, or of the interaction of several."""
    found = np.ones((len(sample.values), 1))
    for name in term:
        own = contrasts(sample.levels[name])
        found = (found[:, :, None] * own[:, None, :]).reshape(len(found), -1)
    return found


def pairs(factors: Sequence[str]) -> list[tuple[str, ...]]:
    """Return every factor, then every pair of them."""
    return [(name,) for name in factors] + list(combinations(factors, 2))


def basis(columns: _Floats, beside: _Floats | None = None) -> _Floats:
    """Return an orthonormal basis of what columns span, without what `beside` spans.

    Args:
        columns: Shape (n, any).
        beside: An orthonormal basis, shape (n, any).
    """
    size = float(np.linalg.norm(columns)) or 1.0
    if beside is not None and beside.shape[1]:
        columns = columns - beside @ (beside.T @ columns)
    if not columns.shape[1]:
        return columns
    left, singular, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, singular > _TOLERANCE * size])


@dataclass(frozen=True, kw_only=True)
class Model:
    """A fitted model.

    Attributes:
        sample: What was fitted.
        columns: The columns of the model: constant, blocks, then the rest; shape (n, any).
        blocks: How many of them belong to blocks, from the second on.
        span: Orthonormal basis of the columns.
        fitted: statsmodels' result on that basis, errors alike everywhere.
        robust: The same with HC3 errors; `None` where a value alone decides its own fit.
        error: What the error is made of, in words.
    """

    sample: Sample
    columns: _Floats
    blocks: int
    span: _Floats
    fitted: Any
    robust: Any
    error: str

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the error."""
        return len(self.sample.values) - int(self.span.shape[1])

    def coefficients(self, rows: _Floats) -> _Floats | None:
        """Return what rows of the model's columns are in terms of its basis.

        Args:
            rows: Shape (any, columns).

        Returns:
            Shape (any, rank); `None` when the data cannot tell one of them.
        """
        right, through = self._solved
        if not np.allclose(rows @ right.T @ right, rows, atol=1e-6):
            return None
        return rows @ through

    @cached_property
    def _solved(self) -> tuple[_Floats, _Floats]:
        """What rows the data can tell, and what leads from these to the basis."""
        left, singular, right = np.linalg.svd(self.columns, full_matrices=False)
        there = singular > _TOLERANCE * singular[0]
        right = right[there]
        return right, (right.T / singular[there]) @ (left[:, there].T @ self.span)

    def row_of(self, cell: tuple[_Level, ...]) -> _Floats:
        """Return the row of a combination of levels, in the mean of the blocks."""
        row = np.array(self.columns[self.sample.cells.index(cell)], dtype=np.float64)
        row[1 : 1 + self.blocks] = 0.0
        return row


def fit(sample: Sample) -> Model | None:
    """Fit blocks and combinations of levels; `None` when nothing is left to be the error.

    The error is what differs between repeats of one combination, once blocks are accounted for.
    Without repeats it is what the factors and their pairs do not explain, else what the factors
    alone do not.
    """
    from statsmodels.regression.linear_model import OLS

    constant = np.ones((len(sample.values), 1))
    blocks = contrasts(sample.block)
    for error, rest in _errors(sample):
        columns = np.hstack([constant, blocks, rest])
        span = basis(columns)
        if len(sample.values) - span.shape[1] < 1:
            continue
        plain = OLS(sample.values, span)
        leverage = np.sum(span**2, axis=1)
        return Model(
            sample=sample,
            columns=columns,
            blocks=blocks.shape[1],
            span=span,
            fitted=plain.fit(use_t=True),
            robust=plain.fit(cov_type="HC3", use_t=True) if leverage.max() < 1 - 1e-8 else None,
            error=error,
        )
    return None


def _errors(sample: Sample) -> list[tuple[str, _Floats]]:
    """Return models from the richest to the plainest, each with what its error is called."""
    cells = sample.cells
    number = {cell: str(place) for place, cell in enumerate(dict.fromkeys(cells))}
    factors = list(sample.levels)
    mains = [term_columns(sample, (name,)) for name in factors]
    both = [term_columns(sample, term) for term in combinations(factors, 2)]
    empty = np.zeros((len(cells), 0))
    return [
        ("scatter between repeats", contrasts([number[cell] for cell in cells])),
        ("what factors and pairs of them leave unexplained", np.hstack([*mains, *both, empty])),
        ("what the factors alone leave unexplained", np.hstack([*mains, empty])),
    ]
