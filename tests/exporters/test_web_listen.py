"""Listening: what an address may look like, and what is said when it cannot be had."""

from __future__ import annotations

import asyncio
import socket

import pytest

from joulery.errors import JouleryError, SpecError
from joulery.exporters.web_listen import bind, parse_listen, url_of

from .web_pages import fetch, port_of, serving


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        (":28480", "", 28480),
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("[::1]:1", "::1", 1),
        ("node-1.example:65535", "node-1.example", 65535),
    ],
)
def test_listen(text: str, address: str, port: int) -> None:
    """An address and a port are read."""
    assert parse_listen(text) == (address, port)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("28480", "':28480'"),
        ("::1:28480", "brackets"),
        ("http://a:1", "scheme"),
        (":65536", "65535"),
        ("", "ADDRESS:PORT"),
        ("a:", "ADDRESS:PORT"),
        (":١", "ADDRESS:PORT"),
        ("203.0.113.7:0", "does not have"),
        ("no-such-host.invalid:0", "an address of this machine"),
    ],
)
def test_wrong_address(text: str, says: str) -> None:
    """A wrong address is told with what would be right."""
    with pytest.raises(SpecError, match="--listen") as caught:
        bind(text)
    assert says in str(caught.value)


def test_taken_port() -> None:
    """A port that another program has is told, and nothing is served."""

    async def work(port: int) -> None:
        async with serving(listen=f"127.0.0.1:{port}"):
            pytest.fail("two servers on one port")

    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(JouleryError, match="--listen") as caught:
            asyncio.run(work(port))
        assert f"port {port} taken" in str(caught.value)
        assert caught.value.remedy


def test_all_addresses() -> None:
    """Without an address the server is found by IPv4 and, where there is any, by IPv6."""

    async def work() -> None:
        async with serving(listen=":0") as (url, _, _):
            assert url == f"http://localhost:{port_of(url)}"
            assert (await fetch(f"http://127.0.0.1:{port_of(url)}/metrics"))[0] == 200
            if _has_ipv6():
                assert (await fetch(f"http://[::1]:{port_of(url)}/metrics"))[0] == 200

    asyncio.run(work())


def test_ipv6_url() -> None:
    """The URL of an IPv6 address can be opened as it is told."""

    async def work() -> None:
        async with serving(listen="[::1]:0") as (url, _, _):
            assert url.startswith("http://[::1]:")
            assert (await fetch(f"{url}/metrics"))[0] == 200

    if not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    asyncio.run(work())


def _has_ipv6() -> bool:
    try:
        bind("[::1]:0")[0].close()
    except JouleryError:
        return False
    return True


def test_names_have_one_port() -> None:
    """A name with several addresses is served on the same port at each of them."""
    sockets = bind("localhost:0")
    assert len({each.getsockname()[1] for each in sockets}) == 1
    assert url_of("localhost:0", sockets[0], tls=True).startswith("https://localhost:")
    for each in sockets:
        each.close()
