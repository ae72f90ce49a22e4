"""What the tests of the inference server share."""

from __future__ import annotations

from pathlib import Path

import pytest

from .onnx_models import doubling_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model whose leading axis has any length."""
    return doubling_model(tmp_path_factory.mktemp("model") / "twice.onnx")
