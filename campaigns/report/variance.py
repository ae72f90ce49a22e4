"""Analysis of variance of a scenario's trials: main effects and interactions, with effect sizes.

Sums of squares are of type II: each factor is asked what it adds to all terms that do not hold it.
Blocks are taken out first, and the error is that of a design in randomised complete blocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from ..intervals import Interval
from .linear import Model, Sample, basis, contrasts, fit, pairs, term_columns

__all__ = ["Refusal", "Term", "Variance", "analyse_variance", "partial_eta"]

_LEVEL = 0.05
_MOST_NAMED = 5
_ROUNDING = 1e-18


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One row of an analysis of variance.

    Args:
        factors: One factor, or the two of an interaction.
        freedom: Degrees of freedom.
        share: Of the sum of squares about the mean, blocks taken out.
        f: The F ratio, HC3 where the spread differs.
        p: Its p-value.
        p_holm: The same, corrected for the number of terms.
        eta: Partial eta squared; its interval assumes that errors are alike, and is
            left out where they are not.
        omega: Partial omega squared: the same without its upward bias.
    """

    factors: tuple[str, ...]
    freedom: int
    share: float
    f: float
    p: float
    p_holm: float
    eta: Interval
    omega: float

    @property
    def name(self) -> str:
        """The term for people."""
        return " × ".join(self.factors).replace("_", " ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variance:
    """An analysis of variance.

    Args:
        model: What was fitted.
        terms: Main effects, then interactions, each with at least one degree of freedom.
        error: What the error is made of, in words.
        error_freedom: Its degrees of freedom.
        robust: Whether F ratios are HC3 ones.
        remarks: What was checked, what is missing, and what it means for the table.
    """

    model: Model
    terms: tuple[Term, ...]
    error: str
    error_freedom: int
    robust: bool
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why there is no analysis."""

    reason: str


def analyse_variance(sample: Sample) -> Variance | Refusal:
    """Return the analysis of variance of some values, or why there is none."""
    if not sample.levels:
        return Refusal(reason="no factor has two levels among the valid trials")
    few = [name for name, levels in sample.levels.items() if len(set(levels) - {None}) < 2]
    if few:
        return Refusal(reason=f"no two levels of {_names(few)} have a valid trial")
    model = fit(sample)
    if model is None:
        cells = len(set(sample.cells))
        return Refusal(
            reason=f"{len(sample.values)} valid trials of {cells} combinations leave nothing to "
            "tell chance by; it takes two repeats"
        )
    about_mean = float(np.sum((sample.values - sample.values.mean()) ** 2))
    if about_mean <= _ROUNDING * float(np.sum(sample.values**2)):
        return Refusal(reason="all values are the same")
    if model.fitted.ssr <= _ROUNDING * about_mean:
        return Refusal(reason="repeats do not differ at all, so that there is no error to test by")
    uneven = _spread_differs(model)
    robust = uneven is not None and uneven < _LEVEL and _robust_is_known(model)
    terms, tied = _terms(model, robust=robust)
    remarks = [*_checks(model, uneven, robust=robust), *tied, *_missing(sample)]
    beyond = _beyond_pairs(model, robust=robust)
    return Variance(
        model=model,
        terms=tuple(terms),
        error=model.error,
        error_freedom=model.freedom,
        robust=robust,
        remarks=(*remarks, *beyond),
    )


def _terms(model: Model, *, robust: bool) -> tuple[list[Term], list[str]]:
    """Return the rows, and what cannot be told apart, in words."""
    from statsmodels.stats.multitest import multipletests

    sample = model.sample
    columns = {term: term_columns(sample, term) for term in pairs(list(sample.levels))}
    constant = np.hstack([np.ones((len(sample.values), 1)), contrasts(sample.block)])
    whole = _squares(model, basis(model.columns, basis(constant)))
    whole += model.fitted.ssr
    rows, tied = [], []
    for term, own in columns.items():
        beside = [c for other, c in columns.items() if not set(term) <= set(other)]
        added = basis(own, basis(np.hstack([constant, *beside])))
        # A model without pairs has no room for them.
        added = added[:, np.linalg.norm(model.span.T @ added, axis=0) > 1 - 1e-6]
        if not added.shape[1]:
            if len(term) == 1:
                tied.append(
                    f"{term[0]} cannot be told from the other factors: it never varies alone"
                )
            continue
        rows.append((term, added, _squares(model, added)))
    tests = [_test(model, added, robust=robust) for _, added, _ in rows]
    raised = multipletests([p for _, p in tests], method="holm")[1].tolist()
    mean_square = model.fitted.ssr / model.freedom
    found = []
    for (term, added, squares), (f, p), corrected in zip(rows, tests, raised, strict=True):
        freedom = added.shape[1]
        eta = partial_eta(squares / freedom / mean_square, freedom, model.freedom)
        found.append(
            Term(
                factors=term,
                freedom=freedom,
                share=squares / whole,
                f=f,
                p=p,
                p_holm=corrected,
                eta=_bare(eta) if robust else eta,
                omega=_omega(squares, freedom, mean_square, len(sample.values)),
            )
        )
    return found, tied


def _squares(model: Model, added: NDArray[np.float64]) -> float:
    return float(np.sum((added.T @ model.sample.values) ** 2))


def _test(model: Model, added: NDArray[np.float64], *, robust: bool) -> tuple[float, float]:
    """Return F and p of the hypothesis that some directions hold no effect."""
    found = (model.robust if robust else model.fitted).f_test(added.T @ model.span)
    return float(np.squeeze(found.fvalue)), float(found.pvalue)


def partial_eta(f: float, freedom: int, error_freedom: int) -> Interval:
    """Return partial eta squared with its 95 % interval, from the noncentral F distribution.

    The interval inverts the test (Steiger 2004, Psychological Methods 9): its ends are those
    noncentralities under which the observed F lies at the 97.5th and at the 2.5th percentile.
    """
    value = freedom * f / (freedom * f + error_freedom)
    ends = [_noncentrality(f, freedom, error_freedom, tail) for tail in (0.975, 0.025)]
    low, high = (None if end is None else end / (end + freedom + error_freedom + 1) for end in ends)
    return Interval(value=value, low=low, high=high)


def _noncentrality(f: float, freedom: int, error_freedom: int, tail: float) -> float | None:
    """Return the noncentrality that puts `f` at a percentile; `None` where it is out of reach."""

    def excess(size: float) -> float:
        return float(stats.ncf.cdf(f, freedom, error_freedom, size)) - tail

    if float(stats.f.cdf(f, freedom, error_freedom)) <= tail:
        return 0.0
    high = max(1.0, 2.0 * f * freedom)
    for _ in range(8):
        reached = excess(high)
        if not math.isfinite(reached):
            return None
        if reached < 0:
            return float(optimize.brentq(excess, 0.0, high, xtol=1e-9, rtol=1e-9))
        high *= 2.0
    return None


def _bare(interval: Interval) -> Interval:
    return Interval(value=interval.value)


def _omega(squares: float, freedom: int, mean_square: float, count: int) -> float:
    """Return partial omega squared; one below 0 is 0."""
    above = squares - freedom * mean_square
    return max(0.0, above / (squares + (count - freedom) * mean_square))


def _robust_is_known(model: Model) -> bool:
    """Whether HC3 errors tell every direction: some residuals may all be 0."""
    if model.robust is None:
        return False
    covariance = model.robust.cov_params()
    return int(np.linalg.matrix_rank(covariance, hermitian=True)) == len(covariance)


def _spread_differs(model: Model) -> float | None:
    """Return the p-value of Koenker's form of the test of Breusch and Pagan, by the factors."""
    from statsmodels.stats.diagnostic import het_breuschpagan

    mains = [term_columns(model.sample, (name,)) for name in model.sample.levels]
    columns = np.hstack([np.ones((len(model.sample.values), 1)), *mains])
    by = basis(columns)
    squares = model.fitted.resid**2
    if by.shape[1] >= len(squares) - 1 or np.ptp(squares) <= 1e-9 * squares.max():
        return None
    constant = np.ones((len(by), 1))
    return float(
        het_breuschpagan(
            model.fitted.resid, np.hstack([constant, basis(by, constant / math.sqrt(len(by)))])
        )[1]
    )


def _checks(model: Model, uneven: float | None, *, robust: bool) -> list[str]:
    """Return what the residuals say of the test, in words."""
    said = []
    if robust:
        said.append(
            f"The spread differs between levels (Breusch–Pagan p {_p(uneven)}): F and p are HC3 "
            "ones, which allow that. Intervals of η² would not, and are left out."
        )
    elif uneven is not None and uneven < _LEVEL:
        said.append(
            f"The spread differs between levels (Breusch–Pagan p {_p(uneven)}), and there are too "
            "few trials for robust tests: take p-values as rough."
        )
    count = len(model.sample.values)
    if 3 <= count <= 5000:
        normal = float(stats.shapiro(model.fitted.resid).pvalue)
        if normal < _LEVEL:
            said.append(
                f"Residuals are not normal (Shapiro–Wilk p {_p(normal)}): p-values near a limit "
                "are not to be relied on."
            )
    return said or ["Residuals contradict neither equal spread nor a normal distribution."]


def _p(value: float | None) -> str:
    if value is None:
        return "unknown"
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _beyond_pairs(model: Model, *, robust: bool) -> list[str]:
    """Say whether combinations differ beyond what factors and pairs of them explain."""
    sample = model.sample
    constant = np.hstack([np.ones((len(sample.values), 1)), contrasts(sample.block)])
    known = [term_columns(sample, term) for term in pairs(list(sample.levels))]
    rest = basis(model.columns, basis(np.hstack([constant, *known])))
    if not rest.shape[1]:
        return []
    _, p = _test(model, rest, robust=robust)
    if p >= _LEVEL:
        return []
    return [
        f"Three factors or more interact as well (p {_p(p)}): what a factor does depends on more "
        "than one other, and a single combination may differ from what this table suggests."
    ]


def _missing(sample: Sample) -> list[str]:
    """Name pairs of levels that no valid trial has, though the factors apply."""
    said = []
    for one, other in combinations(sample.levels, 2):
        there = set(zip(sample.levels[one], sample.levels[other], strict=True))
        said_both = [(a, b) for a, b in there if a is not None and b is not None]
        known = [sorted({pair[side] for pair in said_both}) for side in (0, 1)]
        lost = [pair for pair in product(*known) if pair not in there]
        if lost:
            named = ", ".join(f"{a} with {b}" for a, b in lost[:_MOST_NAMED])
            more = f" and {len(lost) - _MOST_NAMED} more" if len(lost) > _MOST_NAMED else ""
            said.append(
                f"No valid trial of {one} with {other}: {named}{more}. What is said of the two "
                "rests on the combinations that there are."
            )
    return said


def _names(names: Sequence[str]) -> str:
    return " and ".join(name.replace("_", " ") for name in names)
