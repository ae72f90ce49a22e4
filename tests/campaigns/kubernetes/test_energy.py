"""Energies of a pod and its node, from a real Prometheus whose samples are known."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from joulery.campaigns.kubernetes.energy import PodEnergy, newest_s, pod_energy, same_exporter
from joulery.campaigns.kubernetes.pod import scrape_interval_s, told_of
from joulery.campaigns.kubernetes.preflight import check_exporters
from joulery.campaigns.kubernetes.prometheus import Prometheus, Series
from joulery.errors import TrialError
from joulery.profiler.quantities import Provenance

from .conftest import STEP_S, Known

_WINDOW_S = 200.0
_EDGES_S = 2 * STEP_S
"""What both ends of a window leave unsure is at most the energy of so long, each way."""


def _told(known: Known, uid: str = "steady") -> list[Series]:
    target = same_exporter(known.prometheus.now(f'joulery_pod_energy_joules_total{{uid="{uid}"}}'))
    assert target == {"job": "energy", "instance": "10.0.0.7:28480"}
    return told_of(known.prometheus, target, uid, since_s=known.last_s - 1500)


def _measured(known: Known, series: Sequence[Series], before_end_s: float = 20.0) -> PodEnergy:
    end_s = known.last_cycle_s - before_end_s
    return pod_energy(series, end_s - _WINDOW_S, end_s, clock_error_s=0.01)


def test_joules_of_a_window(known: Known) -> None:
    """Steady power times the window, on the clock of cycles; the interval has scrape and source."""
    found = _measured(known, _told(known))
    assert found.gaps == ()
    assert found.service is not None
    assert found.device is not None
    assert found.idle is not None
    assert found.service.value_j == pytest.approx(2.5 * _WINDOW_S)
    assert found.service.provenance is Provenance.APPORTIONED
    assert 0.8 * 2.5 * (_WINDOW_S - _EDGES_S) <= found.service.low_j < 0.8 * 2.5 * _WINDOW_S
    assert 1.3 * 2.5 * _WINDOW_S < found.service.high_j <= 1.3 * 2.5 * (_WINDOW_S + _EDGES_S)
    assert found.device.value_j == pytest.approx(13.0 * _WINDOW_S)
    assert found.device.provenance is Provenance.MEASURED
    assert found.device.low_j < found.device.value_j < found.device.high_j
    assert found.idle.value_j == pytest.approx(5.0 * _WINDOW_S)
    assert found.cpu_s == pytest.approx(0.4 * _WINDOW_S)
    assert found.sources == "powercap: dram, package-0"
    covered_s = {(one.start_s, one.end_s) for one in found.intervals}
    end_s = known.last_cycle_s - 20.0
    assert min(start for start, _ in covered_s) <= end_s - _WINDOW_S
    assert max(end for _, end in covered_s) >= end_s
    assert {one.domain for one in found.intervals} == {"dram", "package-0"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda s: [one for one in s if "_pod_" not in one.name],
            "no sample of joulery_pod_energy",
        ),
        (
            lambda s: [_cut(one, 8) if "_pod_" in one.name else one for one in s],
            r"joulery_pod_energy_joules_total of cpu: the last sample came \d+\.\d s too early",
        ),
        (lambda s: [_fallen(one) for one in s], "exporter_cycles_total: the counter fell"),
        (
            lambda s: [_lost(one) if one.labels.get("state") == "unknown" else one for one in s],
            r"cpu: energy of \d+\.\d s is unknown to the exporter",
        ),
        (lambda s: [one for one in s if "_timestamp_" not in one.name], "no sample of joulery_exp"),
    ],
)
def test_what_is_missing_is_named(
    change: Callable[[list[Series]], list[Series]], words: str, known: Known
) -> None:
    """Without samples there is no energy, never zero, and the reason is told."""
    found = _measured(known, change(_told(known)))
    assert found.service is None
    with pytest.raises(AssertionError, match=words):
        raise AssertionError("; ".join(found.gaps))


def _cut(series: Series, count: int) -> Series:
    return replace(series, samples=series.samples[:-count])


def _fallen(series: Series) -> Series:
    if "_timestamp_" in series.name:
        return series
    lost = series.samples[-6][1]
    late = [
        (t, v - lost) if n >= len(series.samples) - 6 else (t, v)
        for n, (t, v) in enumerate(series.samples)
    ]
    return replace(series, samples=tuple(late))


def _lost(series: Series) -> Series:
    return replace(series, samples=tuple((t, 0.5 * n) for n, (t, _) in enumerate(series.samples)))


def test_servers_that_tell_the_same_twice(known: Known) -> None:
    """What two replicas of a server have scraped is not added up."""
    told = _told(known)
    twice = [
        replace(one, labels={**one.labels, "replica": name}, samples=one.samples[skipped:])
        for name, skipped in (("a", 3), ("b", 0))
        for one in told
    ]
    assert _measured(known, twice) == _measured(known, told)


def test_a_pod_whose_name_came_later(known: Known) -> None:
    """Samples from before the log folder told its name are the same counter's."""
    told = _told(known)
    parts = [(slice(0, -8), {"pod": ""}), (slice(-8, None), {"pod": "steady-0", "namespace": "a"})]
    split = [
        replace(one, labels={**one.labels, **labels}, samples=one.samples[some])
        for some, labels in parts
        for one in told
    ]
    assert len(split[0].samples) > 8
    assert _measured(known, split) == _measured(known, told)


def test_a_pod_that_came_too_late(known: Known) -> None:
    """Of a pod that is told of since the middle of a window nothing is said."""
    found = _measured(known, _told(known, "late"), before_end_s=200.0)
    assert found.service is None
    assert "the first sample came" in "; ".join(found.gaps)
    assert found.device is not None


def test_estimates_are_unsure(known: Known) -> None:
    """A device without a sensor has an interval that is as wide as estimates are wrong."""
    series = [
        replace(one, labels={**one.labels, "provenance": "estimated"}) for one in _told(known)
    ]
    found = _measured(known, series)
    assert found.device is not None
    assert found.device.provenance is Provenance.ESTIMATED
    assert found.device.low_j < 0.3 * found.device.value_j < 2.0 * found.device.value_j
    assert found.device.high_j > 2.0 * found.device.value_j


def test_the_server_is_known(known: Known) -> None:
    """How often it scrapes, how its clock goes, and what its newest cycle is."""
    assert scrape_interval_s(known.prometheus) == STEP_S
    assert 0.0 < known.prometheus.clock_error_s() < 5.0
    assert newest_s(_told(known)) == pytest.approx(known.last_cycle_s)
    assert known.prometheus.now("joulery_nothing") == []
    assert abs(time.time() - known.last_s) < 1000


def test_a_node_without_an_exporter(known: Known) -> None:
    """A level whose nodes have none is told with those that have; any other may do."""
    some = frozenset({"edge-a", "edge-b"})
    check_exporters(known.prometheus, {"edge": some, None: frozenset({"edge-b"})})
    with pytest.raises(TrialError, match=r"node edge-b: found only those of edge-a .*tolerates"):
        check_exporters(known.prometheus, {"edge": some, "edge-b": frozenset({"edge-b"})})


def test_what_a_server_refuses(known: Known) -> None:
    """A wrong query, no server, and a page that is none of Prometheus are each told."""
    with pytest.raises(TrialError, match="bad_data"):
        known.prometheus.now("rate(")
    with pytest.raises(TrialError, match="is it running"):
        Prometheus("http://127.0.0.1:9").now("vector(1)")
    with pytest.raises(TrialError, match="without /api/v1"):
        Prometheus(f"{known.prometheus.url}/graph").now("vector(1)")
