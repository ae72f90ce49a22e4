"""Reads a campaign's YAML file, and those that it includes, and checks what stands in them."""

from __future__ import annotations

import itertools
import os
import re
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
_MERGE = "tag:yaml.org,2002:merge"
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_UNUSABLE = re.compile("[\0\ud800-\udfff]")
"""What stands in no file's name and in no text that can be written."""
_LONGEST_NUMBER = 100
_MOST_CHARACTERS = 200_000
_MOST_FILES = 100
_MOST_PARTS = 50_000
"""Keys and items of a file, those that aliases repeat each time they do."""
_DEEPEST = 50
"""So many keys and items in each other."""
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
    document = _read(path, (), itertools.count(1))
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


def _read(path: Path, outer: tuple[Path, ...], files: Iterator[int]) -> _Document:
    """Read a file with what it includes.

    Args:
        path: The file.
        outer: Those that include it, the first one first.
        files: Counts what was read so far: files may include others again and again.
    """
    subject = str(path)
    if next(files) > _MOST_FILES:
        raise SpecError(
            str(outer[0]),
            place=_INCLUDE,
            found=f"more than {_MOST_FILES} files, those included more than once counted each time",
            expected="fewer",
        )
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
        if os.path.realpath(inner) in map(os.path.realpath, (*outer, path)):
            raise SpecError(
                subject,
                place=f"{lines[_INCLUDE, number]}, {_INCLUDE}[{number}]",
                found=f"{name}, which includes this file",
                expected="a file that does not",
            )
        found = _read(inner, (*outer, path), files)
        if not isinstance(found.content, dict):
            raise SpecError(str(inner), found=repr(found.content), expected="keys with values")
        included = _merged(included, found.content)
        their_lines |= found.lines
    return _Document(_merged(included, content), their_lines | lines)


def _text(path: Path, outer: tuple[Path, ...]) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MOST_CHARACTERS + 1)
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
    if len(text) > _MOST_CHARACTERS:
        raise SpecError(
            str(path),
            found=f"more than {_MOST_CHARACTERS} characters",
            expected="a campaign specification, which is shorter",
        )
    return text


def _parsed(text: str, subject: str) -> tuple[dict[_Path, int], Any]:
    """Return the line of each key and item, and what YAML has as values."""
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        lines = {} if node is None else _all_lines(node, subject)
        content = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise SpecError(
            subject,
            place=f"line {mark.line + 1}" if mark else None,
            found=str(error.problem or error.context).removeprefix("found "),
            expected="YAML",
        ) from None
    except RecursionError:
        raise _too_deep(subject, None) from None
    except (AttributeError, LookupError):
        raise SpecError(
            subject, found="a value that is not what its tag says", expected="plain YAML"
        ) from None
    except (yaml.YAMLError, ValueError, TypeError) as error:
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


def _all_lines(node: yaml.Node, subject: str) -> dict[_Path, int]:
    """Return the line of each key and item; refuse more than anyone writes."""
    lines: dict[_Path, int] = {}
    for number, (path, line) in enumerate(_lines(node, (), subject)):
        lines[path] = line
        if number > _MOST_PARTS:
            raise SpecError(
                subject,
                place=f"line {line}, {dotted(path[:1])}",
                found=f"more than {_MOST_PARTS} keys and items, aliases written out",
                expected="fewer",
                remedy="an alias repeats all that its anchor has",
            )
    return lines


def _lines(node: yaml.Node, path: _Path, subject: str) -> Iterator[tuple[_Path, int]]:
    """Yield the line of each key and item; refuse a key that stands twice (YAML would drop one).

    What is merged has its line where it stands; keys beside the merge come later, and win.
    """
    line = node.start_mark.line + 1
    if len(path) > _DEEPEST:
        raise _too_deep(subject, f"line {line}, {dotted(path[:1])}")
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.tag == _MERGE:
                several = isinstance(value, yaml.SequenceNode)
                for one in value.value if several else (value,):
                    yield from _lines(one, path, subject)
        yield path, line
        seen: set[str] = set()
        for key, value in node.value:
            name = _key(key, path, subject)
            if name in seen:
                raise SpecError(
                    subject,
                    place=f"line {key.start_mark.line + 1}, {dotted((*path, name))}",
                    found="the key a second time",
                    expected="each key once",
                    remedy="remove one of the two",
                )
            seen.add(name)
            if key.tag != _MERGE:
                yield from _lines(value, (*path, name), subject)
        return
    yield path, line
    if isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(value, (*path, index), subject)
    else:
        _check_text(node, path, subject)


def _key(node: yaml.Node, path: _Path, subject: str) -> str:
    """Return a key as it is written."""
    if not isinstance(node, yaml.ScalarNode):
        raise SpecError(
            subject,
            place=f"line {node.start_mark.line + 1}" + (f", {dotted(path)}" if path else ""),
            found="a key that is a list, or keys itself",
            expected="a word",
        )
    _check_text(node, path, subject)
    return str(node.value)


def _check_text(node: yaml.Node, path: _Path, subject: str) -> None:
    """Refuse text that no file can be named by, and numbers that no machine counts."""
    place = f"line {node.start_mark.line + 1}" + (f", {dotted(path)}" if path else "")
    if unusable := _UNUSABLE.search(node.value):
        found = f"the character {unusable.group()!a}"
        raise SpecError(subject, place=place, found=found, expected="text without it")
    if node.tag in _NUMBERS and len(node.value) > _LONGEST_NUMBER:
        found = f"a number of {len(node.value)} digits"
        raise SpecError(
            subject, place=place, found=found, expected=f"one of at most {_LONGEST_NUMBER}"
        )


def _too_deep(subject: str, place: str | None) -> SpecError:
    return SpecError(
        subject,
        place=place,
        found="lists and keys in each other too deep, or without end",
        expected=f"at most {_DEEPEST} levels",
    )
