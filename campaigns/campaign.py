"""One campaign, read, checked and planned: what to measure, on which data, into which folder.

Nothing is measured here, and nothing is written.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import TypeAdapter

from .. import __version__
from ..datasets.store import About
from ..errors import SpecError
from .design import Plan, plan_trials
from .kubernetes.spec import KubernetesSpec
from .loads import TraceLoad
from .network.conditions import Conditions
from .scenarios import scenario
from .scenarios.base import OwnModel, Scenario, Workload
from .scenarios.model_hash import model_sha256
from .spec import CampaignSpec, ScenarioSpec
from .spec_file import load_spec

__all__ = ["Campaign"]


class Campaign:
    """A campaign that can be run.

    Args:
        spec: The specification.
        subject: Where it stands, for messages.
        out: Folder of the dataset.
        cpus: CPUs that services and load generator share; those of this process if not given.
        folder: That paths of the user's own models and networks are relative to.
        networks: What the specification's networks are, where their traces are not at hand.

    Attributes:
        work: Where the journal is kept until the dataset is whole.
        scenarios: The scenarios by name.
        networks: The networks to emulate, figures of traces included.
        plan: The trials in their order.
        data: The user's data by scenario, `None` for the data that ships.

    Raises:
        SpecError: When a scenario, a level or the folder is wrong.
    """

    def __init__(
        self,
        spec: CampaignSpec,
        *,
        subject: str,
        out: Path,
        cpus: int | None = None,
        folder: Path = Path(),
        networks: Iterable[Conditions] | None = None,
    ) -> None:
        self.spec = spec
        self.subject = subject
        # A link keeps its place: the data goes where it points.
        self.out = out.resolve() if out.name in ("", "..") or out.is_symlink() else out
        if not self.out.name:
            raise SpecError("--out", found=f"'{out}'", expected="a folder for the dataset alone")
        self.work = self.out.with_name(self.out.name + ".campaign")
        self.cpus = cpus or len(os.sched_getaffinity(0))
        self._folder = folder
        self.scenarios = self._find_scenarios()
        self.networks = (
            tuple(network.conditions(folder) for network in spec.networks)
            if networks is None
            else tuple(networks)
        )
        self.plan: Plan = plan_trials(
            spec, self.scenarios, subject, cpus=self.cpus, networks=self.networks
        )
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
            SpecError: When the specification is wrong, or a model of the user's own.
        """
        spec = load_spec(path)
        campaign = cls(
            spec, subject=str(path), out=out or Path("out") / spec.name, folder=path.parent
        )
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
        for known in campaign.scenarios.values():
            known.check_own()
        return campaign

    @property
    def title(self) -> str:
        """The campaign's name for people."""
        return self.spec.title or self.spec.name

    def part(self, name: str) -> ScenarioSpec:
        """Return the specification's entry for a scenario."""
        return next(part for part in self.spec.scenarios if part.scenario == name)

    @property
    def clusters(self) -> dict[str, KubernetesSpec]:
        """Where in a cluster services go, by scenario; empty for those that run here."""
        return {
            part.scenario: part.kubernetes
            for part in self.spec.scenarios
            if part.kubernetes is not None
        }

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

    def trace_sources(self) -> list[dict[str, str]]:
        """Return what the dataset says of the traces that loads replay, as of its data."""
        return [
            {
                "scenario": f"load {load.path}",
                "source": load.cut.name,
                "licence": "unknown",
                "sha256": load.cut.sha256,
            }
            for load in self.spec.loads
            if isinstance(load, TraceLoad) and load.cut is not None
        ]

    def identity(self, workloads: Mapping[str, Workload]) -> dict[str, Any]:
        """Return what must not change while the campaign is unfinished."""
        return {
            "spec": self._recorded_spec(),
            "data": {name: workload.sha256 for name, workload in workloads.items()}
            | {source["scenario"]: source["sha256"] for source in self.trace_sources()},
            # As the journal will tell it: tuples are lists there.
            "networks": TypeAdapter(tuple[Conditions, ...]).dump_python(self.networks, mode="json"),
            "cpus": self.cpus,
        }

    def _recorded_spec(self) -> dict[str, Any]:
        """Return the specification with the user's own models by file name and SHA-256.

        Where they lie is nobody's business but this machine's; which they are, a dataset tells.
        """
        parts = []
        for part in self.spec.scenarios:
            detectors = {
                name: one.model_copy(
                    update={
                        "files": {key: Path(file).name for key, file in one.files.items()},
                        "sha256": {
                            key: model_sha256(self._folder / file)
                            for key, file in one.files.items()
                        },
                    }
                )
                for name, one in part.detectors.items()
            }
            parts.append(part.model_copy(update={"detectors": detectors}))
        whole = self.spec.model_copy(update={"scenarios": tuple(parts)})
        return whole.model_dump(mode="json")

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
            # Cells that settle, and searches that end, need fewer than were planned.
            trials_planned=done if complete else len(self.plan.trials),
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
                raise error.at(self.subject, place) from None
            if part.detectors:
                known = self._with_own(known, part, f"scenarios[{index}].detectors")
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

    def _with_own(self, known: Scenario, part: ScenarioSpec, place: str) -> Scenario:
        own = {
            name: OwnModel(
                files={key: self._folder / file for key, file in one.files.items()},
                sha256=one.sha256,
                said=one.said(),
            )
            for name, one in part.detectors.items()
        }
        try:
            return known.with_own(own)
        except SpecError as error:
            raise error.at(self.subject, place) from None
