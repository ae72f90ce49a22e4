"""The link emulator's process: told its conditions on standard input, it forwards until that ends.

The first line is the set-up, as JSON; `begin` on a line lets the conditions begin again. It answers
with its port, and in the end with what it did. See `running` for the other side.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import json
import os
import resource
import select
import selectors
import time
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from .conditions import Conditions
from .forward import Forwarder
from .link import Path as NetworkPath

__all__ = ["SetUp", "decode", "encode"]


@dataclass(frozen=True, kw_only=True)
class SetUp:
    """What the process is told.

    Args:
        conditions: The path's conditions.
        host: The target's address.
        port: The target's port.
        seed: What jitter and loss follow from.
    """

    conditions: Conditions
    host: str
    port: int
    seed: int


_SET_UP = TypeAdapter(SetUp)
_REST_S = 0.01


def encode(told: SetUp) -> bytes:
    """Return a set-up as one line."""
    return _SET_UP.dump_json(told) + b"\n"


def decode(line: bytes) -> SetUp:
    """Return the set-up of a line."""
    return _SET_UP.validate_json(line)


class _ExactSelector(selectors.EpollSelector):
    """epoll rounds a timeout up to a millisecond; `select` on its descriptor does not.

    The kernel lets a timeout be late by a thousandth of it, so that a long one ends early here: the
    loop finds nothing to do, and waits for the short rest.
    """

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout > 0:
            if timeout > 2 * _REST_S:
                timeout -= _REST_S
            select.select([self.fileno()], [], [], timeout)
            timeout = 0
        return super().select(timeout)


class _Orders:
    """Standard input: lines as they come, and its end, which ends the process."""

    def __init__(self, forwarder: Forwarder, loop: asyncio.AbstractEventLoop) -> None:
        self._forwarder = forwarder
        self._loop = loop
        self._text = b""
        os.set_blocking(0, False)
        loop.add_reader(0, self._read)

    def _read(self) -> None:
        data = os.read(0, 4096)
        if not data:
            self._loop.stop()
            return
        *lines, self._text = (self._text + data).split(b"\n")
        for line in lines:
            if line == b"begin":
                self._forwarder.path.restart(self._loop.time())


def _report(forwarder: Forwarder) -> dict[str, Any]:
    up, down = forwarder.path.up, forwarder.path.down
    return dataclasses.asdict(forwarder.tally) | {
        "segments_up": up.segments,
        "segments_down": down.segments,
        "segments_lost_up": up.segments_lost,
        "segments_lost_down": down.segments_lost,
        "cpu_s": time.process_time(),
        "realtime": os.sched_getscheduler(0) == os.SCHED_RR,
    }


def _be_punctual() -> None:
    """Wake as soon as a timer ends, and go before other programs, where this user may.

    A link does not wait for them, and netem in the kernel would not. Real time is the lowest there
    is; the kernel leaves a share of each second to others.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/timerslack_ns").write_text("1")
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def _give_up(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """End with a word on what went wrong: a link that forwards some bytes only is no link."""
    loop.default_exception_handler(context)
    os._exit(1)


def _main() -> None:
    # Unbuffered: what follows the first line is the loop's to read.
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return
        line += byte
    told = decode(line)
    # Each connection takes two descriptors; the usual limit is for programs that use `select`.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    _be_punctual()
    loop = asyncio.SelectorEventLoop(_ExactSelector())
    loop.set_exception_handler(_give_up)
    path = NetworkPath(told.conditions, told.seed)
    path.restart(loop.time())
    forwarder = Forwarder(path, (told.host, told.port), loop)
    _Orders(forwarder, loop)
    gc.collect()
    gc.freeze()  # what is there now stays: the collector need not look at it again
    # Who started us may be gone by the time we say what we did.
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps({"port": forwarder.port}), flush=True)
        loop.run_forever()
        print(json.dumps(_report(forwarder)), flush=True)


if __name__ == "__main__":
    _main()
