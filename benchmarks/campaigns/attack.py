"""A campaign under attack: a real run, whose processes are killed, and what must hold afterwards.

Who is killed, and when, is decided elsewhere. Nothing of joulery is replaced: the command runs as a
user starts it, and what it left is looked at from outside.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from joulery.campaigns.spec_file import load_spec
from joulery.datasets.store import load
from joulery.datasets.verify import verify

__all__ = ["VICTIMS", "Aftermath", "Arena", "make_spec"]

VICTIMS = ("runner", "service", "generator", "all")

_SIGN = "JOULERY_ATTACKED"
"""A variable that every process of a run inherits, wherever it goes."""
_PATIENCE_S = 20.0
"""How long processes may take to see that their campaign is dead, on a machine that is busy."""
_END_S = 100.0
"""How long a runner may take to see that its generator is dead: the start of a service included."""
_PHASES = {"idle_before", "warmup", "window", "idle_after"}

_SPEC = """\
name: attacked
seed: {seed}
scenarios:
  - scenario: anomaly_detection
    factors: {{model: [seasonal_zscore], batch: {batches}}}
loads:
  - {{arrival: poisson, rate_hz: 150}}
repeats: {repeats}
trial: {{idle_s: 0.1, warmup_round_s: 0.1, warmup_max_s: 0.5, window_s: 0.4}}
slo: {{latency_s: 0.1, percentile: 0.5}}
limits:
  {{send_lag_p99_s: 0.5, steady_ratio: 5, subwindow_cv_ratio: 5, idle_drift_ratio: 50,
    backlog_ratio: 5, neighbour_ratio: 0.99}}
"""


def make_spec(path: Path, *, batches: Iterable[int], repeats: int, seed: int = 3) -> Path:
    """Write a campaign of one cheap model whose trials are as short as they may be."""
    path.write_text(_SPEC.format(batches=list(batches), repeats=repeats, seed=seed))
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class Aftermath:
    """What a kill left behind.

    Args:
        alone_s: How long processes of the run lived on, seconds.
        orphans: Those that still lived when patience ended; they were killed then.
        ports: Ports that were still listened on.
        lost: Finished trials that are gone from the journal, or not as they were.
        corrupt: What is wrong with the journal and the tables.
    """

    alone_s: float
    orphans: tuple[str, ...]
    ports: tuple[int, ...]
    lost: tuple[int, ...]
    corrupt: tuple[str, ...]

    @property
    def flaws(self) -> list[str]:
        """Everything that should not be, as lines."""
        return [
            *(f"still runs: {one}" for one in self.orphans),
            *(f"still listens on port {port}" for port in self.ports),
            *(f"trial {number} was finished, and is lost or changed" for number in self.lost),
            *self.corrupt,
        ]


class Arena:
    """One campaign, run again and again until it is finished. Use it as a context manager.

    Args:
        spec: The campaign.
        folder: An empty folder for its results and for what it writes elsewhere.
    """

    def __init__(self, spec: Path, folder: Path) -> None:
        self.spec = spec
        self.out = folder / "results" / "set"
        self.journal = self.out.with_name("set.campaign") / "journal.sqlite"
        self.said = spec.with_suffix(".said")
        self.finished: dict[int, dict[str, Any]] = {}
        self._scratch = folder / "scratch"
        self._sign = uuid.uuid4().hex
        self._runner: subprocess.Popen[str] | None = None
        for one in (self.out.parent, self._scratch):
            one.mkdir(parents=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave no process, whatever failed."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if self._runner is not None:
            self._runner.wait()

    @property
    def runner(self) -> subprocess.Popen[str]:
        """The latest runner."""
        assert self._runner is not None
        return self._runner

    def start(self, *options: str) -> None:
        """Start, or go on with, the campaign."""
        command = [sys.executable, "-m", "joulery.cli", "run", str(self.spec), "--plain"]
        with self.said.open("wb") as said:
            self._runner = subprocess.Popen(
                [*command, "--out", str(self.out), *(options or ("--resume",))],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
                env=os.environ | {_SIGN: self._sign, "TMPDIR": str(self._scratch)},
            )

    def words(self) -> str:
        """Return what the latest runner said."""
        return self.said.read_text(encoding="utf-8", errors="replace")

    def processes(self) -> list[psutil.Process]:
        """Return every living process of the campaign, whoever its parent is now."""
        return [one for one in psutil.process_iter() if _variable(one, _SIGN) == self._sign]

    def find(self, victim: str) -> list[psutil.Process]:
        """Return the processes that a victim's name stands for."""
        living = self.processes()
        if victim == "all":
            return living
        if victim == "runner":
            return [one for one in living if one.pid == self.runner.pid]
        mark = {"service": "joulery.campaigns.scenarios.server", "generator": "spawn_main"}[victim]
        return [one for one in living if mark in _command(one)]

    def kill(self, victim: str) -> bool:
        """Kill a victim; return whether there was one to kill."""
        found = self.find(victim)
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return bool(found)

    def strike(self, victim: str) -> Aftermath | None:
        """Kill a victim whose death ends the run, and look at what is left.

        Returns:
            `None` when there was no such process.
        """
        before = self.processes()
        sessions = {_session(one.pid) for one in before} - {None}
        ports = {port for one in before for port in _ports(one)}
        killed_at = time.time()  # processes tell by the wall clock when they began
        if not self.kill(victim):
            return None
        began_s = time.monotonic()
        self.runner.wait(_END_S)
        while left := [*self.processes(), *_of_sessions(sessions)]:
            if time.monotonic() > began_s + _PATIENCE_S:
                break
            time.sleep(0.02)
        alone_s = time.monotonic() - began_s
        aftermath = Aftermath(
            alone_s=alone_s,
            orphans=tuple(sorted({_command(one) for one in left})),
            ports=tuple(sorted(_listened(ports, killed_at))),
            lost=tuple(self._lost()),
            corrupt=tuple(self._corrupt()),
        )
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.finished |= self.rows()
        return aftermath

    def rows(self) -> dict[int, dict[str, Any]]:
        """Return the finished trials that the journal holds; none when there is no journal."""
        if not self.journal.exists():
            return {}
        with contextlib.closing(sqlite3.connect(self.journal)) as database:
            try:
                found = database.execute("SELECT number, row FROM trial").fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" not in str(error):
                    raise
                return {}
        return {number: json.loads(row) for number, row in found}

    def _lost(self) -> Iterator[int]:
        now = self.rows() if self.journal.exists() or not self.out.exists() else None
        if now is not None:
            yield from (n for n, row in self.finished.items() if now.get(n) != row)

    def _corrupt(self) -> Iterator[str]:
        if not self.journal.exists():
            return
        with contextlib.closing(sqlite3.connect(self.journal)) as database:
            (verdict,) = database.execute("PRAGMA integrity_check").fetchone()
            if verdict != "ok":
                yield f"journal: {verdict}"
        for number, row in self.rows().items():
            tables = []
            for name in ("requests", "energy"):
                path = self.journal.parent / name / f"trial-{number:04d}.parquet"
                try:
                    tables.append(pq.read_table(path).to_pandas())
                except (OSError, pa.ArrowException) as error:
                    yield f"{path}: {error}"
            if len(tables) == 2:
                yield from _torn(number, row, *tables)

    def finish(self) -> list[str]:
        """Wait for the runner to end by itself; return everything that is wrong with the result."""
        code = self.runner.wait(600)
        if code != 0:
            return [f"it ended with {code}: {self.words()}"]
        flaws = [str(problem) for problem in verify(self.out)]
        flaws += self._result()
        flaws += [f"left behind: {path}" for path in self._strays()]
        return flaws + [f"still runs: {_command(one)}" for one in self.processes()]

    def retries(self) -> int:
        """Return how many trials of the result were tries after the first."""
        return int((load(self.out).trials["attempt"] > 1).sum())

    def _result(self) -> Iterator[str]:
        """Yield what is wrong with the trials: lost, measured twice, or torn."""
        dataset = load(self.out)
        trials, about = dataset.trials, dataset.about
        if not about.complete or about.trials_done != about.trials_planned:
            yield f"{about.trials_done} of {about.trials_planned} trials, complete {about.complete}"
        first = sorted(trials.loc[trials["attempt"] == 1, "trial"])
        if first != list(range(1, about.trials_planned + 1)):
            yield f"planned trials are not each there once: {first}"
        yield from _retries(trials, load_spec(self.spec).limits.retries)
        requests = pd.concat([dataset.requests(name) for name in dataset.scenarios])
        by_number = trials.set_index("trial")
        for number, row in by_number.iterrows():
            some = row.astype(object).where(row.notna(), None)
            known = {str(name): value for name, value in some.items()}
            of = (table[table["trial"] == number] for table in (requests, dataset.energy))
            yield from _torn(number, known, *of)
        for number, before in self.finished.items():
            now = by_number["started_at"].get(number, "nothing")
            if before["started_at"] is not None and now != before["started_at"]:
                yield f"trial {number} was finished at {before['started_at']}, and now is {now}"

    def _strays(self) -> list[Path]:
        beside = [path for path in self.out.parent.iterdir() if path != self.out]
        return sorted([*beside, *self._scratch.iterdir()])


def _torn(
    number: Any, row: Mapping[str, Any], requests: pd.DataFrame, energy: pd.DataFrame
) -> Iterator[str]:
    """Yield what a trial's tables lack of what its row tells."""
    if (row["reasons"] or "").startswith("failed ("):
        return  # it could not be carried out, and has no tables
    if len(requests) != row["requests_sent"] or set(requests["trial"]) - {number}:
        yield f"trial {number}: {len(requests)} requests, {row['requests_sent']} sent"
    if set(energy["phase"]) != _PHASES:
        yield f"trial {number}: energy of {sorted(set(energy['phase']))}"


def _retries(trials: pd.DataFrame, most: int) -> Iterator[str]:
    """Yield trials that were tried again without reason, or not though there was one."""
    names = ["configuration", "load", "repeat"]
    for key, tries in trials.sort_values("attempt").groupby(names):
        if tries["attempt"].tolist() != list(range(1, len(tries) + 1)):
            yield f"{key}: attempts {tries['attempt'].tolist()}"
        reasons = tries["reasons"].fillna("")
        few = reasons.str.startswith("too_few_requests") & ~reasons.str.contains(";", regex=False)
        again = (tries["verdict"] != "valid") & ~few & (tries["attempt"] <= most)
        if again.tolist() != [True] * (len(tries) - 1) + [False]:
            yield f"{key}: tried {len(tries)} times, for {reasons.tolist()}"


def _variable(process: psutil.Process, name: str) -> str | None:
    """Return a variable of a process' environment; `None` of one that is gone or a zombie."""
    try:
        return process.environ().get(name)
    except (psutil.Error, OSError):
        return None


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def _of_sessions(sessions: set[int | None]) -> list[psutil.Process]:
    """Return living processes of these sessions; zombies wait for their parent and do nothing."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess):
            is_zombie = process.status() == psutil.STATUS_ZOMBIE
            if not is_zombie and _session(process.pid) in sessions:
                found.append(process)
    return found


def _ports(process: psutil.Process) -> list[int]:
    """Return the ports that a process listens on."""
    try:
        found = process.net_connections(kind="tcp")
    except psutil.Error:
        return []
    return [one.laddr.port for one in found if one.laddr and one.status == psutil.CONN_LISTEN]


def _listened(ports: set[int], since: float) -> Iterator[int]:
    """Yield those ports that a process listens on which began before a moment."""
    for one in psutil.net_connections(kind="tcp"):
        if one.status != psutil.CONN_LISTEN or one.pid is None or not one.laddr:
            continue
        if one.laddr.port in ports:
            with contextlib.suppress(psutil.NoSuchProcess):
                if psutil.Process(one.pid).create_time() < since:
                    yield one.laddr.port
