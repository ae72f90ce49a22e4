"""Asks a Prometheus server: samples as they were scraped, values of now, and its clock."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests

from ...errors import TrialError

__all__ = ["Prometheus", "Series"]

_LONGEST_S = 30.0
_CLOCK_ANSWERS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One series of samples.

    Args:
        labels: Its labels, the name of the metric as `__name__` among them.
        samples: Pairs of the time of the scrape, in Unix seconds, and the value.
    """

    labels: Mapping[str, str]
    samples: tuple[tuple[float, float], ...]

    @property
    def name(self) -> str:
        """Name of the metric."""
        return self.labels["__name__"]


class Prometheus:
    """A server.

    Args:
        url: Its base URL.
        token: Bearer token; `None`: it asks for none.
    """

    def __init__(self, url: str, *, token: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._session = requests.Session()
        if token is not None:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def close(self) -> None:
        """Close its connections."""
        self._session.close()

    def raw(self, selector: str, *, since_s: float) -> list[Series]:
        """Return the samples of some series as they were scraped.

        Args:
            selector: In PromQL.
            since_s: Unix time of the oldest that is wanted.

        Raises:
            TrialError: When the server does not answer as one.
        """
        seconds = max(1, math.ceil(time.time() - since_s))
        return [
            Series(
                labels=one["metric"],
                samples=tuple((float(t_s), float(value)) for t_s, value in one["values"]),
            )
            for one in self._result(f"{selector}[{seconds}s]")
        ]

    def now(self, query: str) -> list[Series]:
        """Return what a query gives now: series of one sample each.

        Raises:
            TrialError: When the server does not answer as one.
        """
        return [
            Series(
                labels=one["metric"], samples=((float(one["value"][0]), float(one["value"][1])),)
            )
            for one in self._result(query)
        ]

    def clock_error_s(self) -> float:
        """Return how far its clock may be from ours: what it differs, and what that is unsure by.

        Of a few answers the quickest says most; a busy machine delays some.

        Raises:
            TrialError: When the server does not answer as one.
        """
        return min(self._clock_error_once_s() for _ in range(_CLOCK_ANSWERS))

    def _clock_error_once_s(self) -> float:
        before_s = time.time()
        told_s = float(self._result("time()")[1])
        after_s = time.time()
        # It reads its clock with the millisecond.
        return abs(told_s - (before_s + after_s) / 2) + (after_s - before_s) / 2 + 1e-3

    def _result(self, query: str) -> Any:
        try:
            answer = self._session.post(
                f"{self.url}/api/v1/query", data={"query": query}, timeout=_LONGEST_S
            )
        except requests.RequestException as error:
            raise self._refused(
                str(error), "is it running, and is there a way to it from here?"
            ) from None
        if answer.status_code in (401, 403):
            raise self._refused(
                f"status {answer.status_code}",
                "it asks who you are: JOULERY_PROMETHEUS_TOKEN takes a bearer token, and ~/.netrc "
                "a user and password",
            )
        try:
            told = answer.json()
            if told["status"] != "success":
                raise self._refused(f"{told['errorType']}: {told['error']}", None)
            return told["data"]["result"]
        except (ValueError, KeyError, TypeError):
            raise self._refused(
                f"status {answer.status_code} and no answer of Prometheus",
                "prometheus_url is its base URL, without /api/v1",
            ) from None

    def _refused(self, found: str, remedy: str | None) -> TrialError:
        return TrialError(
            f"Prometheus {self.url}",
            found=found,
            expected="an answer to a query",
            remedy=remedy,
        )
