"""`joulery exporter`: flags and environment variables of the exporters, and nothing else."""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["app"]

app = typer.Typer(help="Exporters for Prometheus, one process for each node.", no_args_is_help=True)

_WHERE = "Where the host's files are"
_SERVING = "Serving"
_SHARING = "Sharing energy out"
_FINDING = "Finding services"
_JUDGING = "Judging answers"


class LogFormat(StrEnum):
    """How lines of the log look."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """The least severe lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class IdlePolicy(StrEnum):
    """Who bears the energy that a device draws without load."""

    NONE = "none"
    TIME_SHARE = "time_share"


def _option(
    name: str, metavar: str, text: str, panel: str = _SERVING, flag: str = "", **limits: float
) -> Any:
    """Return an option that is also an environment variable: --sysfs is JOULERY_SYSFS."""
    flag = flag or f"--{name.lower().replace('_', '-')}".removesuffix("-s")
    return typer.Option(
        flag,
        envvar=f"JOULERY_{name}",
        metavar=metavar,
        help=text,
        rich_help_panel=panel,
        **limits,  # type: ignore[arg-type]
    )


Listen = Annotated[str, _option("LISTEN", "ADDRESS:PORT", "Where to serve; no address means all.")]
WebConfig = Annotated[
    Path | None,
    _option(
        "WEB_CONFIG",
        "FILE",
        "TLS, passwords and headers: a web configuration file of Prometheus' exporters.",
    ),
]
Otlp = Annotated[
    bool,
    typer.Option(
        "--otlp",
        envvar="JOULERY_OTLP",
        help="Also push the same over OTLP/HTTP, where OTEL_EXPORTER_OTLP_ENDPOINT says.",
        rich_help_panel=_SERVING,
    ),
]
Once = Annotated[
    bool,
    typer.Option(
        "--once",
        help="Measure for one interval, print the scrape, and end.",
        rich_help_panel=_SERVING,
    ),
]
Interval = Annotated[
    float,
    _option("INTERVAL_S", "SECONDS", "From one reading to the next.", _SHARING, min=2.0, max=60.0),
]
Retention = Annotated[
    float,
    _option("RETENTION_S", "SECONDS", "How long an ended pod keeps its totals.", _SHARING, min=0.0),
]
Policy = Annotated[
    IdlePolicy,
    typer.Option(
        "--idle-policy",
        envvar="JOULERY_IDLE_POLICY",
        help="Who bears idle energy: nobody (none), or all by their CPU time (time_share).",
        rich_help_panel=_SHARING,
    ),
]
Node = Annotated[
    str | None, _option("NODE", "NAME", "The node's name; by default this host's.", _SHARING)
]
PodUid = Annotated[
    str | None,
    _option("POD_UID", "UID", "The exporter's own pod, to tell its own joules.", _SHARING),
]
ServiceListen = Annotated[
    str,
    _option(
        "SERVICE_LISTEN",
        "ADDRESS:PORT",
        "Where to serve; no address means all.",
        flag="--listen",
    ),
]
OtlpListen = Annotated[
    str,
    _option(
        "OTLP_LISTEN",
        "ADDRESS:PORT",
        "Where services push OTLP over HTTP, answers and labels; no address means all.",
    ),
]
OnceEach = Annotated[
    bool,
    typer.Option(
        "--once",
        help="Scrape each service once, print what they say, and end.",
        rich_help_panel=_SERVING,
    ),
]
Targets = Annotated[
    Path | None,
    _option(
        "TARGETS",
        "FILE",
        "Services by name and URL, in YAML, for machines without Kubernetes; by default the API "
        "server tells the node's pods.",
        _FINDING,
    ),
]
ScrapeInterval = Annotated[
    float,
    _option(
        "SCRAPE_INTERVAL_S",
        "SECONDS",
        "From one scrape of a service to its next.",
        _FINDING,
        "--interval",
        min=1.0,
        max=300.0,
    ),
]
ServiceNode = Annotated[
    str | None,
    _option("NODE", "NAME", "Whose pods are looked for; by default this host's.", _FINDING),
]
ServicePodUid = Annotated[
    str | None, _option("POD_UID", "UID", "The exporter's own pod, which is no service.", _FINDING)
]
Store = Annotated[
    Path | None,
    _option(
        "STORE",
        "FILE",
        "Where answers wait for their labels; by default in memory, until it ends.",
        _JUDGING,
    ),
]
Golden = Annotated[
    Path | None,
    _option(
        "GOLDEN",
        "DIR",
        "Golden sets, labelled requests that services are probed with; by default none are.",
        _JUDGING,
    ),
]
ProbeRate = Annotated[
    float,
    _option(
        "PROBE_RATE_HZ",
        "HZ",
        "Requests a second to one service that is probed.",
        _JUDGING,
        "--probe-rate",
        min=0.0001,
        max=100.0,
    ),
]
Sysfs = Annotated[Path, _option("SYSFS", "DIR", "Root of sysfs.", _WHERE)]
Procfs = Annotated[Path, _option("PROCFS", "DIR", "Root of procfs.", _WHERE)]
Cgroupfs = Annotated[
    Path | None,
    _option("CGROUPFS", "DIR", "Control groups; by default fs/cgroup below sysfs.", _WHERE),
]
PodLogs = Annotated[Path, _option("POD_LOGS", "DIR", "Logs of pods: their names.", _WHERE)]
ContainerLogs = Annotated[
    Path, _option("CONTAINER_LOGS", "DIR", "Links to the logs of containers.", _WHERE)
]
PodResources = Annotated[
    Path, _option("POD_RESOURCES", "SOCKET", "The kubelet's pod-resources socket.", _WHERE)
]
LogForm = Annotated[
    LogFormat,
    typer.Option("--log-format", envvar="JOULERY_LOG_FORMAT", help="For people, or JSON."),
]
Level = Annotated[
    LogLevel,
    typer.Option("--log-level", envvar="JOULERY_LOG_LEVEL", help="The least to log."),
]


@app.callback()
def _root() -> None:
    """Serve what joulery knows of a node, as Prometheus metrics."""


@app.command()
def energy(
    listen: Listen = ":28480",
    web_config: WebConfig = None,
    otlp: Otlp = False,
    once: Once = False,
    interval: Interval = 5.0,
    retention: Retention = 900.0,
    idle_policy: Policy = IdlePolicy.NONE,
    node: Node = None,
    pod_uid: PodUid = None,
    sysfs: Sysfs = Path("/sys"),
    procfs: Procfs = Path("/proc"),
    cgroupfs: Cgroupfs = None,
    pod_logs: PodLogs = Path("/var/log/pods"),
    container_logs: ContainerLogs = Path("/var/log/containers"),
    pod_resources: PodResources = Path("/var/lib/kubelet/pod-resources/kubelet.sock"),
    log_format: LogForm = LogFormat.TEXT,
    log_level: Level = LogLevel.INFO,
) -> None:
    """Give every pod of this node its joules, as Prometheus metrics.

    Energy comes from whatever sensors the node has (`joulery doctor` lists
    them), else it is estimated, and says so. Pods are found by their control
    groups and log folders: no API server is asked. Try it with [b]--once[/b].
    """
    # Before numpy is loaded: its threads would cost twice the CPU time for matrices of this size.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from .energy import EnergyExporter
    from .serving import run, run_once
    from .settings import Settings

    _log_to_stderr(log_format, log_level)
    settings = Settings(
        interval_s=interval,
        sysfs=sysfs,
        procfs=procfs,
        cgroupfs=cgroupfs,
        pod_logs=pod_logs,
        container_logs=container_logs,
        pod_resources=pod_resources,
        node=node or platform.node(),
        pod_uid=pod_uid or None,
        retention_s=retention,
        idle_policy=idle_policy.value,
    )
    exporter = EnergyExporter(settings)
    if once:
        typer.echo(run_once(exporter), nl=False)
        return
    run(exporter, listen=listen, web_config=web_config, otlp=otlp)


@app.command()
def services(
    listen: ServiceListen = ":28481",
    otlp_listen: OtlpListen = ":4318",
    web_config: WebConfig = None,
    once: OnceEach = False,
    targets: Targets = None,
    interval: ScrapeInterval = 10.0,
    node: ServiceNode = None,
    pod_uid: ServicePodUid = None,
    store: Store = None,
    golden: Golden = None,
    probe_rate: ProbeRate = 0.2,
    log_format: LogForm = LogFormat.TEXT,
    log_level: Level = LogLevel.INFO,
) -> None:
    """Give every AI service of this node its latency and the quality of its answers.

    Services are pods whose annotations or ports say so, or what a file
    names. Triton, vLLM, TorchServe, TensorFlow Serving, OpenVINO Model Server,
    KServe, MLServer and Ray Serve are understood, and whatever pushes OTLP.
    Answers are judged by labels that come later, by request id, or by a golden
    set. Try it with [b]--targets FILE --once[/b].
    """
    # Before numpy is loaded: nothing here needs its threads.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from .services.serving import run, run_once
    from .services.settings import ServiceSettings

    _log_to_stderr(log_format, log_level)
    settings = ServiceSettings(
        interval_s=interval,
        node=node or platform.node(),
        pod_uid=pod_uid or "",
        targets=targets,
        golden=golden,
        probe_rate_hz=probe_rate,
        # Who looks once takes nothing in, and another exporter may have the file.
        store=None if once else store,
    )
    if once:
        typer.echo(run_once(settings), nl=False)
        return
    run(settings, listen=listen, otlp_listen=otlp_listen, web_config=web_config)


class _JsonLines(logging.Formatter):
    """A JSON object a line, in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _log_to_stderr(form: LogFormat, level: LogLevel) -> None:
    handler = logging.StreamHandler(sys.stderr)
    if form is LogFormat.JSON:
        handler.setFormatter(_JsonLines())
    else:
        text = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s")
        text.converter = time.gmtime
        text.default_time_format, text.default_msec_format = "%Y-%m-%dT%H:%M:%S", "%s.%03dZ"
        handler.setFormatter(text)
    logging.basicConfig(level=level.value.upper(), handlers=[handler], force=True)
