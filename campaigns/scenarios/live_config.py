"""The live configuration: what may change while a service runs, and the file that says it.

The file is YAML, or JSON where its name ends so. It is looked at every second by its content: a
mounted ConfigMap changes by the swap of a link. What is done with it, `hosting` knows.
"""

from __future__ import annotations

import asyncio
import difflib
import json
import reprlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ...errors import JouleryError, SpecError
from . import scenario
from .fitted import model_path

__all__ = ["ConfigFile", "Settings", "Source", "follow", "parse"]

_MOST_BYTES = 2**20
"""A ConfigMap holds no more."""

_SHIPPED = Path(__file__).parent
_MOST_ROWS = 2**20
_MOST_THREADS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a service answers, at a moment.

    Args:
        path: The ONNX file.
        model: The model's name, for people and metrics.
        precision: What it computes in; empty: nobody said.
        variant: Which form of it; empty: likewise.
        batch: Most rows of one model run.
        batch_wait_s: Longest wait for others of a batch, in seconds.
        threads: Threads of one model run.
        exit_threshold: What an early-exit model is told.
    """

    path: Path
    model: str
    precision: str = ""
    variant: str = ""
    batch: int = 1
    batch_wait_s: float = 0.005
    threads: int = 1
    exit_threshold: float | None = None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= 200 else None


def _paths(value: Any) -> dict[str, str] | None:
    if not isinstance(value, dict) or not value:
        return None
    fits = all(_text(each) for pair in value.items() for each in pair)
    return dict(value) if fits else None


def _integer(most: int) -> Callable[[Any], int | None]:
    return lambda value: value if type(value) is int and 1 <= value <= most else None


def _number(most: float) -> Callable[[Any], float | None]:
    def check(value: Any) -> float | None:
        if type(value) not in (int, float) or not 0 <= value <= most:
            return None
        return float(value)

    return check


_KEYS: Mapping[str, tuple[Callable[[Any], Any], str]] = {
    "model": (_text, "a text of 1 to 200 characters"),
    "models": (_paths, "ONNX files by precision, such as {fp32: plain.onnx}"),
    "precision": (_text, "a text of 1 to 200 characters"),
    "variant": (_text, "a text of 1 to 200 characters"),
    "batch": (_integer(_MOST_ROWS), f"an integer from 1 to {_MOST_ROWS}"),
    "batch_wait_s": (_number(60.0), "0 to 60 seconds"),
    "threads": (_integer(_MOST_THREADS), f"an integer from 1 to {_MOST_THREADS}"),
    "exit_threshold": (_number(1e6), "a number of 0 or more"),
}
"""Each key: how its value is checked, and what is expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a configuration means here.

    Args:
        defaults: For what it does not say; its `path` is not used.
        scenario: Whose shipped models it may name; `None`: it must name files.
        folder: That relative paths are in.
    """

    defaults: Settings
    scenario: str | None
    folder: Path

    def settings(self, content: bytes, *, subject: str, is_json: bool = False) -> Settings:
        """Return the settings that a configuration says.

        Raises:
            SpecError: When it is wrong, in a text of one line.
            DatasetError: When a shipped model is not there.
        """
        said = parse(content, subject=subject, is_json=is_json)
        models = said.pop("models", None)
        precision = said.get("precision", self.defaults.precision)
        if models is not None:
            if not precision and len(models) == 1:
                [precision] = models
            if precision not in models:
                expected = f"one of models: {', '.join(models)}"
                _wrong(subject, "precision", precision or "nothing", expected)
            path = self.folder / models[precision]
        elif self.scenario is None:
            _wrong(subject, "models", "nothing", "ONNX files by precision, or a --scenario")
        elif "model" not in said:
            _wrong(subject, "model", "nothing", f"a model of {self.scenario}")
        else:
            known = scenario(self.scenario)
            folder = _SHIPPED / self.scenario / "models"
            path = model_path(folder, known.models, said["model"], precision)
        model = said.pop("model", self.defaults.model)
        if not model:
            _wrong(subject, "model", "nothing", "the model's name, here or as --name")
        kept = {name: getattr(self.defaults, name) for name in Settings.__slots__}
        return Settings(**kept | said | {"path": path, "model": model, "precision": precision})


def parse(content: bytes, *, subject: str, is_json: bool) -> dict[str, Any]:
    """Return what a configuration says, checked; what is null is not said.

    Raises:
        SpecError: When it is no mapping, or a key or a value is not known.
    """
    import yaml  # a service without a configuration does not need it

    try:
        found = json.loads(content) if is_json else yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        text = " ".join(str(error).split())
        raise SpecError(subject, found=text, expected="JSON" if is_json else "YAML") from error
    if not isinstance(found, dict):
        raise SpecError(subject, found=_shown(found), expected="keys with values")
    said: dict[str, Any] = {}
    for key, value in found.items():
        if key not in _KEYS:
            near = difflib.get_close_matches(_shown(key), _KEYS, n=1, cutoff=0.0)
            raise SpecError(
                subject,
                found=f"key {_shown(key)}",
                expected=f"{', '.join(_KEYS)}",
                remedy=f"did you mean {near[0]!r}?",
            )
        if value is None:
            continue
        check, expected = _KEYS[key]
        said[key] = check(value)
        if said[key] is None:
            _wrong(subject, key, _shown(value), expected)
    return said


def _shown(value: Any) -> str:
    try:
        return reprlib.repr(value)  # not all of it: aliases can make a small file endless
    except ValueError:
        return "an integer of thousands of digits"


def _wrong(subject: str, place: str, found: str, expected: str) -> NoReturn:
    raise SpecError(subject, place=place, found=found, expected=expected)


class ConfigFile:
    """The file of a live configuration.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.subject = f"configuration {path}"
        self.is_json = path.suffix == ".json"
        self._seen: bytes | str | None = None

    def changed(self) -> bytes | None:
        """Return the file's content if it is another than the last time.

        Raises:
            SpecError: When it cannot be read; once, until that changes.
        """
        found: bytes | str
        try:
            with self.path.open("rb") as file:
                found = file.read(_MOST_BYTES + 1)
        except OSError as error:
            found = error.strerror or str(error)
        if isinstance(found, bytes) and len(found) > _MOST_BYTES:
            found = f"more than {_MOST_BYTES} bytes"
        if found == self._seen:
            return None
        self._seen = found
        if isinstance(found, str):
            raise SpecError(self.subject, found=found, expected="a file that can be read")
        return found


async def follow(
    file: ConfigFile,
    *,
    take: Callable[[bytes], Awaitable[None]],
    refuse: Callable[[JouleryError], None],
    period_s: float = 1.0,
) -> None:
    """Follow a file until cancelled: give every new content to `take`, and its error to `refuse`.

    What was refused is not tried again before the file changes: a model that takes long to load
    and then fails shall not be loaded each second.
    """
    while True:
        await asyncio.sleep(period_s)
        try:
            content = await asyncio.to_thread(file.changed)
            if content is not None:
                await take(content)
        except JouleryError as error:
            refuse(error)
