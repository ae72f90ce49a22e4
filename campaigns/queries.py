"""Queries of several requests: such a query is answered when its last request is."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .loads import Load, MultiStreamLoad

__all__ = ["merged_queries", "query_count", "query_latencies"]


def query_count(load: Load, due_s: NDArray[np.float64]) -> int:
    """Return how many queries requests make that became due at these moments, shape (requests,)."""
    return len(np.unique(due_s)) if isinstance(load, MultiStreamLoad) else len(due_s)


def query_latencies(
    load: Load,
    due_s: NDArray[np.float64],
    latency_s: NDArray[np.float64],
    answered: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return when each answered query became due, and its latency, both in seconds.

    Args:
        load: What was offered; with all but multi-stream each request is a query.
        due_s: Shape (requests,): when each became due; those of a query at the same moment.
        latency_s: Shape (requests,): of each; of those without an answer it does not matter.
        answered: Shape (requests,): which were answered.
    """
    if not isinstance(load, MultiStreamLoad):
        return due_s[answered], latency_s[answered]
    moments_s, query = np.unique(due_s, return_inverse=True)
    whole = np.ones(len(moments_s), dtype=bool)
    np.logical_and.at(whole, query, answered)
    longest_s = np.zeros(len(moments_s))
    np.maximum.at(longest_s, query[answered], latency_s[answered])
    return moments_s[whole], longest_s[whole]


def merged_queries(requests: pd.DataFrame, arrival: str) -> pd.DataFrame:
    """Return the requests with a row per query, where several make one.

    Args:
        requests: Columns `trial`, `intended_s` and `latency_s` among others.
        arrival: What the load is called; with all but `multi_stream` the rows stay as they are.
    """
    if arrival != "multi_stream" or not len(requests):
        return requests
    # One request without an answer leaves its query without one.
    latest_s = requests["latency_s"].fillna(np.inf)
    keys = [requests["trial"], requests["intended_s"]]
    return latest_s.groupby(keys).max().replace(np.inf, np.nan).reset_index()
