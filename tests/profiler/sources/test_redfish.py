"""Board controllers: a real HTTPS server with bodies after DMTF's mockup "public-rackmount1"."""

from __future__ import annotations

import gc
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from joulery.errors import SourceFailed, SourceForbidden, SourceUnavailable
from joulery.profiler.counter import GapReason
from joulery.profiler.host import Host
from joulery.profiler.meter import EnergyMeter
from joulery.profiler.sources import Domain, Kind
from joulery.profiler.sources.openers import redfish
from joulery.profiler.sources.polled import STALE_UPDATES
from joulery.profiler.sources.redfish import (
    EVERY_S,
    UPDATE_S,
    Redfish,
    parse_duration_s,
    parse_energy_kwh,
    parse_power_control,
    parse_power_watts,
    parse_sensor,
)

from ..fakes import PlayedCpu, Ticker
from .service import Service

CHASSIS = "/redfish/v1/Chassis/1U"
USER = ("operator", "secret")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Return an authority that nobody trusts."""
    return trustme.CA()


@pytest.fixture
def certificate(authority: trustme.CA) -> ssl.SSLContext:
    """Return a server's certificate for localhost."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
def answers() -> dict[str, Any]:
    """Return the bodies of a controller, for a test to change."""
    recorded = Path(__file__).with_name("recorded") / "redfish.json"
    bodies: dict[str, Any] = json.loads(recorded.read_text())
    return bodies


@pytest.fixture
def bmc(answers: dict[str, Any], certificate: ssl.SSLContext) -> Iterator[Service]:
    """Return a controller that takes name and password with each request."""
    with Service(answers, user=USER, certificate=certificate) as service:
        yield service


def opened(bmc: Service, clock: Ticker | None = None, **settings: str) -> Redfish:
    """Open a controller as a machine that names it, and takes any certificate, does."""
    environ = {
        "JOULERY_REDFISH_URL": bmc.url,
        "JOULERY_REDFISH_USER": USER[0],
        "JOULERY_REDFISH_PASSWORD": USER[1],
        "JOULERY_REDFISH_INSECURE": "1",
    }
    source = redfish(Host(clock=clock or Ticker()), environ | settings)
    assert isinstance(source, Redfish)
    return source


def named(source: Redfish) -> dict[str, Domain]:
    """Return a source's domains by name."""
    return {domain.name: domain for domain in source.domains}


def test_the_newer_resource(bmc: Service) -> None:
    """Power in watts, energy in joules, with the sensor's own interval, error and limit."""
    source = opened(bmc)
    domains = named(source)
    power, energy = domains["1U/power"], domains["1U/energy"]
    assert {domain.kind for domain in domains.values()} == {Kind.PLATFORM}
    assert not power.summed
    assert not energy.summed
    assert power.update_s == pytest.approx(0.25 + EVERY_S)
    assert (power.low_ratio, power.high_ratio) == pytest.approx((0.998, 1.002))
    assert power.max_power_w == 2000
    assert energy.resolution_j == pytest.approx(0.1 * 3.6e6)
    seen = {reading.domain.name: reading.value for reading in source.sample()}
    assert seen == pytest.approx({"1U/power": 374.0, "1U/energy": 6491.2 * 3.6e6})
    source.close()


def test_the_older_resource(bmc: Service, answers: dict[str, Any]) -> None:
    """Without the newer resource the power control is read; the note says what is assumed."""
    answers[f"{CHASSIS}/EnvironmentMetrics"] = 404
    source = opened(bmc)
    [domain] = source.domains
    assert (domain.name, domain.max_power_w) == ("1U/power", 1600)
    assert domain.update_s == UPDATE_S + EVERY_S
    assert "assumed" in domain.note
    assert [reading.value for reading in source.sample()] == [344.0]
    source.close()


def test_a_sensor_alone(bmc: Service, answers: dict[str, Any]) -> None:
    """A controller with neither resource is read by its sensor of the total power."""
    answers[f"{CHASSIS}/EnvironmentMetrics"] = {"Name": "Environment"}
    answers[f"{CHASSIS}/Power"] = {"PowerControl": [{"PowerConsumedWatts": 0}]}
    source = opened(bmc)
    [domain] = source.domains
    assert (domain.max_power_w, domain.update_s) == (1200, 0.25 + EVERY_S)
    assert [reading.value for reading in source.sample()] == [374.0]
    source.close()


def test_only_the_outermost_chassis(bmc: Service, answers: dict[str, Any]) -> None:
    """Chassis within a chassis are parts of it; by its name one of them can be chosen."""
    inner = answers[CHASSIS] | {"Id": "GPU", "Links": {"ContainedBy": {"@odata.id": CHASSIS}}}
    answers["/redfish/v1/Chassis/GPU"] = inner
    answers["/redfish/v1/Chassis"]["Members"].append({"@odata.id": "/redfish/v1/Chassis/GPU"})
    assert set(named(opened(bmc))) == {"1U/power", "1U/energy"}
    assert set(named(opened(bmc, JOULERY_REDFISH_CHASSIS="GPU"))) == {"GPU/power", "GPU/energy"}


def test_certificates_are_checked(
    bmc: Service, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown authority is refused with the remedy; a named one is taken, or any, if asked."""
    with pytest.raises(SourceFailed, match="REQUESTS_CA_BUNDLE"):
        opened(bmc, JOULERY_REDFISH_INSECURE="")
    assert bmc.asked == []
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    assert opened(bmc, JOULERY_REDFISH_INSECURE="").domains
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    assert opened(bmc).domains


def test_who_may_read(bmc: Service) -> None:
    """A wrong password is a refusal that names the settings, not an absence."""
    with pytest.raises(SourceForbidden, match="JOULERY_REDFISH_PASSWORD"):
        opened(bmc, JOULERY_REDFISH_PASSWORD="wrong")


def test_sessions(answers: dict[str, Any], certificate: ssl.SSLContext) -> None:
    """Where only sessions are let in one is opened, another when it expires, none left open."""
    with Service(answers, user=USER, basic=False, certificate=certificate) as bmc:
        clock = Ticker()
        source = opened(bmc, clock)
        assert len(bmc.sessions) == 1
        bmc.sessions.clear()
        clock.advance(STALE_UPDATES * (UPDATE_S + EVERY_S) + 1)
        assert len(source.sample()) == 2
        assert len(bmc.sessions) == 1
        source.close()
        del source
        gc.collect()
        assert bmc.sessions == set()


def test_a_controller_that_dies_is_a_gap(bmc: Service) -> None:
    """When the controller answers no more, its energy becomes unknown, never less."""
    clock = Ticker()
    source = opened(bmc, clock)
    with (
        EnergyMeter([source], clock=clock, interval_s=None, work=PlayedCpu()) as meter,
        meter.window("dies") as window,
    ):
        clock.advance(2.0)
        meter.sample()
        bmc.stop()
        clock.advance(STALE_UPDATES * (UPDATE_S + EVERY_S) + 1)
    power = window.result.domains["redfish:1U/power"]
    assert power.energy is None
    assert power.gaps[GapReason.FAILED] == 1
    assert window.result.energy is None
    source.close()


def test_what_is_not_there(bmc: Service, answers: dict[str, Any]) -> None:
    """Not set, no power anywhere, no JSON, nobody there: each says so."""
    with pytest.raises(SourceUnavailable, match="JOULERY_REDFISH_URL"):
        redfish(Host(), {})
    answers[CHASSIS] = {"Id": "1U"}
    with pytest.raises(SourceUnavailable, match="no power of a chassis"):
        opened(bmc)
    answers[CHASSIS] = "<html>"
    with pytest.raises(SourceFailed, match="1U"):
        opened(bmc)
    bmc.stop()
    with pytest.raises(SourceUnavailable, match="refused"):
        opened(bmc)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("PT3S", 3.0), ("PT0.25S", 0.25), ("PT1M", 60.0), ("P1DT1H", 90_000.0)],
)
def test_durations(text: str, seconds: float) -> None:
    """Durations of ISO 8601 are seconds."""
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "P", "PT", "3S", "1000", None, 3])
def test_no_durations(text: object) -> None:
    """What is no duration is none, rather than a guess."""
    assert parse_duration_s(text) is None


def test_parts_are_not_the_whole() -> None:
    """A chassis without a value is missing, and no processor's power takes its place."""
    processor = {"PhysicalContext": "CPU", "PowerConsumedWatts": 120}
    chassis = {"PhysicalContext": "Chassis", "PowerConsumedWatts": None}
    assert parse_power_control({"PowerControl": [processor, chassis]}) == (None, None)
    assert parse_power_control({"PowerControl": [processor]}) == (None, None)
    written = {"PowerConsumedWatts": "100", "PowerCapacityWatts": "1600"}
    assert parse_power_control({"PowerControl": [processor, written]}) == (100.0, 1600.0)


@pytest.mark.parametrize("reading", [None, -1, "N/A", True, [], float("nan")])
def test_no_number_is_missing(reading: object) -> None:
    """What is no number of watts is missing; 0 is 0."""
    assert parse_power_watts({"PowerWatts": {"Reading": reading}}) is None
    assert parse_power_watts({"PowerWatts": {"Reading": 0}}) == 0.0
    assert parse_energy_kwh({"EnergykWh": {"Reading": 2.5, "LifetimeReading": reading}}) == 2.5
    assert parse_power_control({"PowerControl": "none"}) == (None, None)


def test_sensors() -> None:
    """A sensor of something else gives no power; a frequency is an interval too."""
    assert parse_sensor({"ReadingType": "Temperature", "Reading": 39}).power_w is None
    facts = parse_sensor({"ReadingType": "Power", "Reading": 9, "SensingFrequency": 4})
    assert (facts.power_w, facts.update_s) == (9.0, 0.25)
