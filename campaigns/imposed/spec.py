"""How a user writes an environment: a name, and what is to be so while a service is measured."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["EnvironmentSpec"]


class EnvironmentSpec(BaseModel):
    """What the machine is made to be for a trial; what is left out stays as it is found."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")] = Field(description="Short name.")
    neighbour_cpus: Annotated[float, Field(gt=0, le=4096, allow_inf_nan=False)] | None = Field(
        default=None,
        description="So much CPU time a second another process asks for, on the service's CPUs, "
        "during warm-up and window; at most as many as `threads`.",
    )
    governor: Annotated[str, Field(pattern=r"^[a-z_]+$")] | None = Field(
        default=None,
        description="The kernel's governor of CPU frequency, such as `powersave`, for the "
        "service's CPUs; needs root.",
    )
    max_frequency_mhz: Annotated[float, Field(gt=0, le=1e5, allow_inf_nan=False)] | None = Field(
        default=None, description="The highest frequency of those CPUs, in MHz; needs root."
    )

    @property
    def sets_frequency(self) -> bool:
        """Whether it changes how fast CPUs run."""
        return self.governor is not None or self.max_frequency_mhz is not None
