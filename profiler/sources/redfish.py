"""Board controllers through Redfish: power and energy of the chassis, told out of band.

DMTF schemas: `Power` (PowerControl[].PowerConsumedWatts; older), `EnvironmentMetrics` (PowerWatts,
EnergykWh; newer) and `Sensor`, which alone may state how often and how well it measures. Told
beside the other sources, never added to them.
"""

from __future__ import annotations

import contextlib
import math
import re
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import SourceError, SourceFailed, SourceUnavailable
from ..quantities import Provenance
from .base import Domain, Kind, Reading
from .polled import Polled, Sampled, ask, checked

if TYPE_CHECKING:  # slow to import, and most machines need none
    import requests

__all__ = [
    "Bmc",
    "Redfish",
    "SensorFacts",
    "parse_duration_s",
    "parse_energy_kwh",
    "parse_power_control",
    "parse_power_watts",
    "parse_sensor",
]

EVERY_S = 2.0
"""Pause between two questions: board controllers are slow, and have other things to do."""

UPDATE_S = 5.0
"""For a sensor that does not state its interval; controllers renew power every 1 to 10 s."""

MAX_POWER_W = 10_000.0
"""For a chassis that states no capacity."""

LIMIT_FACTOR = 2.0
"""What a controller calls capacity may be the limit of one power supply of two."""

FINEST_KWH = 1e-3
"""Digits of an energy beyond a watt-hour are float noise of the controller."""

_J_PER_KWH = 3.6e6
_PARTS = re.compile(r".*(CPU|Memory|GPU|Accelerator|Fan|Storage|Network|Disk|Chip).*")
_DURATION = re.compile(
    r"P(?:(?P<d>[\d.]+)D)?(?:T(?:(?P<h>[\d.]+)H)?(?:(?P<m>[\d.]+)M)?(?:(?P<s>[\d.]+)S)?)?"
)
_REMEDY = "set JOULERY_REDFISH_USER and JOULERY_REDFISH_PASSWORD to a user who may log in"

Body = Mapping[str, Any]


def _number(value: object) -> float | None:
    """Return a number of 0 or more, also from text, as some controllers write it."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if number >= 0 and math.isfinite(number) else None


def _object(value: object) -> Body:
    return value if isinstance(value, Mapping) else {}


def _objects(value: object) -> list[Body]:
    return [_object(entry) for entry in value] if isinstance(value, list) else []


def _link(value: object) -> str | None:
    target = _object(value).get("@odata.id")
    return target if isinstance(target, str) else None


def parse_duration_s(text: object) -> float | None:
    """Read a duration of ISO 8601 as Redfish writes it ("PT3S"); `None` if it is none."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None or not any(match.groupdict().values()):
        return None
    days, hours, minutes, seconds = (float(match[unit] or 0) for unit in "dhms")
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def parse_power_control(body: Body) -> tuple[float | None, float | None]:
    """Return power and capacity of the whole chassis, in watts, from a `Power` resource.

    Entries for processors, memory and the like are parts. A chassis without a value now is
    `None`, not the value of a part.
    """
    for entry in _objects(body.get("PowerControl")):
        if not _PARTS.fullmatch(str(entry.get("PhysicalContext"))):
            return _number(entry.get("PowerConsumedWatts")), _number(
                entry.get("PowerCapacityWatts")
            )
    return None, None


def parse_power_watts(body: Body) -> float | None:
    """Return the power, in watts, from an `EnvironmentMetrics` resource."""
    return _number(_object(body.get("PowerWatts")).get("Reading"))


def parse_energy_kwh(body: Body) -> float | None:
    """Return the energy from an `EnvironmentMetrics` resource: of its lifetime, if it tells."""
    energy = _object(body.get("EnergykWh"))
    lifetime = _number(energy.get("LifetimeReading"))
    return _number(energy.get("Reading")) if lifetime is None else lifetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorFacts:
    """What a `Sensor` resource says; `None` for what it does not.

    Args:
        power_w: The reading, if the sensor measures power.
        update_s: Time between two measurements.
        accuracy_ratio: Error of the reading, as a share of it.
        max_power_w: The upper end of its range.
    """

    power_w: float | None = None
    update_s: float | None = None
    accuracy_ratio: float | None = None
    max_power_w: float | None = None


def parse_sensor(body: Body) -> SensorFacts:
    """Read a `Sensor` resource (schema Sensor 1.0 to 1.11)."""
    is_power = body.get("ReadingType") == "Power" and body.get("ReadingUnits") in ("W", None)
    frequency_hz = _number(body.get("SensingFrequency"))
    percent = _number(body.get("ReadingAccuracy"))
    if percent is None:
        percent = _number(body.get("Accuracy"))
    return SensorFacts(
        power_w=_number(body.get("Reading")) if is_power else None,
        update_s=parse_duration_s(body.get("SensingInterval"))
        or (1 / frequency_hz if frequency_hz else None),
        accuracy_ratio=None if percent is None else percent / 100,
        max_power_w=_number(body.get("ReadingRangeMax")),
    )


class Bmc:
    """The JSON side of one board controller.

    Asks with name and password; where the controller takes these only to open a session, opens
    one, renews it when it has expired, and closes it at the end, for they are few.

    Args:
        session: The HTTP client.
        url: Address of the controller, for instance "https://bmc.example.org".
        user: Name, `None` if none is asked for.
        password: Password.
    """

    def __init__(
        self, session: requests.Session, url: str, user: str | None, password: str | None
    ) -> None:
        self._session, self.url = session, url.rstrip("/")
        self._user, self._password = user, password
        self._tokens: dict[str, str] = {}
        if user is not None:
            session.auth = (user, password or "")

    def get(self, path: str) -> Body:
        """Return one resource.

        Raises:
            SourceError: It is not there, not for us, or not JSON.
        """
        url = f"{self.url}{path}"
        response = ask(self._session, "GET", url, subject="redfish", headers=self._tokens)
        if response.status_code == 401 and self._user is not None and self._log_in():
            response = ask(self._session, "GET", url, subject="redfish", headers=self._tokens)
        checked(response, subject="redfish", remedy=_REMEDY)
        try:
            body = response.json()
        except ValueError as error:
            raise SourceFailed("redfish", place=url, found=str(error)[:200]) from error
        if not isinstance(body, dict):
            raise SourceFailed("redfish", place=url, found=str(body)[:80], expected="an object")
        return body

    def _log_in(self) -> bool:
        """Open a session; return whether the controller gave one."""
        url = f"{self.url}/redfish/v1/SessionService/Sessions"
        who = {"UserName": self._user, "Password": self._password or ""}
        self._session.auth = None
        self._tokens = {}
        response = ask(self._session, "POST", url, subject="redfish", json=who)
        token = response.headers.get("X-Auth-Token")
        if not response.ok or token is None:
            return False
        self._tokens = {"X-Auth-Token": token}
        place = response.headers.get("Location", "")
        if place.startswith("/"):
            place = f"{self.url}{place}"
        if place:
            weakref.finalize(self, _log_out, self._session, place, token)
        return True


def _log_out(session: requests.Session, place: str, token: str) -> None:
    with contextlib.suppress(SourceError):  # else the session ends by itself after a while
        ask(session, "DELETE", place, subject="redfish", headers={"X-Auth-Token": token})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Meter:
    """One value of one resource: where it is, how to read it, and what it means."""

    path: str
    read: Callable[[Body], float | None]
    domain: Domain


class Redfish:
    """Power, and energy where it is counted, of every outermost chassis.

    Args:
        bmc: The board controller.
        clock: Monotonic seconds.
        chassis: Only the chassis with this identifier.

    Raises:
        SourceUnavailable: Nobody answers, or no chassis tells its power.
        SourceForbidden: The controller does not let us in.
        SourceFailed: Its certificate is not trusted, or it answers nonsense.
    """

    name = "redfish"

    def __init__(self, bmc: Bmc, clock: Callable[[], float], *, chassis: str | None = None) -> None:
        self._bmc = bmc
        self._lost: SourceError | None = None
        bodies = [
            body
            for body in self._members(_link(bmc.get("/redfish/v1/").get("Chassis")))
            if chassis in (None, body.get("Id"))
        ]
        outer = [body for body in bodies if not _object(body.get("Links")).get("ContainedBy")]
        self._meters = [meter for body in outer for meter in self._find(body)]
        if not self._meters:  # the outermost may be a rack without a sensor of its own
            self._meters = [meter for body in bodies for meter in self._find(body)]
        if not self._meters and self._lost is not None:
            raise self._lost
        if not self._meters:
            raise SourceUnavailable(
                "redfish",
                place=bmc.url,
                found=f"no power of a chassis ({', '.join(str(b.get('Id')) for b in bodies)})",
                expected="PowerControl, EnvironmentMetrics, or a sensor of the total power",
            )
        self.domains = tuple(meter.domain for meter in self._meters)
        self._polled = Polled(self._fetch, subject=self.name, every_s=EVERY_S, clock=clock)
        self._polled.refresh()

    def _members(self, path: str | None) -> Iterator[Body]:
        if path is not None:
            for member in _objects(self._bmc.get(path).get("Members")):
                target = _link(member)
                if target is not None:
                    yield self._bmc.get(target)

    def _look(self, path: object) -> Body:
        """Return a resource, or nothing of one that is announced but cannot be had."""
        if not isinstance(path, str):
            return {}
        try:
            return self._bmc.get(path)
        except SourceError as error:
            self._lost = error
            return {}

    def _find(self, chassis: Body) -> Iterator[_Meter]:
        """Yield what one chassis tells: by the newer resource, else the older, else a sensor.

        A power of exactly 0 is a sensor that is not there: the chassis is running us.
        """
        name = str(chassis.get("Id"))
        path = _link(chassis.get("EnvironmentMetrics")) or ""
        body = self._look(path or None)
        if parse_power_watts(body):
            facts = parse_sensor(self._look(_object(body.get("PowerWatts")).get("DataSourceUri")))
            limit_w = _number(_object(body.get("PowerLimitWatts")).get("AllowableMax"))
            yield _power(name, path, parse_power_watts, facts, limit_w)
            if (energy_kwh := parse_energy_kwh(body)) is not None:
                yield _energy(name, path, energy_kwh, limit_w)
            return
        path = _link(chassis.get("Power")) or ""
        power_w, capacity_w = parse_power_control(self._look(path or None))
        if power_w:
            yield _power(name, path, lambda b: parse_power_control(b)[0], SensorFacts(), capacity_w)
            return
        for member in _objects(self._look(_link(chassis.get("Sensors"))).get("Members")):
            path = _link(member) or ""
            if re.search(r"total.?power|power.?total", path, re.IGNORECASE):
                facts = parse_sensor(self._look(path))
                if facts.power_w:
                    yield _power(name, path, lambda b: parse_sensor(b).power_w, facts, None)
                    return

    def _fetch(self) -> dict[str, Sampled]:
        values: dict[str, Sampled] = {}
        lost: SourceError | None = None
        for path in dict.fromkeys(meter.path for meter in self._meters):
            try:
                body = self._bmc.get(path)
            except SourceError as error:
                lost = error
                continue
            for meter in self._meters:
                value = meter.read(body) if meter.path == path else None
                if value is not None:
                    values[meter.domain.name] = Sampled(value=value)
        if lost is not None and not values:
            raise lost
        return values

    def sample(self) -> tuple[Reading, ...]:
        """Return the latest power and energy of every chassis; see `Source`."""
        return self._polled.readings(self.domains)

    def close(self) -> None:
        """End the thread that asks the controller."""
        self._polled.close()


def _power(
    name: str,
    path: str,
    read: Callable[[Body], float | None],
    facts: SensorFacts,
    limit_w: float | None,
) -> _Meter:
    limit_w = limit_w or facts.max_power_w
    update_s = UPDATE_S if facts.update_s is None else facts.update_s
    error_ratio = facts.accuracy_ratio or 0.0
    domain = Domain(
        name=f"{name}/power",
        kind=Kind.PLATFORM,
        form="power",
        provenance=Provenance.INTEGRATED,
        max_power_w=LIMIT_FACTOR * limit_w if limit_w else MAX_POWER_W,
        summed=False,
        update_s=update_s + EVERY_S,
        low_ratio=1 - error_ratio,
        high_ratio=1 + error_ratio,
        note=f"{path}, renewed every {update_s:g} s"
        + ("" if facts.update_s is not None else " (assumed)"),
    )
    return _Meter(path=path, read=read, domain=domain)


def _energy(name: str, path: str, energy_kwh: float, limit_w: float | None) -> _Meter:
    digits = len(str(energy_kwh).removesuffix(".0").partition(".")[2])
    step_kwh = max(10.0**-digits, FINEST_KWH)

    def read(body: Body) -> float | None:
        now_kwh = parse_energy_kwh(body)
        return None if now_kwh is None else now_kwh * _J_PER_KWH

    domain = Domain(
        name=f"{name}/energy",
        kind=Kind.PLATFORM,
        form="counter",
        provenance=Provenance.MEASURED,
        max_power_w=LIMIT_FACTOR * limit_w if limit_w else MAX_POWER_W,
        summed=False,
        resolution_j=step_kwh * _J_PER_KWH,
        update_s=UPDATE_S + EVERY_S,
        note=f"{path}, in steps of {step_kwh:g} kWh",
    )
    return _Meter(path=path, read=read, domain=domain)
