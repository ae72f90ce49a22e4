"""Reads a scrape into families: what the dialects in question speak of, and no more than allowed.

The client library's parsers take 25 to 70 µs a line, which for the services of a full node would be
more than all the rest of the exporter; here a line is read by one expression. In the tests those
parsers judge this one. What a pod serves is a stranger's text: nothing in it costs more than time
in proportion to its length.

Specifications: Prometheus "Exposition formats", version 0.0.4, and OpenMetrics 1.0.0. Timestamps,
exemplars, help texts and times of creation are passed over.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn

from prometheus_client import Metric as Family
from prometheus_client.samples import Sample

from .dialect import Dialect

__all__ = ["Limits", "ScrapeRefused", "SeriesLabels", "parse"]

_TYPE = "# TYPE "
_LABEL = r'[ \t]*+([a-zA-Z_][a-zA-Z0-9_]*+)[ \t]*+=[ \t]*+"((?:[^"\\]++|\\.)*+)"[ \t]*+(?:,|(?=\}))'
_LABELS = re.compile(_LABEL)
_UNGROUPED = re.sub(r"\((?!\?)", "(?:", _LABEL)
_HEAD = (
    r"([a-zA-Z_:][a-zA-Z0-9_:]*+)(?=[ \t{])[ \t]*+"
    rf"(\{{(?:{_UNGROUPED})*+[ \t]*+\}}[ \t]*+)?+"
)
_SERIES = re.compile(_HEAD)
_SAMPLE = re.compile(
    rf"{_HEAD}([0-9a-zA-Z.+-]+)"
    r"(?:[ \t]++-?[0-9][0-9.eE+-]*+)?"
    r"(?:[ \t]++\#[ \t].*)?\s*"
)
"""Name, labels and value; every repetition gives nothing back, so that none is tried twice."""

_REMEMBERED = 600
"""Series of so many bytes are remembered; longer ones would take too much memory."""
_MOST_REMEMBERED = 16_384
"""Of all services of a node: a hundred that write 150 lines each. Fewer would be forgotten before
they come again, all of them."""
_ESCAPED = re.compile(r'\\([\\n"])')
_SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "summary": ("", "_sum", "_count"),
    "gauge": ("",),
}
"""What the samples of a family are called after it, by its type."""


class ScrapeRefused(Exception):
    """A scrape that cannot be used at all.

    Args:
        reason: One word that stays, for a label: malformed, truncated, too_large, too_many_lines,
            line_too_long, label_too_long, too_many_samples or too_many_series.
        found: For people, a short piece of the scrape included.
    """

    def __init__(self, reason: str, found: str = "") -> None:
        self.reason = reason
        super().__init__(f"{reason}: {found}" if found else reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a scrape may cost; but for its size and lines, only what dialects speak of counts.

    Args:
        size_bytes: All of it.
        lines: All of them.
        line_bytes: One line.
        label_characters: The value of one label.
        samples: How many there are, lines that tell a type included.
        series: How many of them there are, buckets aside.
    """

    size_bytes: int = 8 * 2**20
    lines: int = 200_000
    line_bytes: int = 8192
    label_characters: int = 512
    samples: int = 20_000
    series: int = 5_000


def parse(
    body: bytes | str,
    candidates: Iterable[Dialect],
    *,
    openmetrics: bool = False,
    limits: Limits | None = None,
) -> dict[str, Family]:
    """Return the families of a scrape by name, of a counter without `_total`.

    A family whose type is told is there even if it has no samples yet. Repeated series are kept,
    and so is any number: what of it is usable, `gather` decides series by series.

    Args:
        body: As it came, without content encoding.
        candidates: The dialects that it may be of; lines of no family of theirs are passed over.
        openmetrics: It calls itself OpenMetrics, which says where it ends.
        limits: What it may cost.

    Raises:
        ScrapeRefused: A line is malformed, the end is missing, or it is beyond the limits.
    """
    limits = limits or Limits()
    data = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    if len(data) > limits.size_bytes:
        raise ScrapeRefused("too_large", f"{len(data)} bytes")
    if data.count(b"\n") > limits.lines:
        raise ScrapeRefused("too_many_lines", f"more than {limits.lines}")
    if openmetrics and not (b"\n" + data[-100:]).rstrip().endswith(b"\n# EOF"):
        raise ScrapeRefused("truncated", "the last line is not '# EOF'")
    names = [prefix.encode() for dialect in candidates for prefix in dialect.prefixes]
    starts = (*names, *(_TYPE.encode() + name for name in names))
    families = _Families(limits)
    families.take_all(line for line in io.BytesIO(data) if line.startswith(starts))
    return families.by_name


class _Families:
    """The families of one scrape, line by line."""

    def __init__(self, limits: Limits) -> None:
        self.by_name: dict[str, Family] = {}
        self._of_samples: dict[str, Family] = {}
        self._limits = limits
        self._remembered = min(_REMEMBERED, limits.label_characters)
        self._series = 0

    def take_all(self, lines: Iterable[bytes]) -> None:
        """Take the lines that speak of families.

        Nearly all of them are buckets of series that are remembered: those are taken here, without
        a call for each.
        """
        most, longest, remembered = self._limits.samples, self._limits.line_bytes, self._remembered
        of_samples = self._of_samples
        for number, line in enumerate(lines, start=1):
            if number > most:
                raise ScrapeRefused("too_many_samples", f"more than {most}")
            if len(line) > longest:
                raise ScrapeRefused("line_too_long", f"{len(line)} bytes: {line[:50]!r}…")
            head, _, value = line.rpartition(b" ")
            known = None
            if len(head) <= remembered and b"_" not in value:
                known = _series(head)
            if known is None:
                self._take(line)
                continue
            name, labels, is_bucket = known
            if is_bucket and name in of_samples:
                try:
                    of_samples[name].samples.append(Sample(name, labels, float(value)))
                except ValueError:
                    _malformed(line.decode(errors="replace"))
            else:
                self._add(name, labels, value, line)

    def _take(self, line: bytes) -> None:
        """Take one line that needs a closer look."""
        try:
            text = line.decode()
        except UnicodeDecodeError:
            _malformed(repr(line))
        if text.startswith(_TYPE):
            self._take_type(text)
        else:
            self._take_sample(text)

    def _take_type(self, text: str) -> None:
        parts = text[len(_TYPE) :].split()
        if len(parts) != 2:
            _malformed(text)
        name, kind = parts
        if kind == "counter":
            name = name.removesuffix("_total")
        if name.endswith("_created") or name in self.by_name:
            return  # a server may tell a type twice; the first holds
        family = self._new(name, kind)
        for suffix in _SUFFIXES.get(kind, ("",)):
            self._of_samples.setdefault(name + suffix, family)
        if kind == "counter":  # in the text format a counter may be called anything
            self._of_samples.setdefault(name, family)

    def _new(self, name: str, kind: str) -> Family:
        try:
            family = Family(name, "", kind if kind in _SUFFIXES else "unknown")
        except ValueError:
            _malformed(name)
        self.by_name[name] = family
        return family

    def _take_sample(self, text: str) -> None:
        found = _SAMPLE.fullmatch(text)
        if found is None:
            _malformed(text)
        name, written, value = found.groups()
        labels = _labels(written) if written else SeriesLabels()
        if labels is None:
            _malformed(text)
        longest = self._limits.label_characters
        if any(len(value) > longest for value in labels.values()):
            raise ScrapeRefused("label_too_long", text[:50] + "…")
        self._add(name, labels, value, text)

    def _add(
        self, name: str, labels: dict[str, str], value: str | bytes, line: str | bytes
    ) -> None:
        if name.endswith("_created"):
            return
        if not name.endswith("_bucket"):
            self._series += 1
            if self._series > self._limits.series:
                raise ScrapeRefused("too_many_series", f"more than {self._limits.series}")
        family = self._of_samples.get(name)
        if family is None:
            family = self._of_samples[name] = self.by_name.get(name) or self._new(name, "unknown")
        if family.type == "counter" and name == family.name:
            name += "_total"
        try:
            family.samples.append(Sample(name, labels, float(value)))
        except ValueError:
            _malformed(line if isinstance(line, str) else line.decode(errors="replace"))


class SeriesLabels(dict[str, str]):
    """Labels of a line, which remember, as lines are, what is the same in all of a series."""

    __slots__ = ("_rest",)
    _rest: tuple[str, frozenset[tuple[str, str]]]

    def without(self, edge: str) -> frozenset[tuple[str, str]]:
        """Return them but for one: `le` of a bucket, `quantile` of a quantile."""
        try:
            known, rest = self._rest
            if known == edge:
                return rest
        except AttributeError:
            pass
        rest = frozenset([item for item in self.items() if item[0] != edge])
        self._rest = (edge, rest)
        return rest


@lru_cache(maxsize=_MOST_REMEMBERED)
def _series(head: bytes) -> tuple[str, SeriesLabels, bool] | None:
    """Return name and labels of a line without its value, and whether it is a bucket.

    `None`: it needs a closer look.

    A service writes the same ones in each scrape; nobody may change them.
    """
    try:
        found = _SERIES.fullmatch(head.decode() + " ")
    except UnicodeDecodeError:
        return None
    if found is None:
        return None
    labels = _labels(found[2]) if found[2] else SeriesLabels()
    return None if labels is None else (found[1], labels, found[1].endswith("_bucket"))


def _labels(written: str) -> SeriesLabels | None:
    """Return labels as they are written; `None`: one is there twice."""
    pairs = _LABELS.findall(written, 1)
    labels = SeriesLabels(pairs)
    if len(labels) != len(pairs):
        return None
    if "\\" in written:
        return SeriesLabels((name, _ESCAPED.sub(_unescaped, value)) for name, value in pairs)
    return labels


def _unescaped(match: re.Match[str]) -> str:
    return "\n" if match[1] == "n" else match[1]


def _malformed(text: str) -> NoReturn:
    raise ScrapeRefused("malformed", repr(text[:100]))
