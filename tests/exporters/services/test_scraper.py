"""Scraping services that work, fail, and mean harm, over real sockets."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Container

from aiohttp import web

from joulery.exporters.dialects.parsing import ScrapeRefused
from joulery.exporters.dialects.reading import Reading, told
from joulery.exporters.families import Family
from joulery.exporters.metrics import Metric
from joulery.exporters.service_metrics import ITEMS, TARGET_PROBLEMS, TARGET_UP
from joulery.exporters.services.scraper import Scraper
from joulery.exporters.services.target import Pod, Target

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LIMIT_BYTES = 100_000
PATIENCE_S = 60.0
PACKED = gzip.compress(b"1" * (200 * LIMIT_BYTES))


def understand(body: bytes, content_type: str, _: Target) -> tuple[str, Reading]:
    """Read a body that is a number, the simplest dialect there can be."""
    assert content_type.startswith("text/plain")
    if body == b"foreign":
        raise ScrapeRefused("no_dialect")
    if body == b"11":
        busy_until_s = time.thread_time() + 0.05
        while time.thread_time() < busy_until_s:
            pass
    value = told(ITEMS, float(body), model="m")
    return "plain", Reading(told=(value,), problems={"odd": 1} if body == b"13" else {})


def a_target(name: str, url: str, *, certain: bool = True) -> Target:
    """Return a service at a URL, in a pod of its own."""
    return Target(pod=Pod(namespace="ns", name=name, uid=name), url=url, certain=certain)


async def scraped(
    pages: dict[str, Handler],
    until: Callable[[Scraper], bool],
    *,
    certain: bool | Container[str] = True,
    interval_s: float = 2.0,
) -> Scraper:
    """Scrape each page as a service of its own until something is true, then stop.

    The interval bounds a scrape too: it is long enough for a machine that has much else to do.
    """
    app = web.Application()
    for name, handler in pages.items():
        app.router.add_get(f"/{name}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    scraper = Scraper(understand, interval_s=interval_s, most_bytes=LIMIT_BYTES)
    scraper.update(
        a_target(
            name,
            f"http://127.0.0.1:{port}/{name}",
            certain=certain if isinstance(certain, bool) else name in certain,
        )
        for name in pages
    )
    stop = asyncio.Event()
    running = asyncio.create_task(scraper.run(stop))
    async with asyncio.timeout(PATIENCE_S):
        while not until(scraper):
            await asyncio.sleep(0.01)
    stop.set()
    await running
    await runner.cleanup()
    return scraper


def samples(families: list[Family], metric: Metric) -> dict[tuple[str, ...], object]:
    """Return the samples of one metric."""
    [family] = [one for one in families if one.metric is metric]
    return dict(family.samples)


def page(body: bytes, **headers: str) -> Handler:
    """Return a page that always says the same."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, headers=headers, content_type="text/plain")

    return answer


async def endless(request: web.Request) -> web.StreamResponse:
    """Send digits for ever."""
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    while True:
        await response.write(b"1" * 8192)


async def mute(_: web.Request) -> web.StreamResponse:
    """Take a request, and never answer."""
    await asyncio.sleep(PATIENCE_S)
    return web.Response()


async def elsewhere(_: web.Request) -> web.StreamResponse:
    """Send whoever asks to another server."""
    raise web.HTTPFound("http://127.0.0.1:1/metrics")


async def flood(_: web.Request) -> web.StreamResponse:
    """Answer what unpacks to far more than it weighs."""
    return web.Response(
        body=PACKED, headers={"Content-Encoding": "gzip"}, content_type="text/plain"
    )


def test_hostile_services_hurt_only_themselves() -> None:
    """Beside endless, mute, wrong and far too large answers, a good service is read as ever."""
    wanted = {
        "endless": "too_large",
        "flood": "too_large",
        "mute": "timeout",
        "elsewhere": "status_302",
        "gone": "status_404",
        "words": "not_understood",
        "foreign": "no_dialect",
    }
    pages = {
        "good": page(b"7"),
        "endless": endless,
        "flood": flood,
        "mute": mute,
        "elsewhere": elsewhere,
        "words": page(b"what?"),
        "foreign": page(b"foreign"),
    }

    async def missing(_: web.Request) -> web.StreamResponse:
        raise web.HTTPNotFound

    pages["gone"] = missing

    def seen(scraper: Scraper) -> bool:
        found = {labels[1::2] for labels in samples(scraper.families(), TARGET_PROBLEMS)}
        return set(wanted.items()) <= found and bool(scraper.readings())

    scraper = asyncio.run(scraped(pages, seen))
    [(pod, reading)] = scraper.readings()
    assert (pod.name, [one.value for one in reading.told]) == ("good", [7.0])
    up = samples(scraper.families(), TARGET_UP)
    assert {labels[1]: value for labels, value in up.items()} == {
        name: float(name == "good") for name in pages
    }


def test_what_is_left_out_is_counted() -> None:
    """A service that is read in part is up, and what was left out of it is counted."""

    def seen(scraper: Scraper) -> bool:
        return bool(samples(scraper.families(), TARGET_PROBLEMS))

    scraper = asyncio.run(scraped({"odd": page(b"13")}, seen))
    assert samples(scraper.families(), TARGET_UP) == {("ns", "odd", "odd", "plain"): 1.0}
    assert samples(scraper.families(), TARGET_PROBLEMS).keys() == {("ns", "odd", "odd", "odd")}


def test_a_service_that_only_looked_like_one_is_nobodys_mistake() -> None:
    """Where a guess led to what is no AI service, nothing is told of it at all."""

    def seen(scraper: Scraper) -> bool:
        return scraper.count == 1 and len(scraper.readings()) == 1

    pages = {"foreign": page(b"foreign"), "good": page(b"1")}
    scraper = asyncio.run(scraped(pages, seen, certain=False))
    assert {labels[1] for labels in samples(scraper.families(), TARGET_UP)} == {"good"}
    assert samples(scraper.families(), TARGET_PROBLEMS) == {}


def counted(name: str, asked: Counter[str], handler: Handler) -> Handler:
    """Return a page that counts how often it is asked for."""

    async def answer(request: web.Request) -> web.StreamResponse:
        asked[name] += 1
        return await handler(request)

    return answer


def test_a_guess_that_proves_wrong_is_asked_ever_less() -> None:
    """What only looked like a service is asked less and less, and no alert hears of it."""
    asked: Counter[str] = Counter()

    async def missing(_: web.Request) -> web.StreamResponse:
        raise web.HTTPNotFound

    pages = {
        name: counted(name, asked, handler)
        for name, handler in (("said", missing), ("guessed", missing), ("good", page(b"1")))
    }
    scraper = asyncio.run(
        scraped(pages, lambda _: asked["said"] >= 40, certain={"said"}, interval_s=0.05)
    )
    assert 1 <= asked["guessed"] < 20 < asked["good"]
    up = samples(scraper.families(), TARGET_UP)
    assert {labels[1] for labels in up} == {"said", "good"}
    problems = samples(scraper.families(), TARGET_PROBLEMS)
    assert {labels[1::2] for labels in problems} == {
        ("said", "status_404"),
        ("guessed", "status_404"),
    }


def test_what_costs_much_is_asked_less() -> None:
    """A service whose scrape takes long to understand is scraped less often than others."""
    asked: Counter[str] = Counter()
    pages = {
        name: counted(name, asked, page(body)) for name, body in (("cheap", b"1"), ("dear", b"11"))
    }
    asyncio.run(scraped(pages, lambda _: asked["cheap"] >= 40, interval_s=0.05))
    assert 1 <= asked["dear"] < 20


def test_each_is_scraped_once() -> None:
    """Who looks once has each service's figures right away."""

    async def work() -> None:
        app = web.Application()
        app.router.add_get("/metrics", page(b"1"))
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/metrics"
        scraper = Scraper(understand, interval_s=300.0)
        scraper.update([a_target("one", url), a_target("two", url), a_target("gone", url + "x")])
        await scraper.run_once()
        assert [pod.name for pod, _ in scraper.readings()] == ["one", "two"]
        await runner.cleanup()

    asyncio.run(work())


def test_a_failed_scrape_leaves_no_reading() -> None:
    """Numbers of a service that can no longer be read are not served again."""
    answers = iter([b"1", b"2"])

    async def dying(_: web.Request) -> web.StreamResponse:
        body = next(answers, None)
        if body is None:
            raise web.HTTPServiceUnavailable
        return web.Response(body=body, content_type="text/plain")

    def seen(scraper: Scraper) -> bool:
        return bool(samples(scraper.families(), TARGET_PROBLEMS))

    scraper = asyncio.run(scraped({"dying": dying}, seen))
    assert scraper.readings() == []
    assert samples(scraper.families(), TARGET_UP) == {("ns", "dying", "dying", "plain"): 0.0}


def test_services_that_go_are_forgotten() -> None:
    """A service that is no longer there has no figures, and others go on as before."""

    def seen(scraper: Scraper) -> bool:
        return len(scraper.readings()) == 2

    scraper = asyncio.run(scraped({"one": page(b"1"), "two": page(b"2")}, seen))
    [one] = [target for target in scraper._known if target.pod.name == "one"]
    scraper.update([one])
    assert [pod.name for pod, _ in scraper.readings()] == ["one"]
