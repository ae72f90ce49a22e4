"""What came back from a window: the senders' shares put together, and decoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from ..profiler.oip import InferenceResponse, Message, ProtocolError, decode_response
from .exchange import RawAnswer
from .generator_worker import Outcome
from .schedule import Schedule

__all__ = ["Answers", "gather"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What came back in the window, request by request, in the order in which they became due.

    Args:
        asked: When each request became due, from the window's start, and what it asked.
        sent_s: Shape (requests,): actual send times from the window's start, seconds.
        lag_s: Shape (requests,): how late the generator sent each, seconds; NaN if never.
        done_s: Shape (requests,): when the answer was complete; NaN where there is none.
        status: `ok`, or what went wrong, per request.
        outputs: Output tensors of the answered requests, in request order along axis 0.
        batch_served: Shape (requests,): requests answered in the same model run, 0 if unknown.
        cpu_s: CPU time of each process of the generator in the window, seconds.
        cores: CPUs that these processes share.
    """

    asked: Schedule
    sent_s: NDArray[np.float64]
    lag_s: NDArray[np.float64]
    done_s: NDArray[np.float64]
    status: tuple[str, ...]
    outputs: Mapping[str, NDArray[np.generic]]
    batch_served: NDArray[np.int64]
    cpu_s: tuple[float, ...]
    cores: int

    def busiest_ratio(self, duration_s: float) -> float:
        """Return how near the generator is to its limit: one core for each process.

        Processes that share fewer cores are near it together.
        """
        cores = min(self.cores, len(self.cpu_s))
        return max(max(self.cpu_s), sum(self.cpu_s) / cores) / duration_s


def gather(outcomes: Sequence[Outcome], *, start_s: float) -> Answers:
    """Put the shares of several senders together.

    Args:
        outcomes: One of each.
        start_s: When the window began, monotonic seconds.
    """
    due_s = np.concatenate([one.due_s for one in outcomes])
    order = np.lexsort((np.concatenate([one.place for one in outcomes]), due_s))
    status = [*chain.from_iterable(one.status for one in outcomes)]
    raw = [*chain.from_iterable(one.answer for one in outcomes)]
    status, raw = [status[at] for at in order], [raw[at] for at in order]
    decoded = [_decode(answer, status, at) for at, answer in enumerate(raw)]
    _drop_unlike(decoded, status)
    answered = [answer for answer in decoded if answer is not None]
    names = answered[0].outputs if answered else {}
    sent_s = np.concatenate([one.sent_s for one in outcomes])
    return Answers(
        asked=Schedule(
            intended_s=due_s[order] - start_s,
            samples=np.concatenate([one.sample for one in outcomes])[order],
        ),
        sent_s=sent_s[order] - start_s,
        lag_s=(sent_s - np.concatenate([one.ready_s for one in outcomes]))[order],
        done_s=np.concatenate([one.done_s for one in outcomes])[order] - start_s,
        status=tuple(status),
        outputs={
            name: np.concatenate([answer.outputs[name] for answer in answered]) for name in names
        },
        batch_served=np.array([_batch(answer) for answer in decoded], dtype=np.int64),
        cpu_s=tuple(one.cpu_s for one in outcomes),
        cores=outcomes[0].cores,
    )


def _decode(answer: RawAnswer | None, status: list[str], at: int) -> InferenceResponse | None:
    """Decode an answer; one that breaks the protocol is no answer."""
    if answer is None:
        return None
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers}
    try:
        return decode_response(Message(headers=headers, body=answer.body))
    except ProtocolError as error:
        status[at] = f"malformed answer: {error}"
        return None


def _drop_unlike(decoded: list[InferenceResponse | None], status: list[str]) -> None:
    """Leave out answers with other outputs than the first has: they cannot be put together."""
    forms = [
        None if one is None else {name: tensor.shape[1:] for name, tensor in one.outputs.items()}
        for one in decoded
    ]
    first = next((form for form in forms if form is not None), None)
    for at, form in enumerate(forms):
        if form is not None and form != first:
            status[at] = "malformed answer: other outputs than the first"
            decoded[at] = None


def _batch(answer: InferenceResponse | None) -> int:
    """Return how many requests the same model run answered, where the server says so."""
    told = None if answer is None else answer.parameters.get("batch")
    return told if type(told) is int and 0 < told < 2**31 else 0
