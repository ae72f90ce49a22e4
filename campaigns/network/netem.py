"""The same conditions for the kernel's own emulator, where there is one: `tc netem`.

These are the commands; `kernel` runs them. netem acts on packets of all programs, so that TCP
itself meets delay and loss, congestion control included. It has no exponential jitter: the nearest
that comes with iproute2 is `pareto`, with the same mean and deviation.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...errors import SpecError
from .conditions import PERFECT, Conditions, Link
from .link import MSS_BYTES

__all__ = ["NetemState", "netem_arguments", "netem_commands", "netem_removal", "netem_state"]

_UNLIMITED_PACKETS = 100_000
"""netem holds 1,000 packets if not told otherwise, and drops others: too few for a fast link."""
_LEAST_PACKETS = 1000
_NET_ADMIN = 12
"""Number of the capability, linux/capability.h."""
_PROBE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NetemState:
    """Whether netem can be used here.

    Args:
        state: `good`, `absent` (no program, or no such kernel), `forbidden` (no right to), or
            `unknown` (it cannot be tried without touching the machine's own network).
        found: What was found.
        remedy: What to do about it.
    """

    state: Literal["good", "absent", "forbidden", "unknown"]
    found: str
    remedy: str = ""


def netem_arguments(link: Link, *, rtt_s: float) -> tuple[str, ...]:
    """Return netem's own arguments for one direction.

    Args:
        link: The direction; its outages are not looked at.
        rtt_s: Mean round trip of the path, seconds: the queue holds the bytes of one.
    """
    words = ["limit", str(_limit_packets(link, rtt_s))]
    if link.mean_delay_s:
        words += ["delay", _time(link.mean_delay_s)]
        if link.jitter_s:
            words += [_time(link.jitter_s), "distribution", "pareto"]
    if link.loss_ratio:
        words += ["loss", "random", f"{100 * link.loss_ratio:.7f}%"]
    if link.rate_bps is not None:
        words += ["rate", f"{link.rate_bps:.0f}bit"]
    return tuple(words)


def netem_commands(
    conditions: Conditions, *, device: str, mirror: str = "ifb0"
) -> tuple[tuple[str, ...], ...]:
    """Return the commands that give a client's device these conditions, in order.

    What a device receives cannot be delayed: it is led through a mirror device first.

    Args:
        conditions: The path; requests leave by the device, answers come in by it.
        device: The client's network device.
        mirror: Name of the mirror device, which is made.

    Raises:
        SpecError: When the conditions change with time, or have outages.
    """
    if conditions.changes or conditions.up.outages or conditions.down.outages:
        raise SpecError(
            f"network conditions {conditions.name}",
            found="outages or changes with time",
            expected="figures that stay: netem knows no time",
            remedy="use the link emulator",
        )
    rtt_s = conditions.up.mean_delay_s + conditions.down.mean_delay_s
    add = ("tc", "qdisc", "add", "dev")
    commands: list[tuple[str, ...]] = []
    if conditions.up != PERFECT:
        arguments = netem_arguments(conditions.up, rtt_s=rtt_s)
        commands.append((*add, device, "root", "netem", *arguments))
    if conditions.down != PERFECT:
        arguments = netem_arguments(conditions.down, rtt_s=rtt_s)
        led = ("action", "mirred", "egress", "redirect", "dev", mirror)
        commands += [
            ("ip", "link", "add", mirror, "type", "ifb"),
            ("ip", "link", "set", mirror, "up"),
            (*add, device, "handle", "ffff:", "ingress"),
            ("tc", "filter", "add", "dev", device, "parent", "ffff:", "matchall", *led),
            (*add, mirror, "root", "netem", *arguments),
        ]
    return tuple(commands)


def netem_removal(
    conditions: Conditions, *, device: str, mirror: str = "ifb0"
) -> tuple[tuple[str, ...], ...]:
    """Return the commands that undo `netem_commands`."""
    delete = ("tc", "qdisc", "del", "dev", device)
    up = () if conditions.up == PERFECT else ((*delete, "root"),)
    down = ((*delete, "ingress"), ("ip", "link", "del", mirror))
    return (*up, *(() if conditions.down == PERFECT else down))


def netem_state(proc: Path = Path("/proc")) -> NetemState:
    """Find out whether netem can be used here, by trying it in a network of its own.

    Args:
        proc: Where this process's rights are told.
    """
    program = shutil.which("tc")
    if program is None:
        remedy = "install iproute2"
        return NetemState(state="absent", found="there is no program tc", remedy=remedy)
    tried = _try_apart(program)
    if tried is not None and "qdisc kind is unknown" in tried:
        remedy = "use the link emulator, or a kernel with sch_netem"
        return NetemState(state="absent", found="this kernel has no sch_netem", remedy=remedy)
    if not _may_administer(proc / "self/status"):
        found, remedy = "CAP_NET_ADMIN is not among this process's rights", "run as root"
        return NetemState(state="forbidden", found=found, remedy=remedy)
    if tried:
        return NetemState(
            state="unknown",
            found=f"it could not be tried in a network namespace: {tried}",
            remedy="use the link emulator",
        )
    return NetemState(state="good", found="sch_netem is here, and may be used")


def _try_apart(program: str) -> str | None:
    """Add a netem to the loopback of a namespace that ends with it; return what went wrong."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return "there is no program unshare"
    # A user namespace is what one without rights needs, and what root may be denied.
    spaces = ["-n"] if os.geteuid() == 0 else ["-r", "-n"]
    command = [unshare, *spaces, program, "qdisc", "add", "dev", "lo", "root", "netem"]
    try:
        done = subprocess.run(
            [*command, "delay", "1ms"],
            capture_output=True,
            text=True,
            timeout=_PROBE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = done.stderr.strip().splitlines()
    return None if done.returncode == 0 else (said[0] if said else f"exit {done.returncode}")


def _may_administer(status: Path) -> bool:
    """Whether CAP_NET_ADMIN is among a process's effective rights."""
    for line in status.read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _NET_ADMIN & 1)
    return False


def _limit_packets(link: Link, rtt_s: float) -> int:
    """Return packets that travel, and as many bytes in the queue as a round trip holds."""
    if link.rate_bps is None:
        return _UNLIMITED_PACKETS
    held: Sequence[float] = (link.mean_delay_s, rtt_s)
    return max(_LEAST_PACKETS, int(link.rate_bps / 8 * sum(held) / MSS_BYTES) + 1)


def _time(seconds: float) -> str:
    return f"{1e6 * seconds:.0f}us"
