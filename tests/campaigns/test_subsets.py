"""Fractions and hypercubes of a full factorial: balanced, existing, and the same each time."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Hashable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyDOE3 import gsd

from joulery.campaigns.subsets import fraction, hypercube

Cells = list[tuple[Hashable, ...]]

FULL: Cells = list(
    itertools.product(["s", "m", "l"], [1, 2, 4, 8], [None, 0.9], ["lan", "wifi", "4g"], ["only"])
)
SOME = st.sets(st.sampled_from(FULL), min_size=1).map(lambda some: sorted(some, key=FULL.index))


def spread(cells: Sequence[tuple[Hashable, ...]], chosen: Sequence[int]) -> list[int]:
    """Return, of each factor, how much more often its most frequent level comes than its least."""
    found = []
    for column in zip(*cells, strict=True):
        counts = Counter(column[place] for place in chosen)
        often = [counts[level] for level in set(column)]
        found.append(max(often) - min(often))
    return found


@pytest.mark.parametrize("reduction", [2, 3, 4])
def test_a_fraction_is_balanced(reduction: int) -> None:
    """Of a full factorial it takes one in so many, and each level about equally often."""
    chosen = fraction(FULL, reduction)
    assert len(chosen) == len(FULL) / reduction
    assert max(spread(FULL, chosen)) <= 1


@pytest.mark.parametrize(
    ("sizes", "reduction"), [((3, 4, 2, 3), 2), ((3, 4, 2, 3), 3), ((4, 4, 4), 4), ((6, 3), 3)]
)
def test_a_fraction_is_the_subset_of_pydoe(sizes: tuple[int, ...], reduction: int) -> None:
    """Where that one is balanced, no other is taken."""
    cells: Cells = list(itertools.product(*map(range, sizes)))
    chosen = [cells[place] for place in fraction(cells, reduction)]
    assert chosen == sorted(map(tuple, gsd(list(sizes), reduction).tolist()))


@pytest.mark.parametrize(
    ("sizes", "reduction", "least"),
    [((4, 2, 2, 2), 4, 0), ((4, 2, 2), 4, 0), ((6, 4, 3, 2, 2, 2), 4, 0), ((5, 3, 2), 5, 1)],
)
def test_factors_of_few_levels_unbalance_no_other(
    sizes: tuple[int, ...], reduction: int, least: int
) -> None:
    """Levels that are fewer than the fraction are placed so that those of others come alike."""
    cells: Cells = list(itertools.product(*map(range, sizes)))
    chosen = fraction(cells, reduction)
    assert len(chosen) == len(cells) / reduction
    assert max(spread(cells, chosen)) == least
    assert chosen == fraction(cells, reduction)


def test_a_factor_that_follows_from_another_takes_no_part() -> None:
    """Levels that stand for others' neither unbalance a fraction nor make it larger."""
    cells: Cells = [
        (batch, min(batch, 4), load) for batch in (1, 2, 4, 8) for load in ("day", "night")
    ]
    chosen = [cells[place] for place in fraction(cells, 2)]
    for column, each in ((0, 1), (2, 2)):
        assert set(Counter(cell[column] for cell in chosen).values()) == {each}


def test_a_rare_level_decides_on_the_subset() -> None:
    """A level that but one combination has is in the fraction, whichever combination that is."""
    common: Cells = list(itertools.product("abc", [1, 2, 4], ["day", "night"]))
    for batch, load in itertools.product([1, 2, 4], ["day", "night"]):
        cells = [*common, ("rare", batch, load)]
        assert len(cells) - 1 in fraction(cells, 3)


def test_pairs_of_levels_meet_in_a_fraction() -> None:
    """Each level is seen with each level of every other factor: effects can be told apart."""
    chosen = [FULL[place] for place in fraction(FULL, 3)]
    for one, other in itertools.combinations(range(5), 2):
        met = {(cell[one], cell[other]) for cell in chosen}
        assert met == {(cell[one], cell[other]) for cell in FULL}


@pytest.mark.parametrize("number", [12, 24, 36])
def test_a_hypercube_is_balanced(number: int) -> None:
    """Each level comes equally often where the number of cells allows it."""
    chosen = hypercube(FULL, number, seed=3)
    assert len(chosen) == number
    # A combination that was taken already gives a point to a neighbour.
    assert max(spread(FULL, chosen)) <= 2


@settings(deadline=None)
@given(cells=SOME, reduction=st.integers(2, 5))
def test_fractions_take_what_exists(cells: Cells, reduction: int) -> None:
    """Places are of the cells given, each once, in their order; what cannot be is refused."""
    sizes = [len(set(column)) for column in zip(*cells, strict=True)]
    if sum(size > 1 for size in sizes) < 2 or max(sizes) < reduction:
        with pytest.raises(ValueError, match="levels"):
            fraction(cells, reduction)
        return
    chosen = fraction(cells, reduction)
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= set(range(len(cells)))


@settings(deadline=None)
@given(cells=SOME, number=st.integers(1, 80), seed=st.integers(0, 5))
def test_hypercubes_take_as_many_as_there_are(cells: Cells, number: int, seed: int) -> None:
    """As many as asked for, or all; the same for the same seed."""
    chosen = hypercube(cells, number, seed)
    assert len(set(chosen)) == len(chosen) == min(number, len(cells))
    assert chosen == hypercube(cells, number, seed)
