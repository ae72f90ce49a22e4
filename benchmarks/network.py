r"""How true the link emulator is to what it is asked for, and what it costs, with real sockets.

    python benchmarks/network.py --out docs/network.csv

Each figure stands beside what was asked for; the same sockets without a link are the peer, and are
measured in the same run. It takes two minutes. Where this user may, it runs at real-time priority,
as the emulator does: what is measured shall be the link, and not who else waits for a CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from scipy import stats

from joulery.benchmarks.exporters.parts import show_rows, write
from joulery.campaigns.network.conditions import Conditions, Link
from joulery.campaigns.network.running import RunningLink, start_link

__all__ = ["main"]

Row = dict[str, object]

_DELAYS_MS = (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 300)
_RATES_MBPS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
_DELAY_S, _RATE_S = 4.0, 4.0
"""How long each delay and each rate is measured."""
_LEAST_EXCHANGES = 15
_MOST_EXCHANGES = 400
_JITTER_MS = 5.0
_JITTER_SAMPLES = 1500
_LOSSES = (0.001, 0.01, 0.05)
_LOSS_BYTES = 40_000_000
_GBIT_BYTES = 125_000_000
_CLIENTS = 32
_REQUESTS = 4000
_MESSAGE = bytes(1000)


@contextlib.contextmanager
def _pair(
    conditions: Conditions | None, seed: int = 1
) -> Iterator[tuple[socket.socket, socket.socket, RunningLink | None]]:
    """Yield a client and its server's end, over a link or without one."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port, link = listener.getsockname()[1], None
        if conditions is not None:
            link = stack.enter_context(start_link(f"tcp://127.0.0.1:{port}", conditions, seed=seed))
            listener.accept()[0].close()
            port = link.port
        client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        server = stack.enter_context(listener.accept()[0])
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(b"x")  # the handshake is over when this arrives
        server.recv(1)
        yield client, server, link


def _one_way_s(source: socket.socket, sink: socket.socket) -> float:
    """Send a message and take it at the other end; return the seconds between."""
    began_s = time.monotonic()
    source.sendall(b"x" * 100)
    sink.recv(1000)
    return time.monotonic() - began_s


def _row(what: str, asked: str, found: str, error: str, ok: bool | None, late: str = "") -> Row:
    within = "" if ok is None else "yes" if ok else "no"
    return {
        "what": what,
        "asked": asked,
        "found": found,
        "error": error,
        "within_target": within,
        "late": late,
    }


def _late(link: RunningLink | None) -> str:
    """Return how late the emulator itself was."""
    assert link is not None
    report = link.finish()
    return (
        f"{report.late / max(1, report.deliveries):.4f}, max {1e3 * report.lateness_max_s:.2f} ms"
    )


def delays() -> Iterator[Row]:
    """One-way delay, as an error against what was asked for."""
    with _pair(None) as (client, server, _):
        bare_ms = [1e3 * _one_way_s(client, server) for _ in range(1000)]
    yield _row("one-way delay without a link", "", f"{statistics.median(bare_ms):.3f} ms", "", None)
    for asked_ms in _DELAYS_MS:
        link = Link(delay_s=asked_ms / 1e3)
        with _pair(Conditions(name="delay", up=link, down=link)) as (client, server, running):
            found_ms: list[float] = []
            ends_s = time.monotonic() + _DELAY_S
            while len(found_ms) < _LEAST_EXCHANGES or (
                time.monotonic() < ends_s and len(found_ms) < _MOST_EXCHANGES
            ):
                found_ms.append(1e3 * _one_way_s(client, server))
                found_ms.append(1e3 * _one_way_s(server, client))
            error_ms = np.array(found_ms) - asked_ms
            middle, p95, least = np.median(error_ms), np.quantile(error_ms, 0.95), error_ms.min()
            yield _row(
                "one-way delay",
                f"{asked_ms:g} ms",
                f"{np.median(found_ms):.3f} ms",
                f"median {middle:+.3f}, p95 {p95:+.3f}, least {least:+.3f} ms",
                bool(abs(middle) < 1 and least >= 0),
                _late(running),
            )


def _transfer(client: socket.socket, server: socket.socket, size_bytes: int) -> tuple[float, int]:
    """Send bytes down; return the seconds from the first to the last that come, and how many."""

    def send() -> None:
        server.sendall(bytes(size_bytes))
        server.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=send)
    thread.start()
    first = len(client.recv(1 << 18))
    began_s = last_s = time.monotonic()
    came = 0
    while data := client.recv(1 << 18):
        came += len(data)
        last_s = time.monotonic()
    thread.join()
    assert first + came == size_bytes
    return last_s - began_s, came


def rates() -> Iterator[Row]:
    """Throughput, as an error against what was asked for."""
    with _pair(None) as (client, server, _):
        took_s, came = _transfer(client, server, _GBIT_BYTES)
    yield _row("throughput without a link", "", f"{8e-6 * came / took_s:.0f} Mbit/s", "", None)
    for asked_mbps in _RATES_MBPS:
        link = Link(delay_s=0.01, rate_bps=asked_mbps * 1e6)
        with _pair(Conditions(name="rate", down=link)) as (client, server, running):
            took_s, came = _transfer(client, server, int(asked_mbps * 1e6 / 8 * _RATE_S))
            found_mbps = 8e-6 * came / took_s
            error = found_mbps / asked_mbps - 1
            yield _row(
                "throughput",
                f"{asked_mbps} Mbit/s",
                f"{found_mbps:.2f} Mbit/s",
                f"{100 * error:+.2f} %",
                abs(error) < 0.02,
                _late(running),
            )


def jitter() -> Iterator[Row]:
    """Distribution of what comes on top of the delay."""
    link = Link(delay_s=0.002, jitter_s=_JITTER_MS / 1e3)
    with _pair(Conditions(name="jitter", up=link)) as (client, server, running):
        extra_ms = []
        for _ in range(_JITTER_SAMPLES):
            extra_ms.append(1e3 * _one_way_s(client, server) - 2)
            time.sleep(0.0101)  # the next slot has a draw of its own
        mean_ms, deviation_ms = statistics.mean(extra_ms), statistics.stdev(extra_ms)
        distance = stats.kstest(extra_ms, stats.expon(scale=_JITTER_MS).cdf).statistic
        yield _row(
            "jitter",
            f"mean and deviation {_JITTER_MS:g} ms",
            f"mean {mean_ms:.2f}, deviation {deviation_ms:.2f} ms",
            f"largest distance to the exponential law {distance:.3f}",
            abs(mean_ms - _JITTER_MS) < 1,
            _late(running),
        )


def losses() -> Iterator[Row]:
    """Share of segments that are lost, beside the interval that chance allows."""
    for asked in _LOSSES:
        link = Link(delay_s=0.001, loss_ratio=asked)
        with _pair(Conditions(name="loss", down=link), seed=3) as (client, server, running):
            _transfer(client, server, _LOSS_BYTES)
            assert running is not None
            late, report = _late(running), running.finish()
            found = report.segments_lost_down / report.segments_down
            low, high = stats.binomtest(
                report.segments_lost_down, report.segments_down
            ).proportion_ci(0.99)
            yield _row(
                "loss",
                f"{asked:g}",
                f"{found:.5f}",
                f"99 % interval {low:.5f} to {high:.5f}",
                bool(low <= asked <= high),
                late,
            )


def _ask(port: int, requests: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(requests):
            client.sendall(_MESSAGE)
            missing = len(_MESSAGE)
            while missing:
                missing -= len(client.recv(missing))


def _answer(end: socket.socket) -> None:
    with end:
        while data := end.recv(65536):
            end.sendall(data)


def costs() -> Iterator[Row]:
    """CPU time of the emulator: by volume, and by request."""
    for rate_bps in (None, 500e6):
        link = Link(delay_s=0.005, rate_bps=rate_bps)
        with _pair(Conditions(name="cost", down=link)) as (client, server, running):
            assert running is not None
            before_s = _cpu_s(running.pid)
            took_s, came = _transfer(client, server, _GBIT_BYTES)
            spent_s = _cpu_s(running.pid) - before_s
            yield _row(
                "CPU time per Gbit",
                "no rate" if rate_bps is None else f"{rate_bps / 1e6:g} Mbit/s",
                f"{spent_s:.2f} s",
                f"at {8e-6 * came / took_s:.0f} Mbit/s",
                None,
                _late(running),
            )
    link = Link(delay_s=0.005)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=256))
        url = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        conditions = Conditions(name="cost", up=link, down=link)
        running = stack.enter_context(start_link(url, conditions, seed=1))
        listener.accept()[0].close()
        before_s, began_s = _cpu_s(running.pid), time.monotonic()
        clients = [
            threading.Thread(target=_ask, args=(running.port, _REQUESTS // _CLIENTS))
            for _ in range(_CLIENTS)
        ]
        for thread in clients:
            thread.start()
        servers = [
            threading.Thread(target=_answer, args=(listener.accept()[0],)) for _ in range(_CLIENTS)
        ]
        for thread in servers:
            thread.start()
        for thread in clients:
            thread.join()
        rate_hz = _REQUESTS / (time.monotonic() - began_s)
        spent_s = _cpu_s(running.pid) - before_s
        yield _row(
            "CPU time per 1,000 requests",
            f"{_CLIENTS} clients, 1 kB each way, 5 ms",
            f"{1e3 * spent_s / _REQUESTS:.3f} s",
            f"at {rate_hz:.0f} requests/s",
            None,
            _late(running),
        )
        for thread in servers:
            thread.join()


def _cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process, by the scheduler's own count in nanoseconds."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def main() -> int:
    """Measure, print a table, and write it as CSV."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="a CSV file to write")
    arguments = parser.parse_args()
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    rows = [row for part in (delays, rates, jitter, losses, costs) for row in part()]
    show_rows(rows, "the link emulator beside what it was asked for", Console(width=150))
    if arguments.out is not None:
        write(rows, arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
