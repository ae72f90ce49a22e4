"""A validation as people run it: options checked, progress shown, figures printed."""

from __future__ import annotations

import difflib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ...datasets.store import check_target
from ...errors import SpecError
from ...profiler.simulator.scenarios import SCENARIOS
from ..environment import environment
from .formulas import FORMULAS, Claim
from .page import percent, write_page
from .prose import CHOSEN, SIMULATED, TRUTH
from .results import Found, read, write
from .run import Grid, validate

__all__ = ["grid_of", "run_validation", "show"]

_FIRST_CHOSEN_SEED = 1000
"""From this seed on, nodes were looked at when the power model's constants were chosen."""


def grid_of(seeds: int, scenarios: Sequence[str]) -> Grid:
    """Return the grid that somebody asks for.

    Args:
        seeds: How many; they count from 0.
        scenarios: Names; none means all.

    Raises:
        SpecError: When there is no such scenario, or seeds are too few or too many.
    """
    known = [one.name for one in SCENARIOS]
    for name in scenarios:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            raise SpecError(
                "--scenario",
                found=repr(name),
                expected=f"one of {', '.join(known)}",
                remedy=f"did you mean {near[0]!r}?",
            )
    if seeds < 2:
        raise SpecError(
            "--seeds",
            found=str(seeds),
            expected="2 or more",
            remedy="a single node says nothing of how far others would differ",
        )
    if seeds > _FIRST_CHOSEN_SEED:
        raise SpecError(
            "--seeds",
            found=str(seeds),
            expected=f"{_FIRST_CHOSEN_SEED} at most",
            remedy="later seeds helped to choose the model's constants",
        )
    chosen = tuple(name for name in known if name in scenarios) if scenarios else tuple(known)
    return Grid(scenarios=chosen, seeds=tuple(range(seeds)))


def run_validation(
    grid: Grid, out: Path, *, workers: int | None, replace: bool, page: bool, console: Console
) -> Found:
    """Watch every node of a grid, and write dataset and page: whole, or not at all.

    Args:
        grid: What to validate.
        out: Folder of the dataset.
        workers: Processes; one per processor if not given.
        replace: Whether a dataset that is there gives way.
        page: Write the page for a browser as well.
        console: Where progress is shown: a bar on a terminal, else a line per scenario.

    Raises:
        SpecError: When there would be less than one worker.
        DatasetError: When the folder is not free.
    """
    if workers is not None and workers < 1:
        raise SpecError("--workers", found=str(workers), expected="1 or more")
    check_target(out, replace=replace)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    with _progress(grid, console) as advance:
        validation = validate(grid, workers=workers, progress=advance)
    write(
        out,
        validation,
        environment=environment(),
        created=created,
        replace=replace,
        finish=write_page if page else None,
    )
    return read(out)


@contextmanager
def _progress(grid: Grid, console: Console) -> Iterator[Callable[[str], None]]:
    """Yield what is told the scenario of each node that is done."""
    total = len(grid.nodes)
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("simulated nodes", total=total)
            yield lambda _: bar.advance(task)
        return
    console.print(f"{total} simulated nodes", highlight=False)
    start_s, done = time.monotonic(), Counter[str]()

    def line(scenario: str) -> None:
        done[scenario] += 1
        if done[scenario] == len(grid.seeds):
            spent_s = time.monotonic() - start_s
            text = f"{done.total():>4}/{total} {scenario} done, {spent_s:.0f} s"
            console.print(text, highlight=False, soft_wrap=True)

    yield line


def show(found: Found, console: Console) -> bool:
    """Print figures and targets; return whether nothing that counts was missed.

    A target that a part of the grid misses may be chance, and does not count.
    """
    for claim, title in (
        (Claim.ACTIVE, "What each consumer's work added"),
        (Claim.WITH_IDLE, "The same and a share of idle"),
    ):
        console.print(_table(found, claim, title))
    table = Table(title="Targets", title_justify="left", box=None, padding=(0, 1))
    table.add_column("", overflow="fold")
    table.add_column("wanted", justify="right", overflow="fold")
    table.add_column("found", justify="right", overflow="fold")
    table.add_column("", no_wrap=True)
    for target in found.targets:
        verdict = Text("reached", "green") if target.reached else Text("not reached", "red")
        table.add_row(Text(target.what), Text(target.wanted), Text(target.found), verdict)
    console.print(table)
    for text in (SIMULATED, TRUTH, CHOSEN):
        console.print(Text(text, "dim"))
    missed = not all(target.reached for target in found.targets)
    if missed and not found.full:
        console.print("A part of the grid was watched: a missed target may be chance.")
    return not (missed and found.full)


def _table(found: Found, claim: Claim, title: str) -> Table:
    """Lay out the figures of ours beside the reference of the same claim."""
    ours, *_, reference = [formula for formula in FORMULAS if formula.claim is claim]
    table = Table(
        title=f"{title} (simulated nodes)", title_justify="left", box=None, padding=(0, 1)
    )
    table.add_column("scenario", no_wrap=True)
    for head in ("error", "bias", "coverage", "half-width"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column(reference.title, justify="right", overflow="fold")
    summary = found.summary.set_index(["scenario", "formula"])
    names = ("mape_ratio", "bias_ratio", "coverage_ratio", "half_width_ratio")
    figures: dict[str, dict[object, float]] = {name: summary[name].to_dict() for name in names}
    for scenario in found.scenarios:
        own, peer = (scenario, ours.name), (scenario, reference.name)
        if own in summary.index:
            cells = [percent(figures[name][own]) for name in names]
            table.add_row(scenario, *cells, percent(figures["mape_ratio"][peer]))
    return table
