"""One way to configure a service: a level of each factor."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FACTORS", "KNOB_FACTORS", "Configuration"]

KNOB_FACTORS = ("max_exit", "exit_threshold", "resolution", "stride", "score_threshold")
"""Factors that only some models have."""

FACTORS = ("model", "precision", "batch", "threads", "provider", "node", *KNOB_FACTORS)
"""All factors of a service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One way to configure one scenario's service; what is `None` is not said."""

    scenario: str
    model: str
    precision: str
    batch: int
    threads: int
    provider: str = "cpu"
    node: str | None = None
    max_exit: int | None = None
    exit_threshold: float | None = None
    resolution: float | None = None
    stride: int | None = None
    score_threshold: float | None = None

    def __str__(self) -> str:
        """Return the levels, for instance `model=mlp precision=int8 batch=8 threads=1`.

        A level that is not said, or is the usual provider, is left out.
        """
        levels = {name: getattr(self, name) for name in FACTORS}
        if self.provider == "cpu":
            del levels["provider"]
        return " ".join(
            f"{name}={level:g}" if isinstance(level, float) else f"{name}={level}"
            for name, level in levels.items()
            if level is not None
        )
