"""What answers at a moment, and its change for another while requests come.

A configuration at work is a `Generation`. The next one is loaded beside it, takes all requests
from one moment on, and the one before ends when it has answered those that it had.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import JouleryError, SpecError
from .batching import Batcher
from .knobs import SCORE_THRESHOLD
from .live_config import Settings
from .model import Model
from .statistics import Statistics

if TYPE_CHECKING:
    from ...profiler.service import ServiceProfiler

__all__ = ["Generation", "Host"]

_Identity = tuple[Path, int, int, int, int, str, Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One configuration at work.

    Args:
        number: Counts from 1.
        settings: What it is.
        model: Loaded.
        batcher: In front of the model.
        profiler: That its requests are recorded with; `None`: they are not.
    """

    number: int
    settings: Settings
    model: Model
    batcher: Batcher
    profiler: ServiceProfiler | None


class Host:
    """Answers requests by one generation, and changes it for the next.

    Its methods belong to one event loop, and changes come one after the other.

    Args:
        queue_limit: Most requests that may wait.
        deadline_s: The longest time that one may; `None`: any.
        prediction: The output that holds what was answered, if one is told to.
        profile: Makes the profiler of a model; `None`: nothing is profiled.

    Attributes:
        statistics: Of all generations.
        error: Why the latest configuration was refused; empty: it was not.
    """

    def __init__(
        self,
        *,
        queue_limit: int,
        deadline_s: float | None,
        prediction: str | None,
        profile: Callable[[Settings], ServiceProfiler] | None,
    ) -> None:
        self._queue_limit, self._deadline_s = queue_limit, deadline_s
        self.prediction, self._profile = prediction, profile
        self._current: Generation | None = None
        self._identity: _Identity | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._changing = asyncio.Lock()
        self.statistics = Statistics()
        self.error = ""

    @property
    def current(self) -> Generation:
        """The generation that answers now."""
        assert self._current is not None, "nothing is loaded yet"
        return self._current

    async def change(self, settings: Settings) -> bool:
        """Answer by other settings from now on; return whether they are others.

        Raises:
            SpecError: They cannot be, or requests that were right until now would fail; all stays
                as it is.
        """
        async with self._changing:
            return await self._change(settings)

    async def _change(self, settings: Settings) -> bool:
        before = self._current
        if before is not None and before.settings == settings:
            self.error = ""
            return False
        # Loading takes long and lets the event loop go on.
        model, identity = await asyncio.to_thread(self._loaded, settings)
        _check(model, settings, self.prediction)
        if before is not None and before.model is not model:
            _check_same_requests(before.model, model, settings.path)
        profiler = await asyncio.to_thread(self._profiler_for, settings)
        batcher = Batcher(
            model,
            batch=settings.batch,
            wait_s=settings.batch_wait_s,
            queue_limit=self._queue_limit,
            deadline_s=self._deadline_s,
            constants=model.constants(settings.knobs),
            statistics=self.statistics,
        )
        self._current = Generation(
            number=1 if before is None else before.number + 1,
            settings=settings,
            model=model,
            batcher=batcher,
            profiler=profiler,
        )
        self._identity = identity
        self.error = ""
        if before is not None:
            ending = asyncio.create_task(_end(before, keep_profiler=profiler is before.profiler))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
        return True

    def refuse(self, error: JouleryError) -> None:
        """Stay with what there is, and say why."""
        self.error = str(error)
        print(f"refused, all stays as it is: {error}", file=sys.stderr, flush=True)

    def flush(self) -> None:
        """Let nobody wait for others any more: the server is stopping."""
        self.current.batcher.flush()

    async def close(self) -> None:
        """End, once nobody asks any more."""
        await asyncio.gather(*self._ending)
        await _end(self.current, keep_profiler=False)

    def parameters(self) -> dict[str, Any]:
        """Return what the service is now, for its metadata: what is known of it."""
        settings = self.current.settings
        told = {
            "precision": settings.precision or None,
            "variant": settings.variant or None,
            "batch": settings.batch,
            "batch_wait_s": settings.batch_wait_s,
            "threads": settings.threads,
            "provider": settings.provider,
            **settings.knobs,
            "config_generation": self.current.number,
            "config_error": self.error or None,
        }
        return {key: value for key, value in told.items() if value is not None}

    def _loaded(self, settings: Settings) -> tuple[Model, _Identity | None]:
        """Return the model: the one that there is, if file and threads are the same."""
        identity = _identity(settings)
        if self._current is not None and identity is not None and identity == self._identity:
            return self._current.model, identity
        return _load(settings), identity

    def _profiler_for(self, settings: Settings) -> ServiceProfiler | None:
        if self._profile is None:
            return None
        before = self._current
        if before is not None and (before.settings.model, before.settings.variant) == (
            settings.model,
            settings.variant,
        ):
            return before.profiler
        return self._profile(settings)


async def _end(generation: Generation, *, keep_profiler: bool) -> None:
    """Answer those that it has; then let model and profiler go."""
    await generation.batcher.drain()
    if generation.profiler is not None and not keep_profiler:
        await asyncio.to_thread(generation.profiler.close)


def _identity(settings: Settings) -> _Identity | None:
    """Return what makes a loaded model the same; `None`: there is no such file."""
    try:
        found = settings.path.stat()
    except OSError:
        return None
    stamps = (found.st_ino, found.st_mtime_ns, found.st_size)
    return (settings.path, *stamps, settings.threads, settings.provider, settings.detector)


def _load(settings: Settings) -> Model:
    if settings.detector is None:
        return Model(settings.path, settings.threads, settings.provider)
    # Imported here: only those who bring a detector need it.
    from .video_analytics.served_detector import ServedDetector

    return ServedDetector(
        settings.path, settings.detector, threads=settings.threads, provider=settings.provider
    )


def _check(model: Model, settings: Settings, prediction: str | None) -> None:
    """Raise SpecError where a model cannot be served by some settings."""
    subject = f"model {settings.path}"
    if settings.batch > 1 and not model.batches:
        raise SpecError(
            subject,
            found="a leading axis of fixed length",
            expected="one of any length, to answer in batches",
            remedy="--batch 1 serves it",
        )
    for name, value in settings.knobs.items():
        if value is not None and name not in model.knobs:
            lacks = "detections in its answers" if name == SCORE_THRESHOLD else f"input {name!r}"
            raise SpecError(subject, found=f"no {lacks}", expected=f"{name} to be left out")
    names = [spec.name for spec in model.outputs]
    if prediction is not None and prediction not in names:
        raise SpecError(subject, found=f"no output {prediction!r}", expected=", ".join(names))


def _check_same_requests(before: Model, after: Model, path: Path) -> None:
    """Raise SpecError where requests that were right until now would fail."""
    same = len(before.inputs) == len(after.inputs) and all(
        any(new.takes_all_of(old) for new in after.inputs) for old in before.inputs
    )
    old_outputs, new_outputs = (
        {(spec.name, spec.datatype) for spec in model.outputs} for model in (before, after)
    )
    if not same or not old_outputs <= new_outputs:
        raise SpecError(
            f"model {path}",
            found="other inputs or outputs than the model that it takes over from",
            expected="the same, so that no request fails",
            remedy="a restart serves it",
        )
