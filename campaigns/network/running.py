"""A link for a trial: started before its load, asked afterwards what it did.

    with start_link(service.url, preset("4g"), seed=7) as link:
        ...  # send to link.url
        report = link.finish()

The emulator is a process of its own, so that its work disturbs neither the load generator nor the
service, and is metered apart.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from ...errors import SpecError, TrialError
from ..child import Child, started
from .conditions import Conditions
from .emulator import SetUp, encode

__all__ = ["LinkReport", "RunningLink", "start_link"]

_START_S = 30.0
_REPORT_S = 5.0
_REACH_S = 5.0
_PORTS = {"http": 80, "tcp": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkReport:
    """What a link did, from its start to its end.

    Args:
        connections: Connections that were accepted.
        refused: Those for which the target could not be reached; their clients saw a reset.
        resets: Connections that ended by a reset, refused ones included.
        bytes_up: Bytes that arrived at the target.
        bytes_down: Bytes that arrived at clients.
        segments_up: Segments sent to the target, what was sent again aside.
        segments_down: The same to clients.
        segments_lost_up: Those of them that were lost, and repaired.
        segments_lost_down: The same to clients.
        deliveries: How often bytes were handed over.
        late: Those of them that were more than 1 ms late by the emulator's own fault.
        lateness_max_s: The largest such delay, seconds.
        cpu_s: CPU time of the emulator, its start included, seconds.
        realtime: Whether it went before other programs: without the right to, a busy machine
            makes it late.
    """

    connections: int
    refused: int
    resets: int
    bytes_up: int
    bytes_down: int
    segments_up: int
    segments_down: int
    segments_lost_up: int
    segments_lost_down: int
    deliveries: int
    late: int
    lateness_max_s: float
    cpu_s: float
    realtime: bool

    def reasons(self, *, late_ratio: float) -> tuple[str, ...]:
        """Return why a trial over this link may not be believed.

        Args:
            late_ratio: Share of deliveries that may be more than 1 ms late.
        """
        found = []
        if self.late > late_ratio * self.deliveries:
            found.append(
                f"link_late ({self.late} of {self.deliveries} deliveries by more than 1 ms, "
                f"up to {1e3 * self.lateness_max_s:.1f} ms)"
            )
        if self.refused:
            found.append(f"link_refused ({self.refused} of {self.connections} connections)")
        return tuple(found)


class RunningLink:
    """An emulator that forwards.

    Attributes:
        url: Where to send what shall go over the link.
        port: Its port on 127.0.0.1.
        pid: The process, for metering.
    """

    def __init__(self, child: Child, port: int, url: str) -> None:
        self._child = child
        self._report: LinkReport | None = None
        self.port = port
        self.url = url
        self.pid = child.process.pid

    def begin(self) -> None:
        """Let outages, changes, jitter and loss begin now; without, they did at the link's start.

        Raises:
            TrialError: When the emulator ended.
        """
        try:
            self._child.tell(b"begin\n")
        except OSError:
            raise _ended(self._child) from None

    def finish(self) -> LinkReport:
        """End the link, and say what it did; connections that are open are closed.

        Raises:
            TrialError: When the emulator ended before it was asked to.
        """
        if self._report is None:
            self._child.end_input()
            answer = self._child.answer(_REPORT_S)
            if answer is None:
                raise _ended(self._child)
            self._report = LinkReport(**answer)
        return self._report


@contextlib.contextmanager
def start_link(
    url: str, conditions: Conditions, *, seed: int, cores: Collection[int] | None = None
) -> Iterator[RunningLink]:
    """Start a link to a server, and end it when the block ends.

    The emulator ends with its standard input, so it never outlives its parent, however that dies.

    Args:
        url: Where the server is: `http://…`, or `tcp://host:port`.
        conditions: What the link does.
        seed: The same seed gives the same jitter and loss.
        cores: CPUs that the emulator may use; all that this process may, if not given.

    Raises:
        SpecError: When the URL is none that can go over a link.
        TrialError: When nothing answers there, or the emulator does not start.
    """
    host, port = _address(url)
    address = _reach(host, port, url)
    # -P: what lies in the user's working folder must not shadow a module of the emulator.
    command = [sys.executable, "-P", "-m", "joulery.campaigns.network.emulator"]
    with started(command, cores=cores) as child:
        with contextlib.suppress(OSError):  # it ended, and has no answer
            child.tell(encode(SetUp(conditions=conditions, host=address, port=port, seed=seed)))
        ready = child.answer(_START_S)
        if ready is None:
            raise _ended(child)
        through = urlsplit(url)._replace(netloc=f"127.0.0.1:{ready['port']}").geturl()
        yield RunningLink(child, ready["port"], through)


def _address(url: str) -> tuple[str, int]:
    """Return host and port of a URL."""
    parts = urlsplit(url)
    try:
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        port = None
    if parts.scheme not in _PORTS or not parts.hostname or port is None:
        raise SpecError(
            "network link",
            place="target",
            found=repr(url),
            expected="http://host:port or tcp://host:port",
            remedy="a certificate would name another host than the link: use HTTP over it"
            if parts.scheme == "https"
            else None,
        )
    return parts.hostname, port


def _reach(host: str, port: int, url: str) -> str:
    """Return the address that answers, so that a wrong one is a message and not a failed load."""
    try:
        with socket.create_connection((host, port), timeout=_REACH_S) as answers:
            address: str = answers.getpeername()[0]
            return address
    except OSError as error:
        raise TrialError(
            f"network link to {url}",
            found=str(error),
            expected="a server that accepts connections",
            remedy="start the server before its link",
        ) from None


def _ended(child: Child) -> TrialError:
    return TrialError(
        "network link",
        found=child.last_word() or "its emulator ended, or does not answer",
        expected="an emulator that runs as long as its trial",
    )
