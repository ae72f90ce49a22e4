r"""What a campaign loses when its processes are killed at random moments, again and again.

    python benchmarks/kill.py --out docs/kill.csv

A campaign of 60 short trials runs as a user runs it. At a random moment one of its processes is
killed with SIGKILL, or all are; then --resume goes on. The last tenth of the kills waits until the
dataset is being written. The peer is what a kill may do to a run by right: cut one trial short,
which is measured again. 100 rounds take about 20 minutes; it ends with 1 when anything was lost,
measured twice, torn or left running.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from joulery.benchmarks.campaigns.attack import VICTIMS, Aftermath, Arena, make_spec
from joulery.benchmarks.exporters.parts import show_rows, write

__all__ = ["main"]

_BATCHES, _REPEATS = (1, 2, 4, 8, 16, 32), 10
_LATEST_S = 10.0
"""A kill comes up to this after the one before, so that it meets every phase of a run."""
_WRITING = "runner, writing the dataset"
_WRITING_S = 1.5
_SHARE_WRITING = 10
_HEAD = re.compile(r"\d+ trials, \d+ done")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One kill.

    Args:
        victim: Who was killed.
        is_cut: Whether a trial ran, and so was cut short.
        aftermath: What it left; `None` when the run goes on by itself.
        resume_s: From starting again to knowing what is left to measure, seconds; `None` when the
            next kill came earlier.
    """

    victim: str
    is_cut: bool
    aftermath: Aftermath | None = None
    resume_s: float | None = None


class _Attack:
    """Kills of one campaign after the other, until there were enough.

    Attributes:
        kills: What was done so far.
        flaws: Everything that should not be, as lines.
        retries: Trials of finished campaigns that were tried once more.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.kills: list[Kill] = []
        self.flaws: list[str] = []
        self.retries = 0
        self._folder = folder
        self._random = random.Random(seed)
        self._began_s = 0.0

    def run(self, rounds: int) -> Iterator[int]:
        """Yield the number of kills after each; the last campaign is brought to its end."""
        campaigns = 0
        while len(self.kills) < rounds:
            campaigns += 1
            folder = self._folder / f"campaign-{campaigns}"
            folder.mkdir()
            spec = make_spec(folder / "kill.yaml", batches=_BATCHES, repeats=_REPEATS)
            with Arena(spec, folder) as arena:
                self._start(arena)
                while len(self.kills) < rounds and self._round(arena, rounds):
                    yield len(self.kills)
                self.flaws += arena.finish()
                self.retries += arena.retries()

    def _round(self, arena: Arena, rounds: int) -> bool:
        """Kill once; return whether the run was still there."""
        is_last = len(self.kills) >= rounds - rounds // _SHARE_WRITING
        victim = _WRITING if is_last else self._random.choice(VICTIMS)
        self._wait(arena, victim)
        if arena.runner.poll() is not None:
            return False
        is_cut = bool(arena.find("service"))
        if victim == "service":
            if arena.kill(victim):
                self.kills.append(Kill(victim=victim, is_cut=is_cut))
            return True
        aftermath = arena.strike("runner" if victim == _WRITING else victim)
        if aftermath is None:
            return True
        self.flaws += [f"{victim}: {flaw}" for flaw in aftermath.flaws]
        self.kills.append(Kill(victim=victim, is_cut=is_cut, aftermath=aftermath))
        self._start(arena)
        return True

    def _start(self, arena: Arena) -> None:
        arena.start()
        self._began_s = time.monotonic()

    def _wait(self, arena: Arena, victim: str) -> None:
        """Wait for the moment of a kill, or for the end of the run."""
        moment_s = time.monotonic() + self._random.uniform(0, _LATEST_S)
        is_due = False
        while arena.runner.poll() is None and not (is_due and time.monotonic() >= moment_s):
            self._watch(arena)
            if not is_due and victim == _WRITING:
                is_due = any(arena.out.parent.glob(".set-*.partial"))
                moment_s = time.monotonic() + self._random.uniform(0, _WRITING_S)
            elif time.monotonic() >= moment_s:
                is_due = bool(arena.find(victim))
            time.sleep(0.005)

    def _watch(self, arena: Arena) -> None:
        """See whether the run that was started after the last kill knows what is left to do."""
        if not self.kills or self.kills[-1].aftermath is None:
            return
        if self.kills[-1].resume_s is None and _HEAD.search(arena.words()):
            resume_s = time.monotonic() - self._began_s
            self.kills[-1] = dataclasses.replace(self.kills[-1], resume_s=resume_s)


def _row(victim: str, kills: Sequence[Kill]) -> dict[str, object]:
    """Return what came of some kills."""
    left = [kill.aftermath for kill in kills if kill.aftermath is not None]
    resume_s = [kill.resume_s for kill in kills if kill.resume_s is not None]
    return {
        "victim": victim,
        "kills": len(kills),
        "trials_cut_short": sum(kill.is_cut for kill in kills),
        "finished_trials_lost_or_changed": sum(len(one.lost) for one in left),
        "orphans": sum(len(one.orphans) for one in left),
        "open_ports": sum(len(one.ports) for one in left),
        "corrupt_files": sum(len(one.corrupt) for one in left),
        "last_process_gone_max_s": f"{max((one.alone_s for one in left), default=0):.2f}",
        "resume_median_s": f"{statistics.median(resume_s):.2f}" if resume_s else "",
        "resume_max_s": f"{max(resume_s):.2f}" if resume_s else "",
    }


def main() -> int:
    """Attack, print a table, and write it as CSV."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100, help="how many kills")
    parser.add_argument("--seed", type=int, default=1, help="of moments and victims")
    parser.add_argument("--out", type=Path, help="a CSV file to write")
    arguments = parser.parse_args()
    console = Console(width=150)
    with tempfile.TemporaryDirectory() as folder, Progress(console=console) as progress:
        attack = _Attack(Path(folder), arguments.seed)
        task = progress.add_task("kills", total=arguments.rounds)
        for done in attack.run(arguments.rounds):
            progress.update(task, completed=done)
    kills = attack.kills
    victims = [name for name in (*VICTIMS, _WRITING) if any(k.victim == name for k in kills)]
    rows = [_row(name, [kill for kill in kills if kill.victim == name]) for name in victims]
    rows.append(_row("together", kills))
    title = f"{len(kills)} kills of campaigns of {len(_BATCHES) * _REPEATS} trials"
    show_rows(rows, title, console)
    console.print(f"trials measured again because they were not valid: {attack.retries}")
    for flaw in attack.flaws:
        console.print(flaw, highlight=False, markup=False)
    if arguments.out is not None:
        write(rows, arguments.out)
    return 1 if attack.flaws else 0


if __name__ == "__main__":
    sys.exit(main())
