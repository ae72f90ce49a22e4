"""The local executor: a scenario's service as a process of its own on this machine."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import TrialError
from .child import Child, started
from .configuration import KNOB_FACTORS, Configuration
from .kubernetes.pod import RunningPod

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
        pod: The pod that it is, in a cluster.
    """

    pid: int | None
    url: str
    startup_s: float | None
    binary: bool = True
    pod: RunningPod | None = None


@contextlib.contextmanager
def start_service(
    model: Path,
    configuration: Configuration,
    *,
    batch_wait_s: float,
    startup_max_s: float,
    cores: Cores,
    detector: Mapping[str, Any] | None = None,
) -> Iterator[RunningService]:
    """Start a service, wait until it is ready, and stop it when the block ends.

    The service ends with its standard input, so it never outlives its parent, however that dies.

    Args:
        model: The ONNX file.
        configuration: How it answers.
        batch_wait_s: Longest wait for others of a batch.
        startup_max_s: How long it may take to become ready.
        cores: The CPUs it may use.
        detector: What a user said of it, if it is a detector of theirs.

    Raises:
        TrialError: When it does not become ready; the message carries what it printed.
    """
    command = [
        # -P: what lies in the user's working folder must not shadow a module of the service.
        *(sys.executable, "-P", "-m", "joulery.campaigns.scenarios.server"),
        *("--model", str(model), "--name", configuration.model),
        *("--batch", str(configuration.batch), "--batch-wait-s", str(batch_wait_s)),
        *("--threads", str(configuration.threads), "--provider", configuration.provider),
        *("--host", "127.0.0.1", "--port", "0"),
    ]
    if detector is not None:
        command += ["--detector", json.dumps(detector)]
    for name in KNOB_FACTORS:
        level = getattr(configuration, name)
        # Frames that are passed by are not sent, so that the service knows nothing of them.
        if level is not None and name != "stride":
            command += [f"--{name.replace('_', '-')}", str(level)]
    began_s = time.monotonic()
    with started(command, cores=cores.service, ask=signal.SIGTERM) as child:
        ready = _wait_ready(child, startup_max_s, str(configuration))
        yield RunningService(
            pid=child.process.pid,
            url=f"http://127.0.0.1:{ready['port']}/v2/models/{configuration.model}/infer",
            startup_s=time.monotonic() - began_s,
        )


def _wait_ready(child: Child, limit_s: float, subject: str) -> dict[str, Any]:
    answer = child.answer(limit_s)
    if answer is not None:
        return answer
    found = f"no word of readiness within {limit_s:g} s"
    remedy: str | None = "trial.startup_max_s allows it more time"
    if child.is_silent:
        found, remedy = _end(child.process)
    child.kill()
    raise TrialError(
        f"service {subject}",
        found=child.last_word() or found,
        expected="a service that becomes ready",
        remedy=remedy,
    )


def _end(process: subprocess.Popen[bytes]) -> tuple[str, str | None]:
    """Return how a process ended before its time, and what to do about it."""
    try:
        code = process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        return "a service that closed its output", None
    if code >= 0:
        return f"its end, with exit code {code}", None
    name = signal.Signals(-code).name
    return f"its end by {name}", "see whether memory ran out" if name == "SIGKILL" else None
