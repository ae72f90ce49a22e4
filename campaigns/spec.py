"""What a user writes: the specification of a campaign, read from YAML and checked.

Units stand at the end of each key. Only the file's own form is checked here; whether a scenario
or a model exists is checked where the trials are planned (`design`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import SpecError

__all__ = [
    "CampaignSpec",
    "Endpoint",
    "Factors",
    "Limits",
    "Load",
    "ScenarioSpec",
    "Slo",
    "TrialTimes",
    "load_spec",
    "parse_spec",
]

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Seconds = Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=1)]
_Ratio = Annotated[float, Field(gt=0, lt=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Load(_Strict):
    """How requests arrive: an open loop that never waits for answers."""

    arrival: Literal["poisson", "constant"] = Field(
        default="poisson", description="Arrival process: independent users, or a fixed beat."
    )
    rate_hz: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = Field(
        description="Requests per second that are offered, on average."
    )

    def __str__(self) -> str:
        """Return the load for people, for instance `poisson 120 Hz`."""
        return f"{self.arrival} {self.rate_hz:g} Hz"


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
        "`precision`, `batch` and `threads` say what it has: one level each.",
    )
    factors: Factors = Field(description="The levels to try.")


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
        default=5.0, description="An answer later than this after its intended send time failed."
    )
    startup_max_s: _Seconds = Field(default=60.0, description="Longest start of a service.")


class Slo(_Strict):
    """The objective for latency: the report names best those configurations that keep it."""

    latency_s: _Positive = Field(description="Latency that must be kept.")
    percentile: _Ratio = Field(default=0.95, description="Share of requests that must keep it.")


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
    idle_drift_ratio: _Positive = Field(
        default=0.25, description="Change of idle power from before to after, relative."
    )
    failure_ratio: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.01, description="Share of requests that may fail."
    )
    generator_cpu_ratio: _Ratio = Field(
        default=0.9, description="Above this use of one core the generator is the bottleneck."
    )
    retries: Annotated[int, Field(ge=0)] = Field(
        default=1, description="How often an invalid trial is tried again, at the end."
    )


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
    loads: tuple[Load, ...] = Field(min_length=1, description="The loads; each is a level.")
    repeats: _Count = Field(default=3, description="Blocks: how often every cell is measured.")
    design: Literal["randomised_complete_blocks"] = Field(
        default="randomised_complete_blocks",
        description="Each block holds every configuration and load once, in random order.",
    )
    trial: TrialTimes = Field(default=TrialTimes(), description="Durations.")
    slo: Slo = Field(default=Slo(latency_s=0.1), description="The objective for latency.")
    limits: Limits = Field(default=Limits(), description="When a trial is invalid.")


def load_spec(path: Path) -> CampaignSpec:
    """Read and check a specification.

    Raises:
        SpecError: With file, line, key, what was found and what was expected.
    """
    subject = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError(
            subject,
            found="no such file",
            expected="a campaign specification in YAML",
            remedy="campaigns/quickstart.yaml is one to start from",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(subject, found=str(error), expected="a readable text file") from None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        lines = {} if node is None else dict(_lines(node, (), subject))
        document = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise SpecError(
            subject,
            place=f"line {mark.line + 1}" if mark else None,
            found=str(error.problem or error.context),
            expected="YAML",
        ) from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise SpecError(subject, found=str(error).splitlines()[0], expected="plain YAML") from None
    if node is None:
        raise SpecError(
            subject,
            found="an empty file",
            expected="a campaign specification",
            remedy="`joulery spec schema` lists every key",
        )
    try:
        return parse_spec(document)
    except ValidationError as error:
        raise _explain(error, subject, lines) from None


def parse_spec(document: Any) -> CampaignSpec:
    """Check a specification that was read already.

    Raises:
        pydantic.ValidationError: When it is wrong.
    """
    return CampaignSpec.model_validate(_tuples(document))


def _lines(
    node: yaml.Node, path: tuple[str | int, ...], subject: str
) -> Iterator[tuple[tuple[str | int, ...], int]]:
    """Yield the line of each key and item; refuse a key that stands twice (YAML would drop one)."""
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                raise SpecError(
                    subject,
                    place=f"line {key.start_mark.line + 1}, {_dotted((*path, name))}",
                    found="the key a second time",
                    expected="each key once",
                    remedy="remove one of the two",
                )
            seen.add(name)
            yield from _lines(value, (*path, name), subject)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(value, (*path, index), subject)


def _tuples(value: Any) -> Any:
    """Return the document with tuples for lists: strict mode takes no list for a tuple."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _dotted(path: Sequence[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _explain(
    error: ValidationError, subject: str, lines: Mapping[tuple[str | int, ...], int]
) -> SpecError:
    """Turn pydantic's list into one message about its first entry, and count the others."""
    # A misspelt key is also a missing key: the misspelling explains both, so it goes first.
    first, *others = sorted(
        error.errors(include_url=False), key=lambda entry: entry["type"] != "extra_forbidden"
    )
    path = tuple(first["loc"])
    line = next(
        (lines[path[:length]] for length in range(len(path), -1, -1) if path[:length] in lines), 1
    )
    found, expected, remedy = _facts(first, path)
    # What holds the first mistake is wrong because of it, and not worth a word of its own.
    also = sorted({_dotted(e["loc"]) for e in others if e["loc"] != path[: len(e["loc"])]})
    if also:
        remedy = (f"{remedy}; " if remedy else "") + f"also look at {', '.join(also)}"
    return SpecError(
        subject,
        place=f"line {line}" + (f", {_dotted(path)}" if path else ""),
        found=found,
        expected=expected,
        remedy=remedy or None,
    )


_BOUNDS = {
    "greater_than": "> {gt}",
    "greater_than_equal": ">= {ge}",
    "less_than": "< {lt}",
    "less_than_equal": "<= {le}",
}


def _facts(entry: Any, path: tuple[str | int, ...]) -> tuple[str, str, str]:
    """Return found, expected and remedy of one of pydantic's entries."""
    kind, context = entry["type"], entry.get("ctx", {})
    if kind == "extra_forbidden":
        known = _keys_at(path[:-1])
        near = difflib.get_close_matches(str(path[-1]), known, n=1)
        return (
            f"the unknown key '{path[-1]}'",
            "one of " + ", ".join(known),
            f"did you mean '{near[0]}'?" if near else "`joulery spec schema` explains each",
        )
    if kind == "missing":
        return "nothing", f"the key '{path[-1]}'", f"add '{path[-1]}:'"
    found = repr(entry["input"])
    if kind in _BOUNDS:
        return found, f"a number {_BOUNDS[kind].format(**context)}", ""
    if kind == "literal_error":
        return found, str(context["expected"]), ""
    if kind == "string_pattern_mismatch":
        is_url = context["pattern"].startswith("^http")
        return found, "a URL" if is_url else "lower case letters, digits, - and _", ""
    if kind == "tuple_type":
        return found, "a list", f"write [{entry['input']}]"
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return found, "keys with values", ""
    if kind == "too_short":
        return "nothing in it", f"at least {context['min_length']}", ""
    if entry["input"] is None:
        found = "nothing"
    if kind == "float_type" and _is_number(entry["input"]):
        return found, "a number", "YAML reads it as text: write 1.0e-2, not 1e-2"
    message = entry["msg"].removeprefix("Input should be ")
    return found, message[0].lower() + message[1:], ""


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True


def _keys_at(path: Sequence[str | int]) -> list[str]:
    """Return the keys that the specification knows at a place."""
    model: type[BaseModel] = CampaignSpec
    for part in path:
        if isinstance(part, str):
            annotation = model.model_fields[part].annotation
            inner = getattr(annotation, "__args__", (annotation,))[0]
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                model = inner
    return list(model.model_fields)
