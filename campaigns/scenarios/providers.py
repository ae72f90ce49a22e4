"""What runs a model: ONNX Runtime's execution providers, by names for people.

Source: ONNX Runtime, "Execution Providers". Which there are depends on the build of the runtime
that is installed; it falls back to the CPU in silence, so what it really took is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnxruntime

from ...errors import SpecError

__all__ = ["PROVIDERS", "Provider", "available_providers", "provider"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One execution provider.

    Args:
        name: As users write it.
        runtime: As ONNX Runtime calls it.
        package: What installs a runtime that has it.
        options: That it is asked for with.
    """

    name: str
    runtime: str
    package: str
    options: Mapping[str, str] = field(default_factory=dict)


_OPENVINO = "OpenVINOExecutionProvider"

PROVIDERS: Mapping[str, Provider] = {
    one.name: one
    for one in (
        Provider(name="cpu", runtime="CPUExecutionProvider", package="onnxruntime"),
        Provider(name="cuda", runtime="CUDAExecutionProvider", package="onnxruntime-gpu"),
        Provider(name="tensorrt", runtime="TensorrtExecutionProvider", package="onnxruntime-gpu"),
        *(
            Provider(
                name=f"openvino-{device.lower()}",
                runtime=_OPENVINO,
                package="onnxruntime-openvino",
                options={"device_type": device},
            )
            for device in ("CPU", "GPU", "NPU")
        ),
        Provider(
            name="qnn",
            runtime="QNNExecutionProvider",
            package="onnxruntime-qnn",
            options={"backend_path": "libQnnHtp.so"},
        ),
        Provider(
            name="vitisai",
            runtime="VitisAIExecutionProvider",
            package="the Ryzen AI or Vitis AI software of its vendor",
        ),
    )
}
"""All that can be asked for, by name."""


def available_providers() -> list[str]:
    """Return the names of those that the installed runtime has; their devices may be missing."""
    there = set(onnxruntime.get_available_providers())
    return [name for name, one in PROVIDERS.items() if one.runtime in there]


def provider(name: str) -> Provider:
    """Return one by its name.

    Raises:
        SpecError: There is none of that name, or the installed runtime lacks it.
    """
    found = PROVIDERS.get(name)
    if found is None:
        raise SpecError("provider", found=repr(name), expected=f"one of {', '.join(PROVIDERS)}")
    there = available_providers()
    if name not in there:
        raise SpecError(
            f"provider {name}",
            found=f"a runtime that has {', '.join(there)}",
            expected=f"one with {found.runtime}",
            remedy=f"put {found.package} in the place of onnxruntime",
        )
    return found
