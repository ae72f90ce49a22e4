"""A campaign's run: begin or resume, trial after trial, retries, and the dataset at the end."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ..datasets.folder import discard, hidden_name, sweep
from ..datasets.store import check_target, load
from ..errors import DatasetError, JouleryError, SpecError, TrialError
from ..profiler.host import Host
from ..profiler.sources import Discovery, discover
from .bench import Bench, open_bench
from .campaign import Campaign
from .design import Plan, PlannedTrial
from .environment import environment
from .imposed.machine import MACHINE_FOLDERS, Machine
from .imposed.running import check_machine
from .journal import Journal, campaign_lock, room_asked
from .kubernetes.preflight import check_clusters
from .kubernetes.stage import open_stages
from .loads import TraceLoad
from .network.conditions import Conditions
from .observer import Observer
from .order import is_retried, pending
from .report import write as write_report
from .results import write_results
from .same import check_same
from .scenarios.base import Workload
from .spec import CampaignSpec, parse_spec
from .trial import failed_trial, run_trial

__all__ = ["report_on", "run_campaign"]

_FAILURES_IN_A_ROW = 3
_OWN = ("lock", "models", *MACHINE_FOLDERS, "requests", "energy", "snapshot", "journal.sqlite")
"""What a working folder holds; SQLite adds files whose names begin as the journal's."""


def run_campaign(
    campaign: Campaign,
    observer: Observer,
    *,
    resume: bool,
    force: bool,
    host: Host | None = None,
) -> Path:
    """Measure every trial that the journal does not hold, then write dataset and report.

    Args:
        campaign: The campaign.
        observer: Told what happens.
        resume: Go on with an unfinished campaign.
        force: Replace what an earlier campaign left.
        host: Where this machine shows its heat and its CPUs' frequencies.

    Returns:
        The dataset's folder.

    Raises:
        SpecError: When a campaign is unfinished there, or its specification changed since.
        DatasetError: When data is missing or broken, or the folder is taken.
        TrialError: When trials fail one after the other, another runner is at work, or the disk
            is full; when this machine cannot be what an environment asks for.
    """
    with room_asked(campaign.out.parent):
        return _run(campaign, observer, host or Host(), resume=resume, force=force)


def _run(campaign: Campaign, observer: Observer, host: Host, *, resume: bool, force: bool) -> Path:
    for left in (campaign.out, campaign.work):
        sweep(left)
    _refuse_foreign(campaign.work)
    if resume and not campaign.work.exists() and _is_finished(campaign):
        observer.note(f"{campaign.out}: this campaign is finished; nothing is left to measure")
        return campaign.out
    fresh = not campaign.work.exists()
    if resume and fresh:
        observer.note("nothing to resume: the campaign begins")
    machine = Machine(host, campaign.work)
    with campaign_lock(campaign.work):
        for word in machine.restore():
            observer.note(word)
        try:
            workloads, found = _begin(campaign, machine, resume=resume, force=force)
        except JouleryError:
            if fresh:
                shutil.rmtree(campaign.work)
            raise
        journal = Journal(campaign.work)
        try:
            # A kill between the dataset and the end of the journal leaves both, and no work.
            if not _is_written(campaign, journal.facts()):
                _measure(campaign, journal, workloads, found, machine, observer)
                _write(campaign, journal, campaign.out)
        finally:
            journal.close()
        discard(campaign.work)
    return campaign.out


def report_on(folder: Path) -> Path:
    """Write the report of a dataset, or of what an unfinished campaign has so far.

    Args:
        folder: A dataset, or a campaign's working folder.

    Returns:
        The report's page.

    Raises:
        DatasetError: When the folder is neither.
    """
    if not folder.exists() and (unfinished := folder.with_name(f"{folder.name}.campaign")).exists():
        folder = unfinished
    if not (folder / "journal.sqlite").exists():
        return write_report(folder)
    journal = Journal(folder)
    try:
        facts = journal.facts()
        if not facts:
            raise DatasetError(
                str(folder), found="a campaign that has not begun", expected="a finished trial"
            )
        snapshot = folder / "snapshot"
        campaign = Campaign(
            _spec_as_begun(facts),
            subject=str(folder),
            out=snapshot,
            cpus=facts["identity"]["cpus"],
            networks=TypeAdapter(list[Conditions]).validate_python(facts["identity"]["networks"]),
        )
        _write(campaign, journal, snapshot)
    finally:
        journal.close()
    return snapshot / "report.html"


def _spec_as_begun(facts: Mapping[str, Any]) -> CampaignSpec:
    """Return the specification with the rates that its traces had: their files may be gone."""
    spec = parse_spec(facts["identity"]["spec"])
    rates_hz = facts.get("trace_rates_hz", {})
    loads = tuple(
        one.at(rates_hz.get(str(one))) if isinstance(one, TraceLoad) else one for one in spec.loads
    )
    return spec.model_copy(update={"loads": loads})


def _is_finished(campaign: Campaign) -> bool:
    if not campaign.out.exists():
        return False
    about = load(campaign.out).about
    with tempfile.TemporaryDirectory() as scratch:
        now = campaign.identity(campaign.prepare(Path(scratch)))
    data = {source["scenario"]: source["sha256"] for source in about.data_sources}
    check_same(
        {"spec": about.spec, "data": data},
        {"spec": now["spec"], "data": now["data"]},
        campaign.subject,
    )
    return about.complete


def _is_written(campaign: Campaign, facts: Mapping[str, Any]) -> bool:
    """Whether the folder holds the complete dataset of this very campaign."""
    try:
        about = load(campaign.out).about
    except DatasetError:
        return False
    same = about.created == facts["created"] and about.spec == facts["identity"]["spec"]
    return same and about.complete


def _begin(
    campaign: Campaign, machine: Machine, *, resume: bool, force: bool
) -> tuple[dict[str, Workload], Discovery]:
    """See that the campaign may run, and that the journal remembers what it is.

    What an earlier run left is dropped last, when nothing can be refused any more.
    """
    facts = {} if force else _remembered(campaign.work)
    if facts and not resume:
        raise SpecError(
            str(campaign.work),
            found="an unfinished campaign",
            expected="no campaign, or --resume",
            remedy="--resume goes on with it, --force starts anew",
        )
    if not (facts and _is_written(campaign, facts)):
        check_target(campaign.out, replace=force or facts.get("replace", False))
        check_clusters(campaign)
        check_machine(campaign, machine)
    workloads = campaign.prepare(campaign.work / "models")
    identity = campaign.identity(workloads)
    found = discover()
    if facts:
        check_same(facts["identity"], identity, campaign.subject)
    else:
        _drop_journal(campaign.work)
    journal = Journal(campaign.work)
    try:
        journal.forget_incomplete()
        traces = [one for one in campaign.spec.loads if isinstance(one, TraceLoad)]
        rates_hz = {str(one): one.rate_hz for one in traces}
        if facts:
            journal.remember(trace_rates_hz=rates_hz)
            return workloads, found
        journal.remember(
            identity=identity,
            trace_rates_hz=rates_hz,
            replace=force,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            sources=[
                {
                    "scenario": name,
                    "source": workload.source,
                    "licence": workload.licence,
                    "sha256": workload.sha256,
                }
                for name, workload in workloads.items()
            ]
            + campaign.trace_sources(),
            environment=environment()
            | {
                "energy_sources": [dataclasses.asdict(status) for status in found.statuses],
                "excluded": [dataclasses.asdict(entry) for entry in campaign.plan.excluded],
                "networks": identity["networks"],
            },
        )
    finally:
        journal.close()
    return workloads, found


def _remembered(work: Path) -> dict[str, Any]:
    if not (work / "journal.sqlite").exists():
        return {}
    journal = Journal(work)
    try:
        return journal.facts()
    finally:
        journal.close()


def _refuse_foreign(work: Path) -> None:
    """See that the working folder holds a campaign and nothing else: it goes in the end."""
    if not work.exists():
        return
    if not work.is_dir():
        raise SpecError(str(work), found="a file", expected="a folder, or nothing")
    for path in work.iterdir():
        of_report = hidden_name("snapshot").fullmatch(path.name)
        if path.name not in _OWN and not path.name.startswith(_OWN[-1]) and not of_report:
            raise SpecError(
                str(work),
                found=f"{path.name}, which belongs to no campaign",
                expected="a campaign's journal alone",
                remedy="choose another --out, or move the file away",
            )


def _drop_journal(work: Path) -> None:
    """Drop what a campaign measured; the journal first: without it the rest is no campaign."""
    (work / _OWN[-1]).unlink(missing_ok=True)
    for path in work.iterdir():
        if path.name.startswith(_OWN[-1]):
            path.unlink()
        elif path.name in ("requests", "energy", "snapshot"):
            shutil.rmtree(path)


def _measure(
    campaign: Campaign,
    journal: Journal,
    workloads: Mapping[str, Workload],
    found: Discovery,
    machine: Machine,
    observer: Observer,
) -> None:
    rows = journal.trials().values()
    total = len(campaign.plan.trials) + sum(is_retried(row, campaign.spec) for row in rows)
    here = len(campaign.clusters) < len(campaign.scenarios)
    energy = f"{found.provenance} ({found.summary})" if here else "told by the nodes' exporters"
    observer.begin(campaign.title, total, len(rows), energy)
    for entry in campaign.plan.excluded:
        observer.note(f"left out: {entry.scenario} {entry.levels}: {entry.reason}")
    failing: list[str] = []
    processes = campaign.spec.generator.processes
    with (
        open_stages(campaign.spec.name, campaign.clusters, observer.note) as stages,
        open_bench(
            found,
            workloads,
            machine,
            processes=processes,
            stages=stages,
            host=machine.host,
        ) as bench,
    ):
        for planned in _pending(campaign, journal):
            observer.trial(planned, total)
            row, failed = _one(campaign, journal, planned, bench, observer)
            total += is_retried(row, campaign.spec)
            observer.finished(row)
            # Retries come at the end, those of one broken configuration in a row.
            if not failed:
                failing.clear()
            elif planned.attempt == 1:
                failing.append(_named(planned))
            if _is_no_use(failing, campaign.plan):
                raise TrialError(
                    f"trial {planned.number}",
                    found=f"{len(failing)} failures in a row, the last: {row['reasons']}",
                    expected="services that start and answer",
                    remedy="see the message; --resume goes on after the failed trials",
                )


def _is_no_use(failing: Sequence[str], plan: Plan) -> bool:
    """Whether what fails in a row is every configuration, or several: it is the machine then."""
    if len(failing) < _FAILURES_IN_A_ROW:
        return False
    every = {_named(one) for one in plan.trials}
    return len(set(failing)) >= min(_FAILURES_IN_A_ROW, len(every))


def _named(planned: PlannedTrial) -> str:
    return f"{planned.configuration.scenario} {planned.configuration}"


def _pending(campaign: Campaign, journal: Journal) -> Iterator[PlannedTrial]:
    """Yield what is not measured."""
    return pending(campaign.spec, campaign.plan, journal.trials)


def _one(
    campaign: Campaign,
    journal: Journal,
    planned: PlannedTrial,
    bench: Bench,
    observer: Observer,
) -> tuple[dict[str, Any], bool]:
    """Run one trial and record it; one that fails is recorded as invalid."""
    name = planned.configuration.scenario
    scenario = campaign.scenarios[name]
    failed = False
    try:
        result = run_trial(
            planned, campaign.spec, campaign.part(name), scenario, bench, observer.phase
        )
    except TrialError as error:
        if not bench.generator.alive:
            raise  # not the trial's fault, and no other trial can be measured
        failed = True
        result = failed_trial(planned, scenario, error)
    journal.finish(planned.number, result.row, requests=result.requests, energy=result.energy)
    return result.row, failed


def _write(campaign: Campaign, journal: Journal, folder: Path) -> None:
    """Write dataset and report of what the journal holds; unfinished ones say so."""
    facts = journal.facts()
    rows = journal.trials()
    done = sum(planned.number in rows for planned in campaign.plan.trials)
    complete = next(_pending(campaign, journal), None) is None
    write_results(
        journal,
        folder,
        scenarios=campaign.scenarios.values(),
        about=campaign.about(facts, done=done, complete=complete),
        environment=facts["environment"],
        finish=write_report,
    )
