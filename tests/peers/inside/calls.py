"""Runs in a peer's environment: functions that are called by lines of JSON, one after the other.

Tensors travel as their datatype, shape and flat data. JSON carries every value of them exactly.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

__all__ = ["packed", "serve", "unpacked"]

_KINDS = {"BOOL": "bool", "FP16": "float16", "FP32": "float32", "FP64": "float64"}


def unpacked(tensor: Mapping[str, Any]) -> Any:
    """Return a tensor that came by a line; a single value fills its shape."""
    kind = _KINDS.get(tensor["datatype"], tensor["datatype"].lower())
    values = np.array(tensor["data"], dtype=kind)
    if values.size == 1:
        return np.full(tensor["shape"], values[0])
    return values.reshape(tensor["shape"])


def packed(datatype: str, array: Any) -> dict[str, Any]:
    """Return a tensor as it goes into a line, by the datatype that the peer was told."""
    return {"datatype": datatype, "shape": list(array.shape), "data": array.ravel().tolist()}


def serve(*functions: Callable[..., Any]) -> None:
    """Call what each line of standard input says and print what it returns or raises, to the end.

    What a function prints of its own goes to standard error.
    """
    known = {function.__name__: function for function in functions}
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        name, arguments = json.loads(line)
        try:
            answer = {"returned": known[name](**arguments)}
        except Exception as error:  # noqa: BLE001  whatever it is, it is the answer
            answer = {"raised": type(error).__name__, "said": str(error)}
        print(json.dumps(answer), file=answers, flush=True)
