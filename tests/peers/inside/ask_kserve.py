"""Runs in the clients' environment: asks a server as KServe's own REST client does."""

from __future__ import annotations

import asyncio
from typing import Any

import kserve  # type: ignore[import-not-found]
from calls import packed, serve, unpacked  # type: ignore[import-not-found]
from kserve.protocol.infer_type import RequestedOutput  # type: ignore[import-not-found]


def health(url: str, model: str) -> list[bool]:
    """Return whether the server is live and ready, and the model is."""

    async def ask() -> list[bool]:
        async with _client() as client:
            return [
                await client.is_server_live(url),
                await client.is_server_ready(url),
                await client.is_model_ready(url, model),
            ]

    return asyncio.run(ask())


def infer(
    url: str,
    model: str,
    requests: list[dict[str, Any]],
    binary: bool = True,
    outputs: dict[str, bool] | None = None,
    parameters: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Send all requests at once; each has the id of its place."""

    async def ask() -> list[dict[str, Any]]:
        async with _client() as client:
            return await asyncio.gather(
                *(one(client, str(number), inputs) for number, inputs in enumerate(requests))
            )

    async def one(client: Any, request_id: str, inputs: dict[str, Any]) -> dict[str, Any]:
        headers: dict[str, str] = {}
        answer = await client.infer(
            url,
            kserve.InferRequest(
                model,
                _inputs(inputs, binary),
                request_id=request_id,
                request_outputs=_outputs(outputs),
                parameters=parameters,
            ),
            model_name=model,
            response_headers=headers,
        )
        tensors = {one.name: packed(one.datatype, one.as_numpy()) for one in answer.outputs}
        return {
            "id": answer.id,
            "model_name": answer.model_name,
            "parameters": answer.parameters,
            "outputs": tensors,
            "binary": "inference-header-content-length" in headers,
        }

    return asyncio.run(ask())


def _client() -> Any:
    return kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2", timeout=60))


def _inputs(tensors: dict[str, Any], binary: bool) -> list[Any]:
    asked = []
    for name, tensor in tensors.items():
        one = kserve.InferInput(name, tensor["shape"], tensor["datatype"])
        one.set_data_from_numpy(unpacked(tensor), binary_data=binary)
        asked.append(one)
    return asked


def _outputs(wanted: dict[str, bool] | None) -> list[Any] | None:
    if wanted is None:
        return None
    return [RequestedOutput(name, {"binary_data": binary}) for name, binary in wanted.items()]


if __name__ == "__main__":
    serve(health, infer)
