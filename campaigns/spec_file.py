"""Reads a campaign's YAML file, and those that it includes, and checks what stands in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ..errors import SpecError
from .loads import TraceLoad
from .spec import CampaignSpec, parse_spec
from .spec_errors import dotted, explain
from .traces import read_trace

__all__ = ["load_spec"]

_INCLUDE = "include"
_Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class _Document:
    """What stands in a file and in those that it includes, and where."""

    content: dict[str, Any]
    lines: Mapping[_Path, str]


def load_spec(path: Path) -> CampaignSpec:
    """Read and check a specification.

    Raises:
        SpecError: With file, line, key, what was found and what was expected.
    """
    document = _read(path, ())
    try:
        spec = parse_spec(document.content)
    except ValidationError as error:
        raise explain(error, str(path), document.lines, CampaignSpec) from None
    loads = tuple(
        load.attach(read_trace(path.parent / load.path), spec.trial.window_s)
        if isinstance(load, TraceLoad)
        else load
        for load in spec.loads
    )
    return spec.model_copy(update={"loads": loads})


def _read(path: Path, outer: tuple[Path, ...]) -> _Document:
    """Read a file with what it includes; `outer` are those that include it, the first one first."""
    subject = str(path)
    numbers, content = _parsed(_text(path, outer), subject)
    of = f" of {path.name}" if outer else ""
    lines = {place: f"line {line}{of}" for place, line in numbers.items()}
    if not isinstance(content, dict):
        # What it should be is told where everything is checked.
        return _Document(content, lines)
    included: dict[str, Any] = {}
    their_lines: dict[_Path, str] = {}
    for number, name in enumerate(_names(content.pop(_INCLUDE, []), subject, lines)):
        inner = path.parent / name
        if inner.resolve() in (one.resolve() for one in (*outer, path)):
            raise SpecError(
                subject,
                place=f"{lines[_INCLUDE, number]}, {_INCLUDE}[{number}]",
                found=f"{name}, which includes this file",
                expected="a file that does not",
            )
        found = _read(inner, (*outer, path))
        if not isinstance(found.content, dict):
            raise SpecError(str(inner), found=repr(found.content), expected="keys with values")
        included = _merged(included, found.content)
        their_lines |= found.lines
    return _Document(_merged(included, content), their_lines | lines)


def _text(path: Path, outer: tuple[Path, ...]) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError(
            str(path),
            found="no such file",
            expected=f"what {outer[-1]} includes" if outer else "a campaign specification in YAML",
            remedy="files are included relative to the one that includes them"
            if outer
            else "campaigns/quickstart.yaml is one to start from",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(str(path), found=str(error), expected="a readable text file") from None


def _parsed(text: str, subject: str) -> tuple[dict[_Path, int], Any]:
    """Return the line of each key and item, and what YAML has as values."""
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        lines = {} if node is None else dict(_lines(node, (), subject))
        content = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise SpecError(
            subject,
            place=f"line {mark.line + 1}" if mark else None,
            found=str(error.problem or error.context),
            expected="YAML",
        ) from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise SpecError(subject, found=str(error).splitlines()[0], expected="plain YAML") from None
    if node is None:
        raise SpecError(
            subject,
            found="an empty file",
            expected="a campaign specification",
            remedy="`joulery spec schema` lists every key",
        )
    return lines, content


def _names(value: Any, subject: str, lines: Mapping[_Path, str]) -> list[str]:
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return value
    raise SpecError(
        subject,
        place=f"{lines[(_INCLUDE,)]}, {_INCLUDE}",
        found=repr(value),
        expected="a list of files",
        remedy=f"write [{value}]" if isinstance(value, str) else None,
    )


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return keys of both, key in key; where both have one, that of `over`, lists as a whole."""
    merged = dict(under)
    for key, value in over.items():
        before = merged.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            merged[key] = _merged(before, value)
        else:
            merged[key] = value
    return merged


def _lines(node: yaml.Node, path: _Path, subject: str) -> Iterator[tuple[_Path, int]]:
    """Yield the line of each key and item; refuse a key that stands twice (YAML would drop one)."""
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                raise SpecError(
                    subject,
                    place=f"line {key.start_mark.line + 1}, {dotted((*path, name))}",
                    found="the key a second time",
                    expected="each key once",
                    remedy="remove one of the two",
                )
            seen.add(name)
            yield from _lines(value, (*path, name), subject)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(value, (*path, index), subject)
