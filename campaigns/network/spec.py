"""How a user writes network conditions: a preset, a trace, or figures by direction."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...errors import SpecError
from .conditions import Conditions, Link
from .presets import preset
from .trace import read_trace

__all__ = ["LinkSpec", "NetworkSpec"]

_Delay = Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)]
_Time = Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class LinkSpec(_Strict):
    """One direction of a network; what is left out is perfect."""

    delay_s: _Delay = Field(default=0.0, description="Propagation one way; none is faster.")
    jitter_s: _Delay = Field(
        default=0.0,
        description="What comes on top, at random: exponential, so that this is its mean.",
    )
    rate_mbps: Annotated[float, Field(gt=0, le=1e5, allow_inf_nan=False)] | None = Field(
        default=None, description="Payload rate of all connections together, in Mbit/s."
    )
    loss_ratio: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="Share of segments that are lost, and sent again."
    )
    outages_s: tuple[tuple[_Time, _Time], ...] = Field(
        default=(), description="Begin and end of each time in which nothing passes."
    )

    def link(self) -> Link:
        """Return the figures.

        Raises:
            SpecError: When outages overlap, or end before they begin.
        """
        return Link(
            delay_s=self.delay_s,
            jitter_s=self.jitter_s,
            rate_bps=None if self.rate_mbps is None else self.rate_mbps * 1e6,
            loss_ratio=self.loss_ratio,
            outages=self.outages_s,
        )


class NetworkSpec(_Strict):
    """Network conditions: one of `preset`, `trace`, or `up` and `down`."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")] | None = Field(
        default=None, description="Short name; without it, the preset's or the file's."
    )
    preset: Literal["lan", "wifi", "4g", "5g-urban", "5g-rural", "satellite"] | None = Field(
        default=None, description="Figures that were published of a kind of network."
    )
    trace: str | None = Field(
        default=None,
        description="Figures that change with time: a CSV file, relative to this one.",
    )
    device: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.@:-]{1,15}$")] | None = Field(
        default=None,
        description="Network device of this machine on which the kernel's netem makes them, for "
        "services elsewhere; without it, a link emulator does. All programs that use the device "
        "meet them; needs root.",
    )
    up: LinkSpec | None = Field(default=None, description="What requests meet.")
    down: LinkSpec | None = Field(default=None, description="What answers meet.")

    @model_validator(mode="after")
    def _one_way_of_saying_it(self) -> Self:
        ways = (self.preset, self.trace, self.up or self.down)
        if sum(way is not None for way in ways) != 1:
            raise ValueError("one of preset, trace, or up and down")
        if self.name is None and self.preset is None and self.trace is None:
            raise ValueError("a name, for figures of your own")
        if self.trace is not None and self.device is not None:
            raise ValueError("trace or device: netem's figures stay as they are")
        return self

    def conditions(self, folder: Path) -> Conditions:
        """Return the conditions.

        Args:
            folder: Where the file is that this was written in.

        Raises:
            SpecError: When the trace is none, or outages are out of order.
        """
        if self.preset is not None:
            found = preset(self.preset)
        elif self.trace is not None:
            found = read_trace(folder / self.trace)
        else:
            up, down = (self._link(way, one) for way, one in (("up", self.up), ("down", self.down)))
            found = Conditions(name=str(self.name), up=up, down=down)
        return Conditions(
            name=self.name or found.name,
            up=found.up,
            down=found.down,
            changes=found.changes,
            origin=found.origin,
            device=self.device,
        )

    def _link(self, way: str, one: LinkSpec | None) -> Link:
        try:
            return Link() if one is None else one.link()
        except SpecError as error:
            raise error.at(f"network {self.name}", f"{way}.{error.place}") from None
