"""Feedback over HTTP: services tell what they answered, anybody tells what was right.

    POST /v1/answers  {"answers": [{"id", "model", "variant"?, "exit"?, "prediction"?}], "pod"?}
    POST /v1/labels   {"labels": [{"id", "label" or "score", "metric"?}]}

Answers count for the pod whose address they come from. Each reply tells how many elements were
joined, are waiting, and so on; one that is wrong refuses its batch, and says what it should be.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any, NoReturn, TypeVar, cast

from aiohttp import web

from ..dialects.reading import Reading, Told
from ..families import Family
from ..service_metrics import ANSWERS_LOST, COVERAGE, FEEDBACK, STORE_ANSWERS
from .answers import ACCURACY, Answer, Label, Scalar
from .identity import Claim, Identities, Refused
from .joins import AnswerStore
from .target import Pod
from .telling import quality_told, total_told

__all__ = ["FeedbackReceiver"]

_MOST_BYTES = 1024 * 1024
_MOST_ELEMENTS = 5000
_MOST_WAITING = 16
_LONGEST = 200
_LARGEST_INTEGER = 2**64

_OUTCOMES = ("joined", "waiting", "repeated", "unknown", "invalid", "dropped")
_LOST = ("too_old", "too_many", "pod_gone")

_Parsed = TypeVar("_Parsed")


class FeedbackReceiver:
    """Takes answers and labels into a store, and tells what they add up to.

    Its methods belong to one event loop; the store's work is done beside it, one batch at a time.

    Args:
        store: Joins them.
        identities: Tells which pod an address is.
        most_bytes: Of a body.
        most_waiting: How many batches may wait for the store; further ones are told to come later.
    """

    def __init__(
        self,
        store: AnswerStore,
        identities: Identities,
        *,
        most_bytes: int = _MOST_BYTES,
        most_waiting: int = _MOST_WAITING,
    ) -> None:
        self._store, self._identities = store, identities
        self._most_bytes, self._most_waiting = most_bytes, most_waiting
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._pods: dict[tuple[str, str, str], Pod] = {}

    def routes(self) -> list[web.RouteDef]:
        """Return the routes for an application."""
        return [
            web.post("/v1/answers", self._take_answers),
            web.post("/v1/labels", self._take_labels),
        ]

    def readings(self) -> Mapping[Pod, Reading]:
        """Return what is known of each pod: totals, quality and coverage by window."""
        found: dict[Pod, Reading] = {}
        for labels, judged in self._store.read().items():
            told: list[Told] = []
            for key, total in judged.totals:
                told += total_told(key, total, method="feedback")
            for key, window, quality in judged.qualities:
                told += quality_told(key, quality, method="feedback", window=window)
            for one in judged.coverage:
                names = (one.model, one.variant, one.exit, one.window)
                told.append(Told(COVERAGE, names, one.ratio))
            namespace, name, uid = labels
            pod = self._pods.get(labels) or Pod(namespace=namespace, name=name, uid=uid)
            found[pod] = Reading(told=tuple(told))
        return found

    def families(self) -> list[Family]:
        """Return what became of labels and answers, and how much the store holds."""
        outcomes, held = self._store.label_outcomes, self._store.held
        lost = self._store.lost_answers
        return [
            Family(FEEDBACK, tuple(((name,), float(outcomes[name])) for name in _OUTCOMES)),
            Family(STORE_ANSWERS, tuple(((name,), float(n)) for name, n in held.items())),
            Family(ANSWERS_LOST, tuple(((name,), float(lost[name])) for name in _LOST)),
        ]

    async def keep_only(self, pods: Collection[Pod]) -> None:
        """Take all pods but these for gone, and forget what is of no use any more.

        To be called now and then, once the pods of the node are known, and not before.
        """
        self._pods = {pod.labels: pod for pod in pods}
        async with self._turn:
            await asyncio.to_thread(self._store.keep_only, pods)

    async def _take_answers(self, request: web.Request) -> web.Response:
        def work_of(parsed: tuple[Claim, list[Answer]]) -> Callable[[], Counter[str]]:
            claim, answers = parsed
            try:
                pod = self._identities.claimed(request.remote or "", claim)
            except Refused as refused:
                raise _error(web.HTTPForbidden, str(refused)) from None
            self._pods[pod.labels] = pod
            return lambda: self._store.add_answers(pod, answers)

        return await self._take(request, _answers, work_of)

    async def _take_labels(self, request: web.Request) -> web.Response:
        return await self._take(
            request, _labels, lambda labels: lambda: self._store.add_labels(labels)
        )

    async def _take(
        self,
        request: web.Request,
        parse: Callable[[Any], _Parsed],
        work_of: Callable[[_Parsed], Callable[[], Counter[str]]],
    ) -> web.Response:
        body = await self._body(request)
        if self._waiting >= self._most_waiting:
            busy = _error(web.HTTPTooManyRequests, "the store is busy; try again later")
            busy.headers["Retry-After"] = "1"
            raise busy
        self._waiting += 1
        try:
            work = work_of(await asyncio.to_thread(_parsed, body, parse))
            async with self._turn:
                outcomes = await asyncio.to_thread(work)
        except _MalformedError as error:
            raise _error(web.HTTPBadRequest, str(error)) from None
        finally:
            self._waiting -= 1
        return web.json_response(outcomes)

    async def _body(self, request: web.Request) -> bytes:
        body = bytearray()
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > self._most_bytes:
                found = f"body: found more than {self._most_bytes} bytes, expected smaller batches"
                raise web.HTTPRequestEntityTooLarge(
                    max_size=self._most_bytes,
                    actual_size=len(body),
                    text=json.dumps({"error": found}),
                    content_type="application/json",
                )
        return bytes(body)


def _error(kind: type[web.HTTPError], text: str) -> web.HTTPError:
    return kind(text=json.dumps({"error": text}), content_type="application/json")


class _MalformedError(Exception):
    """A batch is not what it should be; the text says where."""


def _parsed(body: bytes, parse: Callable[[Any], _Parsed]) -> _Parsed:
    try:
        return parse(json.loads(body, parse_constant=_no_constant))
    except (ValueError, RecursionError) as error:
        raise _MalformedError(f"body: found {error}, expected JSON in UTF-8") from None


def _answers(content: Any) -> tuple[Claim, list[Answer]]:
    """Return who claims to send, and the answers of a batch."""
    head = _object("body", content, {"answers", "pod"})
    who = _object("pod", head.get("pod", {}), {"namespace", "name", "uid", "service"})
    claim = Claim(**{key: _text(f"pod.{key}", value, 0) for key, value in who.items()})
    found: list[Answer] = []
    for place, given in _elements("answers", head):
        one = _object(place, given, {"id", "model", "variant", "exit", "prediction"})
        prediction = one.get("prediction")
        if prediction is not None:
            prediction = _scalar(f"{place}.prediction", prediction)
        found.append(
            Answer(
                id=_text(f"{place}.id", one.get("id")),
                model=_text(f"{place}.model", one.get("model")),
                variant=_text(f"{place}.variant", one.get("variant", ""), 0),
                exit=_text(f"{place}.exit", one.get("exit", ""), 0),
                prediction=prediction,
            )
        )
    return claim, found


def _labels(content: Any) -> list[Label]:
    """Return the labels of a batch."""
    found: list[Label] = []
    for place, given in _elements("labels", _object("body", content, {"labels"})):
        one = _object(place, given, {"id", "label", "score", "metric"})
        if ("label" in one) == ("score" in one):
            _wrong(place, "both" if "label" in one else "neither", "'label' or 'score'")
        is_score = "score" in one
        check = _score if is_score else _scalar
        kind = "score" if is_score else "label"
        value = check(f"{place}.{kind}", one[kind])
        found.append(
            Label(
                id=_text(f"{place}.id", one.get("id")),
                value=value,
                is_score=is_score,
                metric=_text(f"{place}.metric", one.get("metric", ACCURACY)),
            )
        )
    return found


def _elements(name: str, head: Mapping[str, Any]) -> list[tuple[str, Any]]:
    elements = head.get(name)
    if not isinstance(elements, list) or len(elements) > _MOST_ELEMENTS:
        found = f"{len(elements)} of them" if isinstance(elements, list) else _shown(elements)
        _wrong(name, found, f"a list of at most {_MOST_ELEMENTS}")
    return [(f"{name}[{number}]", one) for number, one in enumerate(elements)]


def _object(place: str, value: Any, keys: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        _wrong(place, _shown(value), "an object")
    unknown = value.keys() - keys
    if unknown:
        _wrong(place, f"unknown key {_shown(min(unknown))}", ", ".join(sorted(keys)))
    return value


def _text(place: str, value: Any, least: int = 1) -> str:
    # Half of a surrogate pair, which JSON can bring, would make a scrape fail as a whole.
    if (
        not isinstance(value, str)
        or not least <= len(value) <= _LONGEST
        or any("\ud800" <= one <= "\udfff" for one in value)
    ):
        _wrong(place, _shown(value), f"a string of {least} to {_LONGEST} characters")
    return value


def _scalar(place: str, value: Any) -> Scalar:
    if isinstance(value, str):
        return _text(place, value, 0)
    is_number = isinstance(value, int) and abs(value) <= _LARGEST_INTEGER
    if not is_number and not (isinstance(value, float) and math.isfinite(value)):
        _wrong(place, _shown(value), "a finite number, true, false, or a string")
    return cast("Scalar", value)


def _score(place: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        _wrong(place, _shown(value), "a number from 0 to 1")
    return float(value)


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text}, which JSON does not have")


def _shown(value: Any) -> str:
    # An integer of thousands of digits cannot even be shown.
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        return "an integer beyond 2**64"
    return "nothing" if value is None else ascii(value)[:60]


def _wrong(place: str, found: str, expected: str) -> NoReturn:
    raise _MalformedError(f"{place}: found {found}, expected {expected}")
