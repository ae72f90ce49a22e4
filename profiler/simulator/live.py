"""A simulated node in real time, for demonstrations and for whoever reads it from outside.

Readers find the files of `tree` in a folder. What each consumer really drew is written beside
them, in `truth.json`, when the node stops.
"""

from __future__ import annotations

import difflib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import SpecError
from .node import Node
from .scenarios import SCENARIOS, Play, draw
from .tree import NodeTree

__all__ = ["TRUTH", "LiveNode", "take_folder", "truth"]

TRUTH = "truth.json"

PERIOD_S = 0.02
"""Files are renewed so often. Until then a reader takes the time since the last as all busy."""

_DRAWN_S = 600.0
"""Scenarios whose consumers come and go do so for so long."""


def truth(node: Node) -> dict[str, object]:
    """Return what really was drawn so far, and by whom, as it is written to `truth.json`."""
    parts_j = np.sum([node.truth.active_j[domain] for domain in node.domains], axis=0)
    return {
        "simulated_s": round(node.now_s, 3),
        "idle_j": {domain: node.truth.idle_j[domain] for domain in node.domains},
        "total_j": {domain: node.truth.total_j(domain) for domain in node.domains},
        "consumers": {
            one.name: {
                "device": one.device,
                "work_s": float(node.cpu_s[at]),
                "active_j": float(parts_j[at]),
            }
            for at, one in enumerate(node.consumers)
        },
    }


def take_folder(folder: Path) -> None:
    """Make a folder, or see that it is empty.

    Raises:
        SpecError: It holds something, or cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = next(folder.iterdir(), None)
    except OSError as error:
        raise SpecError(
            f"folder {folder}", found=error.strerror, expected="a folder to write to"
        ) from error
    if held is not None:
        raise SpecError(
            f"folder {folder}",
            found=f"{held.name} in it",
            expected="a new or an empty folder",
            remedy="files of an earlier node would be taken for this one's",
        )


@dataclass(slots=True, kw_only=True)
class LiveNode:
    """A scenario that runs in a folder.

    Args:
        folder: Where the files go: a new folder, or an empty one.
        scenario: The name of a scenario.
        seed: Of everything chance decides.
        speed: Simulated seconds in a second.
        clock: Monotonic seconds.

    Raises:
        SpecError: There is no such scenario, the folder holds something, or the speed is no speed.
    """

    folder: Path
    scenario: str = "steady"
    seed: int = 0
    speed: float = 1.0
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        names = [one.name for one in SCENARIOS]
        if self.scenario not in names:
            near = difflib.get_close_matches(self.scenario, names, n=1)
            raise SpecError(
                "--scenario",
                found=self.scenario,
                expected=f"one of {', '.join(names)}",
                remedy=f"did you mean {near[0]!r}?" if near else None,
            )
        if not 0 < self.speed < float("inf"):
            raise SpecError("--speed", found=str(self.speed), expected="a number > 0")
        if self.seed < 0:
            raise SpecError("--seed", found=str(self.seed), expected="a whole number, 0 or more")
        take_folder(self.folder)

    def run(
        self, stop: threading.Event, *, started: Callable[[NodeTree], None] = lambda _: None
    ) -> Node:
        """Let the node move until it is told to stop; then write the truth.

        A machine too slow for the speed lags behind, and takes larger steps.

        Args:
            stop: Set it to stop.
            started: Told when the files are there.

        Returns:
            The node, as it stands in the end.
        """
        play = draw(self.scenario, self.seed, _DRAWN_S)
        node = Node(play.machine, play.consumers, seed=self.seed)
        rng = np.random.default_rng([self.seed, 1])
        with NodeTree(self.folder, node, modulus_uj=play.modulus_uj, seed=self.seed) as tree:
            began_s, lost = self.clock(), list[str]()
            started(tree)
            while not stop.wait(PERIOD_S):
                behind_s = (self.clock() - began_s) * self.speed - node.now_s
                if behind_s < node.tick_s:
                    continue
                laps = node.now_s // play.lap_s
                tree.advance(behind_s)
                if node.now_s // play.lap_s > laps:
                    lost = _fail(tree, play, lost, rng)
        (self.folder / TRUTH).write_text(json.dumps(truth(node), indent=1) + "\n")
        return node


def _fail(tree: NodeTree, play: Play, lost: list[str], rng: np.random.Generator) -> list[str]:
    """Bring back the counters that failed, let others fail, and return those."""
    for domain in lost:
        tree.appear(domain)
    chances = rng.uniform(size=len(tree.node.domains))
    failing = [
        domain
        for domain, chance in zip(tree.node.domains, chances, strict=True)
        if chance < play.missing_ratio
    ]
    for domain in failing:
        tree.vanish(domain)
    return failing
