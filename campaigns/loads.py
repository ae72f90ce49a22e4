"""How requests arrive: what a user writes of each kind of load.

Open loads send whatever became of earlier requests; closed ones wait for answers. The times
themselves are drawn in `schedule`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, PrivateAttr, Tag

from .traces import Trace, TraceCut

__all__ = [
    "LOADS",
    "BurstyLoad",
    "ClosedLoad",
    "DiurnalLoad",
    "Load",
    "MultiStreamLoad",
    "OfflineLoad",
    "SingleStreamLoad",
    "SteadyLoad",
    "TraceLoad",
]

_Rate = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
_Seconds = Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)]
_Scale = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]


class _Load(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    is_stationary: ClassVar[bool] = True
    """Whether each part of a window is offered what the others are."""


class SteadyLoad(_Load):
    """An open loop that never waits for answers, at one rate."""

    arrival: Literal["poisson", "constant"] = Field(
        default="poisson", description="Arrival process: independent users, or a fixed beat."
    )
    rate_hz: _Rate = Field(description="Requests per second that are offered, on average.")

    def __str__(self) -> str:
        """Return the load for people, for instance `poisson 120 Hz`."""
        return f"{self.arrival} {self.rate_hz:g} Hz"


class BurstyLoad(_Load):
    """An open loop that changes at random between quiet and bursts.

    It is a two-state Markov-modulated Poisson process: each state lasts an exponential time, and
    requests are independent of each other within it.
    """

    is_stationary: ClassVar[bool] = False

    arrival: Literal["mmpp"] = Field(description="Arrival process: bursts.")
    quiet_rate_hz: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] = Field(
        description="Requests per second outside bursts."
    )
    burst_rate_hz: _Rate = Field(description="Requests per second in a burst.")
    quiet_s: _Seconds = Field(description="Mean time between bursts.")
    burst_s: _Seconds = Field(description="Mean length of a burst.")

    @property
    def rate_hz(self) -> float:
        """Requests per second, on average."""
        requests = self.quiet_rate_hz * self.quiet_s + self.burst_rate_hz * self.burst_s
        return requests / (self.quiet_s + self.burst_s)

    def __str__(self) -> str:
        """Return the load for people, for instance `mmpp 20 Hz 4 s, 200 Hz 1 s`."""
        return (
            f"mmpp {self.quiet_rate_hz:g} Hz {self.quiet_s:g} s, "
            f"{self.burst_rate_hz:g} Hz {self.burst_s:g} s"
        )


class DiurnalLoad(_Load):
    """An open loop whose rate rises and falls as a sine, from its mean on, as days do."""

    is_stationary: ClassVar[bool] = False

    arrival: Literal["diurnal"] = Field(description="Arrival process: a day that may be short.")
    rate_hz: _Rate = Field(description="Requests per second, on average over a period.")
    period_s: _Seconds = Field(
        description="Length of a period; `trial.window_s` holds a whole number of them."
    )
    peak_to_mean: Annotated[float, Field(gt=1, le=2)] = Field(
        default=1.8, description="Highest rate over the mean rate."
    )

    def __str__(self) -> str:
        """Return the load for people, for instance `diurnal 100 Hz, 60 s, peak 1.8`."""
        return f"diurnal {self.rate_hz:g} Hz, {self.period_s:g} s, peak {self.peak_to_mean:g}"


class TraceLoad(_Load):
    """An open loop that replays what was recorded elsewhere, from its first row on."""

    is_stationary: ClassVar[bool] = False

    arrival: Literal["trace"] = Field(description="Arrival process: a recorded one.")
    path: Annotated[str, Field(min_length=1)] = Field(
        description="A CSV file, relative to this one. Its head is `arrival_s`, a row per request; "
        "or `start_s,count` or `start_s,rate_hz`, a row per interval."
    )
    time_scale: _Scale = Field(
        default=1.0,
        description="Times are multiplied by this, and the requests stay as many: 0.1 makes ten "
        "times the rate.",
    )
    rate_scale: _Scale = Field(
        default=1.0, description="So many requests are made of each one, on average."
    )
    _cut: TraceCut | None = PrivateAttr(default=None)
    _rate_hz: float | None = PrivateAttr(default=None)

    def attach(self, trace: Trace, window_s: float) -> TraceLoad:
        """Return the load with what the file says of a window.

        Raises:
            SpecError: When the trace is shorter than the window.
        """
        cut = trace.cut(window_s, time_scale=self.time_scale, rate_scale=self.rate_scale)
        load = self.at(cut.rate_hz)
        load._cut = cut
        return load

    def at(self, rate_hz: float | None) -> TraceLoad:
        """Return the load with the rate of its window alone, for where the file is not at hand."""
        load = self.model_copy()
        load._rate_hz = rate_hz
        return load

    @property
    def cut(self) -> TraceCut | None:
        """The part of the trace that a window replays; `None` before it was read."""
        return self._cut

    @property
    def rate_hz(self) -> float | None:
        """Requests per second of the window, on average; `None` before it is known."""
        return self._rate_hz

    def __str__(self) -> str:
        """Return the load for people, for instance `trace day.csv, time x 0.1`."""
        scales = (("time", self.time_scale), ("rate", self.rate_scale))
        return f"trace {self.path}" + "".join(f", {n} x {x:g}" for n, x in scales if x != 1)


class _ClosedLoad(_Load):
    @property
    def rate_hz(self) -> None:
        """Not known ahead: as many requests come as answers allow."""
        return


class ClosedLoad(_ClosedLoad):
    """A closed loop: each user waits for the answer, thinks, and asks again."""

    arrival: Literal["closed"] = Field(description="Users who wait for answers.")
    users: Annotated[int, Field(ge=1, le=10_000)] = Field(description="How many there are.")
    think_time_s: Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)] = Field(
        default=0.0, description="Mean time from an answer to the user's next request."
    )
    think_time: Literal["exponential", "constant"] = Field(
        default="exponential", description="Distribution of that time."
    )

    def __str__(self) -> str:
        """Return the load for people, for instance `closed 8 users, exponential 0.5 s`."""
        users = "1 user" if self.users == 1 else f"{self.users} users"
        if not self.think_time_s:
            return f"closed {users}"
        return f"closed {users}, {self.think_time} {self.think_time_s:g} s"


class SingleStreamLoad(_ClosedLoad):
    """MLPerf's single stream: the next request goes when the answer is there."""

    arrival: Literal["single_stream"] = Field(description="One request at a time.")

    def __str__(self) -> str:
        """Return the load for people."""
        return "single_stream"


class MultiStreamLoad(_ClosedLoad):
    """MLPerf's multi-stream: a query of several samples, the next when all are answered."""

    arrival: Literal["multi_stream"] = Field(description="One query at a time.")
    samples_per_query: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=8,
        description="Requests that are sent together; latency counts until the last is answered.",
    )

    def __str__(self) -> str:
        """Return the load for people, for instance `multi_stream 8`."""
        return f"multi_stream {self.samples_per_query}"


class OfflineLoad(_ClosedLoad):
    """MLPerf's offline: everything is asked at once, and throughput counts.

    The window lasts until the last answer, however long that is.
    """

    arrival: Literal["offline"] = Field(description="All at once.")
    samples: Annotated[int, Field(ge=1, le=5_000_000)] = Field(
        description="Requests of the window; all of them are due when it begins."
    )
    in_flight: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=64, description="So many are with the service at a time."
    )

    def __str__(self) -> str:
        """Return the load for people, for instance `offline 2000, 64 in flight`."""
        return f"offline {self.samples}, {self.in_flight} in flight"


LOADS: dict[str, type[_Load]] = {
    "poisson": SteadyLoad,
    "constant": SteadyLoad,
    "mmpp": BurstyLoad,
    "diurnal": DiurnalLoad,
    "trace": TraceLoad,
    "closed": ClosedLoad,
    "single_stream": SingleStreamLoad,
    "multi_stream": MultiStreamLoad,
    "offline": OfflineLoad,
}
"""Each kind of load by what `arrival` says."""


def _tag(value: object) -> str | None:
    """Return which kind a load is; without a word it is a Poisson process."""
    if isinstance(value, dict):
        arrival = value.get("arrival", "poisson")
    else:
        arrival = getattr(value, "arrival", None)
    if arrival is None and not isinstance(value, dict):
        return None
    return "poisson" if arrival == "constant" else str(arrival)


Load = Annotated[
    Annotated[SteadyLoad, Tag("poisson")]
    | Annotated[BurstyLoad, Tag("mmpp")]
    | Annotated[DiurnalLoad, Tag("diurnal")]
    | Annotated[TraceLoad, Tag("trace")]
    | Annotated[ClosedLoad, Tag("closed")]
    | Annotated[SingleStreamLoad, Tag("single_stream")]
    | Annotated[MultiStreamLoad, Tag("multi_stream")]
    | Annotated[OfflineLoad, Tag("offline")],
    Discriminator(_tag),
]
"""Any kind of load."""
