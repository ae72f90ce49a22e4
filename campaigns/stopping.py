"""When a cell has been repeated enough: its interval is narrow.

Pure. Stopping by what was seen makes intervals a little too narrow (Singham & Schruben 2012,
"Finite-Sample Performance of Absolute Precision Stopping Rules"); a fair number of repeats that
come in any case keeps that small, and the dataset says how often each cell was measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from scipy.stats import t as student

__all__ = ["StoppingRule", "is_settled"]


class StoppingRule(BaseModel):
    """How narrow the interval of a cell has to be for it to be repeated no more."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    figure: Literal[
        "latency_p50_s", "latency_p90_s", "latency_p95_s", "latency_p99_s", "inference_energy_j"
    ] = Field(default="latency_p95_s", description="Of which figure.")
    width_ratio: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = Field(
        default=0.05, description="Half the width of the 95 % interval of its mean, relative."
    )
    repeats_min: Annotated[int, Field(ge=2)] = Field(
        default=3, description="Valid trials that each cell has in any case."
    )


def is_settled(values: Sequence[float], rule: StoppingRule) -> bool:
    """Return whether a cell needs no more repeats: Student's interval of the mean is narrow enough.

    Args:
        values: The figure in each valid trial of the cell.
        rule: What is asked for.
    """
    number = len(values)
    if number < rule.repeats_min:
        return False
    mean = math.fsum(values) / number
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (number - 1))
    half = float(student.ppf(0.975, number - 1)) * spread / math.sqrt(number)
    return half <= rule.width_ratio * abs(mean)
