"""Runs in the clients' environment: asks a server as Triton's own HTTP client does."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
from typing import Any

import tritonclient.http  # type: ignore[import-not-found]
import tritonclient.http.aio  # type: ignore[import-not-found]
from calls import packed, serve, unpacked  # type: ignore[import-not-found]


def health(url: str, model: str, version: str = "") -> list[bool]:
    """Return whether the server is live and ready, and the model is."""
    with tritonclient.http.InferenceServerClient(url) as client:
        return [
            client.is_server_live(),
            client.is_server_ready(),
            client.is_model_ready(model, version),
        ]


def metadata(url: str, model: str, version: str = "") -> list[Any]:
    """Return what the server and the model say about themselves."""
    with tritonclient.http.InferenceServerClient(url) as client:
        return [client.get_server_metadata(), client.get_model_metadata(model, version)]


def configuration(url: str, model: str) -> Any:
    """Return how the model is configured, in Triton's words."""
    with tritonclient.http.InferenceServerClient(url) as client:
        return client.get_model_config(model)


def statistics(url: str, model: str) -> Any:
    """Return what the server counts of the model."""
    with tritonclient.http.InferenceServerClient(url) as client:
        [found] = client.get_inference_statistics(model)["model_stats"]
        return found


def infer(
    url: str,
    model: str,
    inputs: dict[str, Any],
    binary: bool = True,
    outputs: dict[str, bool] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Ask once; `outputs` says for each wanted output whether it shall be binary."""
    # The client shows headers only to people.
    seen = io.StringIO()
    with (
        tritonclient.http.InferenceServerClient(url, verbose=True) as client,
        contextlib.redirect_stdout(seen),
    ):
        answer = client.infer(model, _inputs(inputs, binary), outputs=_outputs(outputs), **options)
    encoding = re.search(r"'content-encoding': '(\w+)'", seen.getvalue(), re.IGNORECASE)
    return _told(answer) | {"encoding": encoding and encoding[1]}


def infer_in_flight(url: str, model: str, requests: list[dict[str, Any]]) -> list[Any]:
    """Send all requests before the first answer is waited for."""
    with tritonclient.http.InferenceServerClient(url, concurrency=len(requests)) as client:
        waiting = [
            client.async_infer(model, _inputs(inputs, binary=True), request_id=str(number))
            for number, inputs in enumerate(requests)
        ]
        return [_told(one.get_result()) for one in waiting]


def infer_with_asyncio(url: str, model: str, requests: list[dict[str, Any]]) -> list[Any]:
    """Send all requests at once, by the client for asyncio."""

    async def ask() -> list[Any]:
        async with tritonclient.http.aio.InferenceServerClient(url) as client:
            return await asyncio.gather(
                *(client.infer(model, _inputs(inputs, binary=True)) for inputs in requests)
            )

    return [_told(answer) for answer in asyncio.run(ask())]


def _inputs(tensors: dict[str, Any], binary: bool) -> list[Any]:
    asked = []
    for name, tensor in tensors.items():
        one = tritonclient.http.InferInput(name, tensor["shape"], tensor["datatype"])
        one.set_data_from_numpy(unpacked(tensor), binary_data=binary)
        asked.append(one)
    return asked


def _outputs(wanted: dict[str, bool] | None) -> list[Any] | None:
    if wanted is None:
        return None
    return [
        tritonclient.http.InferRequestedOutput(name, binary_data=binary)
        for name, binary in wanted.items()
    ]


def _told(answer: Any) -> dict[str, Any]:
    said = answer.get_response()
    binary = {one["name"]: "data" not in one for one in said["outputs"]}
    tensors = {
        one["name"]: packed(one["datatype"], answer.as_numpy(one["name"]))
        for one in said["outputs"]
    }
    return {key: said.get(key) for key in ("id", "model_name", "model_version", "parameters")} | {
        "outputs": tensors,
        "binary": binary,
    }


if __name__ == "__main__":
    serve(health, metadata, configuration, statistics, infer, infer_in_flight, infer_with_asyncio)
