"""A simulated machine that shows its warmth as the driver coretemp does."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from joulery.profiler.simulator.load import Consumer
from joulery.profiler.simulator.machine import Machine
from joulery.profiler.simulator.node import Node
from joulery.profiler.simulator.tree import NodeTree

__all__ = ["WARM", "WarmMachine"]

WARM = Machine(cores=4, core_w=20.0, limit_w=1000.0, kelvin_per_w=0.5, thermal_s=1.5)
"""Four busy cores warm it by some forty kelvins, and it cools in seconds."""

_ROOM_C = 35.0
_STEP_S = 0.05


class WarmMachine:
    """Its files, in a folder, and its time, which passes when it is told to.

    Args:
        root: The folder; `sys` in it is the machine's.
        begins_s: Its cores are busy from here,
        ends_s: to here, and at no other time.
    """

    def __init__(self, root: Path, *, begins_s: float, ends_s: float) -> None:
        furnace = Consumer(name="furnace", busy=8.0, cores=4.0, starts_s=begins_s, ends_s=ends_s)
        self.tree = NodeTree(root, Node(WARM, (furnace,), seed=1))
        self.sys = root / "sys"
        chip = self.sys / "class/hwmon/hwmon0"
        chip.mkdir(parents=True)
        (chip / "name").write_text("coretemp\n")
        (chip / "temp1_label").write_text("Package id 0\n")
        self.input = chip / "temp1_input"
        self._show()

    @property
    def celsius(self) -> int:
        """Its temperature as the sensor tells it, in whole degrees."""
        return round(_ROOM_C + self.tree.node.warmth_k(0))

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.tree.advance(seconds)
        if self.input.exists():
            self._show()

    def advance_to(self, moment_s: float) -> None:
        """Let time pass until a moment."""
        self.advance(moment_s - self.tree.node.now_s)

    def live(self, stop: threading.Event) -> None:
        """Let time pass as it does, until told to stop."""
        last_s = time.monotonic()
        while not stop.wait(_STEP_S):
            now_s = time.monotonic()
            self.advance(now_s - last_s)
            last_s = now_s

    def _show(self) -> None:
        new = self.input.with_suffix(".new")
        new.write_text(f"{1000 * self.celsius}\n")
        new.replace(self.input)  # never read half written
