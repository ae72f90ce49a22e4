"""The endpoint executor: a server that runs already, wherever it is and whoever wrote it.

Nothing of it is started, stopped or configured here; it is looked for, and asked what it takes.
"""

from __future__ import annotations

import time
from urllib.parse import quote

import requests

from ..errors import TrialError
from ..profiler.oip import takes_binary
from .executor import RunningService
from .spec import Endpoint

__all__ = ["reach_endpoint"]

_AGAIN_S = 0.2
_LONGEST_S = 5.0
"""For one question, so that a server that is silent is asked again."""


def reach_endpoint(endpoint: Endpoint, model: str, *, startup_max_s: float) -> RunningService:
    """Return the service behind an endpoint once it says that its model is ready.

    Args:
        endpoint: Where it is.
        model: Its name there.
        startup_max_s: How long it may take to become ready, in seconds.

    Raises:
        TrialError: It does not; the message says what it answered last.
    """
    base = f"{endpoint.url.rstrip('/')}/v2"
    of_model = f"{base}/models/{quote(model, safe='')}"
    until_s = time.monotonic() + startup_max_s
    while (found := _answer(f"{of_model}/ready", until_s)) != "200":
        if time.monotonic() >= until_s:
            raise TrialError(
                f"endpoint {endpoint.url}",
                place=f"model {model}",
                found=found,
                expected=f"a model that is ready within {startup_max_s:g} s",
                remedy="see whether the server runs, and what it calls the model; "
                "trial.startup_max_s allows it more time",
            )
        time.sleep(_AGAIN_S)
    binary = endpoint.binary
    if binary is None:
        try:
            metadata = requests.get(base, timeout=_LONGEST_S)
            binary = metadata.status_code == 200 and takes_binary(metadata.content)
        except requests.RequestException as error:
            raise TrialError(f"endpoint {endpoint.url}", place="/v2", found=str(error)) from error
    return RunningService(pid=None, url=f"{of_model}/infer", startup_s=None, binary=binary)


def _answer(url: str, until_s: float) -> str:
    """Return the status of an answer, or why there is none."""
    patience_s = min(_LONGEST_S, max(_AGAIN_S, until_s - time.monotonic()))
    try:
        return str(requests.get(url, timeout=patience_s).status_code)
    except requests.RequestException as error:
        return str(error)
