"""The live configuration: what may change while a service runs, and the file that says it.

The file is YAML, or JSON where its name ends so. It is looked at every second by its content: a
mounted ConfigMap changes by the swap of a link. What is done with it, `hosting` knows.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from ...errors import JouleryError, SpecError
from . import scenario
from .fitted import SHIPPED, model_path
from .keys import Keys, checked, shown
from .knobs import KNOBS, RESOLUTION
from .provider_names import PROVIDER_NAMES

__all__ = ["ConfigFile", "Settings", "Source", "follow", "parse", "parsed"]

_MOST_BYTES = 2**20
"""A ConfigMap holds no more."""

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
        batch_wait_s: Longest wait for others of a batch, in seconds; half of the server's deadline
            at most, if it has one.
        threads: Threads of one model run.
        exit_threshold: What an early-exit model is told.
        max_exit: Likewise: the last exit, from 1.
        resolution: The share of a frame's width and height that a detector looks at.
        score_threshold: Least score of a detection that counts.
        provider: What runs it, see `providers`.
        detector: What a user says of a detector of theirs; `None`: it is none.
    """

    path: Path
    model: str
    precision: str = ""
    variant: str = ""
    batch: int = 1
    batch_wait_s: float = 0.005
    threads: int = 1
    exit_threshold: float | None = None
    max_exit: int | None = None
    resolution: float | None = None
    score_threshold: float | None = None
    provider: str = "cpu"
    detector: Mapping[str, Any] | None = None

    @property
    def knobs(self) -> dict[str, float | None]:
        """What is said of the model's knobs, by their names."""
        return {name: getattr(self, name) for name in KNOBS}


def _text(value: Any) -> str | None:
    fits = isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable()
    return value if fits else None


def _paths(value: Any) -> dict[str, str] | None:
    if not isinstance(value, dict) or not value:
        return None
    fits = all(_text(each) for pair in value.items() for each in pair)
    return dict(value) if fits else None


def _mapping(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _integer(most: int) -> Callable[[Any], int | None]:
    return lambda value: value if type(value) is int and 1 <= value <= most else None


def _number(most: float, least: float = 0.0) -> Callable[[Any], float | None]:
    def check(value: Any) -> float | None:
        if type(value) not in (int, float) or not least <= value <= most:
            return None
        return float(value)

    return check


_A_TEXT = "a text of 1 to 200 printable characters"

_KEYS: Keys = {
    "model": (_text, _A_TEXT),
    "models": (_paths, "ONNX files by precision, such as {fp32: plain.onnx}"),
    "precision": (_text, _A_TEXT),
    "variant": (_text, _A_TEXT),
    "batch": (_integer(_MOST_ROWS), f"an integer from 1 to {_MOST_ROWS}"),
    "batch_wait_s": (_number(60.0), "0 to 60 seconds"),
    "threads": (_integer(_MOST_THREADS), f"an integer from 1 to {_MOST_THREADS}"),
    "exit_threshold": (_number(1e6), "a number of 0 or more"),
    "max_exit": (_integer(_MOST_ROWS), f"an integer from 1 to {_MOST_ROWS}"),
    "resolution": (_number(1.0, least=KNOBS[RESOLUTION].least), "a share of 0.05 to 1"),
    "score_threshold": (_number(1.0), "a score of 0 to 1"),
    "detector": (_mapping, "what the file of your own detector does not tell, or {}"),
    "provider": (_text, f"one of {', '.join(PROVIDER_NAMES)}"),
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
        elif "detector" in said:
            _wrong(subject, "models", "nothing", "the ONNX files of your own detector by precision")
        elif self.scenario is None:
            _wrong(subject, "models", "nothing", "ONNX files by precision, or a --scenario")
        elif "model" not in said:
            _wrong(subject, "model", "nothing", f"a model of {self.scenario}")
        else:
            path = self._shipped(said["model"], precision)
        model = said.pop("model", self.defaults.model)
        if not model:
            _wrong(subject, "model", "nothing", "the model's name, here or as --name")
        kept = {name: getattr(self.defaults, name) for name in Settings.__slots__}
        return Settings(**kept | said | {"path": path, "model": model, "precision": precision})

    def changed(self, now: Settings, content: bytes) -> Settings:
        """Return other settings: as they are now, but for what a change says (JSON).

        Raises:
            SpecError: It is wrong, or names a model or a precision where files are served.
            DatasetError: A shipped model is not there.
        """
        subject = "configuration"
        said = parse(content, subject=subject, is_json=True)
        for place in ("models", "detector"):
            if place in said:
                found = "files" if place == "models" else "what is said of a file"
                _wrong(subject, place, found, "nothing: files are named where the server starts")
        path, detector = now.path, now.detector
        if {"model", "precision"} & said.keys():
            if self.scenario is None:
                place = "model" if "model" in said else "precision"
                _wrong(subject, place, repr(said[place]), "nothing: files are served here")
            precision = said.get("precision", now.precision)
            path, detector = self._shipped(said.get("model", now.model), precision), None
        return replace(now, path=path, detector=detector, **said)

    def _shipped(self, model: str, precision: str) -> Path:
        assert self.scenario is not None
        folder = SHIPPED / self.scenario / "models"
        return model_path(folder, scenario(self.scenario).models, model, precision)


def parse(content: bytes, *, subject: str, is_json: bool) -> dict[str, Any]:
    """Return what a configuration says, checked; what is null is not said.

    Raises:
        SpecError: When it is no mapping, or a key or a value is not known.
    """
    return checked(parsed(content, subject=subject, is_json=is_json), _KEYS, subject)


def parsed(content: bytes, *, subject: str, is_json: bool) -> dict[Any, Any]:
    """Return the keys and values of a text, unchecked.

    Raises:
        SpecError: When it is no mapping.
    """
    import yaml  # a service without a configuration does not need it

    try:
        found = json.loads(content) if is_json else yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        text = " ".join(str(error).split())
        raise SpecError(subject, found=text, expected="JSON" if is_json else "YAML") from error
    except Exception as error:  # tags such as !!bool fail as they like on values that are none
        raise SpecError(
            subject,
            found=f"a value that its tag does not fit: {_named(error)}",
            expected="YAML",
            remedy="write it without !!",
        ) from error
    if not isinstance(found, dict):
        raise SpecError(subject, found=shown(found), expected="keys with values")
    return found


def _named(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


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
    and then fails shall not be loaded each second. Whatever is wrong with one content, the next is
    looked at.
    """
    while True:
        await asyncio.sleep(period_s)
        try:
            content = await asyncio.to_thread(file.changed)
            if content is not None:
                await take(content)
        except JouleryError as error:
            refuse(error)
        except Exception as error:  # noqa: BLE001 - the next content may be right again
            refuse(SpecError(file.subject, found=_named(error), expected="one that can be served"))
