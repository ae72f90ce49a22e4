"""What a user writes: the specification of a campaign; `spec_file` reads it.

Units stand at the end of each key. Only the file's own form is checked here; whether a scenario
or a model exists is checked where the trials are planned (`design`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .imposed.spec import EnvironmentSpec
from .kubernetes.spec import KubernetesSpec
from .loads import Load
from .network.spec import NetworkSpec
from .search import RateSearch
from .stopping import StoppingRule

__all__ = [
    "CampaignSpec",
    "Endpoint",
    "Factors",
    "Generator",
    "Limits",
    "Load",
    "OwnDetector",
    "ScenarioSpec",
    "Slo",
    "Subset",
    "TrialTimes",
    "parse_spec",
]

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Seconds = Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=1)]
_Ratio = Annotated[float, Field(gt=0, lt=1)]
_NotNegative = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
_Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Overlap = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
_Side = Annotated[int, Field(ge=16, le=8192)]
_Finite = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
_Divisor = Annotated[float, Field(ge=1e-6, le=1e6, allow_inf_nan=False)]
_Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
_Scale = Annotated[float, Field(ge=0.05, le=1, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Factors(_Strict):
    """Levels of each factor of the service; the campaign crosses all of them."""

    model: tuple[str, ...] = Field(min_length=1, description="Models; see `joulery scenarios`.")
    precision: tuple[str, ...] = Field(
        default=("fp32",),
        min_length=1,
        description="Number formats; a model is left out in a precision it does not have.",
    )
    batch: tuple[_Count, ...] = Field(
        default=(1,), min_length=1, description="Most requests that one model run answers."
    )
    threads: tuple[_Count, ...] = Field(
        default=(1,), min_length=1, description="Threads of one model run."
    )
    provider: tuple[str, ...] = Field(
        default=("cpu",), min_length=1, description="What runs the model; see `joulery doctor`."
    )
    node: tuple[str, ...] = Field(
        default=(),
        description="Nodes of a cluster: names of `kubernetes.nodes`, or of hosts; without it, the "
        "scheduler's choice.",
    )
    max_exit: tuple[_Count, ...] = Field(
        default=(),
        description="Last exit that a request may reach, from 1, for models that may stop early.",
    )
    exit_threshold: tuple[_NotNegative, ...] = Field(
        default=(),
        description="Confidence from which a request leaves early, for the same models; without "
        "it, none does before `max_exit`.",
    )
    resolution: tuple[_Scale, ...] = Field(
        default=(),
        description="Share of a frame's width and height that is looked at, for detectors.",
    )
    stride: tuple[_Count, ...] = Field(
        default=(),
        description="Each so-many-th frame is sent, for detectors; `rate_hz` counts frames, and "
        "objects are tracked through those between.",
    )
    score_threshold: tuple[_Score, ...] = Field(
        default=(),
        description="Least score of a detection that counts, for detectors; without it, whatever "
        "one that ships answers, and 0.05 for your own.",
    )


class OwnDetector(_Strict):
    """A detector of your own, for `video_analytics`: ONNX files of YOLO, SSD or CenterNet."""

    files: dict[_Name, str] = Field(
        min_length=1, description="Its ONNX file in each precision, relative to this file."
    )
    sha256: dict[_Name, Annotated[str, Field(min_length=64, max_length=64)]] = Field(
        default={},
        description="Which files they have to be, by precision; a dataset has it in its copy.",
    )
    classes: dict[Literal["person", "vehicle"], tuple[int | str, ...]] | None = Field(
        default=None,
        description="Numbers or names of its classes that are persons and vehicles, such as "
        "`{person: [0], vehicle: [1, 2, 3, 5, 6, 7]}` for COCO's 80; without it, the names in the "
        "file's metadata say it.",
    )
    layout: Literal["yolov5", "yolov8", "end_to_end", "ssd", "centernet"] | None = Field(
        default=None,
        description="How it lays out what it found (YOLOv11 is as yolov8); without it, its outputs "
        "tell.",
    )
    size_px: tuple[_Side, _Side] | None = Field(
        default=None,
        description="Width and height of its picture where the file leaves them open; without it, "
        "those that its metadata tells, or 640 each.",
    )
    mean: tuple[_Finite, _Finite, _Finite] | None = Field(
        default=None, description="Taken from red, green and blue, each from 0 to 1; without it, 0."
    )
    std: tuple[_Divisor, _Divisor, _Divisor] | None = Field(
        default=None, description="What they are then divided by; without it, 1."
    )
    logits: bool | None = Field(
        default=None,
        description="Whether its scores have yet to go through the logistic function; without it, "
        "only those of a heat map that does not end with one.",
    )
    most_iou: _Overlap | None = Field(
        default=None,
        description="Of detections of a class that overlap more, the surest stays; without it, "
        "0.45. Layouts without doubles keep all.",
    )

    def said(self) -> dict[str, Any]:
        """Return what its files do not tell, as JSON has it."""
        told = self.model_dump(mode="json", exclude={"files", "sha256"})
        return {key: value for key, value in told.items() if value is not None}


class Endpoint(_Strict):
    """A server that runs already, anywhere, and speaks the Open Inference Protocol over REST."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$")] = Field(
        description="Its base URL, for instance `http://10.0.0.7:8080`; the models that it serves "
        "have the names they have here."
    )
    binary: bool | None = Field(
        default=None,
        description="Whether tensors go as binary data, else as JSON; without it, as the server's "
        "metadata says.",
    )


class ScenarioSpec(_Strict):
    """One AI service, its data and the levels to try."""

    scenario: str = Field(description="Name of the scenario; see `joulery scenarios`.")
    data: str | None = Field(
        default=None,
        description="Your own data, relative to this file; without it, the data that ships.",
    )
    batch_wait_s: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = Field(
        default=0.005, description="Longest time a request waits for others of its batch."
    )
    endpoint: Endpoint | None = Field(
        default=None,
        description="Ask this server instead of starting one. Its energy is not known here, and "
        "the factors other than `model` say what it has: one level each.",
    )
    kubernetes: KubernetesSpec | None = Field(
        default=None,
        description="Measure in a cluster: a Deployment for each trial, and its energy from the "
        "exporters, through Prometheus; see docs/kubernetes.md.",
    )
    detectors: dict[_Name, OwnDetector] = Field(
        default={},
        description="Detectors of your own by name; `factors.model` names them like others.",
    )
    factors: Factors = Field(description="The levels to try.")
    derived: dict[_Name, str] = Field(
        default={},
        description="Factors whose level follows from others, by an expression of their names, for "
        "instance `{threads: 'min(batch, 4)'}`; they are not crossed.",
    )


class TrialTimes(_Strict):
    """How long the parts of a trial take."""

    idle_s: _Seconds = Field(
        default=1.0, description="Idle baseline before and after the load, each."
    )
    warmup_round_s: _Seconds = Field(
        default=0.5, description="Load is applied in rounds until two in a row agree."
    )
    warmup_max_s: _Seconds = Field(
        default=10.0, description="Rounds that do not agree by then: the trial is invalid."
    )
    window_s: _Seconds = Field(default=10.0, description="The measured window.")
    timeout_s: _Seconds = Field(
        default=5.0,
        description="An answer later than this after its request became due failed; with "
        "`offline`, after its request's turn came.",
    )
    startup_max_s: _Seconds = Field(default=60.0, description="Longest start of a service.")
    cool_down_max_s: Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)] = Field(
        default=30.0,
        description="Longest wait before the idle baseline for the machine to cool down, or, "
        "without a sensor of temperature, for its measured power to settle; 0: no wait.",
    )
    cool_down_c: _Positive = Field(
        default=3.0,
        description="So much warmer than before the first trial is cool enough, in °C; so is a "
        "temperature that falls no more.",
    )


class Slo(_Strict):
    """The objective for latency: the report names best those configurations that keep it."""

    latency_s: _Positive = Field(description="Latency that must be kept.")
    percentile: Annotated[float, Field(ge=1e-6, le=1 - 1e-6)] = Field(
        default=0.95, description="Share of requests that must keep it."
    )


class Limits(_Strict):
    """What makes a trial invalid; its rows are kept and flagged."""

    send_lag_p99_s: _Positive = Field(
        default=0.005, description="The generator may send this late, at its 99th percentile."
    )
    steady_ratio: _Positive = Field(
        default=0.25, description="Two warm-up rounds agree when their medians differ by less."
    )
    subwindow_cv_ratio: _Positive = Field(
        default=0.5, description="Coefficient of variation between the quarters of the window."
    )
    backlog_ratio: _Positive = Field(
        default=0.1,
        description="With `poisson` or `constant`, so many answers may be missing to the requests "
        "of the window's second half, relative: a service that falls behind is overloaded.",
    )
    idle_drift_ratio: _Positive = Field(
        default=0.25, description="Change of idle power from before to after, relative."
    )
    failure_ratio: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.01, description="Share of requests that may fail."
    )
    generator_cpu_ratio: _Ratio = Field(
        default=0.9, description="Above this use of one core the generator is the bottleneck."
    )
    link_late_ratio: _Ratio = Field(
        default=0.01,
        description="Share of deliveries that an emulated network may make 1 ms late or more.",
    )
    neighbour_ratio: _Ratio = Field(
        default=0.35,
        description="Share of all CPUs' time that others may use, or the hypervisor keep, during "
        "the window.",
    )
    clock_step_s: _Positive = Field(
        default=0.05,
        description="How far the wall clock may move against the monotonic one in the window; 0.1 "
        "% of a long window is never too far.",
    )
    retries: Annotated[int, Field(ge=0)] = Field(
        default=1, description="How often an invalid trial is tried again, at the end."
    )


class Generator(_Strict):
    """What sends the load."""

    processes: _Count = Field(
        default=1,
        description="Processes that share the requests, when one core cannot send them all.",
    )


class Subset(_Strict):
    """Which cells are measured when all are too many: `fraction` or `hypercube`."""

    fraction: Annotated[int, Field(ge=2)] | None = Field(
        default=None,
        description="One in so many: a fractional factorial for factors with any number of levels, "
        "in which each level comes about equally often.",
    )
    hypercube: Annotated[int, Field(ge=2, le=10_000)] | None = Field(
        default=None, description="So many of each scenario, spread evenly: a Latin hypercube."
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.fraction is None) == (self.hypercube is None):
            raise ValueError("fraction or hypercube")
        return self


class CampaignSpec(_Strict):
    """A campaign: scenarios and their factors, crossed with loads, repeated in random order."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")] = Field(
        description="Short name: lower case letters, digits, - and _."
    )
    title: str = Field(default="", description="The name for people.")
    seed: Annotated[int, Field(ge=0)] = Field(
        default=1, description="Everything random follows from it."
    )
    scenarios: tuple[ScenarioSpec, ...] = Field(min_length=1, description="What is measured.")
    include: tuple[str, ...] = Field(
        default=(),
        description="Other files whose keys hold where this one has none, relative to it; paths in "
        "them are relative to the campaign's own file.",
    )
    loads: tuple[Load, ...] = Field(
        default=(), description="The loads; each is a level. Without `search`, at least one."
    )
    search: RateSearch | None = Field(
        default=None,
        description="Instead of loads: search the highest rate at which `slo` is kept, in each "
        "block, for each configuration, network and environment.",
    )
    networks: tuple[NetworkSpec, ...] = Field(
        default=(),
        description="Networks between load generator and service, emulated; each is a level.",
    )
    environments: tuple[EnvironmentSpec, ...] = Field(
        default=(),
        description="What this machine is made to be while a service is measured; each is a level.",
    )
    constraints: tuple[str, ...] = Field(
        default=(),
        description="Conditions that every cell keeps, such as `batch <= 8 or threads > 1`, on "
        "names of factors, `scenario`, `load`, `rate_hz`, `network` and `environment`. One that "
        "names what a cell does not have says nothing of it.",
    )
    subset: Subset | None = Field(
        default=None, description="Measure some of the cells; without it, all."
    )
    repeats: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=3, description="Blocks: how often every cell is measured."
    )
    stopping: StoppingRule | None = Field(
        default=None,
        description="Leave a cell out of further blocks once its interval is narrow enough; "
        "`repeats` is then the most.",
    )
    design: Literal["randomised_complete_blocks"] = Field(
        default="randomised_complete_blocks",
        description="Each block holds every configuration and load once, in random order.",
    )
    trial: TrialTimes = Field(default=TrialTimes(), description="Durations.")
    slo: Slo = Field(default=Slo(latency_s=0.1), description="The objective for latency.")
    limits: Limits = Field(default=Limits(), description="When a trial is invalid.")
    generator: Generator = Field(default=Generator(), description="The load generator.")

    @model_validator(mode="after")
    def _loads_or_search(self) -> Self:
        if bool(self.loads) == (self.search is not None):
            raise ValueError("loads or search")
        return self


def parse_spec(document: Any) -> CampaignSpec:
    """Check a specification that was read already.

    Raises:
        pydantic.ValidationError: When it is wrong.
    """
    return CampaignSpec.model_validate(_tuples(document))


def _tuples(value: Any) -> Any:
    """Return the document with tuples for lists: strict mode takes no list for a tuple."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
