"""A real receiver of answers: an HTTP server on a thread, whose answers a test chooses."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["AnswersReceiver", "receiving_answers"]


@dataclass
class AnswersReceiver:
    """What has been posted so far.

    Attributes:
        url: Base URL.
        status: What it answers to posts.
        posts: Path and content of each post.
        arrived: Is notified of each post.
    """

    url: str = ""
    status: int = 200
    posts: list[tuple[str, Any]] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    @property
    def answers(self) -> list[dict[str, Any]]:
        """All answers that were taken with status 200."""
        return [one for _, content in self.posts for one in content["answers"]]

    def wait(self, posts: int = 0, answers: int = 0) -> None:
        """Wait until so many posts and answers have come; the test's time limit ends it."""
        with self.arrived:
            self.arrived.wait_for(lambda: len(self.posts) >= posts and len(self.answers) >= answers)


@contextmanager
def receiving_answers(port: int = 0, *, status: int = 200) -> Iterator[AnswersReceiver]:
    """Run a receiver on a thread of its own."""
    receiver = AnswersReceiver(status=status)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = receiver.status
            # Before the answer: who was answered may look at once.
            with receiver.arrived:
                receiver.posts.append((self.path, content))
                receiver.arrived.notify_all()
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
