"""Sockets on the modelled path: a TCP forwarder whose bytes arrive when the model says so.

All runs on one event loop: what the model is told and when bytes leave is one order of events.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from dataclasses import dataclass

from .link import LinkModel, Path
from .stream import Stream

__all__ = ["Forwarder", "Tally"]

_ABORT = struct.pack("ii", 1, 0)
"""SO_LINGER: closing sends a reset."""
_LATE_S = 0.001
_BACKLOG = 4096


@dataclass(slots=True)
class Tally:
    """What the forwarder did: see `LinkReport`."""

    connections: int = 0
    refused: int = 0
    resets: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    deliveries: int = 0
    late: int = 0
    lateness_max_s: float = 0.0

    def delivered(self, due_s: float, now_s: float) -> None:
        """Count bytes that arrive now and were due then."""
        lateness_s = now_s - due_s
        self.deliveries += 1
        self.late += lateness_s > _LATE_S
        self.lateness_max_s = max(self.lateness_max_s, lateness_s)


class Forwarder:
    """Accepts connections and joins each with one of its own to the target, through the path.

    A handshake takes its round trip: a connection to the target is opened when a SYN would arrive,
    and a client's first bytes enter the path when a SYN-ACK would be back. The handshake's own
    packets wait, jitter and meet outages, but are not lost.

    Args:
        path: The model.
        target: Address that connections go to.
        loop: The event loop; its clock is the model's.
    """

    def __init__(
        self, path: Path, target: tuple[str, int], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.path = path
        self.target = target
        self.loop = loop
        self.tally = Tally()
        self.gates = (_Gate(path.up, loop), _Gate(path.down, loop))
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:
                # No descriptors left: those that wait are accepted when some are.
                self.loop.remove_reader(self._listener)
                self.loop.call_later(0.05, self.loop.add_reader, self._listener, self._accept)
                return
            self.tally.connections += 1
            _Connection(self, client)


class _Connection:
    """A client, the target, and a half for each direction between them."""

    def __init__(self, forwarder: Forwarder, client: socket.socket) -> None:
        self.forwarder = forwarder
        self.loop = forwarder.loop
        self._client = _prepared(client)
        self._server = _prepared(socket.socket(_family(forwarder.target[0]), socket.SOCK_STREAM))
        path = forwarder.path
        up, down = forwarder.gates
        self.up = _Half(self, up, self._client, self._server)
        self.down = _Half(self, down, self._server, self._client)
        self._closed = False
        arrives_s = path.up.cross(self.loop.time())
        self._opened_s = path.down.cross(arrives_s)
        self.loop.call_at(arrives_s, self._dial)

    def half_done(self) -> None:
        """Close when both directions have ended."""
        if self.up.done and self.down.done:
            self.close()

    def abort(self) -> None:
        """Reset both ends."""
        if not self._closed:
            self.forwarder.tally.resets += 1
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        self.close()

    def close(self) -> None:
        """Close both ends; nothing more happens to them."""
        if self._closed:
            return
        self._closed = True
        for half in (self.up, self.down):
            half.stop()
        for end in (self._client, self._server):
            self.loop.remove_reader(end)
            self.loop.remove_writer(end)
            end.close()

    def other(self, half: _Half) -> _Half:
        """Return the other direction."""
        return self.down if half is self.up else self.up

    def _dial(self) -> None:
        try:
            self._server.connect(self.forwarder.target)
        except BlockingIOError:
            self.loop.add_writer(self._server, self._connected)
        except OSError:
            self._refused()
        else:
            self._connected()

    def _connected(self) -> None:
        self.loop.remove_writer(self._server)
        if self._server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._refused()
            return
        self.down.start()
        self.loop.call_at(max(self._opened_s, self.loop.time()), self._opened)

    def _opened(self) -> None:
        if not self._closed:
            self.up.start()

    def _refused(self) -> None:
        self.forwarder.tally.refused += 1
        back_s = self.forwarder.path.down.cross(self.loop.time())
        self.loop.call_at(back_s, self.abort)


class _Half:
    """One direction of a connection: reads from a source, gives to a sink what has arrived."""

    def __init__(
        self, connection: _Connection, gate: _Gate, source: socket.socket, sink: socket.socket
    ) -> None:
        self._connection = connection
        self._loop = connection.loop
        self._tally = connection.forwarder.tally
        self._gate = gate
        self._source = source
        self._sink = sink
        self._stream = Stream(gate.link)
        self._data: deque[memoryview] = deque()
        self._arrived: deque[memoryview] = deque()
        self._waiting_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._reading = False
        self._stopped = False
        self._full = False
        self._ended = False
        self._reset = False
        self.done = False

    def start(self) -> None:
        """Begin to read."""
        self._listen(True)

    def stop(self) -> None:
        """Do nothing any more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        self._data.clear()
        self._arrived.clear()

    def reset(self) -> None:
        """Send a reset behind what was read, for the source is gone."""
        if self._stopped or self._ended:
            return
        self._reset = True
        self._end()

    def read(self, at_s: float) -> bool:
        """Read once, for the link has room; return whether there may be more.

        Args:
            at_s: Since when what is read has waited for the link: now, or a little before.
        """
        if self._stopped or self._ended:
            return False
        link = self._gate.link
        room = link.window_bytes(at_s) - self._stream.under_way_bytes - self._waiting_bytes
        if room <= 0:
            self._full = True
            self._listen(False)
            return False
        try:
            data = self._source.recv(min(room, link.grant_bytes(at_s)))
        except (BlockingIOError, InterruptedError):
            self._listen(True)
            return False
        except OSError:
            self._connection.other(self).drop()
            self.reset()
            return False
        if not data:
            self._end()
            return False
        self._stream.offer(at_s, len(data))
        self._data.append(memoryview(data))
        self._schedule()
        return True

    def drop(self) -> None:
        """Give nothing to the sink any more: it is gone."""
        self._arrived.clear()
        self._data.clear()
        self._listen(False)
        self._ended = self.done = True
        if self._timer is not None:
            self._timer.cancel()

    def _end(self) -> None:
        self._ended = True
        self._listen(False)
        self._stream.end(self._loop.time())
        self._schedule()

    def _listen(self, wanted: bool) -> None:
        if wanted != self._reading and not self._stopped:
            self._reading = wanted
            if wanted:
                self._loop.add_reader(self._source, self._readable)
            else:
                self._loop.remove_reader(self._source)

    def _readable(self) -> None:
        now_s = self._loop.time()
        if self._gate.is_open(now_s):
            if self.read(now_s):
                self._listen(True)
        else:
            self._listen(False)
            self._gate.wait(self, now_s)

    def _schedule(self) -> None:
        """Wake when the next bytes arrive; a repair that came sooner moves it forward."""
        due_s = self._stream.due_s()
        if due_s is None:
            return
        if self._timer is not None:
            if self._timer.when() <= due_s:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due_s, self._deliver)

    def _deliver(self) -> None:
        self._timer = None
        if self._stopped or self.done:
            return
        now_s = self._loop.time()
        taken = self._stream.take(now_s)
        if taken is not None:
            self._tally.delivered(taken.due_s, now_s)
            self._move(taken.size_bytes)
            if taken.ended and self._reset:
                self._connection.abort()
                return
            self.done = taken.ended
            self._flush()
        if not self._stopped:
            self._schedule()

    def _move(self, size_bytes: int) -> None:
        """Take bytes out of the path, for the sink."""
        self._waiting_bytes += size_bytes
        if self._connection.up is self:
            self._tally.bytes_up += size_bytes
        else:
            self._tally.bytes_down += size_bytes
        while size_bytes:
            piece = self._data.popleft()
            if len(piece) > size_bytes:
                self._data.appendleft(piece[size_bytes:])
                piece = piece[:size_bytes]
            self._arrived.append(piece)
            size_bytes -= len(piece)

    def _flush(self) -> None:
        """Give to the sink what it takes, and the end behind all."""
        while self._arrived:
            try:
                sent = self._sink.send(self._arrived[0])
            except BlockingIOError:
                self._loop.add_writer(self._sink, self._flush)
                return
            except OSError:
                self.drop()
                self._connection.other(self).reset()
                self._connection.half_done()
                return
            self._waiting_bytes -= sent
            rest = self._arrived.popleft()[sent:]
            if rest:
                self._arrived.appendleft(rest)
        self._loop.remove_writer(self._sink)
        if self.done:
            with contextlib.suppress(OSError):
                self._sink.shutdown(socket.SHUT_WR)
            self._connection.half_done()
        elif self._full:
            self._full = False
            self._readable()


class _Gate:
    """Lets connections offer bytes while the link's queue has room, one after the other.

    Bytes that wait are offered as of when the link had room for them, even if this process came to
    it later: a link that has work does not rest because its emulator did.
    """

    def __init__(self, link: LinkModel, loop: asyncio.AbstractEventLoop) -> None:
        self.link = link
        self._loop = loop
        self._waiting: deque[tuple[float, _Half]] = deque()
        self._opens_s = 0.0

    def is_open(self, now_s: float) -> bool:
        """Whether a connection may read now; those that wait go first."""
        return not self._waiting and self.link.room_s(now_s) <= now_s

    def wait(self, half: _Half, now_s: float) -> None:
        """Let a connection read when there is room, as long as it has something."""
        if not self._waiting:
            self._call(self.link.room_s(now_s))
        self._waiting.append((now_s, half))

    def _call(self, at_s: float) -> None:
        self._opens_s = at_s
        self._loop.call_at(at_s, self._open)

    def _open(self) -> None:
        now_s, at_s = self._loop.time(), self._opens_s
        while self._waiting:
            since_s, half = self._waiting[0]
            room_s = self.link.room_s(max(at_s, since_s))
            if room_s > now_s:
                self._call(room_s)
                return
            self._waiting.popleft()
            at_s = max(at_s, room_s)
            if half.read(room_s):
                self._waiting.append((since_s, half))


def _prepared(end: socket.socket) -> socket.socket:
    end.setblocking(False)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return end


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
