"""The analysis of variance: against textbooks, against statsmodels, and by its error rates."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from joulery.campaigns.report.linear import Sample, fit
from joulery.campaigns.report.margins import marginal_means
from joulery.campaigns.report.variance import (
    Refusal,
    Variance,
    analyse_variance,
    partial_eta,
)

# Montgomery, Design and Analysis of Experiments: extrusion pressure by batch of resin (4.1), and
# battery life by material and temperature (5.1).
_GRAFTS = {
    "8500": (90.3, 89.2, 98.2, 93.9, 87.4, 97.9),
    "8700": (92.5, 89.5, 90.6, 94.7, 87.0, 95.8),
    "8900": (85.5, 90.8, 89.6, 86.2, 88.0, 93.4),
    "9100": (82.5, 89.5, 85.6, 87.4, 78.9, 90.7),
}
_BATTERIES = {
    ("1", "15"): (130, 155, 74, 180),
    ("1", "70"): (34, 40, 80, 75),
    ("1", "125"): (20, 70, 82, 58),
    ("2", "15"): (150, 188, 159, 126),
    ("2", "70"): (136, 122, 106, 115),
    ("2", "125"): (25, 70, 58, 45),
    ("3", "15"): (138, 110, 168, 160),
    ("3", "70"): (174, 120, 150, 139),
    ("3", "125"): (96, 104, 82, 60),
}


def _grafts() -> Sample:
    rows = [(str(b), level, y) for level, of in _GRAFTS.items() for b, y in enumerate(of)]
    block, pressure, values = zip(*rows, strict=True)
    return Sample(values=np.array(values), block=block, levels={"pressure": pressure})


def _batteries() -> Sample:
    rows = [(*cell, float(y)) for cell, of in _BATTERIES.items() for y in of]
    material, temperature, values = zip(*rows, strict=True)
    return Sample(
        values=np.array(values),
        block=["1"] * len(values),
        levels={"material": material, "temperature": temperature},
    )


def _analysed(sample: Sample) -> Variance:
    found = analyse_variance(sample)
    assert isinstance(found, Variance)
    return found


def test_randomised_blocks_as_in_the_textbook() -> None:
    """Four pressures in six blocks: F is 8.11 on 3 and 15 degrees of freedom, p 0.0019."""
    found = _analysed(_grafts())
    (term,) = found.terms
    assert (term.freedom, found.error_freedom) == (3, 15)
    assert term.f == pytest.approx(8.11, abs=0.005)
    assert term.p == pytest.approx(0.0019, abs=5e-5)
    assert term.eta.value == pytest.approx(178.17 / (178.17 + 109.89), abs=1e-4)
    mean_square = 109.89 / 15
    omega = (178.17 - 3 * mean_square) / (178.17 + (24 - 3) * mean_square)
    assert term.omega == pytest.approx(omega, abs=1e-4)
    assert term.share == pytest.approx(term.eta.value)


def test_two_factors_as_in_the_textbook() -> None:
    """Material and temperature: F is 7.91 and 28.97, that of their interaction 3.56, error 27."""
    found = _analysed(_batteries())
    assert found.error_freedom == 27
    by_name = {term.name: term for term in found.terms}
    for name, freedom, f in (
        ("material", 2, 7.91),
        ("temperature", 2, 28.97),
        ("material × temperature", 4, 3.56),
    ):
        assert by_name[name].freedom == freedom
        assert by_name[name].f == pytest.approx(f, abs=0.005)
    p = [by_name[name].p for name in by_name]
    assert [t.p_holm for t in found.terms] == pytest.approx(
        [min(1.0, max(sorted(p)[i] * (3 - i) for i in range(sorted(p).index(x) + 1))) for x in p]
    )


def _random(seed: int, drop: int) -> tuple[Sample, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    rows = [
        (b, a, c, rng.normal() + (a == "x") + 0.4 * (a == "y" and c == "p"))
        for b, a, c in product("1234", "xyz", "pq")
    ]
    kept = sorted(rng.permutation(len(rows))[drop:])
    frame = pd.DataFrame([rows[at] for at in kept], columns=["b", "a", "c", "y"])
    levels = {"a": list(frame["a"]), "c": list(frame["c"])}
    return Sample(values=frame["y"].to_numpy(), block=list(frame["b"]), levels=levels), frame


@pytest.mark.parametrize("drop", [0, 5])
@pytest.mark.parametrize("seed", range(4))
def test_type_two_agrees_with_statsmodels(seed: int, drop: int) -> None:
    """With and without holes, F and p are those of `anova_lm(typ=2)` with blocks in the model."""
    sample, frame = _random(seed, drop)
    found = analyse_variance(sample)
    assert isinstance(found, Variance)
    reference = anova_lm(ols("y ~ C(b) + C(a) * C(c)", frame).fit(), typ=2)
    if found.robust:
        pytest.skip("the spread of this draw seems to differ, so that HC3 took over")
    for term, name in zip(found.terms, ("C(a)", "C(c)", "C(a):C(c)"), strict=True):
        assert term.f == pytest.approx(reference.loc[name, "F"])
        assert term.p == pytest.approx(reference.loc[name, "PR(>F)"])


def test_unequal_spread_brings_hc3_as_statsmodels_has_it() -> None:
    """Where one level scatters thirtyfold, F of the interaction is the HC3 one of statsmodels."""
    _, frame = _random(1, 0)
    frame = pd.concat([frame, frame.assign(b=frame["b"] + "'")], ignore_index=True)
    scale = np.where(frame["a"] == "x", 3.0, 0.1)
    frame["y"] = np.random.default_rng(3).normal(size=len(frame)) * scale
    levels = {"a": list(frame["a"]), "c": list(frame["c"])}
    found = _analysed(Sample(values=frame["y"].to_numpy(), block=list(frame["b"]), levels=levels))
    assert found.robust
    assert any("HC3" in remark for remark in found.remarks)
    assert all(term.eta.low is None for term in found.terms)
    reference = anova_lm(ols("y ~ C(b) + C(a) * C(c)", frame).fit(), typ=2, robust="hc3")
    assert found.terms[-1].f == pytest.approx(reference.loc["C(a):C(c)", "F"])


def test_chance_alone_is_rarely_called_an_effect() -> None:
    """Of 60 made-up campaigns without any effect, about 5 % or less have one after Holm."""
    rng = np.random.default_rng(11)
    cells = list(product("123", "xyz", "pq"))
    block, one, other = zip(*cells, strict=True)
    false = 0
    for _ in range(60):
        values = rng.normal(size=len(cells))
        found = _analysed(Sample(values=values, block=block, levels={"a": one, "c": other}))
        false += any(term.p_holm < 0.05 for term in found.terms)
    assert false <= stats.binom.ppf(0.99, 60, 0.05)


@pytest.mark.parametrize("f", [0.3, 3.5, 60.0, 4000.0])
def test_the_interval_of_eta_inverts_the_test(f: float) -> None:
    """At its ends the observed F is the 97.5th and the 2.5th percentile, or the end is 0."""
    found = partial_eta(f, 3, 40)
    assert found.low is not None
    assert found.high is not None
    for end, tail in ((found.low, 0.975), (found.high, 0.025)):
        size = end * 44 / (1 - end)
        reached = stats.ncf.cdf(f, 3, 40, size) if size else stats.f.cdf(f, 3, 40)
        assert reached == pytest.approx(tail, abs=1e-4) or (end == 0.0 and reached <= tail)


def test_what_only_some_models_have_is_compared_within_them() -> None:
    """Exits of one model neither hide the difference between models nor count as one."""
    rng = np.random.default_rng(5)
    rows = [
        (b, model, exit_, level + rng.normal(0, 0.01))
        for b in "123"
        for model, exit_, level in (
            ("plain", None, 1.0),
            ("staged", "1", 2.0),
            ("staged", "3", 4.0),
        )
    ]
    block, model, exits, values = zip(*rows, strict=True)
    sample = Sample(
        values=np.array(values), block=block, levels={"model": model, "max_exit": exits}
    )
    found = _analysed(sample)
    assert [(term.name, term.freedom) for term in found.terms] == [("model", 1), ("max exit", 1)]
    margins = marginal_means(found.model, "model", ("plain", "staged"), robust=False)
    assert margins is not None
    assert [m.mean.value for m in margins.means] == pytest.approx([1.0, 3.0], abs=0.03)
    assert margins.alike == ()


def test_missing_combinations_are_named() -> None:
    """A pair of levels without a trial is in the remarks, and the rest is analysed."""
    _, frame = _random(2, 0)
    frame = frame[(frame["a"] != "z") | (frame["c"] != "q")]
    levels = {"a": list(frame["a"]), "c": list(frame["c"])}
    found = _analysed(Sample(values=frame["y"].to_numpy(), block=list(frame["b"]), levels=levels))
    assert any("z with q" in remark for remark in found.remarks)
    assert [term.freedom for term in found.terms] == [2, 1, 1]


def test_factors_that_change_together_are_named() -> None:
    """Of two factors that never vary alone, the analysis says so."""
    values = np.random.default_rng(1).normal(size=8)
    levels = {"a": list("xxyyxxyy"), "c": list("ppqqppqq")}
    found = analyse_variance(Sample(values=values, block=list("12123434"), levels=levels))
    assert isinstance(found, Variance)
    assert found.terms == ()
    assert sum("cannot be told from the other factors" in one for one in found.remarks) == 2


@pytest.mark.parametrize(
    ("values", "levels", "reason"),
    [
        ([1.0, 2.0], {}, "no factor"),
        ([1.0, 2.0], {"a": ("x", "x")}, "no two levels of a"),
        ([1.0, 2.0], {"a": ("x", "y")}, "two repeats"),
        ([1.0, 1.0, 1.0, 1.0], {"a": tuple("xxyy")}, "all values are the same"),
        ([1.0, 1.0, 2.0, 2.0], {"a": tuple("xxyy")}, "repeats do not differ"),
    ],
)
def test_what_cannot_be_analysed_is_refused(
    values: list[float], levels: dict[str, tuple[str, ...]], reason: str
) -> None:
    """Instead of a table of nonsense there is a reason."""
    found = analyse_variance(
        Sample(values=np.array(values), block=["1"] * len(values), levels=levels)
    )
    assert isinstance(found, Refusal)
    assert reason in found.reason


def test_without_repeats_interactions_stand_in_for_the_error() -> None:
    """One block of three factors: what pairs leave unexplained is the error, and it says so."""
    cells = list(product("xyz", "pq", "uv"))
    levels = dict(zip("acd", zip(*cells, strict=True), strict=True))
    values = np.random.default_rng(4).normal(size=len(cells))
    found = _analysed(Sample(values=values, block=["1"] * len(cells), levels=levels))
    assert "pairs" in found.error
    assert found.error_freedom == 2


def test_margins_are_plain_means_of_balanced_data() -> None:
    """Means are those of the textbook's table; intervals are Bonferroni's, pairs are Tukey's."""
    model = fit(_grafts())
    assert model is not None
    found = marginal_means(model, "pressure", tuple(_GRAFTS), robust=False)
    assert found is not None
    reach = stats.t.ppf(1 - 0.05 / 8, 15) * np.sqrt(109.886 / 15 / 6)
    for margin, values in zip(found.means, _GRAFTS.values(), strict=True):
        assert margin.mean.value == pytest.approx(np.mean(values))
        assert margin.mean.bounds == pytest.approx(
            (np.mean(values) - reach, np.mean(values) + reach), rel=1e-4
        )
    least = stats.studentized_range.ppf(0.95, 4, 15) * np.sqrt(109.886 / 15 / 6)
    names = list(_GRAFTS)
    alike = [
        (one, other)
        for at, one in enumerate(names)
        for other in names[at + 1 :]
        if abs(np.mean(_GRAFTS[one]) - np.mean(_GRAFTS[other])) < least
    ]
    assert list(found.alike) == alike
