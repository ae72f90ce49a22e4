"""The OTLP/HTTP receiver: takes what services push, each for the pod that it comes from.

A body is read within limits, cut into data points, and these are added to the totals of their pod.
What is refused is told to the sender as the OTLP specification says, and counted. Traces and logs
are thrown away with a kind word, so that services that send all they have do not complain.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import hdrs, web

from .identity import Identities, Refused
from .otlp_answers import Form, failure, success
from .otlp_messages import Malformed, TooLarge, from_json, is_gzip, parts, unzipped
from .otlp_points import IGNORED, Refusal, claim_of, points_of
from .otlp_room import Full, Room
from .otlp_words import WORDS
from .streams import REPEATED, TAKEN, Streams
from .target import Pod

__all__ = ["OUTCOMES", "Received", "Receiver", "ReceiverLimits"]

_ENCODINGS = {"", "identity", "gzip", "deflate"}
_FINE = {TAKEN, REPEATED, IGNORED}
_RETRY_S = 1
_STATUS = {
    "busy": 429,
    "too_large": 413,
    "malformed": 400,
    "unsupported": 415,
    "unknown_sender": 403,
    "foreign_identity": 403,
}

OUTCOMES = ("ok", "partial", IGNORED, *(one for one in _STATUS if one != "unsupported"))
"""How requests end; one in another form than OTLP's counts as malformed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverLimits:
    """What senders may cost.

    Attributes:
        body_bytes: Of a request as it is sent.
        unpacked_bytes: Of one once it is unpacked.
        json_bytes: Of one in JSON, which takes far more memory and time for the same.
        held_bytes: Of all requests that are held at once; of one sender half as many.
        inline_bytes: Of one that is worked on where it is read, and may delay a scrape by so much.
        aside: How many others may be waiting for a thread or have one; of one sender half as many.
        threads: For these.
    """

    body_bytes: int = 4 * 1024 * 1024
    unpacked_bytes: int = 16 * 1024 * 1024
    json_bytes: int = 1024 * 1024
    held_bytes: int = 32 * 1024 * 1024
    inline_bytes: int = 64 * 1024
    aside: int = 16
    threads: int = 2


class _Answer(Exception):
    """A request ends with this outcome; the text tells people why."""

    def __init__(self, outcome: str, text: str) -> None:
        super().__init__(text)
        self.outcome = outcome


@dataclass(slots=True)
class Received:
    """What became of the data points of a request.

    Attributes:
        points: How many, by outcome.
        refused: Why a resource was not let in, if one was not.
        admitted: Whether one was.
    """

    points: Counter[str] = field(default_factory=Counter)
    refused: Refused | None = None
    admitted: bool = False

    @property
    def rejected(self) -> dict[str, int]:
        """How many were refused, by reason."""
        return {name: n for name, n in self.points.items() if name not in _FINE}


class Receiver:
    """Takes OTLP/HTTP requests into streams.

    Its methods belong to one event loop.

    Args:
        identities: Tell which pod a sender is.
        streams: Add up what pods tell.
        limits: What senders may cost.

    Attributes:
        requests: How many there were, by outcome.
        points: Data points, likewise.
    """

    def __init__(
        self, identities: Identities, streams: Streams, *, limits: ReceiverLimits | None = None
    ) -> None:
        self._identities, self._streams = identities, streams
        self._limits = limits = limits or ReceiverLimits()
        self._held = Room(whole=limits.held_bytes, each=limits.held_bytes // 2)
        self._aside = Room(whole=limits.aside, each=max(1, limits.aside // 2))
        self._threads = asyncio.Semaphore(limits.threads)
        self._requests: Counter[str] = Counter()
        self._points: Counter[str] = Counter()

    @property
    def requests(self) -> Mapping[str, int]:
        return self._requests

    @property
    def points(self) -> Mapping[str, int]:
        return self._points

    def add_routes(self, app: web.Application) -> None:
        """Add the routes of OTLP/HTTP to an application."""
        app.router.add_post("/v1/metrics", self._take_metrics)
        app.router.add_post("/v1/traces", self._ignore)
        app.router.add_post("/v1/logs", self._ignore)

    async def _take_metrics(self, request: web.Request) -> web.Response:
        form = _form_of(request)
        try:
            if form is None:
                raise _Answer("unsupported", "send application/x-protobuf or application/json")
            taken = await self._take(request, form)
        except _Answer as answer:
            return self._refused(form, answer)
        rejected = taken.rejected
        self._requests["partial" if rejected else "ok"] += 1
        text = ", ".join(f"{name}: {n}" for name, n in sorted(rejected.items()))
        if taken.refused is not None:
            text += f"; {taken.refused}"
        body = success(form, rejected=sum(rejected.values()), text=text)
        return web.Response(body=body, content_type=form)

    async def _ignore(self, request: web.Request) -> web.Response:
        """Answer that all is well, and keep nothing."""
        form = _form_of(request)
        try:
            if form is None:
                raise _Answer("unsupported", "send application/x-protobuf or application/json")
            self._check_head(request)
            size = 0
            async for chunk in request.content.iter_any():
                size += len(chunk)
                self._check_size(size, self._limits.unpacked_bytes)
        except _Answer as answer:
            return self._refused(form, answer)
        except web.RequestPayloadError as error:
            return self._refused(form, _Answer("malformed", f"the body: {error}"))
        self._requests[IGNORED] += 1
        return web.Response(body=success(form), content_type=form)

    async def _take(self, request: web.Request, form: Form) -> Received:
        """Return what became of a request's data points."""
        sender, body = request.remote or "", bytearray()
        self._check_head(request)
        try:
            await self._read(request, form, body)
            taken = await self._worked(sender, form, bytes(body))
        except (Malformed, web.RequestPayloadError) as error:
            raise _Answer("malformed", f"the body: {error}") from None
        except TooLarge as error:
            raise _Answer("too_large", f"the body: {error}") from None
        except Full:
            raise _Answer("busy", "too much is being received; try again later") from None
        finally:
            self._held.give_back(sender, len(body))
        self._points.update(taken.points)
        if taken.refused is not None and not taken.admitted:
            raise _Answer(taken.refused.reason, str(taken.refused))
        return taken

    def _check_head(self, request: web.Request) -> None:
        """Refuse what need not be read for that."""
        sender = request.remote or ""
        if not self._identities.knows(sender):
            raise _Answer("unknown_sender", f"no pod of this node has the address {sender}")
        if request.headers.get(hdrs.CONTENT_ENCODING, "").lower() not in _ENCODINGS:
            raise _Answer("unsupported", "send it plain, or packed by gzip")
        self._check_size(request.content_length or 0, self._limits.body_bytes)

    def _check_size(self, size: int, limit: int) -> None:
        if size > limit:
            raise _Answer("too_large", f"the body has more than {limit} bytes")

    async def _read(self, request: web.Request, form: Form, body: bytearray) -> None:
        """Read a body, in whose place room is taken; the server may have unpacked it already."""
        limits = self._limits
        is_packed = hdrs.CONTENT_ENCODING in request.headers
        limit = limits.unpacked_bytes if is_packed else limits.body_bytes
        if form is Form.JSON:
            limit = min(limit, limits.json_bytes)
        async for chunk in request.content.iter_any():
            self._check_size(len(body) + len(chunk), limit)
            self._held.take(request.remote or "", len(chunk))
            body += chunk

    async def _worked(self, sender: str, form: Form, body: bytes) -> Received:
        """Work on a body here if that takes no time, else on a thread."""
        is_plain = form is Form.PROTOBUF and not is_gzip(body)
        if is_plain and len(body) <= self._limits.inline_bytes:
            return self.worked_on(sender, form, body)
        self._aside.take(sender, 1)
        try:
            async with self._threads:
                return await asyncio.to_thread(self.worked_on, sender, form, body)
        finally:
            self._aside.give_back(sender, 1)

    def worked_on(self, sender: str, form: Form, body: bytes) -> Received:
        """Add all data points of a body to their streams; any thread may do that."""
        if is_gzip(body):
            body = unzipped(body, most_bytes=self._limits.unpacked_bytes)
        if form is Form.JSON:
            if len(body) > self._limits.json_bytes:
                raise TooLarge(f"it has more than {self._limits.json_bytes} bytes of JSON")
            body = from_json(body)
        taken, resource, pod = Received(), None, None
        for part in parts(body, WORDS):
            if part.resource is not resource:
                resource, pod = part.resource, self._pod(sender, part.resource, taken)
            if pod is None:
                count = sum(metrics.count for metrics in part.metrics)
                taken.points["foreign_identity"] += count
                continue
            for found in points_of(body, part):
                if not isinstance(found, Refusal):
                    taken.points[self._streams.add(pod, found)] += 1
                    continue
                taken.points[found.reason] += found.points
                if found.reason not in _FINE:
                    self._streams.refuse(pod, found.reason, found.points)
        return taken

    def _pod(self, sender: str, resource: bytes, taken: Received) -> Pod | None:
        """Return the pod that a resource is, if the sender may speak for it."""
        try:
            pod = self._identities.claimed(sender, claim_of(resource))
        except Refused as refused:
            taken.refused = refused
            return None
        taken.admitted = True
        return pod

    def _refused(self, form: Form | None, answer: _Answer) -> web.Response:
        status, form = _STATUS[answer.outcome], form or Form.JSON
        self._requests["malformed" if status == 415 else answer.outcome] += 1
        response = web.Response(
            status=status, body=failure(form, status, str(answer)), content_type=form
        )
        if status == 429:
            response.headers[hdrs.RETRY_AFTER] = str(_RETRY_S)
        return response


def _form_of(request: web.Request) -> Form | None:
    try:
        return Form(request.content_type)
    except ValueError:
        return None
