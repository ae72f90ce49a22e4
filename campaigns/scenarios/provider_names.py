"""The names of execution providers, for those who check a specification and load no runtime."""

from __future__ import annotations

__all__ = ["PROVIDER_NAMES"]

PROVIDER_NAMES = (
    "cpu",
    "cuda",
    "tensorrt",
    "openvino-cpu",
    "openvino-gpu",
    "openvino-npu",
    "qnn",
    "vitisai",
)
