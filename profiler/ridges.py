"""Inverses of one large matrix with several ridges: what a regression on many consumers waits for.

Consumers' regressors are many, and each hypothesis of how unlike they are adds another number to
the diagonal. Where little was observed the matrix is of low rank, and one small eigenproblem
serves all ridges; else each has an inverse of its own, made of products.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Equations", "Inverse", "Mixture", "Ridges", "Solution", "ridges"]

_Floats = NDArray[np.float64]

_BLOCK = 48
"""Columns that are eliminated together; smaller matrices are left to the library."""

_EXHAUSTED = 1e-14
"""A factor ends when no more than this is left of any column's square, with its precision."""

_ROUNDING = (1e-10, 1e-7)
"""So much of a column's square, and of its precision, may be left in the end: columns that are
differences of larger ones are rounded more coarsely than their own size tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Equations:
    """Least squares with beliefs: first the regressors that are nobody's, then the consumers'.

    Args:
        xx: Products of the regressors, over the noise.
        xy: Their products with the power.
        yy: The square of the power.
        precision: Of what is believed of the regressors that are nobody's.
        pull: The same times what they are believed to be; consumers are believed to be 0.
    """

    xx: _Floats
    xy: _Floats
    yy: float
    precision: _Floats
    pull: _Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """What solves the equations with one precision of the consumers.

    Args:
        log_det: Logarithm of the determinant of `xx` with the precisions on its diagonal.
        fit: The solution.
        doubt: Asks for the rest, which costs more.
    """

    log_det: float
    fit: _Floats
    doubt: Callable[[], Inverse]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inverse:
    """What is asked of the inverse of `xx` with the precisions on its diagonal.

    Args:
        fixed: Trace of the inverse times the precisions.
        traced: Trace of the inverse times the other matrix.
        parts: What `Ridges.whole` makes the inverse of; it makes sums of them of sums.
    """

    fixed: float
    traced: float
    parts: _Floats


class Ridges(Protocol):
    """Equations that wait for the consumers' precision."""

    def at(self, ridge: float) -> Solution:
        """Solve the equations with one precision of the consumers."""
        ...

    def whole(self, parts: _Floats) -> _Floats:
        """Return the inverse itself, or a sum of inverses."""
        ...


def ridges(equations: Equations, other: _Floats, *, rank: int, least: float) -> Ridges:
    """Prepare equations for the consumers' precisions.

    Args:
        equations: The equations.
        other: Another matrix, whose products with the inverses are traced.
        rank: `xx` with the power as one more column has no greater one.
        least: The least precision there will be.
    """
    consumers = len(equations.xy) - len(equations.pull)
    # Beyond that the factor costs more than it saves.
    factor = _factor(equations, rank, least) if rank <= consumers // 3 else None
    return _Full(equations, other) if factor is None else _Thin(factor, equations, other)


class Mixture:
    """A sum of inverses, weighed by evidence that comes to light one by one."""

    def __init__(self) -> None:
        self._top, self._weight = -math.inf, 0.0
        self._parts: _Floats = np.zeros(0)

    def add(self, parts: _Floats, evidence: float) -> None:
        """Add one, with the logarithm of its weight; its parts are taken over."""
        if self._weight == 0:
            self._top, self._weight, self._parts = evidence, 1.0, parts
            return
        if evidence > self._top:
            less = math.exp(self._top - evidence)
            self._top, self._weight = evidence, self._weight * less
            self._parts *= less
        weight = math.exp(evidence - self._top)
        parts *= weight
        self._parts += parts
        self._weight += weight

    def mean(self) -> _Floats:
        """Return the weighed mean of the parts."""
        self._parts /= self._weight
        self._weight = 1.0
        return self._parts


class _Full:
    """Consumers come first here: their ridge keeps the first steps of elimination harmless."""

    def __init__(self, equations: Equations, other: _Floats) -> None:
        self._base = len(equations.pull)
        self._xx = np.roll(equations.xx, -self._base, axis=(0, 1))
        self._other = np.roll(other, -self._base, axis=(0, 1))
        self._aim = np.roll(equations.xy, -self._base)
        self._aim[-self._base :] += equations.pull
        self._precision = equations.precision
        # Room that all ridges use in turn: fresh memory costs as much as what is done in it.
        self._room, self._root = np.empty_like(self._xx), np.zeros_like(self._xx)

    def at(self, ridge: float) -> Solution:
        width, base = len(self._aim), self._base
        precision = np.append(np.full(width - base, ridge), self._precision)
        matrix = self._room
        matrix[:] = self._xx
        matrix.flat[:: width + 1] += precision
        factor = _Cholesky.of(matrix) if width > _BLOCK else None
        if factor is None:
            matrix[:] = self._xx
            matrix.flat[:: width + 1] += precision
            inverse = np.asarray(np.linalg.inv(matrix), float)
            fit, log_det = inverse @ self._aim, float(np.linalg.slogdet(matrix)[1])
        else:
            fit, log_det = factor.solve(self._aim), factor.log_det

        def doubt() -> Inverse:
            whole = inverse if factor is None else factor.inverse(self._root)
            return Inverse(
                fixed=float(whole.diagonal() @ precision),
                traced=float(np.vdot(whole, self._other)),
                parts=whole,
            )

        return Solution(log_det=log_det, fit=np.roll(fit, base), doubt=doubt)

    def whole(self, parts: _Floats) -> _Floats:
        return np.roll(parts, self._base, axis=(0, 1))


class _Thin:
    """Few rows, whose square is `xx`, turned so that those of the consumers are orthogonal.

    With `e` for the rows of the consumers below an identity for all others, an inverse is
    `e.T @ parts @ e`, and the last of the parts on the consumers' diagonal.
    """

    def __init__(self, factor: _Floats, equations: Equations, other: _Floats) -> None:
        base = len(equations.pull)
        mine = factor[:, base:-1]
        squares, turn = np.linalg.eigh(mine @ mine.T)
        turned = turn.T @ factor
        self._squares = np.maximum(squares, 0.0)
        self._nobodys, self._rows, self._power = turned[:, :base], turned[:, base:-1], turned[:, -1]
        self._precision, self._pull = equations.precision, equations.pull
        crossed = self._rows @ other[base:, :base]
        within = self._rows @ other[base:, base:] @ self._rows.T
        self._other = np.block([[other[:base, :base], crossed.T], [crossed, within]])
        self._other_trace = float(other[base:, base:].trace())

    def at(self, ridge: float) -> Solution:
        rows, squares = self._rows, self._squares
        (rank, width), base = rows.shape, len(self._pull)
        less = 1 / (ridge + squares)
        kept = self._nobodys.T * (ridge * less)
        whole = np.diag(self._precision) + kept @ self._nobodys
        corner = np.linalg.inv(whole)
        own = corner @ (self._pull + kept @ self._power)
        strays = rows.T @ (less * (self._power - self._nobodys @ own))
        log_det = (width - rank) * math.log(ridge) - float(np.log(less).sum())

        def doubt() -> Inverse:
            lift = np.concatenate((np.eye(base), -less[:, None] * self._nobodys))
            parts = np.zeros((base + rank + 1,) * 2)
            parts[:-1, :-1] = lift @ corner @ lift.T
            parts.flat[base * (len(parts) + 1) : -1 : len(parts) + 1] -= less / ridge
            parts[-1, -1] = 1 / ridge
            nobodys, consumers = parts.diagonal()[:base], parts.diagonal()[base:-1]
            return Inverse(
                fixed=float(nobodys @ self._precision + ridge * (consumers @ squares)) + width,
                traced=float(np.vdot(parts[:-1, :-1], self._other)) + self._other_trace / ridge,
                parts=parts,
            )

        return Solution(
            log_det=log_det + float(np.linalg.slogdet(whole)[1]),
            fit=np.concatenate((own, strays)),
            doubt=doubt,
        )

    def whole(self, parts: _Floats) -> _Floats:
        rows, base = self._rows, len(self._pull)
        across = parts[:base, base:-1] @ rows
        inner = rows.T @ (parts[base:-1, base:-1] @ rows)
        inner.flat[:: len(inner) + 1] += parts[-1, -1]
        return np.block([[parts[:base, :base], across], [across.T, inner]])


def _factor(equations: Equations, rank: int, least: float) -> _Floats | None:
    """Return rows whose square is `xx`, the power their last column; `None` if these are too few.

    Cholesky's factor, pivoted, of columns that are about as long as one.
    """
    consumers = len(equations.xy) - len(equations.pull)
    precision = np.concatenate((equations.precision, np.full(consumers, least), [0.0]))
    squares = np.append(equations.xx.diagonal(), equations.yy)
    scale = np.sqrt(np.maximum(squares, 0.0) + precision)
    over = 1 / np.where(scale > 0, scale, 1.0)
    left = squares * over**2
    rows = np.zeros((rank, len(scale)))
    for n in range(rank):
        at = int(left.argmax())
        if left[at] <= _EXHAUSTED:
            rows = rows[:n]
            break
        if at < len(equations.xy):
            column = np.append(equations.xx[at], equations.xy[at])
        else:
            column = np.append(equations.xy, equations.yy)
        column *= over * over[at]
        rows[n] = (column - rows[:n, at] @ rows[:n]) / math.sqrt(left[at])
        left -= rows[n] ** 2
    much = left * scale**2 > _ROUNDING[0] * squares + _ROUNDING[1] * precision
    return None if much.any() else rows * scale


class _Cholesky:
    """Cholesky's lower factor: by blocks, since products are what libraries do fastest."""

    def __init__(self, lower: _Floats) -> None:
        self._lower = lower
        width = len(lower)
        starts = range(0, width, _BLOCK)
        self._blocks = [slice(at, min(at + _BLOCK, width)) for at in starts]
        self._inverses: list[_Floats] = []

    @classmethod
    def of(cls, matrix: _Floats) -> _Cholesky | None:
        """Factor a matrix in its own place; `None` on the edge of being positive definite."""
        found = cls(matrix)
        try:
            for block in found._blocks:
                found._eliminate(block)
        except np.linalg.LinAlgError:
            return None
        return found

    def _eliminate(self, block: slice) -> None:
        lower, done = self._lower, slice(block.start)
        below = slice(block.stop, None)
        lower[block.start :, block] -= lower[block.start :, done] @ lower[block, done].T
        lower[block, block] = np.linalg.cholesky(lower[block, block])
        inverse = np.tril(np.linalg.inv(lower[block, block]))
        lower[below, block] = lower[below, block] @ inverse.T
        self._inverses.append(inverse)

    @property
    def log_det(self) -> float:
        """Logarithm of the determinant of the matrix."""
        return 2 * float(np.log(self._lower.diagonal()).sum())

    def solve(self, aim: _Floats) -> _Floats:
        """Solve the equations that have this matrix."""
        lower, found = self._lower, aim.copy()
        steps = list(zip(self._blocks, self._inverses, strict=True))
        for block, inverse in steps:
            rest = found[block] - lower[block, : block.start] @ found[: block.start]
            found[block] = inverse @ rest
        for block, inverse in reversed(steps):
            rest = found[block] - found[block.stop :] @ lower[block.stop :, block]
            found[block] = rest @ inverse
        return found

    def inverse(self, root: _Floats) -> _Floats:
        """Return the inverse of the matrix.

        Args:
            root: Room for the inverse of the factor, with nothing above the diagonal.
        """
        lower = self._lower
        for block, inverse in zip(self._blocks, self._inverses, strict=True):
            done = slice(block.start)
            root[block, done] = -inverse @ (lower[block, done] @ root[done, done])
            root[block, block] = inverse
        found = np.empty_like(lower)
        for block in self._blocks:
            above = slice(block.stop)
            across = root[block.start :, above].T @ root[block.start :, block]
            found[above, block], found[block, above] = across, across.T
        return found
