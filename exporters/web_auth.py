"""Passwords of those who scrape: HTTP's basic authentication (RFC 7617) against bcrypt hashes.

A check by bcrypt is slow on purpose, so it runs in a thread, one at a time, and what proved right
is remembered by a keyed hash that means nothing outside this process.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from collections.abc import Mapping

import bcrypt
from aiohttp import hdrs, web

__all__ = ["Passwords", "parse_basic"]

_BCRYPT_BYTES = 72
"""Of a longer password bcrypt takes the beginning, as those do who made the hash."""

_CHALLENGE = {hdrs.WWW_AUTHENTICATE: 'Basic realm="joulery", charset="UTF-8"'}


def parse_basic(header: str) -> tuple[bytes, bytes] | None:
    """Return the user and the password in an `Authorization` header; None when there are none."""
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(token.strip(), validate=True)
    except ValueError:
        return None
    user, colon, password = text.partition(b":")
    return (user, password) if colon else None


class Passwords:
    """Checks passwords, and remembers which were right.

    Args:
        remembered_max: How many are remembered; the one unused for longest is forgotten.
        waiting_max: How many may wait for a check; others are told to come again.
    """

    def __init__(self, *, remembered_max: int = 128, waiting_max: int = 16) -> None:
        self._remembered_max = remembered_max
        self._waiting_max = waiting_max
        self._waiting = 0
        self._one_at_a_time = asyncio.Lock()
        self._key = secrets.token_bytes(32)
        self._right: dict[bytes, None] = {}

    async def require(self, header: str, users: Mapping[str, bytes]) -> None:
        """Return when a request comes from one of the users.

        Args:
            header: The request's `Authorization`; empty when it has none.
            users: Hash by bcrypt of each user's password.

        Raises:
            web.HTTPUnauthorized: It does not.
            web.HTTPServiceUnavailable: Too many wait to be checked.
        """
        given = parse_basic(header)
        if given is None or not await self._right_password(*given, users):
            raise web.HTTPUnauthorized(headers=_CHALLENGE)

    async def _right_password(
        self, user: bytes, password: bytes, users: Mapping[str, bytes]
    ) -> bool:
        hashed = users.get(user.decode("utf-8", "surrogateescape"))
        # Someone unknown takes as long as a user, or the time would tell who is one.
        against = _decoy(users) if hashed is None else hashed
        mark = self._mark(user, against, password)
        if self._recall(mark):
            return True
        if self._waiting >= self._waiting_max:
            raise web.HTTPServiceUnavailable(headers={hdrs.RETRY_AFTER: "1"})
        self._waiting += 1
        try:
            async with self._one_at_a_time:
                # Whoever waited before may have brought the same password.
                if self._recall(mark):
                    return True
                right = await asyncio.to_thread(bcrypt.checkpw, password[:_BCRYPT_BYTES], against)
        finally:
            self._waiting -= 1
        if right and hashed is not None:
            self._remember(mark)
            return True
        return False

    def _mark(self, *parts: bytes) -> bytes:
        digest = hashlib.blake2b(key=self._key, digest_size=32)
        for part in parts:
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.digest()

    def _recall(self, mark: bytes) -> bool:
        if mark not in self._right:
            return False
        self._remember(mark)
        return True

    def _remember(self, mark: bytes) -> None:
        self._right.pop(mark, None)
        self._right[mark] = None
        if len(self._right) > self._remembered_max:
            del self._right[next(iter(self._right))]


def _decoy(users: Mapping[str, bytes]) -> bytes:
    """Return a hash that no password has, as costly to check as the users' costliest."""
    cost = max(hashed[4:6] for hashed in users.values())
    return b"$2b$" + cost + b"$" + b"." * 53
