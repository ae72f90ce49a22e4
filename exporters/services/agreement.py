"""Labels for golden sets that have none: what a reference model answers.

Judged by these, a share is an agreement. It says nothing about truth, for both may be wrong; it
goes by its own name from here on, and is never called accuracy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import urlsplit

import aiohttp

from ...errors import SourceFailed
from ..dialects.reading import Told
from ..quality import WINDOWS, Verdicts
from ..service_metrics import AGREEMENT
from .asking import Asked
from .golden import GoldenSet, Reference
from .judging import Labels
from .telling import bounded_told

__all__ = ["ReferenceLabels", "agreement_told", "reference_name"]


class ReferenceLabels:
    """The labels of a golden set, from its reference: each asked for once, and again in a day.

    All replicas of a service share them, so a reference has little to do.

    Args:
        golden: A set with a reference.
        clock: Monotonic seconds.
        keep_s: How long an answer is taken for the reference's.
    """

    def __init__(
        self, golden: GoldenSet, *, clock: Callable[[], float], keep_s: float = 86400.0
    ) -> None:
        assert golden.reference is not None, "a set with labels needs no reference"
        self._golden, self._clock, self._keep_s = golden, clock, keep_s
        self._server = Asked(golden.reference.url, golden.reference.model)
        self._labels: dict[int, tuple[float, Labels]] = {}
        self._lock = asyncio.Lock()

    async def label(self, session: aiohttp.ClientSession, sample: int) -> Labels:
        """Return the label of a sample.

        Raises:
            SourceFailed: The reference gives none.
        """
        async with self._lock:  # one question at a time: a reference is not to be flooded
            known = self._labels.get(sample)
            if known is not None and self._clock() - known[0] < self._keep_s:
                return known[1]
            judge = self._golden.judge
            answer = await self._server.ask(session, self._golden.sample(sample), (judge.output,))
            try:
                label = judge.label_of(answer.outputs[judge.output])
            except ValueError as error:
                raise SourceFailed(
                    f"reference of golden set {self._golden.name}", found=str(error)
                ) from error
            self._labels[sample] = self._clock(), label
            return label


def reference_name(reference: Reference) -> str:
    """Return how a reference is called in a metric: its model and its host."""
    return f"{reference.model}@{urlsplit(reference.url).netloc.rpartition('@')[2]}"


def agreement_told(
    verdicts: Verdicts, model: str, variant: str, *, reference: Reference, now_s: float
) -> list[Told]:
    """Return the agreement of one service with a reference, by exit and window."""
    found: list[Told] = []
    for taken in verdicts.exits:
        for window, length_s in WINDOWS.items():
            quality = verdicts.quality(taken, now_s=now_s, window_s=length_s)
            if quality is None:
                continue
            labels = (model, variant, taken, reference_name(reference), window)
            found += bounded_told(AGREEMENT, quality, labels)
    return found
