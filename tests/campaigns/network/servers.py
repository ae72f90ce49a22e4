"""Real servers and clients for tests of the link: echoes, and one request at a time."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Iterator

__all__ = ["connect", "echoing", "exchange", "listening"]


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.request.recv(65536):
                self.request.sendall(data)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 1024


@contextlib.contextmanager
def echoing() -> Iterator[str]:
    """Run a server that answers each byte with itself; yield its URL."""
    with _Server(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def listening() -> Iterator[tuple[socket.socket, str]]:
    """Yield a socket that listens, and its URL; the first connection is the link's own look."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        yield listener, f"tcp://127.0.0.1:{listener.getsockname()[1]}"


def connect(port: int) -> socket.socket:
    """Open a connection to a port of this machine."""
    client = socket.create_connection(("127.0.0.1", port), timeout=60)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def exchange(client: socket.socket, message: bytes) -> float:
    """Send a message, wait for its echo; return the seconds it took."""
    began_s = time.monotonic()
    client.sendall(message)
    echo = b""
    while len(echo) < len(message):
        data = client.recv(65536)
        assert data, "the connection ended within the echo"
        echo += data
    assert echo == message
    return time.monotonic() - began_s
