"""An energy validation as a dataset: written, and read back for whoever tells of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from ... import __version__
from ...datasets.metadata import ENERGY_VALIDATION, Origin
from ...datasets.schema import Table
from ...datasets.store import read_origin, read_table, write_tables
from ...datasets.validation import NODES, SCORES, SUMMARY
from ...errors import DatasetError
from ...profiler.simulator.scenarios import SCENARIOS
from .formulas import FORMULAS
from .prose import CHOSEN, FORMULAS_SAY, INTERVAL, LIMITS, METHOD, SIMULATED, TRUTH
from .run import Grid, Validation
from .summary import Target, check, summarise

__all__ = ["PROVENANCE", "Found", "is_full", "is_validation", "method", "read", "write"]

PROVENANCE = "simulated"
_TITLE = "Energy validation against simulated nodes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An energy validation, read back.

    Attributes:
        about: What the dataset says of itself.
        scores: A row per node, formula, consumer and window.
        nodes: A row per node.
        summary: A row per scenario and formula.
        targets: What was asked, and what was reached.
    """

    about: Origin
    scores: pd.DataFrame
    nodes: pd.DataFrame
    summary: pd.DataFrame
    targets: list[Target]

    @property
    def full(self) -> bool:
        """Whether it is of the whole grid."""
        return bool(self.about.spec["full"])

    @property
    def scenarios(self) -> dict[str, str]:
        """What happens in each scenario, by name."""
        return dict(self.about.spec["scenarios"])


def is_full(grid: Grid) -> bool:
    """Return whether nothing of the grid that is reported was left out."""
    whole = Grid()
    return (
        set(grid.scenarios) >= set(whole.scenarios)
        and set(grid.seeds) >= set(whole.seeds)
        and grid.times == whole.times
    )


def is_validation(folder: Path) -> bool:
    """Return whether a folder holds the dataset of a validation."""
    try:
        return read_origin(folder).kind == ENERGY_VALIDATION
    except DatasetError:
        return False


def method(times: Mapping[str, float]) -> str:
    """Return how the figures came about, for a grid's times."""
    return METHOD.format(
        duration=f"{times['duration_s']:g} s",
        settle=f"{times['settle_s']:g} s",
        window=f"{times['window_s']:g} s",
    )


def write(
    folder: Path,
    validation: Validation,
    *,
    environment: Mapping[str, object],
    created: str,
    replace: bool = False,
    finish: Callable[[Path], object] | None = None,
) -> None:
    """Write a validation as a dataset: whole, or not at all; the same figures give the same bytes.

    Args:
        folder: The final name.
        validation: What came out.
        environment: What simulated the nodes.
        created: When, ISO 8601.
        replace: Whether a dataset that is there gives way.
        finish: Called before the folder takes its name; what it writes is part of the dataset.

    Raises:
        DatasetError: When the folder is not free.
        OSError: When the disk is full or may not be written.
    """
    grid = validation.grid
    named = {one.name: one.about for one in SCENARIOS}
    about = Origin(
        kind=ENERGY_VALIDATION,
        name="energy-validation",
        title=_TITLE,
        description=f"How right the energies are that joulery tells. {SIMULATED}",
        complete=True,
        spec={
            "nodes": PROVENANCE,
            "full": is_full(grid),
            "scenarios": {name: named[name] for name in grid.scenarios},
            "seeds": list(grid.seeds),
            "times": asdict(grid.times),
        },
        data_sources=[],
        created=created,
        version=__version__,
    )
    nodes = validation.nodes.assign(
        node=[
            f"{PROVENANCE}-{scenario}-{seed}"
            for scenario, seed in zip(
                validation.nodes["scenario"], validation.nodes["seed"], strict=True
            )
        ],
        provenance=PROVENANCE,
    )
    summary = summarise(validation.scores).assign(provenance=PROVENANCE)
    whole = "The whole grid" if is_full(grid) else "**A part of the grid**"
    write_tables(
        folder,
        [
            (SCORES, _table(validation.scores, SCORES)),
            (NODES, _table(nodes, NODES)),
            (SUMMARY, _table(summary, SUMMARY)),
        ],
        environment=environment,
        about=about,
        state=f"{whole}: {len(grid.scenarios)} scenarios, {len(grid.seeds)} seeds each.",
        chapters=list(_chapters(about.spec["times"])),
        replace=replace,
        finish=finish,
    )


def _table(frame: pd.DataFrame, declared: Table) -> pa.Table:
    """Return a frame as the declared table; columns it does not know are a mistake of ours."""
    if unknown := set(frame.columns) - {column.name for column in declared.columns}:
        raise KeyError(f"table {declared.name} has no column {sorted(unknown)}")
    arrays = [
        pa.array(frame[column.name], type=column.type, from_pandas=True)
        for column in declared.columns
    ]
    return pa.Table.from_arrays(arrays, schema=declared.arrow_schema())


def _chapters(times: Mapping[str, float]) -> Iterator[str]:
    """Yield the lines of the data card."""
    chapters = {
        "How it was made": [method(times), CHOSEN],
        "What is true": [TRUTH],
        "What the intervals stand for": [INTERVAL],
        "Formulas": [f"- `{one.name}`: {FORMULAS_SAY[one.name]}" for one in FORMULAS],
        "Limits": [f"- {limit}" for limit in LIMITS],
    }
    for title, lines in chapters.items():
        yield f"## {title}"
        for line in lines:
            if not line.startswith("- ") or line == lines[0]:
                yield ""
            yield line
        yield ""


def read(folder: Path) -> Found:
    """Read a validation back.

    Raises:
        DatasetError: When the folder is not the dataset of a validation.
    """
    about = read_origin(folder)
    if about.kind != ENERGY_VALIDATION:
        raise DatasetError(
            str(folder),
            found=f"a dataset of kind {about.kind}",
            expected=f"one of kind {ENERGY_VALIDATION}",
        )
    frames: dict[str, Any] = {
        table.name: read_table(folder / f"{table.name}.parquet")
        for table in (SCORES, NODES, SUMMARY)
    }
    return Found(about=about, targets=check(frames["scores"], frames["nodes"]), **frames)
