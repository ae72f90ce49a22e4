"""Reading a small configuration file: each key with its line, and which files were read.

Plain checks instead of a model class: an exporter has little memory, and a file that is read again
while it serves must say exactly what is wrong with it. Which keys there are, `web_config` knows.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml

from ..errors import SpecError

__all__ = ["Files", "Section", "Watched", "read_yaml"]

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

_Stamp = tuple[int, ...] | None
_NULL, _BOOL, _TEXT = (f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "str"))


def _stamp(path: Path) -> _Stamp:
    """Return what differs when a file's content does; None for a file that is not there.

    A mounted secret changes by a symbolic link far up in the path: the inode is another then.
    """
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


class Files:
    """The files that were read, and whether one of them changed since."""

    def __init__(self) -> None:
        self._stamps: dict[Path, _Stamp] = {}

    def read(self, path: Path) -> bytes:
        """Read a file and remember it.

        Raises:
            OSError: When it cannot be read; it is remembered nonetheless.
        """
        # Before the reading: a change in between is then seen as one.
        self.remember(path)
        return path.read_bytes()

    def remember(self, path: Path) -> None:
        """Watch a file, or the names in a folder, about to be read by somebody else."""
        self._stamps[path] = _stamp(path)

    def changed(self) -> bool:
        """Return whether a file that was read is another now, has gone, or has come."""
        return any(_stamp(path) != stamp for path, stamp in self._stamps.items())


class Watched(Generic[_T]):
    """What files say, read again when one of them changed.

    New content that is wrong is logged once, and the old stays in use.

    Args:
        read: Reads the files, through what it is given.
        again: Says that they were read again, of what was read.

    Raises:
        SpecError: They are wrong at the start.
    """

    def __init__(self, read: Callable[[Files], _T], again: Callable[[_T], str]) -> None:
        self._read, self._again = read, again
        self._files, self._told = Files(), ""
        self._current = read(self._files)

    def current(self) -> _T:
        """Return what the files say now; costs a `stat` per file."""
        if self._files.changed():
            # The files of a failed attempt are watched too: they may be what is mended next.
            self._files = Files()
            try:
                self._current = self._read(self._files)
            except SpecError as error:
                if str(error) != self._told:
                    self._told = str(error)
                    _log.error("%s; what was read before stays in use", error)
            else:
                self._told = ""
                _log.info("%s", self._again(self._current))
        return self._current


def read_yaml(text: str, subject: str) -> yaml.Node | None:
    """Parse one YAML document; None is an empty one.

    Raises:
        SpecError: With the line, when this is no YAML.
    """
    try:
        return yaml.SafeLoader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise SpecError(
            subject,
            place=f"line {mark.line + 1}" if mark else None,
            found=str(error.problem or error.context),
            expected="YAML",
        ) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise SpecError(subject, found=str(error).splitlines()[0], expected="plain YAML") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The keys below one key of the file.

    Attributes:
        subject: The file.
        name: The key it stands under, dotted; empty for the file itself.
        line: Where it begins.
        values: The line and the value of each key that is there.
    """

    subject: str
    name: str
    line: int
    values: Mapping[str, tuple[int, yaml.Node]]

    @classmethod
    def read(
        cls,
        subject: str,
        node: yaml.Node,
        *,
        name: str = "",
        known: Sequence[str] | None = None,
        refused: Mapping[str, str] | None = None,
    ) -> Section:
        """Check the keys of one part of the document.

        Args:
            subject: The file.
            node: What stands there.
            name: The key it stands under.
            known: The keys that may be there; None for any.
            refused: Keys that exist elsewhere and not here, with what to do instead.

        Raises:
            SpecError: For an unknown or repeated key, or when these are no keys.
        """
        line = node.start_mark.line + 1
        section = cls(subject=subject, name=name, line=line, values={})
        if not isinstance(node, yaml.MappingNode):
            raise section._error(
                line, name, found=_found(node), expected="keys with values", remedy=None
            )
        values: dict[str, tuple[int, yaml.Node]] = {}
        for key, value in node.value:
            line, word = key.start_mark.line + 1, str(key.value)
            place = section._dotted(word)
            if not isinstance(key, yaml.ScalarNode):
                raise section._error(line, name, found="a key that is no text", expected="a word")
            if word in values:
                raise section._error(
                    line, place, "the key a second time", "each key once", "remove one of the two"
                )
            if word in (refused or {}):
                raise section._error(
                    line,
                    place,
                    found=f"the key '{word}', which this server does not offer",
                    expected="one of " + ", ".join(known or ()),
                    remedy=(refused or {})[word],
                )
            if known is not None and word not in known:
                near = difflib.get_close_matches(word, known, n=1)
                raise section._error(
                    line,
                    place,
                    found=f"the unknown key '{word}'",
                    expected="one of " + ", ".join(known),
                    remedy=f"did you mean '{near[0]}'?" if near else None,
                )
            values[word] = (line, value)
        return cls(subject=subject, name=name, line=section.line, values=values)

    def inner(
        self,
        key: str,
        *,
        known: Sequence[str] | None = None,
        refused: Mapping[str, str] | None = None,
    ) -> Section | None:
        """Return the section below a key, checked as `read` does; None when it is not there."""
        if key not in self.values:
            return None
        _, node = self.values[key]
        return Section.read(
            self.subject, node, name=self._dotted(key), known=known, refused=refused
        )

    def text(self, key: str, *, blank: bool = False, secret: bool = False) -> str:
        """Return the text of a key.

        Args:
            key: It must be there, or an error says what to add.
            blank: Whether nothing is a text too.
            secret: Whether an error must not show it.

        Raises:
            SpecError: When the key is missing, or has no text.
        """
        if key not in self.values:
            place = self.name or None
            raise self._error(self.line, place, "nothing", f"the key '{key}'", f"add '{key}:'")
        _, node = self.values[key]
        # A number or a date in YAML is still what its writer wrote: headers may be '0'.
        if isinstance(node, yaml.ScalarNode):
            value = "" if node.tag == _NULL else str(node.value)
            if value or blank:
                return value
        raise self.wrong(key, found="no text" if secret else _found(node), expected="a text")

    def choice(self, key: str, allowed: Sequence[str]) -> str:
        """Return the text of a key, which must be one of a few.

        Raises:
            SpecError: When it is another; the nearest is told.
        """
        value = self.text(key)
        if value in allowed:
            return value
        near = difflib.get_close_matches(value, allowed, n=1)
        raise self.wrong(
            key,
            found=repr(value),
            expected=allowed[0] if len(allowed) == 1 else "one of " + ", ".join(allowed),
            remedy=f"did you mean '{near[0]}'?" if near else None,
        )

    def texts(self, key: str) -> Sequence[str]:
        """Return a list of texts; empty when the key is not there.

        Raises:
            SpecError: When it is no list of texts, or an empty one.
        """
        if key not in self.values:
            return ()
        _, node = self.values[key]
        if not isinstance(node, yaml.SequenceNode):
            raise self.wrong(key, found=_found(node), expected="a list")
        if not node.value:
            raise self.wrong(key, "an empty list", "one entry or more", f"or remove '{key}:'")
        for item in node.value:
            if not isinstance(item, yaml.ScalarNode) or item.tag == _NULL:
                raise self.wrong(key, found=_found(item), expected="texts in the list")
        return [str(item.value) for item in node.value]

    def flag(self, key: str, *, default: bool) -> bool:
        """Return whether a key is true.

        Raises:
            SpecError: When it is neither true nor false.
        """
        if key not in self.values:
            return default
        _, node = self.values[key]
        if node.tag != _BOOL:
            raise self.wrong(key, found=_found(node), expected="true or false")
        return yaml.SafeLoader.bool_values[node.value.lower()]

    def wrong(
        self, key: str, found: str, expected: str | None = None, remedy: str | None = None
    ) -> SpecError:
        """Make the error that says what is wrong with the value of a key."""
        line = self.values[key][0] if key in self.values else self.line
        return self._error(line, self._dotted(key), found, expected, remedy)

    def _dotted(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key

    def _error(
        self,
        line: int,
        place: str | None,
        found: str,
        expected: str | None,
        remedy: str | None = None,
    ) -> SpecError:
        return SpecError(
            self.subject,
            place=f"line {line}" + (f", {place}" if place else ""),
            found=found,
            expected=expected,
            remedy=remedy,
        )


def _found(node: Any) -> str:
    if isinstance(node, yaml.MappingNode):
        return "keys"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    if node.tag == _NULL or not node.value:
        return "nothing"
    return repr(node.value) if node.tag == _TEXT else str(node.value)
