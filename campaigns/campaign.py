"""One campaign, read, checked and planned: what to measure, on which data, into which folder.

Nothing is measured here, and nothing is written.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from .. import __version__
from ..datasets.store import About
from ..errors import SpecError
from .design import Plan, plan_trials
from .scenarios import scenario
from .scenarios.base import Scenario, Workload
from .spec import CampaignSpec, ScenarioSpec, load_spec

__all__ = ["Campaign"]


class Campaign:
    """A campaign that can be run.

    Args:
        spec: The specification.
        subject: Where it stands, for messages.
        out: Folder of the dataset.
        cpus: CPUs that services and load generator share; those of this process if not given.

    Attributes:
        work: Where the journal is kept until the dataset is whole.
        scenarios: The scenarios by name.
        plan: The trials in their order.
        data: The user's data by scenario, `None` for the data that ships.

    Raises:
        SpecError: When a scenario, a level or the folder is wrong.
    """

    def __init__(
        self, spec: CampaignSpec, *, subject: str, out: Path, cpus: int | None = None
    ) -> None:
        self.spec = spec
        self.subject = subject
        # A link keeps its place: the data goes where it points.
        self.out = out.resolve() if out.name in ("", "..") or out.is_symlink() else out
        if not self.out.name:
            raise SpecError("--out", found=f"'{out}'", expected="a folder for the dataset alone")
        self.work = self.out.with_name(self.out.name + ".campaign")
        self.cpus = cpus or len(os.sched_getaffinity(0))
        self.scenarios = self._find_scenarios()
        self.plan: Plan = plan_trials(spec, self.scenarios, subject, cpus=self.cpus)
        self.data: dict[str, Path | None] = dict.fromkeys(self.scenarios)

    @classmethod
    def from_file(
        cls, path: Path, out: Path | None = None, data: Mapping[str, Path] | None = None
    ) -> Self:
        """Read a campaign.

        Args:
            path: The specification.
            out: Folder of the dataset; by default one named after the campaign.
            data: The user's data by scenario; it wins over the specification's.

        Raises:
            SpecError: When the specification is wrong.
        """
        spec = load_spec(path)
        campaign = cls(spec, subject=str(path), out=out or Path("out") / spec.name)
        for name in data or {}:
            if name not in campaign.scenarios:
                raise SpecError(
                    "--data",
                    found=f"'{name}'",
                    expected=f"one of {', '.join(campaign.scenarios)}",
                    remedy="write --data SCENARIO=PATH",
                )
        for part in spec.scenarios:
            own = None if part.data is None else path.parent / part.data
            campaign.data[part.scenario] = (data or {}).get(part.scenario, own)
        return campaign

    @property
    def title(self) -> str:
        """The campaign's name for people."""
        return self.spec.title or self.spec.name

    def part(self, name: str) -> ScenarioSpec:
        """Return the specification's entry for a scenario."""
        return next(part for part in self.spec.scenarios if part.scenario == name)

    def prepare(self, models: Path) -> dict[str, Workload]:
        """Load the data, and fit models to the user's own.

        Args:
            models: Where fitted models go.

        Raises:
            DatasetError: When data is missing or broken.
        """
        return {
            name: self.scenarios[name].prepare(path, models / name)
            for name, path in self.data.items()
        }

    def identity(self, workloads: Mapping[str, Workload]) -> dict[str, Any]:
        """Return what must not change while the campaign is unfinished."""
        return {
            "spec": self.spec.model_dump(mode="json"),
            "data": {name: workload.sha256 for name, workload in workloads.items()},
            "cpus": self.cpus,
        }

    def about(self, facts: Mapping[str, Any], *, done: int, complete: bool) -> About:
        """Return what the dataset says of itself.

        Args:
            facts: What the journal remembers.
            done: Planned trials that are finished.
            complete: Whether nothing is left to measure, retries included.
        """
        return About(
            name=self.spec.name,
            title=self.title,
            description="Latency, energy and answer quality of AI services, measured together.",
            complete=complete,
            trials_planned=len(self.plan.trials),
            trials_done=done,
            spec=facts["identity"]["spec"],
            figures=[
                {"scenario": name, **dataclasses.asdict(figure)}
                for name, part in self.scenarios.items()
                for figure in part.figures
            ],
            data_sources=facts["sources"],
            created=facts["created"],
            version=__version__,
        )

    def _find_scenarios(self) -> dict[str, Scenario]:
        found: dict[str, Scenario] = {}
        for index, part in enumerate(self.spec.scenarios):
            place = f"scenarios[{index}].scenario"
            try:
                known = scenario(part.scenario)
            except SpecError as error:
                raise SpecError(
                    self.subject,
                    place=place,
                    found=error.found,
                    expected=error.expected,
                    remedy=error.remedy,
                ) from None
            if known.name in found:
                raise SpecError(
                    self.subject,
                    place=place,
                    found=f"'{known.name}' a second time",
                    expected="each scenario once",
                    remedy="put its levels into one entry",
                )
            found[known.name] = known
        return found
