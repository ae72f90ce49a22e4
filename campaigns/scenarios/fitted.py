"""Where a scenario's fitted models lie: shipped with the project, or fitted to a user's data.

Fitting itself is each scenario's `fit`; nothing here imports a training library.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ... import __version__
from ...errors import DatasetError, SpecError
from .base import ModelFamily

__all__ = [
    "SHIPPED",
    "Fit",
    "check_torch",
    "fitted_folder",
    "model_file",
    "model_path",
    "save_models",
]

SHIPPED = Path(__file__).parent
"""Where the models of each scenario ship, in `<scenario>/models`."""

Fit = Callable[[], Mapping[tuple[str, str], Any]]
"""Fits every model; returns ONNX models by (model, precision)."""


def check_torch(subject: str, remedy: str = "pip install 'joulery[train]'") -> None:
    """Raise SpecError where networks cannot be fitted: there is no PyTorch."""
    if importlib.util.find_spec("torch") is None:
        raise SpecError(subject, found="no PyTorch", expected="the extra `train`", remedy=remedy)


def model_file(model: str, precision: str) -> str:
    """Return the file name of one model in one precision."""
    return f"{model}_{precision}.onnx"


def model_path(folder: Path, families: Sequence[ModelFamily], model: str, precision: str) -> Path:
    """Return the file of one model in one precision.

    Raises:
        SpecError: When there is no such model or precision.
        DatasetError: When the file is not there.
    """
    offered = {family.name: family.precisions for family in families}
    if model not in offered:
        raise SpecError("model", found=repr(model), expected=f"one of {', '.join(offered)}")
    if precision not in offered[model]:
        expected = f"one of {', '.join(offered[model])}"
        raise SpecError(f"precision of {model}", found=repr(precision), expected=expected)
    path = folder / model_file(model, precision)
    if not path.is_file():
        raise DatasetError(
            str(path), found="no such file", expected="a model", remedy="install joulery again"
        )
    return path


def save_models(models: Mapping[tuple[str, str], Any], folder: Path) -> None:
    """Write models into a folder; the same models give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for (model, precision), proto in models.items():
        content = proto.SerializeToString(deterministic=True)
        (folder / model_file(model, precision)).write_bytes(content)


def fitted_folder(work: Path, scenario: str, sha256: str, fit: Fit) -> Path:
    """Return a folder under `work` with models fitted to some data, fitting them once.

    The folder appears whole or not at all, so that an interrupted fit is simply done again.
    """
    folder = work / f"{scenario}-{__version__}-{sha256[:16]}"
    if folder.is_dir():
        return folder
    work.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{scenario}-", dir=work))
    try:
        save_models(fit(), unfinished)
        unfinished.chmod(0o755)
        try:
            unfinished.replace(folder)
        except OSError:
            # Another run finished the same fit first; its models are as good.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder
