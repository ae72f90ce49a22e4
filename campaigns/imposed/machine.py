"""What campaigns change on this machine, and put back: frequencies of CPUs, networks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ...profiler.host import Host
from ..network.kernel import KernelNetwork
from .frequency import Frequencies

__all__ = ["MACHINE_FOLDERS", "Machine"]

MACHINE_FOLDERS = ("frequencies", "network")
"""What a campaign's working folder has of it."""


class Machine:
    """This machine.

    Args:
        host: Where the kernel's files are.
        work: The campaign's working folder.

    Attributes:
        host: Likewise.
        frequencies: Those of its CPUs.
        network: Conditions that its kernel makes.
    """

    def __init__(self, host: Host, work: Path) -> None:
        self.host = host
        frequencies, network = (work / name for name in MACHINE_FOLDERS)
        self.frequencies = Frequencies(host, frequencies)
        self.network = KernelNetwork(host, network)

    def restore(self) -> Iterator[str]:
        """Put back what an earlier run left changed; yield a word on each.

        Raises:
            TrialError: When it cannot be put back.
        """
        if self.frequencies.restore():
            yield "an earlier run left frequencies of CPUs changed; they are put back"
        if self.network.restore():
            yield "an earlier run left a network device changed; it is as it was"
