"""Passwords: what is read from a header, what is remembered, and for how long."""

from __future__ import annotations

import asyncio

import bcrypt
import pytest
from aiohttp import web

from joulery.exporters.web_auth import Passwords, parse_basic

from .web_pages import basic


def header(user: str, word: str) -> str:
    """Return the value of the header with a name and a password."""
    return basic(user, word)["Authorization"]


def test_parse() -> None:
    """A name ends at the first colon, and a password may have more, in any alphabet."""
    assert parse_basic(header("alice", "a:b:ü")) == (b"alice", "a:b:ü".encode())
    assert parse_basic("basic " + header("", "").partition(" ")[2]) == (b"", b"")
    for text in ("", "Basic", "Basic é", "Basic YWxpY2U=", "Digest YTpi"):
        assert parse_basic(text) is None


def test_long_password() -> None:
    """Of a long password the first 72 bytes count, as for those who made the hash."""
    word = "w" * 72
    users = {"alice": bcrypt.hashpw(word.encode(), bcrypt.gensalt(4))}

    async def work() -> None:
        passwords = Passwords()
        await passwords.require(header("alice", word + "rest"), users)
        with pytest.raises(web.HTTPUnauthorized):
            await passwords.require(header("alice", word[1:]), users)

    asyncio.run(work())


def test_remembered() -> None:
    """Who was right gets in while another is checked; beyond the bound the oldest is forgotten."""
    quick = {name: bcrypt.hashpw(name.encode(), bcrypt.gensalt(4)) for name in ("alice", "bob")}
    costly = {"carol": bcrypt.hashpw(b"carol", bcrypt.gensalt(12))}

    async def work() -> None:
        passwords = Passwords(remembered_max=1, waiting_max=1)
        await passwords.require(header("alice", "alice"), quick)
        check = asyncio.create_task(passwords.require(header("carol", "wrong"), costly))
        await asyncio.sleep(0)
        await passwords.require(header("alice", "alice"), quick)
        with pytest.raises(web.HTTPServiceUnavailable):
            await passwords.require(header("alice", "wrong"), quick)
        with pytest.raises(web.HTTPUnauthorized):
            await check
        await passwords.require(header("bob", "bob"), quick)
        check = asyncio.create_task(passwords.require(header("carol", "wrong"), costly))
        await asyncio.sleep(0)
        with pytest.raises(web.HTTPServiceUnavailable):
            await passwords.require(header("alice", "alice"), quick)
        with pytest.raises(web.HTTPUnauthorized):
            await check

    asyncio.run(work())
