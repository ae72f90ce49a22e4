"""Our exporter reads MLServer's metrics, and finds in them what it was sent."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import numpy as np
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from joulery.exporters.dialects import Hints, Reading, dialects, named, parse, recognised
from joulery.exporters.families import Histogram, Summary, Value
from joulery.exporters.metrics import Metric
from joulery.exporters.service_metrics import DURATION, DURATION_SUMMARY, REQUESTS
from joulery.profiler.oip import encode_request

from .digits import Digits


def _read(digits: Digits) -> Reading:
    """Scrape the server as a service whose dialect nobody told."""
    families = parse(digits.server.scrape(), dialects())
    dialect = recognised(families)
    assert dialect is named("mlserver")
    reading = dialect.translate(families, Hints(variant="v1"))
    assert reading.problems == {}
    return reading


def _value(reading: Reading, metric: Metric, **labels: str) -> Value | None:
    """Return the only value of a metric whose labels are these; `None`: there is none."""
    found = [
        told.value
        for told in reading.told
        if told.metric is metric
        and labels.items() <= dict(zip(metric.labels[3:], told.labels, strict=True)).items()
    ]
    assert len(found) <= 1
    return found[0] if found else None


def _send(digits: Digits, images: list[NDArray[np.float64]]) -> list[int]:
    """Ask one after the other; return how each was answered."""

    async def ask() -> list[int]:
        # It closes the connection after an error of the model, without a word.
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:
            found = []
            for image in images:
                message = encode_request({"image": image}, binary=False)
                url = f"{digits.server.url}/v2/models/digits/infer"
                async with session.post(
                    url, data=message.body, headers=message.headers
                ) as response:
                    await response.read()
                    found.append(response.status)
            return found

    return asyncio.run(ask())


def _counted(digits: Digits) -> dict[str, Any]:
    reading = _read(digits)
    of_model = {"model": "digits", "variant": "v1"}
    whole = _value(reading, DURATION_SUMMARY, **of_model)
    found: dict[str, Any] = {"whole": whole.count if isinstance(whole, Summary) else 0}
    for outcome in ("ok", "error"):
        found[outcome] = _value(reading, REQUESTS, **of_model, outcome=outcome) or 0
        rest = _value(reading, DURATION, **of_model, outcome=outcome)
        found[f"rest {outcome}"] = rest.count if isinstance(rest, Histogram) else 0
    return found


def test_counts_are_what_was_sent(digits: Digits) -> None:
    """Good requests and failed ones are counted as such, by counters, summary and histogram."""
    _send(digits, [digits.images[:1]])  # so that the model is known to the metrics
    before = _counted(digits)
    good = _send(digits, [digits.images[row : row + 1] for row in range(12)])
    bad = _send(digits, [np.zeros((1, 3))] * 5)
    assert (set(good), 200 in bad) == ({200}, False)
    after = _counted(digits)
    assert {key: after[key] - before[key] for key in after} == {
        "ok": 12,
        "error": 5,
        "whole": 17,
        "rest ok": 12,
        "rest error": 5,
    }


def test_buckets_are_the_server_s_own(digits: Digits) -> None:
    """The histogram has the buckets and values that Prometheus' own parser reads in the scrape."""
    _send(digits, [digits.images[:1]])
    text = digits.server.scrape()
    dialect = named("mlserver")
    reading = dialect.translate(parse(text, [dialect]), Hints(variant="v1"))
    found = _value(reading, DURATION, model="digits", outcome="ok")
    assert isinstance(found, Histogram)
    buckets = {
        float(sample.labels["le"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "rest_server_request_duration_seconds_bucket"
        and sample.labels["path"].endswith("/infer")
        and sample.labels["status_code"] == "200"
    }
    assert len(buckets) >= 10
    assert dict(zip(found.bounds, found.counts, strict=True)) == buckets
