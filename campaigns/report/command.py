"""A report as people ask for it: of one dataset, and of one against another."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from ...datasets.metadata import DESCRIPTOR
from ...datasets.store import Dataset, load
from ...errors import SpecError

__all__ = ["run_report"]


def run_report(folder: Path, against: Path | None, console: Console) -> None:
    """Write the report of a dataset, and its comparison with another; say where they are.

    Args:
        folder: A dataset, or a campaign that is still unfinished.
        against: The same; `None` compares with nothing.
        console: Where the paths are told.

    Raises:
        DatasetError: When one of them is no dataset, or of a kind that cannot be compared.
        SpecError: When a dataset is to be compared with itself.
    """
    from ..runner import report_on
    from ..validation.page import write_page
    from ..validation.results import is_validation

    if against is None:
        path = write_page(folder) if is_validation(folder) else report_on(folder)
        _tell(console, "report", path)
        return
    if folder.resolve() == against.resolve():
        raise SpecError(
            "--against",
            found=f"{against}, the dataset itself",
            expected="another dataset",
            remedy="run the campaign again into another folder, and compare the two",
        )
    from .comparison_page import write_comparison

    other = _dataset(against)
    if is_validation(folder):
        load(folder)  # says why it cannot be compared
    path = report_on(folder)
    _tell(console, "report", path)
    page = write_comparison(load(path.parent), other, against.resolve().name)
    _tell(console, "against", page)


def _dataset(folder: Path) -> Dataset:
    """Open a dataset; of an unfinished campaign, what it has so far."""
    from ..runner import report_on

    return load(folder if (folder / DESCRIPTOR).exists() else report_on(folder).parent)


def _tell(console: Console, what: str, path: Path) -> None:
    console.print(f"{what:<8} {path}", highlight=False, markup=False, soft_wrap=True)
