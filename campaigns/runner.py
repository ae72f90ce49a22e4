"""A whole campaign: plan, journal, trial after trial, retries, and the dataset at the end."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from .. import __version__
from ..datasets.store import About, check_target, load
from ..errors import DatasetError, SpecError, TrialError
from ..profiler.quantities import weakest
from ..profiler.sources import Discovery, discover
from .design import Plan, PlannedTrial, plan_trials
from .environment import environment
from .journal import Journal, campaign_lock, check_same
from .live import Observer
from .report import write as write_report
from .results import write_results
from .scenarios import scenario
from .scenarios.base import Scenario, Workload
from .spec import CampaignSpec, load_spec, parse_spec
from .trial import Bench, failed_trial, open_bench, run_trial

__all__ = ["Campaign", "report_on", "working_folder"]

_FAILURES_IN_A_ROW = 3


def working_folder(out: Path) -> Path:
    """Return where a campaign keeps its journal until its dataset is whole."""
    return out.with_name(out.name + ".campaign")


class Campaign:
    """One campaign, checked and planned; `run` measures what is not yet measured.

    Args:
        spec: The specification.
        subject: Where it stands, for messages.
        out: Folder of the dataset.

    Raises:
        SpecError: When a scenario or a level is wrong.
    """

    def __init__(self, spec: CampaignSpec, *, subject: str, out: Path) -> None:
        self.spec = spec
        self.subject = subject
        self.out = out
        self.work = working_folder(out)
        self.scenarios = self._find_scenarios()
        self.plan: Plan = plan_trials(spec, self.scenarios, subject)
        self.data: dict[str, Path | None] = {}

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
        campaign.data = campaign._find_data(path.parent, data or {})
        return campaign

    @property
    def title(self) -> str:
        """The campaign's name for people."""
        return self.spec.title or self.spec.name

    def run(self, observer: Observer, *, resume: bool, force: bool) -> Path:
        """Measure every trial that the journal does not hold, then write dataset and report.

        Args:
            observer: Told what happens.
            resume: Go on with an unfinished campaign.
            force: Replace what an earlier campaign left.

        Returns:
            The dataset's folder.

        Raises:
            SpecError: When the folder is taken, or the specification changed since it began.
            DatasetError: When data is missing or broken.
            TrialError: When trials fail one after the other, or another runner is at work.
        """
        if resume and self._is_finished():
            observer.note(f"{self.out}: this campaign is finished; nothing is left to measure")
            return self.out
        check_target(self.out, replace=force)
        with campaign_lock(self.work):
            self._clear(resume=resume, force=force)
            workloads = self._prepare()
            found = discover()
            journal = Journal(self.work)
            try:
                self._recall(journal, workloads, found)
                self._measure(journal, workloads, found, observer)
                self.write(journal, self.out)
            finally:
                journal.close()
        shutil.rmtree(self.work)
        return self.out

    def write(self, journal: Journal, folder: Path) -> None:
        """Write dataset and report of what the journal holds; unfinished ones say so."""
        facts = journal.facts()
        rows = journal.trials()
        done = sum(1 for planned in self.plan.trials if planned.number in rows)
        about = About(
            name=self.spec.name,
            title=self.title,
            description="Latency, energy and answer quality of AI services, measured together.",
            complete=done == len(self.plan.trials),
            trials_planned=len(self.plan.trials),
            trials_done=done,
            spec=facts["spec"],
            figures=[
                {"scenario": name, **dataclasses.asdict(figure)}
                for name, part in self.scenarios.items()
                for figure in part.figures
            ],
            data_sources=facts["data"],
            created=facts["created"],
            version=__version__,
        )
        write_results(
            journal,
            folder,
            scenarios=self.scenarios.values(),
            about=about,
            environment=facts["environment"],
            finish=write_report,
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

    def _find_data(self, base: Path, given: Mapping[str, Path]) -> dict[str, Path | None]:
        for name in given:
            if name not in self.scenarios:
                raise SpecError(
                    "--data",
                    found=f"'{name}'",
                    expected=f"one of {', '.join(self.scenarios)}",
                    remedy="write --data SCENARIO=PATH",
                )
        return {
            part.scenario: given.get(part.scenario, None if part.data is None else base / part.data)
            for part in self.spec.scenarios
        }

    def _is_finished(self) -> bool:
        if self.work.exists() or not self.out.exists():
            return False
        about = load(self.out).about
        check_same(about.spec, self._spec_facts(), self.subject)
        return about.complete

    def _spec_facts(self) -> dict[str, Any]:
        return self.spec.model_dump(mode="json")

    def _clear(self, *, resume: bool, force: bool) -> None:
        """Make the working folder fit: kept to resume, emptied by force, refused otherwise."""
        left = [path for path in self.work.iterdir() if path.name != "lock"]
        if not left or resume:
            return
        if not force:
            raise SpecError(
                str(self.work),
                found="an unfinished campaign",
                expected="no campaign, or --resume",
                remedy="--resume goes on with it, --force starts anew",
            )
        for path in left:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _prepare(self) -> dict[str, Workload]:
        """Load the data; when it is broken, leave nothing of a campaign that never began."""
        fresh = not (self.work / "journal.sqlite").exists()
        try:
            return {
                name: self.scenarios[name].prepare(path, self.work / "models" / name)
                for name, path in self.data.items()
            }
        except DatasetError:
            if fresh:
                shutil.rmtree(self.work)
            raise

    def _recall(
        self, journal: Journal, workloads: Mapping[str, Workload], found: Discovery
    ) -> None:
        """Compare with what the journal remembers, or write it down for the first time."""
        spec = self._spec_facts()
        data = [
            {
                "scenario": name,
                "source": workload.source,
                "licence": workload.licence,
                "sha256": workload.sha256,
            }
            for name, workload in workloads.items()
        ]
        facts = journal.facts()
        if facts:
            check_same(
                {"spec": facts["spec"], "data": facts["data"]},
                {"spec": spec, "data": data},
                self.subject,
            )
            return
        journal.remember(
            spec=spec,
            data=data,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            environment=environment()
            | {
                "energy_sources": [dataclasses.asdict(status) for status in found.statuses],
                "excluded": [dataclasses.asdict(entry) for entry in self.plan.excluded],
            },
        )

    def _measure(
        self,
        journal: Journal,
        workloads: Mapping[str, Workload],
        found: Discovery,
        observer: Observer,
    ) -> None:
        rows = journal.trials()
        total = len(self.plan.trials)
        summed = [domain for source in found.sources for domain in source.domains if domain.summed]
        provenance = weakest(domain.provenance for domain in summed)
        observer.begin(self.title, total, len(rows), f"{provenance} ({found.summary})")
        for entry in self.plan.excluded:
            observer.note(f"left out: {entry.scenario} {entry.levels}: {entry.reason}")
        failures = 0
        with open_bench(found, workloads) as bench:
            for planned in self._pending(journal):
                observer.trial(planned, max(total, planned.number))
                row, failed = self._one(journal, planned, bench, observer)
                failures = failures + 1 if failed else 0
                observer.finished(row)
                if failures == _FAILURES_IN_A_ROW:
                    raise TrialError(
                        f"trial {planned.number}",
                        found=f"{failures} failures in a row, the last: {row['reasons']}",
                        expected="services that start and answer",
                        remedy="see the message; --resume goes on after the failed trials",
                    )

    def _pending(self, journal: Journal) -> Iterator[PlannedTrial]:
        """Yield what is not measured: the plan in its order, then invalid trials once more."""
        done = journal.trials()
        by_number = {planned.number: planned for planned in self.plan.trials}
        for planned in self.plan.trials:
            if planned.number not in done:
                yield planned
        # A retry takes the next free number; its origin follows from the order of the invalid
        # trials, so that a resumed campaign gives every retry the number it had.
        number = origin = 0
        highest = len(self.plan.trials)
        rows = journal.trials()
        while origin < highest:
            origin += 1
            row = rows[origin]
            if row["verdict"] == "valid" or row["attempt"] > self.spec.limits.retries:
                continue
            highest += 1
            number = highest
            by_number[number] = dataclasses.replace(
                by_number[origin], number=number, attempt=row["attempt"] + 1
            )
            if number not in rows:
                yield by_number[number]
                rows = journal.trials()

    def _one(
        self, journal: Journal, planned: PlannedTrial, bench: Bench, observer: Observer
    ) -> tuple[dict[str, Any], bool]:
        """Run one trial and record it; one that fails is recorded as invalid."""
        name = planned.configuration.scenario
        part = next(part for part in self.spec.scenarios if part.scenario == name)
        failed = False
        try:
            result = run_trial(
                planned, self.spec, part, self.scenarios[name], bench, observer.phase
            )
        except TrialError as error:
            failed = True
            result = failed_trial(planned, self.scenarios[name], error)
        journal.finish(planned.number, result.row, requests=result.requests, energy=result.energy)
        return result.row, failed


def report_on(folder: Path) -> Path:
    """Write the report of a dataset, or of what an unfinished campaign has so far.

    Args:
        folder: A dataset, or a campaign's working folder.

    Returns:
        The report's page.

    Raises:
        DatasetError: When the folder is neither.
    """
    if not (folder / "journal.sqlite").exists():
        return write_report(folder)
    journal = Journal(folder)
    try:
        spec = parse_spec(journal.facts()["spec"])
        snapshot = folder / "snapshot"
        Campaign(spec, subject=str(folder), out=snapshot).write(journal, snapshot)
    finally:
        journal.close()
    return snapshot / "report.html"
