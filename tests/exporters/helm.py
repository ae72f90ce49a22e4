"""helm, for the tests of the chart: what it renders, what it refuses, and why."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ..conftest import REPOSITORY, require_program

__all__ = [
    "CHART",
    "EVERYTHING",
    "MATRIX",
    "VALUES",
    "Objects",
    "container",
    "containers",
    "explained",
    "helm",
    "lint",
    "named",
    "one",
    "render",
    "rendered",
    "schema_leaves",
]

CHART = REPOSITORY / "exporters" / "chart"

Objects = list[dict[str, Any]]
"""What a chart renders to: Kubernetes objects, as they are in YAML."""


@functools.cache
def helm() -> str:
    """Return the path of helm: a test cluster's own, else the one on the PATH."""
    cache = Path(os.environ.get("TESTBED_CACHE", Path.home() / ".cache" / "k8s-testbed"))
    return shutil.which("helm", path=str(cache / "bin")) or require_program("helm")


def lint(chart: Path) -> None:
    """Assert that `helm lint --strict` finds nothing to say against a chart."""
    ended = subprocess.run(
        [helm(), "lint", "--strict", str(chart)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout
    assert not re.search("ERROR|WARNING", ended.stdout)


def explained(chart: Path) -> None:
    """Assert that each value has a comment right above it, and that the schema knows the same."""
    schema = json.loads((chart / "values.schema.json").read_text(encoding="utf-8"))
    text = (chart / "values.yaml").read_text(encoding="utf-8")
    leaves, defaults = list(schema_leaves(schema)), yaml.safe_load(text)
    lines, commented = text.splitlines(), set()
    place: list[str] = []
    for before, line in zip(["", *lines], lines, strict=False):
        if match := re.match(r"( *)([\w]+):", line):
            place = [*place[: len(match[1]) // 2], match[2]]
            if before.lstrip().startswith("#"):
                commented.add(tuple(place))
    assert [path for path, _ in leaves if path not in commented] == []
    for path, _ in leaves:
        inner = defaults
        for key in path:
            inner = inner[key]
    assert schema["properties"].keys() - defaults.keys() == {"enabled", "global"}
    assert defaults.keys() <= schema["properties"].keys()


def render(
    *values: Mapping[str, Any],
    release: str = "joulery",
    kubernetes: str = "1.30.0",
    chart: Path = CHART,
    namespace: str = "energy",
) -> subprocess.CompletedProcess[str]:
    """Run `helm template`; each further set of values is laid over those before."""
    given = tuple(f"{key}={json.dumps(value[key])}" for value in values for key in value)
    return _template(release, namespace, kubernetes, chart, given)


@functools.cache
def _template(
    release: str, namespace: str, kubernetes: str, chart: Path, values: tuple[str, ...]
) -> subprocess.CompletedProcess[str]:
    command = [helm(), "template", release, str(chart), "--namespace", namespace]
    command += ["--kube-version", kubernetes]
    command += [argument for value in values for argument in ("--set-json", value)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rendered(
    *values: Mapping[str, Any],
    release: str = "joulery",
    kubernetes: str = "1.30.0",
    chart: Path = CHART,
    namespace: str = "energy",
) -> Objects:
    """Return the objects that the chart renders to."""
    ended = render(
        *values, release=release, kubernetes=kubernetes, chart=chart, namespace=namespace
    )
    assert ended.returncode == 0, ended.stderr
    return [item for item in yaml.safe_load_all(ended.stdout) if item]


def one(objects: Objects, kind: str) -> dict[str, Any]:
    """Return the only object of a kind."""
    [found] = [item for item in objects if item["kind"] == kind]
    return found


def containers(objects: Objects) -> dict[str, dict[str, Any]]:
    """Return the containers of the only DaemonSet by their names."""
    pod = one(objects, "DaemonSet")["spec"]["template"]["spec"]
    assert "initContainers" not in pod
    found = {item["name"]: dict(item) for item in pod["containers"]}
    assert list(found) in (["energy"], ["energy", "service"])
    return found


def container(objects: Objects, name: str = "energy") -> dict[str, Any]:
    """Return a container of the only DaemonSet."""
    return containers(objects)[name]


def named(objects: Objects, kind: str, name: str) -> dict[str, Any]:
    """Return the object of a kind with a name."""
    [found] = [o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name)]
    return found


def schema_leaves(
    schema: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Yield each value that the schema describes, with its path and what is said of it."""
    for key, inner in schema["properties"].items():
        if "properties" in inner and "examples" not in inner:
            yield from schema_leaves(inner, (*path, key))
        elif "examples" in inner:
            yield (*path, key), inner


_PEERS = [{"podSelector": {"matchLabels": {"app": "prometheus"}}}]
_HASH = "$2y$10$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234"

VALUES: Mapping[str, Mapping[str, Any]] = {
    "defaults": {},
    "bare": {
        "affinity": None,
        "nodeSelector": None,
        "resources": None,
        "service.scrapeAnnotations": False,
        "serviceAccount.create": False,
        "services.enabled": False,
        "tolerations": [],
    },
    "password": {"webConfig.inline": {"basic_auth_users": {"alice": _HASH}}},
    "tls": {"webConfig.tlsSecret": "energy-tls"},
    "own web configuration": {
        "webConfig.existingSecret": "web",
        "webConfig.key": "config.yaml",
        "webConfig.tls": True,
        "webConfig.clientCertificates": True,
    },
    "service monitor": {"serviceMonitor.enabled": True},
    "pod monitor": {"podMonitor.enabled": True},
    "rules": {"rules": {"enabled": True, "configMap": True, "labels": {"release": "mine"}}},
    "gpu": {"gpu": {"nvidia": True, "runtimeClassName": "nvidia"}, "hostPID": True},
    "network policy": {"networkPolicy.enabled": True},
    "energy alone": {"services.enabled": False, "networkPolicy.enabled": True},
    "own rights": {"rbac.create": False, "serviceAccount": {"create": False, "name": "mine"}},
    "services": {
        "services.otlpHostPort": 4318,
        "services.probe": {"rateHz": 1, "goldenConfigMap": "golden"},
        "services.resources": None,
    },
    "otlp": {"otlp": {"enabled": True, "endpoint": "http://collector.observability:4318"}},
}
"""Sets of values that people have, by what they are after."""

EVERYTHING: Mapping[str, Any] = {
    **VALUES["password"],
    **VALUES["tls"],
    **VALUES["service monitor"],
    **VALUES["rules"],
    **VALUES["gpu"],
    **VALUES["otlp"],
    **VALUES["services"],
    "services.extraEnv": [{"name": "JOULERY_DEBUG", "value": "1"}],
    "services.extraVolumeMounts": [{"name": "more", "mountPath": "/more", "readOnly": True}],
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
    "extraVolumeMounts": [{"name": "more", "mountPath": "/more", "readOnly": True}],
    "extraVolumes": [{"name": "more", "configMap": {"name": "more"}}],
    "image.pullSecrets": [{"name": "registry"}],
    "monitors.basicAuth": {
        "username": {"name": "scraper", "key": "user"},
        "password": {"name": "scraper", "key": "password"},
    },
    "monitors.interval": "15s",
    "monitors.labels": {"release": "prometheus"},
    "monitors.metricRelabelings": [{"action": "labeldrop", "regex": "part"}],
    "monitors.relabelings": [{"targetLabel": "cluster", "replacement": "edge"}],
    "monitors.scrapeTimeout": "5s",
    "monitors.tlsConfig": {"insecureSkipVerify": True},
    "networkPolicy": {
        "enabled": True,
        "from": _PEERS,
        "servicesFrom": _PEERS,
        "apiServerTo": _PEERS,
        "otlpTo": _PEERS,
        "extraEgress": [{"to": [{"ipBlock": {"cidr": "192.0.2.1/32"}}]}],
    },
    "podAnnotations": {"team": "energy"},
    "podLabels": {"team": "energy"},
    "priorityClassName": "system-node-critical",
    "securityContext.addCapabilities": ["PERFMON"],
    "securityContext.seLinuxOptions": {"type": "spc_t"},
    "service.annotations": {"team": "energy"},
    "serviceAccount.annotations": {"team": "energy"},
}
"""Nearly all that can be switched on, at once."""

MATRIX = {**VALUES, "everything": EVERYTHING}
"""All these sets by their names."""
