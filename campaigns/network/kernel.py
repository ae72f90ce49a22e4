"""Network conditions that the kernel makes, on a device of this machine, for a trial.

What `netem` has as commands is carried out here, and undone when the trial ends; after a kill the
next run of the campaign does so. A device that has queues of its owner's is left alone.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import SpecError, TrialError
from ...profiler.host import Host, boot_id
from ..before import Before
from .conditions import Conditions
from .netem import netem_commands, netem_removal, netem_state

__all__ = ["KernelNetwork"]

_MIRROR = "joulery0"
"""The device that answers are led through."""
_COMMAND_S = 10.0
_BOTH_WAYS = "lo"


@dataclass(frozen=True, kw_only=True)
class _Changed:
    """In which boot the kernel was given which conditions, with the device."""

    boot: str
    wanted: Conditions


class KernelNetwork:
    """The kernel's emulation on devices of this machine.

    Args:
        host: Where the kernel's files are.
        folder: Where what undoes a change stands for as long as it lasts.
    """

    def __init__(self, host: Host, folder: Path) -> None:
        self._host = host
        self._before = Before(folder, _Changed, "queues of a network device")

    def check(self, wanted: Conditions, subject: str, place: str) -> None:
        """Refuse what cannot be on this machine; nothing is changed.

        Args:
            wanted: Conditions that name a device.
            subject: The specification's file, for messages.
            place: Where they stand in it.

        Raises:
            SpecError: When there is no such device, or netem cannot do as they say.
            TrialError: When there is no netem, or it may not be used; when the device is taken.
        """
        device = str(wanted.device)
        usable = [name for name in _devices() if name != _BOTH_WAYS]
        if device not in usable:
            why = ", by which requests and answers leave alike" if device == _BOTH_WAYS else ""
            raise SpecError(
                subject,
                place=f"{place}.device",
                found=f"'{device}'{why}",
                expected=f"one of {', '.join(usable) or 'none: this machine has no other'}",
                remedy="`ip route get ADDRESS` tells by which one a service is reached",
            )
        netem_commands(wanted, device=device, mirror=_MIRROR)
        state = netem_state()
        if state.state != "good":
            raise TrialError(
                f"network {wanted.name} on {device}",
                found=state.found,
                expected="a kernel whose netem may be used",
                remedy=f"{state.remedy}; without `device` the link emulator does it",
            )
        self._check_free(wanted)

    def restore(self) -> bool:
        """Undo what an earlier run left; return whether there was any.

        Raises:
            TrialError: When it cannot be undone.
        """
        changed = self._before.kept()
        if changed is None:
            return False
        is_ours = changed.boot == boot_id(self._host)  # a boot since then has undone everything
        if is_ours:
            device = str(changed.wanted.device)
            for command in netem_removal(changed.wanted, device=device, mirror=_MIRROR):
                _run(command)  # one that was not done yet cannot be undone
            left = _added(device)
            if left:
                raise self._before.not_restored(f"{device} has {', '.join(left)}")
        self._before.forget()
        return is_ours

    @contextlib.contextmanager
    def held(self, wanted: Conditions) -> Iterator[None]:
        """Let a device have conditions for as long as the block lasts.

        Raises:
            TrialError: When the kernel refuses, or refuses to undo it; when the device is taken.
        """
        device = str(wanted.device)
        self._check_free(wanted)
        self._before.keep(_Changed(boot=boot_id(self._host), wanted=wanted))
        try:
            for command in netem_commands(wanted, device=device, mirror=_MIRROR):
                said = _run(command)
                if said is not None:
                    raise TrialError(
                        f"network {wanted.name} on {device}",
                        found=f"{' '.join(command)}: {said}",
                        expected="a kernel that does so",
                        remedy="without `device` the link emulator does it",
                    )
            yield
        finally:
            self.restore()

    def _check_free(self, wanted: Conditions) -> None:
        """See that nobody has queues of their own there: they would be lost."""
        taken = _added(str(wanted.device))
        if taken:
            raise TrialError(
                f"network {wanted.name} on {wanted.device}",
                found=", ".join(taken),
                expected="the queues that the kernel gives a device",
                remedy="another campaign may be at work; what `tc qdisc show` tells of this "
                "device has to go first",
            )


def _added(device: str) -> list[str]:
    """Return what is at a device that the kernel did not put there by itself, and the mirror."""
    if device not in _devices():
        return []
    queues = _told("tc", "-j", "qdisc", "show", "dev", device)
    # What the kernel puts there has no number of its own.
    found = [f"{one['kind']} {one['handle']}" for one in queues if one["handle"] != "0:"]
    return [*found, *(f"device {name}" for name in _devices() if name == _MIRROR)]


def _devices() -> list[str]:
    return sorted(one["ifname"] for one in _told("ip", "-j", "link", "show"))


def _told(*command: str) -> list[dict[str, Any]]:
    """Return what a command tells in JSON."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_COMMAND_S, check=True
        )
        found: list[dict[str, Any]] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise TrialError(
            " ".join(command),
            found=str(error),
            expected="what is known of network devices",
            remedy="install iproute2",
        ) from None
    return found


def _run(command: Sequence[str]) -> str | None:
    """Run a command; return what went wrong."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_COMMAND_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    said = done.stderr.strip().splitlines()
    return said[0] if said else f"exit {done.returncode}"
