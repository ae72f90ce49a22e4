"""Serving: real sockets, real certificates and real passwords."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path

import aiohttp
import bcrypt
import pytest
import trustme

from .web_pages import Secrets, basic, fetch, port_of, serving

COST_4 = bcrypt.gensalt(4)
HASH = bcrypt.hashpw(b"open sesame", COST_4).decode()
ALICE = basic("alice", "open sesame")


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    """Return certificates in a folder."""
    return Secrets.make(tmp_path)


@pytest.fixture
def passwords(tmp_path: Path) -> Path:
    """Return a configuration with one user, and no TLS."""
    path = tmp_path / "web.yaml"
    path.write_text(f"basic_auth_users: {{alice: '{HASH}'}}\n", encoding="utf-8")
    return path


def test_methods_and_paths(caplog: pytest.LogCaptureFixture) -> None:
    """GET and HEAD are answered, other paths 404, other methods 405; access is not logged."""

    async def work() -> None:
        async with serving() as (url, _, _), aiohttp.ClientSession() as session:
            assert await fetch(f"{url}/metrics") == (200, "up 1\n")
            async with session.head(f"{url}/metrics") as head:
                assert (head.status, head.headers["Content-Length"]) == (200, "5")
                assert head.headers["Server"] == "joulery"
            assert (await fetch(f"{url}/nothing"))[0] == 404
            assert (await fetch(f"{url}/metrics", "POST"))[0] == 405
            assert await fetch(f"{url}/v1/metrics", "POST", data=b"x" * 9) == (200, "9")

    caplog.set_level(logging.INFO)
    asyncio.run(work())
    assert [each for each in caplog.records if each.name != "asyncio"] == []


def test_landing_page() -> None:
    """The first page leads to the others, and shows what it is told as text."""

    async def work() -> None:
        async with serving() as (url, _, _):
            status, page = await fetch(url)
            assert status == 200
            assert '<a href="/metrics">' in page
            assert "&lt;tells&gt;" in page

    asyncio.run(work())


def test_a_fault_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """A page that fails answers 500, says so in one line of the log, and harms no other page."""

    async def work() -> None:
        async with serving() as (url, _, _):
            status, text = await fetch(f"{url}/broken")
            assert status == 500
            assert "a fault" not in text
            assert (await fetch(f"{url}/metrics"))[0] == 200

    caplog.set_level(logging.INFO)
    asyncio.run(work())
    [record] = caplog.records
    assert record.getMessage() == "GET /broken: KeyError: 'a fault'"
    assert not record.exc_info


def test_tls_and_headers(secrets: Secrets) -> None:
    """With a certificate the server speaks TLS alone, and adds the headers to every answer."""
    config = secrets.write(
        *("http_server_config:", "  headers:", "    X-Frame-Options: deny"),
    )

    async def work() -> None:
        async with serving(config=config) as (url, _, _), aiohttp.ClientSession() as session:
            assert url.startswith("https://")
            for path in ("metrics", "nothing"):
                async with session.get(f"{url}/{path}", ssl=secrets.client()) as answer:
                    assert answer.headers["X-Frame-Options"] == "deny"
            with pytest.raises(aiohttp.ClientError):
                await fetch(url.replace("https", "http"))
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await fetch(url)

    asyncio.run(work())


def test_certificate_rotation(secrets: Secrets) -> None:
    """A new certificate serves new connections, and connections that are open go on."""

    async def certificate(url: str) -> bytes:
        _, writer = await asyncio.open_connection(
            "127.0.0.1", port_of(url), ssl=secrets.client(), server_hostname="localhost"
        )
        shown = writer.get_extra_info("ssl_object").getpeercert(True)
        writer.close()
        await writer.wait_closed()
        assert isinstance(shown, bytes)
        return shown

    async def work() -> None:
        async with serving(config=secrets.write()) as (url, _, _):
            connector = aiohttp.TCPConnector(ssl=secrets.client(), limit=1)
            async with aiohttp.ClientSession(connector=connector) as session:
                async with session.get(f"{url}/metrics") as answer:
                    assert answer.status == 200
                first = await certificate(url)
                secrets.rotate()
                second = await certificate(url)
                assert first != second
                (secrets.folder / "server.key").write_text("half of it", encoding="utf-8")
                assert await certificate(url) == second
                async with session.get(f"{url}/metrics") as answer:
                    assert answer.status == 200

    asyncio.run(work())


def test_mutual_tls(secrets: Secrets, caplog: pytest.LogCaptureFixture) -> None:
    """Only a client with a certificate of the authority, for one of the names, gets an answer."""
    config = secrets.write(
        "  client_auth_type: RequireAndVerifyClientCert",
        "  client_ca_file: clients.crt",
        "  client_allowed_sans: [prometheus.example, '::1']",
    )

    async def work() -> None:
        async with serving(config=config) as (url, _, _):
            for names in (["prometheus.example"], ["other.example", "::1"]):
                client = secrets.client(*names)
                assert (await fetch(f"{url}/metrics", ssl=client))[0] == 200
            for stranger in (
                secrets.client(),
                secrets.client("other.example"),
                secrets.client("prometheus.example", authority=trustme.CA()),
            ):
                with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
                    await fetch(f"{url}/metrics", ssl=stranger)

    asyncio.run(work())
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


def test_passwords(passwords: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A user with the right password gets in, nobody else does, and probes need none."""

    async def work() -> None:
        async with serving(config=passwords) as (url, _, _):
            assert (await fetch(f"{url}/metrics", headers=ALICE))[0] == 200
            assert (await fetch(f"{url}/metrics", headers=ALICE))[0] == 200
            assert (await fetch(f"{url}/healthz"))[0] == 200
            for name, word in (("alice", "wrong"), ("alice", ""), ("bob", "open sesame")):
                headers = basic(name, word)
                assert (await fetch(f"{url}/metrics", headers=headers))[0] == 401
            for header in ("", "Basic", "Basic %%%", "Basic YWxpY2U=", "Bearer x"):
                headers = {"Authorization": header}
                assert (await fetch(f"{url}/metrics", headers=headers))[0] == 401
            # Nor does anyone learn which pages there are, or another way to spell an open one.
            for path in ("nothing", "healthz/", "/healthz", "healthz/../metrics"):
                assert (await fetch(f"{url}/{path}"))[0] == 401, path

    asyncio.run(work())
    assert "without TLS" in caplog.text


def test_password_changes(passwords: Path) -> None:
    """A password that was right before it changed is right no longer."""

    async def work() -> None:
        async with serving(config=passwords) as (url, _, _):
            assert (await fetch(f"{url}/metrics", headers=ALICE))[0] == 200
            changed = bcrypt.hashpw(b"close sesame", COST_4).decode()
            passwords.write_text(f"basic_auth_users: {{alice: '{changed}'}}\n", encoding="utf-8")
            assert (await fetch(f"{url}/metrics", headers=ALICE))[0] == 401
            headers = basic("alice", "close sesame")
            assert (await fetch(f"{url}/metrics", headers=headers))[0] == 200

    asyncio.run(work())


def test_checking_holds_nobody_up(tmp_path: Path) -> None:
    """While costly checks run and wait, probes are answered and too many checks are refused."""
    costly = bcrypt.hashpw(b"x", bcrypt.gensalt(10)).decode()
    config = tmp_path / "web.yaml"
    config.write_text(f"basic_auth_users: {{alice: '{costly}'}}\n", encoding="utf-8")

    async def work() -> None:
        async with serving(config=config) as (url, _, _):
            checks = [
                asyncio.create_task(fetch(f"{url}/metrics", headers=basic("alice", str(number))))
                for number in range(20)
            ]
            await asyncio.wait(checks, return_when=asyncio.FIRST_COMPLETED)
            assert (await fetch(f"{url}/healthz"))[0] == 200
            assert not all(check.done() for check in checks)
            statuses = {(await check)[0] for check in checks}
            assert statuses == {401, 503}

    asyncio.run(work())
