"""Golden sets: inputs with the right answers, to ask a service whose accuracy is wanted.

A set is `NAME.json`, or a folder `NAME` with a `golden.json`, as docs/golden-set.md describes. Its
tensors stand in it as in a request of the Open Inference Protocol, or in an .npz file beside it.
Whatever is wrong is found when it is read, not when a service is asked.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ...errors import SpecError
from ...profiler.oip import Message, ProtocolError, Tensors, datatype_of, decode_request
from ..web_file import Files
from .judging import RULES, Judge, Labels

__all__ = ["GoldenSet", "Reference", "load_golden", "read_golden", "write_golden"]

MOST_BYTES = 64 * 1024 * 1024
"""Of a file, and of what is packed in it."""

MOST_SAMPLES = 20_000
MOST_SETS = 100

_KEYS = {"model", "inputs", "labels", "judge", "exit_output", "reference"}
_JUDGE_KEYS = {"output", "rule", "threshold", "tolerance", "tolerance_ratio"}
_REFERENCE_KEYS = {"url", "model"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A server whose answers are taken for labels: agreement, which is not accuracy.

    It is named in the set, by who configures the exporter, and never by the annotation of a pod:
    a pod could have us ask anybody, with our rights in the network, and tell it what was said.

    Args:
        url: Base URL of its Open Inference Protocol.
        model: The model's name there.
    """

    url: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenSet:
    """Inputs, and how answers to them are judged.

    Args:
        name: By which targets name it.
        inputs: Tensors by name; the leading axis of each is the sample.
        judge: Which output is looked at, and when it is right.
        labels: The right answers, the leading axis is the sample; `None`: the reference tells.
        reference: Tells labels where there are none.
        model: The model's name, for targets that have none.
        exit_output: The output that tells by which exit an answer came; empty: none does.
        sha256: Of the files.
    """

    name: str
    inputs: Tensors = field(repr=False)
    judge: Judge
    labels: Labels | None = field(default=None, repr=False)
    reference: Reference | None = None
    model: str = ""
    exit_output: str = ""
    sha256: str = ""

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs that are asked for."""
        return (self.judge.output, self.exit_output) if self.exit_output else (self.judge.output,)

    def sample(self, index: int) -> Tensors:
        """Return the inputs of one request: each with a leading axis of 1."""
        return {name: tensor[index : index + 1] for name, tensor in self.inputs.items()}


def load_golden(folder: Path, files: Files | None = None) -> Mapping[str, GoldenSet]:
    """Read all golden sets in a folder, by name.

    Hidden entries are left out, of which Kubernetes makes some in every volume.

    Args:
        folder: Where they are.
        files: Takes down what they rest on, to be told of changes.

    Raises:
        SpecError: A set is wrong, or the folder cannot be read.
    """
    files = files or Files()
    try:
        entries = _entries(folder, files)
        for subfolder in filter(Path.is_dir, entries):
            _entries(subfolder, files)
    except OSError as error:
        raise SpecError(
            f"golden sets {folder}",
            found=error.strerror or str(error),
            expected="a folder with NAME.json or NAME/golden.json",
        ) from error
    found: dict[str, GoldenSet] = {}
    for entry in entries:
        path = entry / "golden.json" if entry.is_dir() else entry
        if path.suffix != ".json" or not path.is_file():
            continue
        golden = read_golden(path)
        if golden.name in found:
            _wrong(path, None, f"two sets named {golden.name}", "one")
        if len(found) >= MOST_SETS:
            _wrong(folder, None, f"more than {MOST_SETS} sets", "fewer")
        found[golden.name] = golden
    return found


def _entries(folder: Path, files: Files) -> list[Path]:
    files.remember(folder)
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    for entry in entries:
        files.remember(entry)
    return entries


def read_golden(path: Path) -> GoldenSet:
    """Read one golden set.

    Args:
        path: Its JSON file, whose stem is its name; the folder's name, if it is `golden.json`.

    Raises:
        SpecError: It is wrong; the error tells the file and the place in it.
    """
    content = _read_bytes(path)
    try:
        head = json.loads(content)
    except (ValueError, RecursionError) as error:
        _wrong(path, None, str(error), "a JSON object in UTF-8")
    head = _object(path, None, head, _KEYS)
    digest = hashlib.sha256(content)
    described = head.get("inputs")
    if isinstance(described, str):
        packed = _read_bytes(_beside(path, described))
        digest.update(packed)
        inputs = _unpacked(_beside(path, described), packed)
    else:
        inputs = _listed(path, described)
    samples = _samples(path, inputs)
    judge = _judge(path, head.get("judge"))
    reference = _reference(path, head.get("reference"))
    if ("labels" in head) == (reference is not None):
        both = "both labels and a reference" if reference else "no labels, and no reference"
        _wrong(path, None, both, "one of them")
    return GoldenSet(
        name=path.parent.name if path.name == "golden.json" else path.stem,
        inputs=inputs,
        judge=judge,
        labels=_labels(path, head["labels"], judge, samples) if "labels" in head else None,
        reference=reference,
        model=_text(path, "model", head.get("model", "")),
        exit_output=_text(path, "exit_output", head.get("exit_output", "")),
        sha256=digest.hexdigest(),
    )


def write_golden(
    path: Path,
    *,
    inputs: Tensors,
    judge: Judge,
    labels: Labels | None = None,
    reference: Reference | None = None,
    model: str = "",
    exit_output: str = "",
) -> GoldenSet:
    """Write a golden set, and return it as it is read again.

    Args:
        path: The JSON file; the tensors go into an .npz file beside it, exactly as they are.
        inputs: Tensors by name; the leading axis of each is the sample.
        judge: Which output is looked at, and when it is right.
        labels: The right answers.
        reference: A server whose answers are taken for labels.
        model: The model's name, for targets that have none.
        exit_output: The output that tells by which exit an answer came.

    Raises:
        SpecError: This is no golden set.
    """
    packed = path.with_suffix(".npz")
    head: dict[str, Any] = {"inputs": packed.name, "judge": judge.as_json()}
    if labels is not None:
        head["labels"] = labels.tolist()
    if reference is not None:
        head["reference"] = {"url": reference.url, "model": reference.model}
    head |= {"model": model} if model else {}
    head |= {"exit_output": exit_output} if exit_output else {}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, tensor in inputs.items():  # np.savez cannot have an array named "file"
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.asarray(tensor), allow_pickle=False)
    packed.write_bytes(buffer.getvalue())
    path.write_text(json.dumps(head) + "\n", encoding="utf-8")
    return read_golden(path)


def _read_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        _wrong(path, None, error.strerror or str(error), "a file that can be read")
    if len(content) > MOST_BYTES:
        _wrong(path, None, f"more than {MOST_BYTES} bytes", "fewer")
    return content


def _beside(path: Path, name: str) -> Path:
    if not name.endswith(".npz") or Path(name).name != name:
        _wrong(path, "inputs", repr(name), "the name of an .npz file in the same folder")
    return path.with_name(name)


def _unpacked(path: Path, packed: bytes) -> Tensors:
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            size_bytes = sum(entry.file_size for entry in archive.infolist())
        if size_bytes > MOST_BYTES:
            _wrong(path, None, f"{size_bytes} bytes when unpacked", f"at most {MOST_BYTES}")
        with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
            tensors = {name: arrays[name] for name in arrays.files}
    # A broken archive makes NumPy and zipfile raise nearly anything.
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, NotImplementedError) as e:
        _wrong(path, None, str(e), "an .npz file of plain arrays")
    for name, tensor in tensors.items():
        try:
            datatype_of(tensor.dtype)
        except ProtocolError as error:
            _wrong(path, name, error.found, error.expected)
    return tensors


def _listed(path: Path, described: object) -> Tensors:
    if not isinstance(described, list):
        expected = "a list of tensors, or the name of an .npz file"
        _wrong(path, "inputs", _shown(described), expected)
    try:
        body = json.dumps({"inputs": described}, allow_nan=False).encode()
        return decode_request(Message(headers={}, body=body)).inputs
    except (ProtocolError, ValueError, RecursionError) as error:
        # The protocol's own errors name the tensor already.
        _wrong(path, "inputs", str(error), "tensors as in a request: name, datatype, shape, data")


def _samples(path: Path, inputs: Tensors) -> int:
    lengths = {tensor.shape[0] if tensor.ndim else 0 for tensor in inputs.values()}
    if len(lengths) != 1 or not 1 <= max(lengths) <= MOST_SAMPLES:
        found = ", ".join(f"{name} {list(one.shape)}" for name, one in inputs.items()) or "none"
        _wrong(path, "inputs", found, f"the same leading axis in all, 1 to {MOST_SAMPLES} samples")
    return max(lengths)


def _judge(path: Path, described: object) -> Judge:
    given = _object(path, "judge", described, _JUDGE_KEYS)
    rule, output = given.get("rule"), _text(path, "judge.output", given.get("output"))
    if not output:
        _wrong(path, "judge.output", "''", "the name of an output")
    if rule not in RULES:
        _wrong(path, "judge.rule", _shown(rule), f"one of {', '.join(RULES)}")
    numbers: dict[str, float] = {}
    for key in given.keys() & {"threshold", "tolerance", "tolerance_ratio"}:
        value = given[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
            _wrong(path, f"judge.{key}", _shown(value), "a number")
        numbers[key] = float(value)
    try:
        return Judge(output=output, rule=rule, **numbers)
    except ValueError as error:
        _wrong(
            path, "judge", f"rule {rule} with {', '.join(sorted(numbers)) or 'none'}", str(error)
        )


def _reference(path: Path, described: object) -> Reference | None:
    if described is None:
        return None
    given = _object(path, "reference", described, _REFERENCE_KEYS)
    url, model = (_text(path, f"reference.{key}", given.get(key)) for key in ("url", "model"))
    if not url.startswith(("http://", "https://")):
        _wrong(path, "reference.url", repr(url), "a URL with http or https")
    if not model:
        _wrong(path, "reference.model", "''", "the name of a model")
    return Reference(url=url, model=model)


def _labels(path: Path, given: object, judge: Judge, samples: int) -> NDArray[np.generic]:
    if not isinstance(given, list) or len(given) != samples:
        found = f"{len(given)} of them" if isinstance(given, list) else _shown(given)
        _wrong(path, "labels", found, f"a list of {samples}, one a sample")
    try:
        labels = np.array(given)
    except (ValueError, OverflowError) as error:
        _wrong(path, "labels", str(error), "numbers, or lists of them of one shape")
    if labels.dtype.kind not in "biuf" or not np.isfinite(labels).all():
        _wrong(path, "labels", f"values of {labels.dtype}", "finite numbers, true or false")
    problem = judge.refused(labels)
    if problem:
        _wrong(path, "labels", problem, f"what rule {judge.rule} compares with")
    return labels


def _object(path: Path, place: str | None, value: object, keys: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        _wrong(path, place, _shown(value), "an object")
    unknown = sorted(value.keys() - keys)
    if unknown:
        _wrong(path, place, f"unknown key {_shown(unknown[0])}", f"{', '.join(sorted(keys))}")
    return value


def _text(path: Path, place: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > 1000:
        _wrong(path, place, _shown(value), "a string")
    return value


def _shown(value: object) -> str:
    return "nothing" if value is None else f"{value!r:.60}"


def _wrong(path: Path, place: str | None, found: str | None, expected: str | None) -> NoReturn:
    raise SpecError(f"golden set {path}", place=place, found=found, expected=expected)
