"""Ground truth in the format of MOTChallenge, read and written; pictures are read elsewhere.

Rows of `gt/gt.txt`: frame, id, left, top, width, height, whether it counts, class, visibility
(Milan et al. 2016, "MOT16"). Frames and pixels are counted from 1 there, and from 0 here.
"""

from __future__ import annotations

import configparser
import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ....errors import DatasetError
from ....profiler.quality.detection import FrameTruth

__all__ = ["SequenceInfo", "read_info", "read_mot", "write_mot"]

PERSON, VEHICLE = 0, 1

_CLASSES = {1: PERSON, 3: VEHICLE, 4: VEHICLE, 5: VEHICLE, 6: VEHICLE, -1: PERSON}
"""Pedestrian; car, bicycle, motorbike, other vehicle. The sets of 2015 know people only: -1."""
_OCCLUDERS = {9, 10, 11}
"""On the ground, full and others: nothing that anyone should detect, nor a reason not to."""
_IGNORED = 8
_HIGHEST_CLASS = 13
_MOST_FRAMES = 10_000_000
"""Over a hundred hours: a higher number is no frame."""
_MOST_PIXELS = 1e9
"""No picture is so large; beyond it, single pixels are soon lost in FP32."""
_FIELDS = "frame,id,left,top,width,height,counts,class,visibility"


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceInfo:
    """What `seqinfo.ini` says of a sequence.

    Args:
        name: Of the sequence.
        frames: How many there are.
        frame_rate_hz: Frames per second.
        width: Of a frame, in pixels.
        height: Of a frame, in pixels.
        pictures: The folder of its pictures, by the name the file gives.
    """

    name: str
    frames: int
    frame_rate_hz: float
    width: int
    height: int
    pictures: str


@dataclass(frozen=True, slots=True)
class _Row:
    frame: int
    id: int
    box: tuple[float, float, float, float]
    cls: int | None
    """`None`: a region where nothing is judged."""


def read_mot(path: Path, *, frames: int | None = None) -> tuple[FrameTruth, ...]:
    """Read the ground truth of a sequence.

    Rows may stand in any order: they are sorted by frame, then by id. Rows that do not count
    (0 in the seventh field), and what looks like a person but is none of those to find (on a
    vehicle, standing still as a picture, mirrored, a crowd), are ignored regions; occluders are
    left out. Rows of 2015 have ten fields, of which the last three are not looked at.

    Args:
        path: The folder of a sequence (with `gt/gt.txt`, and `seqinfo.ini` where there is one), or
            the file itself.
        frames: How many frames the video has; `None`: as many as `seqinfo.ini` says, or as the
            last row.

    Returns:
        One for each frame from the first; boxes in pixels, FP32.

    Raises:
        DatasetError: When the file is missing, empty or no text; with the line: a wrong number of
            fields, something that is no number, a size not above 0, a class that MOTChallenge does
            not know, an object twice in one frame, or a frame after the last.
    """
    file = _truth_file(path)
    if frames is None and (path / "seqinfo.ini").is_file():
        frames = read_info(path / "seqinfo.ini").frames
    rows = _rows(file, _text(file, "rows of ground truth"), frames)
    if not rows:
        raise DatasetError(str(file), found="no rows", expected=f"rows {_FIELDS}")
    by_frame: dict[int, list[_Row]] = {}
    for row in sorted(rows, key=lambda row: (row.frame, row.id)):
        by_frame.setdefault(row.frame, []).append(row)
    count = max(by_frame) if frames is None else frames
    return tuple(_truth(by_frame.get(number, ())) for number in range(1, count + 1))


def _truth_file(path: Path) -> Path:
    file = path / "gt" / "gt.txt" if path.is_dir() else path
    if not file.is_file():
        raise DatasetError(
            str(file),
            found="no such file",
            expected=f"ground truth of MOTChallenge: {_FIELDS}",
            remedy="without ground truth, ask for the agreement with a reference model",
        )
    return file


def _text(file: Path, what: str) -> str:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(str(file), found=str(error), expected=f"text: {what}") from error
    if not text.strip():
        raise DatasetError(str(file), found="an empty file", expected=what)
    return text


def _rows(file: Path, text: str, frames: int | None) -> list[_Row]:
    rows: list[_Row] = []
    seen: dict[tuple[int, int], int] = {}
    for number, fields in enumerate(_fields(file, text), start=1):
        if not any(field.strip() for field in fields):
            continue
        row = _row(file, f"line {number}", fields)
        if row is None:
            continue
        if frames is not None and row.frame > frames:
            raise DatasetError(
                str(file),
                place=f"line {number}",
                found=f"frame {row.frame}",
                expected=f"at most {frames}, the frames of the video",
                remedy="see that ground truth and video belong together",
            )
        if row.cls is not None:
            first = seen.setdefault((row.frame, row.id), number)
            if first != number:
                raise DatasetError(
                    str(file),
                    place=f"line {number}",
                    found=f"object {row.id} again in frame {row.frame}, as in line {first}",
                    expected="each object once in a frame",
                )
        rows.append(row)
    return rows


def _fields(file: Path, text: str) -> Iterator[list[str]]:
    lines = csv.reader(text.splitlines())
    try:
        yield from lines
    except csv.Error as error:
        raise DatasetError(
            str(file),
            place=f"line {lines.line_num}",
            found=str(error),
            expected=f"9 fields: {_FIELDS}",
            remedy="the file may be broken: copy it again",
        ) from error


def _row(file: Path, place: str, fields: Sequence[str]) -> _Row | None:
    """Return a row, or `None` for what is neither to find nor to ignore."""
    if len(fields) not in (9, 10):
        raise DatasetError(
            str(file),
            place=place,
            found=f"{len(fields)} fields",
            expected=f"9: {_FIELDS}",
            remedy="is it a file of detections or results? Ground truth is gt/gt.txt",
        )
    try:
        values = [float(field) for field in fields]
    except ValueError as error:
        raise DatasetError(
            str(file), place=place, found=str(error), expected="numbers alone"
        ) from error
    if not all(map(math.isfinite, values)):
        raise DatasetError(
            str(file), place=place, found=",".join(fields), expected="finite numbers"
        )
    frame, name, left, top, width, height, counts, cls = values[:8]
    for value, what, low, high in (
        (frame, "frame", 1, _MOST_FRAMES),
        (name, "id", -1, 2**53),
        (cls, "class", -1, _HIGHEST_CLASS),
    ):
        if not (low <= value <= high and value == int(value)) or (what == "class" and value == 0):
            raise DatasetError(
                str(file),
                place=place,
                found=f"{what} {value:g}",
                expected=f"a whole number from {max(low, 1)} to {high}",
            )
    if width <= 0 or height <= 0:
        raise DatasetError(
            str(file),
            place=place,
            found=f"width {width:g}, height {height:g}",
            expected="sizes above 0",
        )
    if max(abs(left), abs(top), width, height) > _MOST_PIXELS:
        raise DatasetError(
            str(file),
            place=place,
            found=f"left {left:g}, top {top:g}, width {width:g}, height {height:g}",
            expected=f"pixels, {_MOST_PIXELS:g} at most",
            remedy="correct or remove the row",
        )
    if int(cls) in _OCCLUDERS:
        return None
    box = (left - 1, top - 1, left - 1 + width, top - 1 + height)
    return _Row(int(frame), int(name), box, _CLASSES.get(int(cls)) if counts else None)


def _truth(rows: Sequence[_Row]) -> FrameTruth:
    judged = [row for row in rows if row.cls is not None]
    ignored = [row.box for row in rows if row.cls is None]
    return FrameTruth(
        boxes=np.array([row.box for row in judged], dtype=np.float32).reshape(-1, 4),
        classes=np.array([row.cls for row in judged], dtype=np.int64),
        ids=np.array([row.id for row in judged], dtype=np.int64),
        ignored=np.array(ignored, dtype=np.float32).reshape(-1, 4),
    )


def write_mot(path: Path, truths: Sequence[FrameTruth]) -> None:
    """Write ground truth as `gt.txt` has it: persons as class 1, vehicles as 3.

    Ignored regions become rows that do not count, of class 8 and id -1; visibility, which nobody
    asks for here, is 1.

    Args:
        path: The file; its folder is made.
        truths: Per frame, from the first.
    """
    lines = []
    for number, truth in enumerate(truths, start=1):
        for box, cls, name in zip(truth.boxes, truth.classes, truth.ids, strict=True):
            lines.append(_line(number, int(name), box.tolist(), 1, 3 if cls == VEHICLE else 1))
        lines += [_line(number, -1, box.tolist(), 0, _IGNORED) for box in truth.ignored]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines), encoding="utf-8")


def _line(frame: int, name: int, box: Sequence[float], counts: int, cls: int) -> str:
    x1, y1, x2, y2 = box
    numbers = (x1 + 1, y1 + 1, x2 - x1, y2 - y1)
    size = ",".join(f"{number:.9g}" for number in numbers)
    return f"{frame},{name},{size},{counts},{cls},1\n"


def read_info(path: Path) -> SequenceInfo:
    """Read `seqinfo.ini`.

    Raises:
        DatasetError: When it is missing, no such file, or lacks a key.
    """
    if not path.is_file():
        raise DatasetError(str(path), found="no such file", expected="seqinfo.ini of a sequence")
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(_text(path, "a section [Sequence]"))
        section = parser["Sequence"]
        info = SequenceInfo(
            name=section["name"],
            frames=int(section["seqLength"]),
            frame_rate_hz=float(section["frameRate"]),
            width=int(section["imWidth"]),
            height=int(section["imHeight"]),
            pictures=section.get("imDir", "img1"),
        )
    except KeyError as error:
        raise DatasetError(
            str(path),
            found=f"no {error.args[0]}",
            expected="a section [Sequence] with name, frameRate, seqLength, imWidth and imHeight",
        ) from error
    except (configparser.Error, ValueError) as error:
        found = " ".join(str(error).split())
        raise DatasetError(str(path), found=found, expected="keys and numbers") from error
    numbers = (info.frames, info.frame_rate_hz, info.width, info.height)
    if not all(0 < number <= _MOST_FRAMES for number in numbers):
        raise DatasetError(
            str(path),
            found=f"{info.frames} frames of {info.width} x {info.height} at {info.frame_rate_hz:g}",
            expected=f"numbers above 0, of {_MOST_FRAMES} at most",
        )
    return info
