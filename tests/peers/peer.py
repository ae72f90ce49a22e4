"""A process in a peer's environment whose functions can be called, and how tensors get there."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulery.profiler.oip import DATATYPES, datatype_of

__all__ = ["INSIDE", "Peer", "Raised", "packed", "packed_all", "unpacked"]

INSIDE = Path(__file__).parent / "inside"
"""Scripts that run in the environments of peers."""


class Raised(Exception):
    """What a peer raised: the name of its error, and what it said."""

    def __init__(self, kind: str, said: str) -> None:
        super().__init__(f"{kind}: {said}")
        self.kind, self.said = kind, said


class Peer:
    """A script of the folder `inside`, run by the Python of an environment."""

    def __init__(self, python: Path, script: str) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed at the end
        self._process = subprocess.Popen(
            [str(python), str(INSIDE / script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def __enter__(self) -> Peer:
        """Return the running process."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it: it ends with its input."""
        self._process.communicate()
        self._errors.close()

    def __call__(self, function: str, **arguments: Any) -> Any:
        """Call a function of the script.

        Raises:
            Raised: It raised something.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([function, arguments]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise AssertionError(f"the peer ended: {self._errors.read()}")
        answer = json.loads(line)
        if "raised" in answer:
            raise Raised(answer["raised"], answer["said"])
        return answer["returned"]


def packed(array: NDArray[Any]) -> dict[str, Any]:
    """Return a tensor as it goes to a peer; `inside/calls.py` is the other end.

    Of a tensor that is one value broadcast, only that value goes.
    """
    values = array.ravel() if any(array.strides) else array.ravel()[:1]
    shape = list(array.shape)
    return {"datatype": datatype_of(array.dtype), "shape": shape, "data": values.tolist()}


def packed_all(tensors: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return several tensors so."""
    return {name: packed(array) for name, array in tensors.items()}


def unpacked(tensor: Mapping[str, Any]) -> NDArray[Any]:
    """Return a tensor that came from a peer."""
    array: NDArray[Any] = np.array(tensor["data"], dtype=DATATYPES[tensor["datatype"]])
    return array.reshape(tensor["shape"])
