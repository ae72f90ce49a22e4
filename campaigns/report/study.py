"""What a scenario's factors do to each goal: variance, marginal means, and what its load changes.

The unit is a trial. Energy and latency are analysed as logarithms, since what acts on them
multiplies; quality as it is, and so is an energy that is 0 in some trial.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from ...datasets.store import Dataset
from ..cells import Goal
from ..intervals import Interval
from .contrasts import exponential
from .factors import Factors, factors_of, level_text, valid_trials
from .linear import Sample
from .margins import Margins, marginal_means
from .sensitivity import Change, changes
from .variance import Refusal, Term, Variance, analyse_variance

__all__ = ["COLUMNS", "GoalStudy", "Study", "study"]

COLUMNS: dict[Goal, str] = {
    "energy": "inference_energy_j",
    "latency": "latency_p95_s",
    "quality": "quality_value",
}
"""What stands for each goal in a trial's row."""

_LEVEL = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class GoalStudy:
    """One goal of a scenario.

    Args:
        goal: The goal.
        log: Whether logarithms are analysed; means are then geometric ones.
        trials: How many values there are.
        factors: What may move it.
        variance: Its analysis, or why there is none.
    """

    goal: Goal
    log: bool
    trials: int
    factors: Factors
    variance: Variance | Refusal

    @property
    def names(self) -> tuple[str, ...]:
        """The factors that are analysed."""
        return self.factors.answering if self.goal == "quality" else self.factors.all

    @property
    def interactions(self) -> list[Term]:
        """Interactions that are told from chance, the strongest first."""
        if isinstance(self.variance, Refusal):
            return []
        found = [t for t in self.variance.terms if len(t.factors) == 2 and t.p_holm < _LEVEL]
        return sorted(found, key=lambda term: -term.share)

    def shown(self, value: Interval) -> Interval:
        """Return a mean on the scale on which people read it."""
        return exponential(value) if self.log else value

    def margins(self) -> list[Margins]:
        """Return the marginal means of each factor that has any."""
        variance = self.variance
        if isinstance(variance, Refusal):
            return []
        found = (
            marginal_means(variance.model, name, self.factors.levels[name], robust=variance.robust)
            for name in self.names
        )
        return [one for one in found if one is not None]

    def changes(self, condition: str) -> list[Change]:
        """Return what a condition does to each configuration."""
        variance = self.variance
        if isinstance(variance, Refusal) or not self.log or condition not in self.names:
            return []
        levels = self.factors.levels[condition]
        return changes(variance.model, condition, levels, robust=variance.robust)


class Study:
    """All goals of a scenario.

    Attributes:
        scenario: Its name.
        trials: Its valid trials.
        factors: What varies between them.
    """

    def __init__(self, scenario: str, trials: pd.DataFrame, factors: Factors) -> None:
        self.scenario = scenario
        self.trials = trials
        self.factors = factors

    @cached_property
    def goals(self) -> list[GoalStudy]:
        """Energy, latency and quality."""
        return [self._goal(goal) for goal in COLUMNS]

    def _goal(self, goal: Goal) -> GoalStudy:
        column = COLUMNS[goal]
        known = self.trials[self.trials[column].notna()] if column in self.trials else None
        if known is None or not len(known):
            found = Refusal(reason=f"the {goal} of no valid trial is known")
            return GoalStudy(goal=goal, log=True, trials=0, factors=self.factors, variance=found)
        log = goal != "quality" and bool((known[column] > 0).all())
        if goal == "quality":
            sample = self._answers(known, column)
        else:
            sample = _sample(known, column, self.factors.all, log=log)
        return GoalStudy(
            goal=goal,
            log=log,
            trials=len(known),
            factors=self.factors,
            variance=analyse_variance(sample),
        )

    def _answers(self, trials: pd.DataFrame, column: str) -> Sample:
        """Return quality by what decides it: repeats of the same answers count once.

        Requests are drawn for each block and condition, so that each of these is a block here.
        """
        names = list(self.factors.answering)
        around = ["block", *self.factors.conditions]
        block = trials[around].astype(str).agg(" ".join, axis=1)
        keys = {name: trials[name].map(level_text).fillna("") for name in names}
        frame = pd.DataFrame({"value": trials[column], "block": block, **keys})
        once = frame.groupby([*names, "block"], sort=False, as_index=False)["value"].mean()
        return Sample(
            values=once["value"].to_numpy(dtype=np.float64),
            block=list(once["block"]),
            levels={name: [text or None for text in once[name]] for name in names},
        )


def _sample(trials: pd.DataFrame, column: str, names: Sequence[str], *, log: bool) -> Sample:
    values = trials[column].to_numpy(dtype=np.float64)
    return Sample(
        values=np.log(values) if log else values,
        block=[str(one) for one in trials["block"]],
        levels={name: [level_text(one) for one in trials[name]] for name in names},
    )


def study(dataset: Dataset, scenario: str) -> Study:
    """Return what the factors of a scenario do, by its valid trials."""
    trials = valid_trials(dataset.trials, scenario)
    return Study(scenario, trials, factors_of(trials, dataset.about.spec, scenario))
