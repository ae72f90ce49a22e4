"""A process of ours beside the campaign, which says in lines of JSON when it is ready, and more.

It ends with its standard input, so that it never outlives its parent, however that dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Sequence
from typing import IO, Any

__all__ = ["Child", "started"]

_STOP_S = 5.0


class Child:
    """A process that runs.

    Attributes:
        process: It; the leader of a session of its own.
        is_silent: Whether it closed its output instead of an answer: it is at its end.
    """

    def __init__(self, process: subprocess.Popen[bytes], said: IO[str]) -> None:
        self.process, self.is_silent = process, False
        self._said = said

    def answer(self, limit_s: float) -> dict[str, Any] | None:
        """Return the next line that it prints; `None`: none in time, or nothing of ours."""
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            is_heard = bool(selector.select(limit_s))
        line = self.process.stdout.readline() if is_heard else b""
        self.is_silent = is_heard and not line
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            return None
        return answer

    def tell(self, words: bytes) -> None:
        """Write to its input.

        Raises:
            OSError: It has ended.
        """
        assert self.process.stdin is not None
        self.process.stdin.write(words)
        self.process.stdin.flush()

    def end_input(self) -> None:
        """Let it end."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def last_word(self) -> str | None:
        """Return the last line that it complained; `None`: there is none."""
        self._said.seek(0)
        lines = self._said.read().strip().splitlines()
        return lines[-1] if lines else None

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()

    def stop(self, ask: signal.Signals | None) -> None:
        """Ask it to end, then insist; nothing of its process group stays behind.

        Args:
            ask: The signal by which it is asked; `None`: by the end of its input.
        """
        if ask is None:
            self.end_input()
        else:
            self._signal(ask)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_STOP_S)
        self._signal(signal.SIGKILL)
        self.process.wait()
        self.end_input()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


@contextlib.contextmanager
def started(
    command: Sequence[str],
    *,
    cores: Collection[int] | None = None,
    ask: signal.Signals | None = None,
) -> Iterator[Child]:
    """Start a process, and stop it when the block ends.

    Args:
        command: What to run.
        cores: CPUs that it may use; all that this process may, if not given. They are set before
            it starts threads, which inherit them.
        ask: See `Child.stop`.
    """
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,
        )
        child = Child(process, said)
        try:
            if cores is not None:
                os.sched_setaffinity(process.pid, cores)
            yield child
        finally:
            child.stop(ask)
