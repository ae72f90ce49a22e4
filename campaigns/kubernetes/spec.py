"""How a user writes where in a cluster a service is measured, and who tells its energy."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["KubernetesSpec", "PodResources"]

_Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
_Quantity = str | int | float
_IMAGE = re.compile(
    r"[a-z0-9][\w.-]*(:\d+)?(/[a-z0-9][\w.-]*)*(:\w[\w.-]{0,127})?(@sha256:[0-9a-f]{64})?"
)
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PodResources(_Strict):
    """CPU, memory and devices of the pod, as Kubernetes writes quantities."""

    requests: dict[str, _Quantity] = Field(
        default={}, description="What the node keeps free for it, such as `{cpu: 500m}`."
    )
    limits: dict[str, _Quantity] = Field(
        default={},
        description="The most it gets; a limit on CPU throttles, and shows in the latency.",
    )


class KubernetesSpec(_Strict):
    """A cluster to measure in: each trial is a Deployment of its own, removed after it."""

    namespace: str = Field(description="Where the Deployments go; it has to be there already.")
    image: str = Field(
        description="The image of scenarios' services, with a tag or a digest; "
        "`campaigns/scenarios/Dockerfile` makes it."
    )
    prometheus_url: Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$")] = Field(
        description="Base URL of the Prometheus that scrapes the energy exporters; where it asks "
        "for a bearer token, JOULERY_PROMETHEUS_TOKEN has it."
    )
    context: str | None = Field(
        default=None, description="Context of the kubeconfig; without it, the current one."
    )
    nodes: dict[_Name, dict[str, str]] = Field(
        default={},
        description="Labels that a node must have, by the name that `factors.node` calls them.",
    )
    resources: PodResources | None = Field(
        default=None, description="CPU and memory of the pod; without it, the chart's."
    )
    reach: Literal["pod_ip", "port_forward"] = Field(
        default="pod_ip",
        description="How requests get to the pod: straight to its address, where this machine has "
        "a way to it, or through the API server, which adds to each latency.",
    )
    values: dict[str, Any] = Field(
        default={},
        description="More values of the chart in `campaigns/chart`, such as `tolerations`.",
    )

    @field_validator("image")
    @classmethod
    def _is_image(cls, image: str) -> str:
        if not _IMAGE.fullmatch(image):
            raise ValueError("an image, such as registry.example/joulery-service:0.1.0")
        return image

    @field_validator("namespace")
    @classmethod
    def _is_namespace(cls, namespace: str) -> str:
        if not _LABEL.fullmatch(namespace):
            raise ValueError("lower case letters, digits and -, at most 63")
        return namespace
