"""The endpoints of the Open Inference Protocol v2 (REST), with some of Triton's extensions.

Server and model metadata, health, inference with binary tensors and compressed bodies, and Triton's
model configuration and statistics; a PATCH of the configuration, JSON as in the live configuration,
changes it. What answers, `hosting` knows.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from ... import __version__
from ...errors import DatasetError, SpecError, TrialError
from ...profiler.oip import (
    BINARY_EXTENSION,
    InferenceRequest,
    InferenceResponse,
    Message,
    ProtocolError,
    decode_request,
    encode_response,
)
from .batching import Overloaded
from .bodies import UnsupportedEncoding, coding_for, read_body
from .exits import exit_of
from .hosting import Generation, Host
from .live_config import Settings
from .model import TensorSpec, listed
from .telemetry import PROBE_PARAMETER, is_marked, prediction_of

if TYPE_CHECKING:
    from ...profiler.request import Request

__all__ = ["BEGAN_S", "Endpoints"]

BEGAN_S = "began_s"
"""Key of a request's item: when its head was read, in monotonic seconds."""

_LONGEST_ID = 200
"""Characters of a request's id: it is kept until a label comes, here and in the exporter."""

_Handler = Callable[[web.BaseRequest], Awaitable[web.Response]]


class Endpoints:
    """Answers HTTP requests.

    Args:
        host: What answers inference requests.
        changed: Makes other settings of those that are, and of what a change says.
        name: The model's name in URLs; `None`: the configured one's. Names that it had before go on
            to be answered, so that no client fails.
        version: The model's version in URLs.
        most_bytes: Of a request's body, unpacked.

    Attributes:
        leaving: Whether the server is about to stop. It is no longer ready then, and lets each
            connection go with its next answer, so that clients come elsewhere; but it answers.
    """

    def __init__(
        self,
        host: Host,
        *,
        changed: Callable[[Settings, bytes], Settings],
        name: str | None,
        version: str,
        most_bytes: int,
    ) -> None:
        self._host, self._name, self._version = host, name, version
        self._changed = changed
        self._most_bytes = most_bytes
        self.leaving = False
        extensions = [BINARY_EXTENSION, "model_configuration", "statistics"]
        server = {"name": "joulery", "version": __version__, "extensions": extensions}
        self._routes: dict[str, tuple[str, _Handler]] = {
            "/v2": ("GET", _told(lambda: server)),
            "/v2/health/live": ("GET", _told(lambda: {"live": True})),
            "/v2/health/ready": ("GET", self._readiness({})),
            "/v2/models/stats": ("GET", _told(self._statistics)),
        }

    @property
    def name(self) -> str:
        """The model's name in URLs, now."""
        return self._name or self._host.current.settings.model

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Answer any request; whatever goes wrong is told as the protocol says."""
        response = await self._handled(request)
        if self.leaving:
            response.force_close()
        return response

    async def _handled(self, request: web.BaseRequest) -> web.Response:
        route = self._route(request.path)
        if route is None:
            expected = f"/v2, /v2/health/live, /v2/health/ready, /v2/models/{self.name}[/…]"
            return _error(404, f"path {request.path}: found no such path, expected {expected}")
        method, handler = route
        if request.method == "PATCH" and request.path.endswith("/config"):
            method, handler = "PATCH", self._change
        if request.method != method and (request.method, method) != ("HEAD", "GET"):
            return _error(
                405,
                f"path {request.path}: found method {request.method}, expected {method}",
                {"Allow": method},
            )
        try:
            return await handler(request)
        except UnsupportedEncoding as error:
            return _error(415, str(error), {"Accept-Encoding": "gzip, deflate"})
        except (ProtocolError, SpecError, DatasetError) as error:
            return _error(400, str(error))
        except Overloaded as error:
            return _error(503, str(error), {"Retry-After": "1"})
        except TrialError as error:
            return _error(500, str(error))
        except web.HTTPRequestEntityTooLarge as error:
            return _error(413, f"body: found {error.text}")

    def _route(self, path: str) -> tuple[str, _Handler] | None:
        name = self.name
        base = f"/v2/models/{name}"
        if base not in self._routes:
            for start in (base, f"{base}/versions/{self._version}"):
                self._routes[start] = ("GET", _told(self._metadata))
                self._routes[f"{start}/ready"] = ("GET", self._readiness({"name": name}))
                self._routes[f"{start}/config"] = ("GET", _told(self._configuration))
                self._routes[f"{start}/stats"] = ("GET", _told(self._statistics))
                self._routes[f"{start}/infer"] = ("POST", self._infer)
        return self._routes.get(path)

    async def _infer(self, request: web.BaseRequest) -> web.Response:
        is_ok = False
        try:
            body: bytes | Exception
            try:
                body = await read_body(request, self._most_bytes)
            except (ProtocolError, web.HTTPRequestEntityTooLarge) as error:
                body = error
            # From here to its answer, a request stays with one generation.
            generation = self._host.current
            if generation.profiler is None:
                response = await self._answer(request, body, generation, None)
            else:
                with generation.profiler.request(started_s=request[BEGAN_S]) as observed:
                    response = await self._answer(request, body, generation, observed)
            is_ok = True
            return response
        finally:
            self._host.statistics.ended(
                int(1e9 * (time.monotonic() - request[BEGAN_S])), is_ok=is_ok, now_s=time.time()
            )

    async def _answer(
        self,
        request: web.BaseRequest,
        body: bytes | Exception,
        generation: Generation,
        observed: Request | None,
    ) -> web.Response:
        if observed is not None and is_marked(request.headers):
            observed.forget()
        if isinstance(body, Exception):
            raise body
        asked = decode_request(Message(headers=request.headers, body=body))
        request_id = _id_of(asked)
        if observed is not None:
            if asked.parameters.get(PROBE_PARAMETER) is True:
                observed.forget()
            observed.named(request_id)
            if generation.settings.precision:
                observed.precision(generation.settings.precision)
        names = [spec.name for spec in generation.model.outputs]
        unknown = asked.outputs.keys() - set(names)
        if unknown:
            raise ProtocolError("outputs", found=listed(sorted(unknown)), expected=listed(names))
        served = await generation.batcher.submit(asked.inputs)
        taken = exit_of(served.outputs)
        if observed is not None:
            observed.batch, observed.items = served.rows, len(next(iter(asked.inputs.values())))
            if taken is not None:
                observed.exit_taken(taken)
            observed.predicted(prediction_of(served.outputs, self._host.prediction))
        answer = InferenceResponse(
            model_name=self._name or generation.settings.model,
            model_version=self._version,
            id=request_id,
            parameters=self._parameters(generation.settings, served.batch, taken),
            outputs={name: served.outputs[name] for name in asked.outputs or names},
        )
        return _encoded(request, asked, answer)

    def _parameters(self, settings: Settings, batch: int, taken: str | None) -> dict[str, Any]:
        """Return what answered a request, as far as it is known: a change may have come since."""
        told = {
            "batch": batch,
            # Where the URL has another name, that is the one that the response bears.
            "model": settings.model if self._name not in (None, settings.model) else None,
            "precision": settings.precision or None,
            "variant": settings.variant or None,
            "exit": taken,
        }
        return {key: value for key, value in told.items() if value is not None}

    async def _change(self, request: web.BaseRequest) -> web.Response:
        """Answer by other settings from now on; a file that is followed may change them again."""
        body = await read_body(request, self._most_bytes)
        settings = await asyncio.to_thread(self._changed, self._host.current.settings, body)
        await self._host.change(settings)
        return await _told(self._host.parameters)(request)

    def _readiness(self, told: Mapping[str, Any]) -> _Handler:
        async def answer(_: web.BaseRequest) -> web.Response:
            return _json({**told, "ready": not self.leaving}, 503 if self.leaving else 200)

        return answer

    def _metadata(self) -> dict[str, Any]:
        model = self._host.current.model
        return {
            "name": self.name,
            "versions": [self._version],
            "platform": "onnxruntime_onnx",
            "inputs": [_described(spec) for spec in model.inputs],
            "outputs": [_described(spec) for spec in model.outputs],
            "parameters": self._host.parameters(),
        }

    def _configuration(self) -> dict[str, Any]:
        """Return what Triton calls a model's configuration, as far as it means anything here."""
        model, settings = self._host.current.model, self._host.current.settings
        skip = 1 if model.batches else 0  # where batches are made, the leading axis is not said
        configuration: dict[str, Any] = {
            "name": self.name,
            "platform": "onnxruntime_onnx",
            "backend": "onnxruntime",
            "max_batch_size": settings.batch if model.batches else 0,
            "input": [_configured(spec, skip) for spec in model.inputs],
            "output": [_configured(spec, skip) for spec in model.outputs],
            "instance_group": [{"name": self.name, "kind": "KIND_CPU", "count": 1}],
        }
        if settings.batch > 1:
            delay_us = round(1e6 * settings.batch_wait_s)
            configuration["dynamic_batching"] = {"max_queue_delay_microseconds": delay_us}
        return configuration

    def _statistics(self) -> dict[str, Any]:
        return {"model_stats": [self._host.statistics.told(self.name, self._version)]}


def _encoded(
    request: web.BaseRequest, asked: InferenceRequest, answer: InferenceResponse
) -> web.Response:
    binary = {name for name in answer.outputs if asked.wants_binary(name)}
    try:
        message = encode_response(answer, binary=binary)
    except ProtocolError as error:  # the model's doing, not the client's
        raise TrialError(
            "answer",
            place=error.subject,
            found=error.found,
            expected=error.expected,
            remedy=error.remedy,
        ) from error
    response = web.Response(body=message.body, headers=message.headers)
    coding = coding_for(len(message.body), request.headers.get("Accept-Encoding", ""))
    if coding is not None:
        response.enable_compression(coding)
    return response


def _id_of(asked: InferenceRequest) -> str:
    """Return the client's id of a request, or a new one."""
    if not asked.id:
        return uuid.uuid4().hex
    if len(asked.id) > _LONGEST_ID:
        raise ProtocolError(
            "id", found=f"{len(asked.id)} characters", expected=f"{_LONGEST_ID} at most"
        )
    return asked.id


def _described(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.shape}


def _configured(spec: TensorSpec, skip: int) -> dict[str, Any]:
    told = {"name": spec.name, "data_type": f"TYPE_{spec.datatype}", "dims": spec.shape[skip:]}
    # Triton knows no tensor without axes; what remains of a row without any, it says so.
    return told if told["dims"] else told | {"dims": [1], "reshape": {"shape": []}}


def _told(content: Callable[[], Mapping[str, Any]]) -> _Handler:
    async def answer(_: web.BaseRequest) -> web.Response:
        return _json(content())

    return answer


def _error(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return _json({"error": text}, status, headers)


def _json(
    content: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    body = json.dumps(content).encode()
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)
