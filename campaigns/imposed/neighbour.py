"""A neighbour for a trial: other work on the service's CPUs, so that they are not its alone.

    with start_neighbour(0.5, cores) as neighbour:
        neighbour.begin()
        ...  # measure; neighbour.cpu_s() tells what it has used
        neighbour.rest()

Its work is arithmetic in processes of their own: it takes CPU time and warms the machine, and
leaves caches and memory nearly alone.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Collection, Iterator, Sequence

from ...errors import TrialError
from ...profiler.work import ProcessGroup
from ..child import Child, started

__all__ = ["Neighbour", "start_neighbour"]

_ANSWER_S = 30.0


class Neighbour:
    """Processes that work while they are told to.

    Args:
        children: They, at rest.
    """

    def __init__(self, children: Sequence[Child]) -> None:
        self._children = children
        self._groups = [ProcessGroup(child.process.pid) for child in children]

    def cpu_s(self) -> float:
        """Return the CPU time of all so far, seconds."""
        return sum(group.cpu_s() for group in self._groups)

    def begin(self) -> None:
        """Let them work; return when they do.

        Raises:
            TrialError: When one has ended.
        """
        self._tell(b"begin\n")

    def rest(self) -> None:
        """Let them rest; return when they do.

        Raises:
            TrialError: When one has ended.
        """
        self._tell(b"rest\n")

    def _tell(self, order: bytes) -> None:
        for child in self._children:
            with contextlib.suppress(OSError):  # it ended, and has no answer
                child.tell(order)
        for child in self._children:
            _answered(child)


@contextlib.contextmanager
def start_neighbour(cpus: float, cores: Collection[int]) -> Iterator[Neighbour]:
    """Start a neighbour, at rest, and end it when the block ends.

    Its processes end with their standard input, so they never outlive their parent, however that
    dies.

    Args:
        cpus: CPU time that it asks for, seconds a second.
        cores: The CPUs that it may use.

    Raises:
        TrialError: When it does not start.
    """
    number = math.ceil(cpus)
    # -P: what lies in the user's working folder must not shadow a module of the neighbour.
    command = [sys.executable, "-P", "-m", "joulery.campaigns.imposed.burner", str(cpus / number)]
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(started(command, cores=cores)) for _ in range(number)]
        for child in children:
            _answered(child)
        yield Neighbour(children)


def _answered(child: Child) -> None:
    if child.answer(_ANSWER_S) is None:
        raise TrialError(
            "neighbour",
            found=child.last_word() or "its process ended, or does not answer",
            expected="a neighbour that runs as long as its trial",
        )
