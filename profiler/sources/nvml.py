"""NVIDIA GPUs through NVML: the board's energy counter (Volta and later), else its power.

Vendor API: NVML reference, `nvmlDeviceGetTotalEnergyConsumption` (millijoules since the driver
was loaded), fields NVML_FI_DEV_POWER_INSTANT and NVML_FI_DEV_POWER_AVERAGE and, for drivers
without them, `nvmlDeviceGetPowerUsage` (all milliwatts). Which of them, is decided once per GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from ...errors import SourceUnavailable
from ..nvidia import Board, Driver, powers_w
from ..quantities import Provenance
from ..sharing import sharing
from .base import Domain, Kind, Reading

__all__ = ["Nvml", "NvmlPower"]

UPDATE_S = 0.1
"""Boards renew counter and instant power every 20 to 100 ms; NVIDIA states no figure."""

AVERAGED_S = 1.0
"""An averaged power is the mean of the last second (NVML reference), so it is as old as that."""

ACCURACY_RATIO = 0.05
"""NVML's reference gives +-5 % of the power drawn for Fermi and Kepler and no figure for later
boards, which get the same here; the counter adds up the same sensor. Not in it: on A100 and H100
the sensor looks at a quarter of the time only (Yang, Adamek, Armour, SC24, arXiv:2312.02741), so
that a load which keeps step with it can read far off."""

LIMIT_FACTOR = 2.0
"""Short peaks pass the power limit, and the limit can be raised while we measure."""

MAX_POWER_W = 5000.0
"""For a GPU that tells no power limit: more than any board draws."""

_GA100 = (8, 0)
"""CUDA compute capability of the one chip since Ampere whose plain power is not averaged."""

PowerReading = Literal["best", "instant", "averaged"]


@dataclass(frozen=True, slots=True)
class _Gauge:
    """A domain, the GPU behind it, and the call that reads it; it answers `None` for nothing."""

    domain: Domain
    board: Board
    read: Callable[[Any], float | None]


@dataclass(frozen=True, slots=True)
class _Power:
    """A way to read power, how old its value may be, and its name for people."""

    read: Callable[[Any], float | None]
    update_s: float
    what: str


def _powers(client: Any, handle: Any, wanted: PowerReading) -> Iterable[_Power]:
    """Yield the ways to read a GPU's power that are as wanted, the best first."""

    def instant(handle: Any) -> float | None:
        field = (client.NVML_FI_DEV_POWER_INSTANT, client.NVML_POWER_SCOPE_GPU)
        return powers_w(client, handle, [field])[0]

    def averaged(handle: Any) -> float | None:
        field = (client.NVML_FI_DEV_POWER_AVERAGE, client.NVML_POWER_SCOPE_GPU)
        return powers_w(client, handle, [field])[0]

    def usage(handle: Any) -> float | None:
        milliwatts: int = client.nvmlDeviceGetPowerUsage(handle)
        return milliwatts / 1e3

    if wanted != "averaged":
        yield _Power(instant, UPDATE_S, "instant power")
    if wanted != "instant":
        yield _Power(averaged, AVERAGED_S, "power averaged over 1 s")
    slow = _averages(client, handle)
    if wanted in ("best", "averaged" if slow else "instant"):
        what = "power averaged over 1 s" if slow else "instant power"
        yield _Power(usage, AVERAGED_S if slow else UPDATE_S, what)


def _averages(client: Any, handle: Any) -> bool:
    """Return whether `nvmlDeviceGetPowerUsage` averages: since Ampere it does, but not GA100."""
    try:
        capability = tuple(client.nvmlDeviceGetCudaComputeCapability(handle))
    except (client.NVMLError_NotSupported, client.NVMLError_FunctionNotFound):
        return True  # unknown: the wider interval
    return capability > _GA100


def _power(driver: Driver, handle: Any, wanted: PowerReading) -> _Power | None:
    """Return the best way to read a GPU's power, or `None` where there is none as wanted."""
    for power in _powers(driver.client, handle, wanted):
        if driver.ask(power.read, handle) is not None:
            return power
    return None


def _limit_w(driver: Driver, handle: Any) -> float:
    milliwatts = driver.ask(driver.client.nvmlDeviceGetPowerManagementLimit, handle)
    return LIMIT_FACTOR * milliwatts / 1e3 if milliwatts else MAX_POWER_W


def _sample(driver: Driver, name: str, gauges: Iterable[_Gauge]) -> tuple[Reading, ...]:
    """Read every gauge; one that fails is left out as long as another can be read."""
    client = driver.client
    readings, failures = [], []
    for gauge in gauges:
        try:
            value = gauge.board.read(gauge.read)
        except client.NVMLError as error:
            failures.append(error)
            continue
        if value is None:  # it was there when the source was opened
            gauge.board.forget()
            failures.append(client.NVMLError(client.NVML_ERROR_NO_DATA))
            continue
        readings.append(Reading(gauge.domain, value))
    if not readings:
        with driver.explained(name):
            raise failures[0]
    return tuple(readings)


class Nvml:
    """Every NVIDIA GPU of the machine: one domain each, and one for the module of a superchip.

    A GPU that is lost is left out of a sample and looked for at the next one. In MIG mode the
    energy is the whole board's.

    Args:
        client: The module `pynvml` of nvidia-ml-py.

    Attributes:
        dropped: GPUs that have no sensor, or that this user may not use, with the reason.

    Raises:
        SourceUnavailable: There is no driver, no GPU, or no GPU tells its energy or power.
        SourceForbidden: The driver does not let this user in.
        SourceFailed: The driver answers with another error, or every GPU is lost.
    """

    name = "nvml"

    def __init__(self, client: Any) -> None:
        self._driver = Driver(client)
        gauges: list[_Gauge] = []
        boards = self._driver.boards()
        self.dropped = {f"gpu-{index}": why for index, why in self._driver.denied.items()}
        for board in boards:
            gauges += self._gauges(board)
        if not gauges:
            raise SourceUnavailable(
                self.name, found=f"{len(boards)} GPUs, none with a power sensor"
            )
        self._all = tuple(gauges)
        self.domains = tuple(gauge.domain for gauge in gauges)
        self.sample()

    def sample(self) -> tuple[Reading, ...]:
        """Read every GPU once; see `Source`."""
        return _sample(self._driver, self.name, self._all)

    def _gauges(self, board: Board) -> list[_Gauge]:
        client = self._driver.client
        failure = board.failure
        if failure is None:
            try:
                return board.read(lambda handle: self._found(board, handle))
            except client.NVMLError as error:
                failure = str(error)
        # It may return, and its energy is unknown until then: it must not fall out of the total.
        note = f"{board.model}, could not be read when opened: {failure}"
        return [self._counter(board, max_power_w=MAX_POWER_W, note=note)]

    def _found(self, board: Board, handle: Any) -> list[_Gauge]:
        """Describe one GPU and its module: nothing when it tells neither energy nor power."""
        client, ask = self._driver.client, self._driver.ask
        try:
            shared = sharing(self._driver, handle).note
        except client.NVMLError as error:  # who shares it is a remark: the energy is still told
            shared = f"who shares it is not told: {error}"
        about = f"{board.model}, {board.uuid}" + (f", {shared}" if shared else "")
        limit_w = _limit_w(self._driver, handle)
        if ask(client.nvmlDeviceGetTotalEnergyConsumption, handle) is not None:
            own = self._counter(board, max_power_w=limit_w, note=f"{about}, energy counter")
        elif (power := _power(self._driver, handle, "best")) is not None:
            domain = _power_domain(
                f"gpu-{board.index}", power, max_power_w=limit_w, note=f"{about}, {power.what}"
            )
            own = _Gauge(domain, board, power.read)
        else:
            self.dropped[f"gpu-{board.index}"] = f"{board.model} tells neither energy nor power"
            return []
        module = self._module(board, handle)
        return [own] if module is None else [own, module]

    def _counter(self, board: Board, *, max_power_w: float, note: str) -> _Gauge:
        client = self._driver.client
        domain = Domain(
            name=f"gpu-{board.index}",
            kind=Kind.GPU,
            form="counter",
            provenance=Provenance.MEASURED,
            max_power_w=max_power_w,
            resolution_j=1e-3,
            update_s=UPDATE_S,
            low_ratio=1 - ACCURACY_RATIO,
            high_ratio=1 + ACCURACY_RATIO,
            note=note,
        )

        def millijoules(handle: Any) -> float:
            value: int = client.nvmlDeviceGetTotalEnergyConsumption(handle)
            return value / 1e3

        return _Gauge(domain, board, millijoules)

    def _module(self, board: Board, handle: Any) -> _Gauge | None:
        """Describe the module of a superchip (Grace Hopper): GPU, CPU and memory in one."""
        client = self._driver.client
        scope = client.NVML_POWER_SCOPE_MODULE
        field = (client.NVML_FI_DEV_POWER_INSTANT, scope)

        def module_w(handle: Any) -> float | None:
            return powers_w(client, handle, [field])[0]

        whole_w, own_w, limit_w = powers_w(
            client,
            handle,
            [
                field,
                (client.NVML_FI_DEV_POWER_INSTANT, client.NVML_POWER_SCOPE_GPU),
                (client.NVML_FI_DEV_POWER_MAX_LIMIT, scope),
            ],
        )
        if not whole_w or whole_w == own_w:
            return None  # no module; or a driver that knows no scope and answered for the GPU
        domain = _power_domain(
            f"module-{board.index}",
            _Power(module_w, UPDATE_S, "instant power"),
            kind=Kind.PLATFORM,
            max_power_w=LIMIT_FACTOR * limit_w if limit_w else MAX_POWER_W,
            note="module: GPU, CPU and memory together",
        )
        return _Gauge(domain, board, module_w)


def _power_domain(
    name: str,
    power: _Power,
    *,
    max_power_w: float,
    note: str,
    kind: Kind = Kind.GPU,
    summed: bool | None = None,
) -> Domain:
    return Domain(
        name=name,
        kind=kind,
        form="power",
        provenance=Provenance.INTEGRATED,
        max_power_w=max_power_w,
        summed=kind is Kind.GPU if summed is None else summed,
        update_s=power.update_s,
        low_ratio=1 - ACCURACY_RATIO,
        high_ratio=1 + ACCURACY_RATIO,
        note=note,
    )


class NvmlPower:
    """Power of the GPUs that have an energy counter too: a second look, to compare the two.

    Its domains are never summed, so that it can be metered beside `Nvml`.

    Args:
        client: The module `pynvml` of nvidia-ml-py.
        reading: Which power: "instant", "averaged", or the best there is, instant first.

    Raises:
        SourceUnavailable: There is no driver, or no GPU that tells both.
        SourceForbidden: The driver does not let this user in.
        SourceFailed: The driver answers with another error.
    """

    def __init__(self, client: Any, reading: PowerReading = "best") -> None:
        self.name = "nvml-power" if reading == "best" else f"nvml-power-{reading}"
        self._driver = driver = Driver(client)
        gauges: list[_Gauge] = []
        for board in driver.boards():
            if board.failure is None:
                with driver.explained(self.name):
                    gauges += _beside(board, reading)
        if not gauges:
            raise SourceUnavailable(
                self.name, found="no GPU", expected="a GPU that tells its energy and its power"
            )
        self._all = tuple(gauges)
        self.domains = tuple(gauge.domain for gauge in gauges)

    def sample(self) -> tuple[Reading, ...]:
        """Read every GPU once; see `Source`."""
        return _sample(self._driver, self.name, self._all)


def _beside(board: Board, reading: PowerReading) -> list[_Gauge]:
    driver = board.driver

    def found(handle: Any) -> list[_Gauge]:
        if driver.ask(driver.client.nvmlDeviceGetTotalEnergyConsumption, handle) is None:
            return []
        power = _power(driver, handle, reading)
        if power is None:
            return []
        domain = _power_domain(
            f"gpu-{board.index}",
            power,
            max_power_w=_limit_w(driver, handle),
            note=f"{board.model}, {board.uuid}, {power.what}",
            summed=False,
        )
        return [_Gauge(domain, board, power.read)]

    return board.read(found)
