"""What runs a model: found by its name, or missing with a remedy."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from joulery.campaigns.scenarios.model import Model
from joulery.campaigns.scenarios.provider_names import PROVIDER_NAMES
from joulery.campaigns.scenarios.providers import PROVIDERS, available_providers, provider
from joulery.errors import SpecError
from joulery.tests.campaigns.scenarios.onnx_models import doubling_model


def test_the_runtime_knows_the_names() -> None:
    """Each is called what ONNX Runtime itself calls it."""
    known = set(onnxruntime.get_all_providers())
    assert {one.runtime for one in PROVIDERS.values()} <= known


def test_the_cpu_is_everywhere(tmp_path: Path) -> None:
    """It is among the available, and runs a model."""
    assert "cpu" in available_providers()
    assert Model(doubling_model(tmp_path / "model.onnx"), 1, "cpu").batches


def test_a_provider_that_the_runtime_lacks(tmp_path: Path) -> None:
    """The error names it, what there is, and the package to install."""
    missing = [name for name in PROVIDERS if name not in available_providers()]
    assert missing, "a runtime that has all of them was never built"
    for name in missing:
        with pytest.raises(SpecError, match=f"provider {name}: found a runtime that has cpu"):
            Model(doubling_model(tmp_path / "model.onnx"), 1, name)


def test_a_provider_that_nobody_knows() -> None:
    """The error lists those that are known."""
    with pytest.raises(SpecError, match="found 'gpu', expected one of cpu, cuda"):
        provider("gpu")


def test_the_names_are_listed_apart() -> None:
    """What a specification may name is what there is."""
    assert tuple(PROVIDERS) == PROVIDER_NAMES
