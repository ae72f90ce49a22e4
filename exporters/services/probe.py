"""The active probe: sends a golden set to every replica, slowly, and judges what comes back.

So the accuracy of each pod, variant and exit is known where no labels come. Each service has its
own turns; whatever one of them does, it takes nothing but its own time.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import aiohttp
import numpy as np

from ...errors import JouleryError, SourceFailed, SpecError
from ...profiler.oip import InferenceResponse
from ..dialects.reading import Reading, Told
from ..quality import WINDOWS, Key, Verdicts
from ..service_metrics import PROBE_REQUESTS
from .agreement import ReferenceLabels, agreement_told
from .asking import Asked, asking_session
from .golden import GoldenSet
from .target import Pod, Target
from .telling import quality_told, total_told

__all__ = ["Prober"]

_log = logging.getLogger(__name__)

_SLOWEST = 60
"""A service that fails is asked ever less often, down to every so many turns."""

_LONGEST_EXIT = 64


class _Probed:
    """One service with its golden set: what is asked next, and what came of all so far."""

    def __init__(self, target: Target, golden: GoldenSet, seed: int) -> None:
        self.target, self.golden = target, golden
        self.model = target.model or golden.model
        self.server = Asked(target.infer_url, self.model) if self.model else None
        self.verdicts = Verdicts(len(golden))
        self.outcomes: Counter[str] = Counter(ok=0)
        self.failures = 0
        self.due_s = 0.0
        self.is_busy = False
        # All replicas are asked in the same order, so that early figures can be compared.
        self._order = np.random.default_rng(seed).permutation(len(golden))
        self._next = 0

    def sample(self) -> int:
        """Return the sample whose turn it is; it stays so until it is passed."""
        return int(self._order[self._next])

    def move_on(self) -> None:
        """Go to the next sample, from the last to the first."""
        self._next = (self._next + 1) % len(self._order)

    def told(self, now_s: float) -> list[Told]:
        """Return all that is known of the service."""
        names = self.model, self.target.variant
        found = [
            Told(PROBE_REQUESTS, (*names, outcome), float(count))
            for outcome, count in self.outcomes.items()
        ]
        reference = self.golden.reference
        if reference is not None:
            return found + agreement_told(self.verdicts, *names, reference=reference, now_s=now_s)
        for taken in self.verdicts.exits:
            key = Key(*names, taken, self.golden.judge.metric)
            found += total_told(key, self.verdicts.total(taken), method="probe")
            for window, length_s in WINDOWS.items():
                quality = self.verdicts.quality(taken, now_s=now_s, window_s=length_s)
                if quality is not None:
                    found += quality_told(key, quality, method="probe", window=window)
        return found


class Prober:
    """Probes all services that have a golden set, each at its own bounded rate.

    A pod that is not ready is left alone: what it answers while it starts is nobody's answer.
    Quality rests on distinct samples, see `Verdicts`; JUDGED and CORRECT count each answer. A pod
    with another uid, another variant, model or golden set begins anew. All methods belong to one
    event loop.

    Args:
        golden: The sets by name; `use` says when they are others.
        clock: Monotonic seconds.
        rate_hz: Requests a second to one service; each waits a random time about that.
        most_hz: Requests a second to all together; a turn beyond it is skipped.
        most_at_once: Requests under way at once, likewise.
        timeout_s: How long one may take.
        seed: Of the order of samples and the waits.
    """

    def __init__(
        self,
        golden: Mapping[str, GoldenSet],
        *,
        clock: Callable[[], float],
        rate_hz: float = 0.2,
        most_hz: float = 10.0,
        most_at_once: int = 4,
        timeout_s: float = 10.0,
        seed: int = 0,
    ) -> None:
        self.golden, self._clock, self._seed = golden, clock, seed
        self._targets: tuple[Target, ...] = ()
        self._wait_s, self._space_s = 1 / rate_hz, 1 / most_hz
        self._most_at_once, self._timeout_s = most_at_once, timeout_s
        self._random = random.Random(seed)
        self._probed: dict[tuple[str, ...], _Probed] = {}
        self._references: dict[str, ReferenceLabels] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._free_s = 0.0
        self._changed = asyncio.Event()
        self._complained: set[str] = set()

    def use(self, golden: Mapping[str, GoldenSet]) -> None:
        """Say which golden sets there are now; a service whose set is as before goes on."""
        if golden is not self.golden:
            self.golden = golden
            used = {one.sha256 for one in golden.values()}
            self._references = {k: one for k, one in self._references.items() if k in used}
            self.update(self._targets)

    def update(self, targets: Iterable[Target]) -> None:
        """Say which services there are now; those that are as before go on."""
        before, self._probed = self._probed, {}
        self._targets = tuple(targets)
        for target in self._targets:
            if not (target.golden and target.infer_url):
                continue
            golden = self.golden.get(target.golden)
            if golden is None:
                self._complain(
                    f"{_shown(target.pod)} is not probed: no golden set {target.golden!r:.60}"
                )
                continue
            service = (target.infer_url, target.model, target.variant)
            key = (*target.pod.labels, *service, golden.name, golden.sha256)
            known = before.get(key) or self._begun(target, golden)
            if known is not None:
                if target.is_ready and not known.target.is_ready:
                    known.failures = 0
                    self._spread(known)
                known.target = target
                self._probed[key] = known
        self._changed.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Probe until `stop` is set; requests under way are given up then."""
        stopped = asyncio.ensure_future(stop.wait())
        async with asking_session(self._timeout_s) as session:
            try:
                while not stop.is_set():
                    self._changed.clear()
                    changed = asyncio.ensure_future(self._changed.wait())
                    await asyncio.wait(
                        {stopped, changed},
                        timeout=self._start_turns(session),
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                    changed.cancel()
            finally:
                stopped.cancel()
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)
                for probed in self._probed.values():
                    probed.is_busy = False

    def readings(self) -> Mapping[Pod, Reading]:
        """Return what is known of each pod; a series that two of its services share, once."""
        now_s = self._clock()
        by_pod: dict[Pod, dict[object, Told]] = {}
        for probed in self._probed.values():
            known = by_pod.setdefault(probed.target.pod, {})
            for one in probed.told(now_s):
                known.setdefault((one.metric, one.labels), one)
        return {pod: Reading(told=tuple(known.values())) for pod, known in by_pod.items()}

    def _begun(self, target: Target, golden: GoldenSet) -> _Probed | None:
        try:
            probed = _Probed(target, golden, self._seed)
        except JouleryError as error:
            self._complain(f"{_shown(target.pod)} is not probed: {error}")
            return None
        self._spread(probed)
        return probed

    def _spread(self, probed: _Probed) -> None:
        """Set the first turn, somewhere in one wait: targets often come all at once."""
        probed.due_s = self._clock() + self._random.uniform(0, self._wait_s)

    def _start_turns(self, session: aiohttp.ClientSession) -> float | None:
        """Start the turns that are due; return the seconds until the next, `None`: there is none.

        A turn for which there is no room is put off, and skipped when the next one would be due:
        else they would pile up.
        """
        now_s = self._clock()
        idle = [one for one in self._probed.values() if one.target.is_ready and not one.is_busy]
        for probed in sorted(idle, key=lambda one: one.due_s):
            if probed.due_s > now_s:
                break
            if len(self._tasks) < self._most_at_once and now_s >= self._free_s:
                self._free_s = now_s + self._space_s
                probed.is_busy = True
                task = asyncio.get_running_loop().create_task(self._turn(session, probed))
                self._tasks.add(task)
                task.add_done_callback(self._ended)
            elif now_s - probed.due_s > self._wait_s:
                probed.outcomes["skipped"] += 1
                self._schedule(probed, now_s)
        due_s = min((one.due_s for one in idle if not one.is_busy), default=math.inf)
        if len(self._tasks) >= self._most_at_once or due_s == math.inf:
            return None  # the end of a turn, or an update, says when to look again
        return max(0.0, max(due_s, self._free_s) - now_s)

    async def _turn(self, session: aiohttp.ClientSession, probed: _Probed) -> None:
        outcome = "error"
        try:
            await self._probe(session, probed)
        except JouleryError as error:
            self._failed(probed)
            if probed.failures == 1:  # the next ones are counted
                _log.warning("probe of %s: %s", _shown(probed.target.pod), error)
        except Exception as error:  # noqa: BLE001  our mistake with one is not to end all probing
            self._failed(probed)
            _log.error(
                "probe of %s: %s: %s",
                *(_shown(probed.target.pod), type(error).__name__, error),
                exc_info=_log.isEnabledFor(logging.DEBUG),
            )
        else:
            outcome, probed.failures = "ok", 0
        # A sample that fails is passed as well: it may be the one that the service fails at.
        probed.move_on()
        probed.outcomes[outcome] += 1
        probed.is_busy = False
        self._schedule(probed, self._clock())

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._changed.set()

    async def _probe(self, session: aiohttp.ClientSession, probed: _Probed) -> None:
        """Ask for one sample, and take in what came."""
        golden, sample = probed.golden, probed.sample()
        if probed.server is None:
            raise SpecError(
                f"golden set {golden.name}",
                found="no model, neither in it nor of the service",
                remedy="name it by the annotation joulery.io/model, or by 'model' in the set",
            )
        if golden.labels is not None:
            label = golden.labels[sample]
        else:
            label = await self._reference(golden).label(session, sample)
        answer = await probed.server.ask(session, golden.sample(sample), golden.outputs)
        try:
            right = golden.judge.is_right(answer.outputs[golden.judge.output], label)
        except ValueError as error:
            raise SourceFailed(probed.target.infer_url, found=str(error)) from error
        taken = _exit_of(answer, golden.exit_output)
        probed.verdicts.add(sample, float(right), exit_taken=taken, at_s=self._clock())

    def _reference(self, golden: GoldenSet) -> ReferenceLabels:
        if golden.sha256 not in self._references:
            self._references[golden.sha256] = ReferenceLabels(golden, clock=self._clock)
        return self._references[golden.sha256]

    def _schedule(self, probed: _Probed, now_s: float) -> None:
        turns = min(2**probed.failures, _SLOWEST)
        probed.due_s = now_s + turns * self._wait_s * self._random.uniform(0.5, 1.5)

    @staticmethod
    def _failed(probed: _Probed) -> None:
        probed.failures = min(probed.failures + 1, 10)

    def _complain(self, text: str) -> None:
        """Log once."""
        if text not in self._complained and len(self._complained) < 1000:
            self._complained.add(text)
            _log.warning("%s", text)


def _exit_of(answer: InferenceResponse, output: str) -> str:
    """Return by which exit an answer came; empty: it does not say."""
    taken = answer.parameters.get("exit")
    if not isinstance(taken, str):
        values = answer.outputs.get(output)
        taken = str(values.ravel()[0]) if values is not None and values.size else ""
    return taken[:_LONGEST_EXIT]


def _shown(pod: Pod) -> str:
    return f"pod {pod.namespace}/{pod.name}"
