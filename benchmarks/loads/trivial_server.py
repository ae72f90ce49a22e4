"""A server that answers everything alike and at once, and may stall once: a known quantity.

It prints its port as JSON, and ends with its standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time

__all__ = ["main"]

_BODY = b'{"model_name":"trivial","outputs":[]}'
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
    + str(len(_BODY)).encode()
    + b"\r\n\r\n"
    + _BODY
)


class _Service:
    """Counts requests, and sleeps when one of a certain number comes."""

    def __init__(self, stall_at: int, stall_s: float) -> None:
        self._stall_at, self._stall_s = stall_at, stall_s
        self._requests = 0

    def come(self) -> None:
        self._requests += 1
        if self._requests == self._stall_at:
            time.sleep(self._stall_s)


class _Connection(asyncio.Protocol):
    def __init__(self, service: _Service) -> None:
        self._service = service
        self._waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        waiting = self._waiting + data
        while (end := waiting.find(b"\r\n\r\n") + 4) > 3:
            head = waiting[:end].lower()
            size = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            if len(waiting) < end + size:
                break
            waiting = waiting[end + size :]
            self._service.come()
            self._transport.write(_ANSWER)
        self._waiting = waiting


async def _serve(service: _Service) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(service), "127.0.0.1", 0, backlog=4096)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def main() -> None:
    """Serve until the standard input ends."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--stall-at", type=int, default=0, help="the request that it stalls at")
    parser.add_argument("--stall-s", type=float, default=1.0)
    arguments = parser.parse_args()
    asyncio.run(_serve(_Service(arguments.stall_at, arguments.stall_s)))


if __name__ == "__main__":
    main()
