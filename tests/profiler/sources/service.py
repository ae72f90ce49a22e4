"""A real HTTP or HTTPS server that answers with what a test writes down."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

__all__ = ["Service"]


class Service:
    """Answers GET with the body of a path, and 404 for others.

    Args:
        answers: Body by path: text, an object to write as JSON, or an HTTP status.
        user: Name and password to ask for; `None` lets everybody in.
        basic: Name and password are taken with each request; else only to open a session.
        certificate: Serve HTTPS with it.

    Attributes:
        asked: Path and query of each GET that was let in.
        sessions: Tokens of the sessions that are open.
    """

    def __init__(
        self,
        answers: dict[str, Any],
        *,
        user: tuple[str, str] | None = None,
        basic: bool = True,
        certificate: ssl.SSLContext | None = None,
    ) -> None:
        self.answers, self.user, self.basic = answers, user, basic
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        self.sessions: set[str] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.service = self  # type: ignore[attr-defined]
        if certificate is not None:
            self._server.socket = certificate.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://localhost:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Service:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Answer nobody any more."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    def lets_in(self, headers: Any) -> bool:
        """Tell whether a request comes from our user."""
        if self.user is None or headers.get("X-Auth-Token") in self.sessions:
            return True
        sent = base64.b64encode(":".join(self.user).encode()).decode()
        return self.basic and bool(headers.get("Authorization") == f"Basic {sent}")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"  # no connection outlives its answer, nor the test

    def setup(self) -> None:
        self.service = cast("Service", self.server.service)  # type: ignore[attr-defined]
        super().setup()

    def do_GET(self) -> None:
        """Answer with what the test wrote down."""
        address = urlsplit(self.path)
        if not self.service.lets_in(self.headers) and address.path != "/redfish/v1/":
            return self._send(401, "")
        self.service.asked.append((address.path, parse_qs(address.query)))
        body = self.service.answers.get(address.path, 404)
        if isinstance(body, int):
            return self._send(body, "")
        return self._send(200, body if isinstance(body, str) else json.dumps(body))

    def do_POST(self) -> None:
        """Open a session."""
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if (sent["UserName"], sent["Password"]) != self.service.user:
            return self._send(401, "")
        token = f"token-{len(self.service.asked)}"
        self.service.sessions.add(token)
        return self._send(201, "{}", {"X-Auth-Token": token, "Location": f"{self.path}/{token}"})

    def do_DELETE(self) -> None:
        """Close a session."""
        self.service.sessions.discard(self.path.rpartition("/")[2])
        self._send(204, "")

    def _send(self, status: int, body: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
