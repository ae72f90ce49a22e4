"""Golden sets: what is read is what was written, and what is wrong is told with its place."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from joulery.errors import SpecError
from joulery.exporters.services.golden import (
    GoldenSet,
    Reference,
    load_golden,
    read_golden,
    write_golden,
)
from joulery.exporters.services.judging import Judge, Rule

ARGMAX = Judge(output="y", rule="argmax")
TENSOR = {"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4]}
GOOD: dict[str, Any] = {
    "inputs": [TENSOR],
    "labels": [0, 1],
    "judge": {"output": "y", "rule": "argmax"},
}


def test_written_in_json(tmp_path: Path) -> None:
    """A set by hand has its tensors as in a request, by its file's name or its folder's."""
    (tmp_path / "digits.json").write_text(json.dumps(GOOD), encoding="utf-8")
    (tmp_path / "faces").mkdir()
    by_reference = {key: GOOD[key] for key in ("inputs", "judge")} | {
        "reference": {"url": "http://reference:8000", "model": "large"},
        "model": "small",
        "exit_output": "taken",
    }
    (tmp_path / "faces" / "golden.json").write_text(json.dumps(by_reference), encoding="utf-8")
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "golden.json").write_text("{", encoding="utf-8")
    (tmp_path / "README.md").write_text("no set", encoding="utf-8")
    found = load_golden(tmp_path)
    assert found.keys() == {"digits", "faces"}
    digits, faces = found["digits"], found["faces"]
    assert (len(digits), digits.judge, digits.outputs) == (2, ARGMAX, ("y",))
    np.testing.assert_array_equal(digits.sample(1)["x"], np.array([[3, 4]], np.float32))
    assert digits.labels is not None
    np.testing.assert_array_equal(digits.labels, [0, 1])
    assert faces.reference == Reference(url="http://reference:8000", model="large")
    assert (faces.labels, faces.model, faces.outputs) == (None, "small", ("y", "taken"))
    assert digits.sha256 != faces.sha256


@given(
    hnp.arrays(
        st.sampled_from(["f4", "f8", "i8", "u1", "?"]),
        st.tuples(st.just(3), st.integers(0, 3)),
    )
)
def test_written_and_read(tmp_path_factory: pytest.TempPathFactory, tensor: Any) -> None:
    """Tensors come back exactly, whatever their names, and the same set is the same bytes."""
    folder = tmp_path_factory.mktemp("golden")
    written = [
        write_golden(
            folder / name,
            inputs={"file": tensor, "x": np.arange(3)},
            judge=ARGMAX,
            labels=np.array([2, 0, 1]),
            model="m",
        )
        for name in ("a.json", "a.json")
    ]
    assert written[0].sha256 == written[1].sha256
    np.testing.assert_array_equal(written[0].inputs["file"], tensor)
    assert written[0].inputs["file"].dtype == tensor.dtype
    assert (written[0].model, written[0].judge) == ("m", ARGMAX)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"labels": None}, "labels: found nothing, expected a list of 2"),
        ({"labels": [1]}, "labels: found 1 of them, expected a list of 2"),
        ({"labels": [1, "a"]}, "labels: found values of <U"),
        ({"labels": [1, [2]]}, "labels: found"),
        ({"labels": [0.5, 1.5]}, "labels: found values of float64, or below 0; argmax"),
        ({"labels": [0, -1]}, "argmax needs positions"),
        ({"labels": [1e400, 0]}, "labels: found values of float64, expected finite"),
        ({"labels": [2**70, 0]}, "labels: found values of object"),
        ({"judge": {}}, "judge.output: found nothing, expected a string"),
        ({"judge": {"output": "y"}}, "judge.rule: found nothing, expected one of argmax, equal"),
        ({"judge": {"output": "y", "rule": []}}, r"judge.rule: found \[\]"),
        ({"judge": {"output": "y", "rule": "within"}}, "tolerance or tolerance_ratio"),
        ({"judge": {"output": "y", "rule": "equal", "threshold": 1}}, "a threshold with rule"),
        ({"judge": {"output": "y", "rule": "threshold", "threshold": "1"}}, "judge.threshold"),
        (
            {"judge": {"output": "y", "rule": "threshold", "threshold": 0}, "labels": [2, 0]},
            "labels: found values other than 0 and 1",
        ),
        ({"judges": 1}, "unknown key 'judges', expected exit_output, inputs"),
        ({"inputs": []}, "inputs: found none"),
        ({"inputs": 5}, "inputs: found 5, expected a list of tensors, or the name"),
        ({"inputs": [TENSOR | {"shape": [3, 2]}]}, "inputs: found input 'x': found"),
        ({"inputs": [TENSOR | {"shape": [4], "name": "z"}, TENSOR]}, "the same leading axis"),
        ({"inputs": "../other.npz"}, "inputs: found '../other.npz', expected the name of an"),
        ({"inputs": "other.npz"}, "other.npz: found No such file"),
        ({"reference": {"url": "http://a", "model": "m"}}, "found both labels and a reference"),
        ({"model": 1}, "model: found 1, expected a string"),
    ],
)
def test_wrong_sets(tmp_path: Path, change: dict[str, Any], text: str) -> None:
    """What is wrong with a set is told with its file and its place."""
    path = tmp_path / "digits.json"
    path.write_text(json.dumps(GOOD | change), encoding="utf-8")
    with pytest.raises(SpecError, match=text) as caught:
        load_golden(tmp_path)
    assert str(tmp_path) in caught.value.subject


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 100_000, b'{"a": ' * 9999])
def test_no_json(tmp_path: Path, content: bytes) -> None:
    """A file that is no JSON object is told so."""
    (tmp_path / "digits.json").write_bytes(content)
    with pytest.raises(SpecError, match=r"an object|a JSON object"):
        load_golden(tmp_path)


def _npz(*arrays: tuple[str, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays:
            content = io.BytesIO()
            np.save(content, array, **options)
            archive.writestr(f"{name}.npy", content.getvalue())
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("packed", "text"),
    [
        (b"no archive", "digits.npz: found"),
        (_npz(("x", np.zeros((2, 2))))[:-40], "digits.npz: found"),
        (_npz(("x", np.array([{}, 1]))), "Object arrays cannot be loaded"),
        (_npz(("x", np.array(["a", "b"]))), "x: found dtype <U1"),
        (_npz(("x", np.zeros(70 * 2**20, np.uint8))), "bytes when unpacked"),
        (_npz(("x", np.array(1))), r"inputs: found x \[\]"),
    ],
)
def test_wrong_archives(tmp_path: Path, packed: bytes, text: str) -> None:
    """An .npz that is broken, would run code, or unpacks to too much is refused."""
    (tmp_path / "digits.npz").write_bytes(packed)
    content = json.dumps(GOOD | {"inputs": "digits.npz"})
    (tmp_path / "digits.json").write_text(content, encoding="utf-8")
    with pytest.raises(SpecError, match=text):
        load_golden(tmp_path)


def test_the_documents_example(tmp_path: Path) -> None:
    """The example of the document is a golden set."""
    document = Path(__file__).parents[3] / "docs" / "golden-set.md"
    example = document.read_text(encoding="utf-8").split("```json\n")[1].split("```")[0]
    (tmp_path / "digits.json").write_text(example, encoding="utf-8")
    found = load_golden(tmp_path)["digits"]
    assert (len(found), found.model, found.judge.rule) == (3, "digits", "argmax")


def test_folders(tmp_path: Path) -> None:
    """A folder that is not there, and a name that is there twice, are told."""
    with pytest.raises(SpecError, match="No such file"):
        load_golden(tmp_path / "missing")
    for path in (tmp_path / "a.json", tmp_path / "a" / "golden.json"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(GOOD), encoding="utf-8")
    with pytest.raises(SpecError, match="two sets named a"):
        load_golden(tmp_path)


NAN = float("nan")


@pytest.mark.parametrize(
    ("rule", "numbers", "output", "label", "right"),
    [
        ("argmax", {}, [[0.1, 0.7, 0.2]], 1, True),
        ("argmax", {}, [[0.1, 0.7, 0.2]], 2, False),
        ("argmax", {}, [0.1, 0.7, 0.2], 1, True),
        ("argmax", {}, [[[1, 0], [0, 1]]], [0, 1], True),
        ("argmax", {}, [[NAN, 0.7, 0.2]], 0, False),
        ("equal", {}, [[True]], 1, True),
        ("equal", {}, [3], 3, True),
        ("equal", {}, [[3, 4]], [3, 5], False),
        ("threshold", {"threshold": 0.5}, [[0.6]], 1, True),
        ("threshold", {"threshold": 0.5}, [[0.5]], 1, False),
        ("threshold", {"threshold": 0.5}, [[NAN]], 0, False),
        ("within", {"tolerance": 0.5}, [[1.0, 2.0]], [1.5, 2.5], True),
        ("within", {"tolerance": 0.5}, [[1.0, 2.0]], [1.5, 2.6], False),
        ("within", {"tolerance_ratio": 0.1}, [[-9.5]], -10, True),
        ("within", {"tolerance_ratio": 0.1}, [[-8.5]], -10, False),
    ],
)
def test_rules(
    rule: Rule, numbers: dict[str, float], output: Any, label: Any, *, right: bool
) -> None:
    """Each rule says what is right, and NaN never is."""
    judge = Judge(output="y", rule=rule, **numbers)
    assert judge.is_right(np.array(output), np.array(label)) is right
    if np.isfinite(output).all():
        assert judge.is_right(np.array(output), judge.label_of(np.array(output)))
    else:
        with pytest.raises(ValueError, match="not finite"):
            judge.label_of(np.array(output))


@pytest.mark.parametrize(
    ("output", "text"),
    [([[1.0]], "argmax cannot choose"), ([], "not 1 sample"), ([[1, 2], [3, 4]], "not 1 sample")],
)
def test_answers_to_other_questions(output: Any, text: str) -> None:
    """An output that cannot be compared is no wrong answer, but none."""
    with pytest.raises(ValueError, match=text):
        ARGMAX.is_right(np.array(output), np.array(0))
    with pytest.raises(ValueError, match=r"shape \[1, 2, 2\], which rule argmax cannot compare"):
        ARGMAX.is_right(np.ones((1, 2, 2)), np.array(0))


def test_a_set_says_little_of_itself(tmp_path: Path) -> None:
    """In messages a set shows what it is, not all its tensors."""
    write_golden(
        tmp_path / "a.json", inputs={"x": np.zeros((9, 9))}, judge=ARGMAX, labels=np.zeros(9, int)
    )
    found: GoldenSet = read_golden(tmp_path / "a.json")
    assert "array" not in repr(found)
