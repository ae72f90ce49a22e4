"""Work on a GPU: busy seconds of each process or MIG instance, cumulative, by which it is shared.

How the GPU is shared is asked at each reading (`sharing`). Nothing here reads energy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ..errors import SourceForbidden
from .mig import MigActivity, instance_ratios
from .nvidia import Board, Driver
from .sharing import Mode, Sharing, sharing

__all__ = ["GpuWork", "UtilSample", "bounded", "newest_us", "open_gpus", "process_ratios"]

Key = TypeVar("Key")

PERIOD_S = 1.0
"""Utilisation is renewed every sixth of a second to every second, by product (NVML reference,
`nvmlUtilization_t`); asking more often would find the same value, or none."""

KEEP_S = 900.0
"""A consumer that is gone keeps its seconds this long, for whoever still reads its total."""

_FULL = 100
"""Utilisation comes as an integer percent; drivers are known to give garbage beyond it."""


@dataclass(frozen=True, slots=True)
class UtilSample:
    """One sample of one process: mean SM utilisation since the time that was asked for.

    Args:
        pid: The process.
        t_us: The driver's clock when the sample was taken, in microseconds.
        sm_percent: Percent of time its kernels ran.
    """

    pid: int
    t_us: int
    sm_percent: int

    @property
    def sound(self) -> bool:
        """Whether it belongs to a process and says a percentage."""
        return self.pid > 0 and 0 <= self.sm_percent <= _FULL


def process_ratios(samples: Iterable[UtilSample], since_us: int) -> dict[int, float]:
    """Return the share of the GPU's time that each process used, 0 to 1, 1 at most in all.

    Samples that are not newer than `since_us` were counted before, and unsound ones are the
    driver's garbage. Neither counts. Several of one process are averaged.

    Args:
        samples: What the driver gave.
        since_us: The newest time that an earlier call counted.
    """
    percents: dict[int, list[int]] = {}
    for sample in samples:
        if sample.sound and sample.t_us > since_us:
            percents.setdefault(sample.pid, []).append(sample.sm_percent)
    return bounded({pid: sum(some) / len(some) / _FULL for pid, some in percents.items()})


def newest_us(samples: Iterable[UtilSample], since_us: int, elapsed_s: float) -> int:
    """Return the time after which the next samples are new.

    Without a new sample the driver's clock went on by what passed on ours, and nothing that came
    meanwhile is left out.

    Args:
        samples: What the driver gave.
        since_us: What it was asked for.
        elapsed_s: Time since the call before, on our clock.
    """
    newest = max((sample.t_us for sample in samples if sample.sound), default=0)
    return newest if newest > since_us else since_us + round(1e6 * elapsed_s)


def bounded(ratios: Mapping[Key, float]) -> dict[Key, float]:
    """Scale shares down so that they sum to 1 at most: percents are rounded, MPS may overlap."""
    whole = max(1.0, sum(ratios.values()))
    return {key: ratio / whole for key, ratio in ratios.items()}


@dataclass(frozen=True, slots=True)
class _Look:
    """What one reading found: shares of the GPU's time by consumer, and of all together."""

    mode: Mode
    note: str
    ratios: Mapping[str, float]
    total: float


class GpuWork:
    """Busy seconds of one GPU's consumers: cumulative, never falling, together no more than time.

    A consumer is "pid:1234", a MIG device's UUID, or the owner. NVML is asked once a second at
    most; what comes sooner gets the values of the last time.

    Args:
        board: The GPU.
        clock: Monotonic seconds.
        owner: Who has the GPU to itself, where that is known (device allocation); it then gets
            all of its work, unless the GPU is cut by MIG.
        interval_s: Shortest time between two questions.

    Attributes:
        mode: By what work was shared at the last reading.
        note: How the GPU is shared, and what was not told, for people.
        total_s: Busy seconds of the GPU, whoever caused them.
        owner: Who has the GPU to itself from now on, `None` for nobody.
    """

    resolution_s = PERIOD_S
    """Edges lie this far off; the rounding to a percent is less for readings up to a minute."""

    def __init__(
        self,
        board: Board,
        *,
        clock: Callable[[], float],
        owner: str | None = None,
        interval_s: float = PERIOD_S,
    ) -> None:
        self.name, self.uuid = f"gpu-{board.index}", board.uuid
        self.mode: Mode = "exclusive" if owner is not None else "sm_share"
        self.note = ""
        self.total_s = 0.0
        self._board, self._clock, self.owner = board, clock, owner
        self._interval_s = interval_s
        self._migs = MigActivity(board.driver)
        self._last_s: float | None = None
        self._since_us = 0
        self._busy_s: dict[str, float] = {}
        self._seen_s: dict[str, float] = {}

    def busy_s(self) -> Mapping[str, float]:
        """Return the busy seconds of every consumer since the first call.

        Raises:
            SourceForbidden: Utilisation may not be read.
            SourceFailed: The GPU is lost; the time until it returns is nobody's.
        """
        now_s = self._clock()
        if self._last_s is not None and now_s - self._last_s < self._interval_s:
            return dict(self._busy_s)
        first = self._last_s is None
        elapsed_s = 0.0 if self._last_s is None else now_s - self._last_s
        self._last_s = None  # what fails here begins anew: nobody is given the time between
        with self._board.driver.explained(self.name):
            look = self._board.read(lambda handle: self._look(handle, elapsed_s))
        self._last_s = now_s
        self.uuid, self.mode, self.note = self._board.uuid, look.mode, look.note
        for key, ratio in look.ratios.items():
            # The first samples speak of a time before ours.
            gained_s = 0.0 if first else ratio * elapsed_s
            self._busy_s[key] = self._busy_s.get(key, 0.0) + gained_s
            self._seen_s[key] = now_s
        self.total_s += 0.0 if first else look.total * elapsed_s
        for key in [key for key, seen_s in self._seen_s.items() if now_s - seen_s > KEEP_S]:
            del self._busy_s[key], self._seen_s[key]
        return dict(self._busy_s)

    def _look(self, handle: Any, elapsed_s: float) -> _Look:
        shared = sharing(self._board.driver, handle)
        if shared.mode == "mig":
            return self._look_mig(handle, shared)
        rates = self._board.driver.ask(
            self._board.driver.client.nvmlDeviceGetUtilizationRates, handle
        )
        total = None if rates is None else min(_FULL, rates.gpu) / _FULL
        if self.owner is not None:
            return _possession(shared, self.owner, total)
        if shared.mode == "exclusive":
            # Idle and at nobody's: work of a process that has just ended stays with the total.
            holder = f"pid:{shared.pids[0]}" if shared.pids else None
            return _possession(shared, holder, total)
        return self._look_processes(handle, shared, total, elapsed_s)

    def _look_mig(self, handle: Any, shared: Sharing) -> _Look:
        activity = self._migs.ratios(handle, {one.gpu_instance for one in shared.instances})
        ratios = bounded(instance_ratios(shared.instances, shared.slices, activity))
        note = _joined(shared.note, self._migs.note)
        return _Look("mig", note, ratios, sum(ratios.values()))

    def _look_processes(
        self, handle: Any, shared: Sharing, total: float | None, elapsed_s: float
    ) -> _Look:
        samples = self._samples(handle)
        note = shared.note
        ratios: dict[int, float]
        if samples is None:
            # Whoever is there takes equal turns: all that can be said.
            ratios = dict.fromkeys(shared.pids, (1.0 if total is None else total))
            ratios = {pid: ratio / len(ratios) for pid, ratio in ratios.items()}
            note = _joined(note, "no utilisation per process: equal turns")
        else:
            ratios = process_ratios(samples, self._since_us)
            self._since_us = newest_us(samples, self._since_us, elapsed_s)
            hidden = sum(ratios.pop(pid, 0.0) for pid in shared.servers)
            if hidden > 0 and shared.pids:
                for pid in shared.pids:
                    ratios[pid] = ratios.get(pid, 0.0) + hidden / len(shared.pids)
                note = _joined(note, "the server hides its clients' utilisation: equal turns")
        by_key = {f"pid:{pid}": ratios.get(pid, 0.0) for pid in {*shared.pids, *ratios}}
        claimed = sum(by_key.values())
        return _Look(shared.mode, note, by_key, max(total or 0.0, min(1.0, claimed)))

    def _samples(self, handle: Any) -> tuple[UtilSample, ...] | None:
        """Return samples newer than those before; none is an answer, `None` is "not told"."""
        client = self._board.driver.client
        try:
            found = client.nvmlDeviceGetProcessUtilization(handle, self._since_us)
        except client.NVMLError_NotFound:
            return ()
        except (client.NVMLError_NotSupported, client.NVMLError_FunctionNotFound):
            return None
        except client.NVMLError_NoPermission as error:
            raise SourceForbidden(
                self.name,
                place="utilisation of processes",
                found=str(error),
                remedy="run as root, or outside of a container that hides other processes",
            ) from error
        except client.NVMLError as error:
            if error.value != client.NVML_SUCCESS:
                raise
            return ()  # the binding calls the answer "nothing to fetch" an error
        return tuple(UtilSample(one.pid, one.timeStamp, one.smUtil) for one in found)


def _possession(shared: Sharing, owner: str | None, total: float | None) -> _Look:
    """Give all work to the one who has the GPU, if there is anyone."""
    note = shared.note
    if total is None:
        note = _joined(note, "activity is not told: the whole time counts")
    ratio = 1.0 if total is None else total
    return _Look("exclusive", note, {} if owner is None else {owner: ratio}, ratio)


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def open_gpus(
    client: Any, *, clock: Callable[[], float], owners: Mapping[str, str] | None = None
) -> tuple[GpuWork, ...]:
    """Return the work of every GPU of the machine.

    Args:
        client: The module `pynvml` of nvidia-ml-py.
        clock: Monotonic seconds.
        owners: By the GPU's UUID, who has it to itself.

    Raises:
        SourceUnavailable: There is no driver or no GPU.
        SourceForbidden: The driver does not let this user in.
        SourceFailed: The driver answers with another error.
    """
    known = owners or {}
    return tuple(
        GpuWork(board, clock=clock, owner=known.get(board.uuid or ""))
        for board in Driver(client).boards()
    )
