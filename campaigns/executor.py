"""The local executor: a scenario's service as a process of its own on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import TrialError
from .design import Configuration

__all__ = ["Cores", "RunningService", "split_cores", "start_service"]

_STOP_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """Which CPUs the service and its measurers may use, so that they do not disturb each other."""

    service: tuple[int, ...]
    others: tuple[int, ...]


def split_cores(threads: int, available: Collection[int]) -> Cores:
    """Give the service the last `threads` CPUs and leave at least one to the generator.

    On a machine with one CPU both share it.
    """
    cores = sorted(available)
    if len(cores) == 1:
        return Cores(service=tuple(cores), others=tuple(cores))
    cut = max(1, len(cores) - threads)
    return Cores(service=tuple(cores[cut:]), others=tuple(cores[:cut]))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningService:
    """A service that answers.

    Args:
        pid: The process, leader of its own process group; `None`: it is none of ours.
        url: Where to send inference requests.
        startup_s: Time from its start to its readiness; `None`: it ran already.
        binary: Whether it takes binary tensors.
    """

    pid: int | None
    url: str
    startup_s: float | None
    binary: bool = True


@contextlib.contextmanager
def start_service(
    model: Path,
    configuration: Configuration,
    *,
    batch_wait_s: float,
    startup_max_s: float,
    cores: Cores,
) -> Iterator[RunningService]:
    """Start a service, wait until it is ready, and stop it when the block ends.

    The service ends with its standard input, so it never outlives its parent, however that dies.

    Raises:
        TrialError: When it does not become ready; the message carries what it printed.
    """
    command = [
        # -P: what lies in the user's working folder must not shadow a module of the service.
        *(sys.executable, "-P", "-m", "joulery.campaigns.scenarios.server"),
        *("--model", str(model), "--name", configuration.model),
        *("--batch", str(configuration.batch), "--batch-wait-s", str(batch_wait_s)),
        *("--threads", str(configuration.threads), "--host", "127.0.0.1", "--port", "0"),
    ]
    began_s = time.monotonic()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        try:
            # Set before the runtime starts its threads: they inherit it.
            os.sched_setaffinity(process.pid, cores.service)
            ready = _wait_ready(process, startup_max_s, errors, str(configuration))
            yield RunningService(
                pid=process.pid,
                url=f"http://127.0.0.1:{ready['port']}/v2/models/{configuration.model}/infer",
                startup_s=time.monotonic() - began_s,
            )
        finally:
            _stop(process)


def _wait_ready(
    process: subprocess.Popen[bytes], limit_s: float, errors: IO[str], subject: str
) -> dict[str, int]:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        line = process.stdout.readline() if selector.select(limit_s) else b""
    try:
        answer: dict[str, int] = json.loads(line)
    except ValueError:
        process.kill()
        process.wait()
        errors.seek(0)
        said = errors.read().strip().splitlines()
        raise TrialError(
            f"service {subject}",
            found=said[-1] if said else f"no word of readiness within {limit_s:g} s",
            expected="a service that becomes ready",
            remedy="trial.startup_max_s allows it more time",
        ) from None
    return answer


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask, then insist; nothing of the process group stays behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
