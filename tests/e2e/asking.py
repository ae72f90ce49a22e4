"""A client of AI services, with its own record of what it asked and how long that took."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import requests
from numpy.typing import NDArray

from joulery.profiler.oip import Message, decode_response

from .questions import MODEL, PREDICTION, Questions

__all__ = ["Asked", "Client", "post_labels"]

PORT = 8080
_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was answered.

    Attributes:
        name: Its id.
        sample: What was asked.
        latency_s: From its first byte sent to its last byte read, in seconds.
        alarm: The answer.
    """

    name: str
    sample: int
    latency_s: float
    alarm: bool


class Client:
    """Asks one service, over one connection, at random times.

    Args:
        name: Begins the ids of requests.
        address: Of the service's pod.
        questions: What it is asked.
        seed: Of the times and the order.

    Attributes:
        asked: What was answered so far; another thread may read it.
    """

    def __init__(self, name: str, address: str, questions: Questions, *, seed: int) -> None:
        self.asked: list[Asked] = []
        self._name, self._questions = name, questions
        self._random = np.random.default_rng(seed)
        self._connection = http.client.HTTPConnection(address, PORT, timeout=_PATIENCE_S)

    def ask(self, count: int, rate_hz: float) -> None:
        """Ask so often, as a Poisson process does; one that is late goes out at once."""
        due_s = time.monotonic()
        for _ in range(count):
            due_s += self._random.exponential(1 / rate_hz)
            sample, name = int(self._random.integers(len(self._questions))), len(self.asked)
            message = self._questions.request(sample, f"{self._name}-{name}")
            time.sleep(max(0.0, due_s - time.monotonic()))
            self._ask(sample, f"{self._name}-{name}", message)

    def _ask(self, sample: int, name: str, message: Message) -> None:
        began_s = time.monotonic()
        self._connection.request(
            "POST", f"/v2/models/{MODEL}/infer", message.body, dict(message.headers)
        )
        response = self._connection.getresponse()
        body = response.read()
        latency_s = time.monotonic() - began_s
        assert response.status == 200, body
        answer = decode_response(Message(headers=dict(response.headers), body=body))
        assert answer.id == name
        alarm = bool(answer.outputs[PREDICTION].item())
        self.asked.append(Asked(name, sample, latency_s, alarm))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @property
    def latencies_s(self) -> NDArray[np.float64]:
        """All latencies, in seconds."""
        return np.array([one.latency_s for one in self.asked])


def post_labels(url: str, asked: Iterable[Asked], questions: Questions) -> None:
    """Tell a service exporter what would have been right."""
    labels = [{"id": one.name, "label": bool(questions.labels[one.sample])} for one in asked]
    answer = requests.post(f"{url}/v1/labels", json={"labels": labels}, timeout=_PATIENCE_S)
    assert answer.status_code == 200, answer.text
