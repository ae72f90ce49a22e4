"""The chart's values: explained, used, checked; and the names and notes that come of them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import joulery
from joulery.exporters.command import IdlePolicy, LogFormat, LogLevel, app

from .helm import (
    CHART,
    EVERYTHING,
    MATRIX,
    VALUES,
    container,
    containers,
    explained,
    one,
    render,
    rendered,
    schema_leaves,
)

SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
LEAVES = list(schema_leaves(SCHEMA))
DEFAULTS: Any = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))


def _environment(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables of the energy exporter that have a value, not a reference."""
    return {e["name"]: e["value"] for e in container(rendered(values))["env"] if "value" in e}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"intervalSecond": 5}, "intervalSecond"),
        ({"hostPaths.sysfs": "/sys"}, "hostPaths.*sysfs"),
        ({"intervalSeconds": "5s"}, "intervalSeconds.*number"),
        ({"idlePolicy": "request"}, "idlePolicy.*time_share"),
        ({"image.tag": "latest"}, r"image\.tag"),
        ({"image.repository": "joulery-exporter:latest"}, r"image\.repository"),
        ({"hostPaths.sys": "sys"}, r"hostPaths\.sys.*\^/"),
        ({"port": 0}, "port"),
        ({"securityContext.privileged": True}, "privileged"),
        ({"securityContext.addCapabilities": ["CAP_PERFMON"]}, "addCapabilities"),
        ({"tolerations": [{"operater": "Exists"}]}, "operater"),
        ({"serviceMonitor.enabled": True, "podMonitor.enabled": True}, "found both, expected one"),
        ({"webConfig": {"inline": {"tls_server_config": {}}, "existingSecret": "web"}}, "found"),
        ({"otlp.enabled": True}, "otlp.endpoint: found nothing, expected an address"),
        ({"serviceAccount.create": False}, "serviceAccount.name: found nothing"),
        ({"services.port": 28480}, "found the same port twice, expected three ports"),
        ({"services.otlpport": 4318}, "otlpport"),
        ({"services.probe.rateHz": 0}, "rateHz"),
        ({"services.store.sizeLimit": "much"}, "sizeLimit"),
    ],
    ids=str,
)
def test_refuses(values: Mapping[str, Any], said: str) -> None:
    """A misspelt, wrong or contradictory value is refused, and helm's message names it."""
    if "inline" in str(values):
        values = {**values, "webConfig.inline": {"basic_auth_users": {"alice": "hash"}}}
    ended = render(values)
    assert ended.returncode != 0
    assert re.search(said, " ".join(ended.stderr.split()))


def test_old_kubernetes_is_refused() -> None:
    """A cluster older than the chart supports is told so, and its oldest is not."""
    assert "1.20" in render({}, kubernetes="1.19.16").stderr
    assert rendered({}, kubernetes="1.20.0")
    assert rendered({}, kubernetes="0.0.0-master+faecb196815e2"), "one built without a version"


def test_environment_is_what_the_command_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chart sets every variable of `joulery exporter energy`, and the command accepts them."""
    group = typer.main.get_command(app)
    command = group.commands["energy"]  # type: ignore[attr-defined]
    read = {param.envvar for param in command.params if getattr(param, "envvar", None)}
    only = container(rendered(EVERYTHING))
    assert only["args"] == ["exporter", "energy"]
    given = {e["name"] for e in only["env"] if e["name"].startswith("JOULERY_")}
    assert given == read
    references = {
        e["name"]: e["valueFrom"]["fieldRef"]["fieldPath"] for e in only["env"] if "valueFrom" in e
    }
    assert references == {"JOULERY_NODE": "spec.nodeName", "JOULERY_POD_UID": "metadata.uid"}
    for key in ("intervalSeconds", "retentionSeconds"):
        limits = dict(LEAVES)[(key,)]
        for edge in (limits["minimum"], limits["maximum"]):
            for name, value in _environment({key: edge}).items():
                monkeypatch.setenv(name, value)
            command.make_context("energy", [])
    for path, choices in (
        (("idlePolicy",), IdlePolicy),
        (("log", "format"), LogFormat),
        (("log", "level"), LogLevel),
    ):
        assert dict(LEAVES)[path]["enum"] == [choice.value for choice in choices]
    monkeypatch.setenv("JOULERY_INTERVAL_S", "0")
    with pytest.raises(Exception, match="2"):
        command.make_context("energy", [])


@pytest.mark.parametrize("path", [path for path, _ in LEAVES], ids=".".join)
def test_every_value_matters(path: tuple[str, ...]) -> None:
    """Another value than the default changes what is rendered, under some circumstances."""
    [example] = dict(LEAVES)[path]["examples"]
    default = DEFAULTS
    for key in path:
        default = default[key]
    name = ".".join(path)
    for values in (EVERYTHING, *VALUES.values()):
        other = render(values, {name: example})
        for given in ({}, {name: default}):
            before = render(values, given)
            if before.returncode == other.returncode == 0 and before.stdout != other.stdout:
                return
    pytest.fail(f"no template reads {name}")


def test_every_value_is_explained() -> None:
    """Each value has a comment right above it, and values and schema know the same ones."""
    explained(CHART)


@pytest.mark.parametrize(
    ("release", "values"),
    [
        ("r" * 53, {}),
        ("r" * 53, {"nameOverride": "n" * 63}),
        ("joulery", {"fullnameOverride": "n" * 63}),
        ("my-joulery", {}),
    ],
)
def test_names_fit(release: str, values: Mapping[str, Any]) -> None:
    """However long names are made, each has 63 characters at most and is referred to as it is."""
    objects = rendered(EVERYTHING, values, release=release)
    roles = [o for o in objects if o["kind"].startswith("ClusterRole")]
    assert len(roles) == 2
    for item in roles:
        assert item["metadata"]["name"].startswith("energy-")
        assert len(item["metadata"]["name"]) <= 253
    services = {o["metadata"]["name"] for o in objects if o["kind"] == "Service"}
    [pushed_to] = [name for name in services if name.endswith("-otlp")]
    assert len(pushed_to) <= 63
    names = {
        item["kind"]: item["metadata"]["name"]
        for item in objects
        if item not in roles and item["metadata"]["name"] != pushed_to
    }
    pod = one(objects, "DaemonSet")["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for name in names.values():
        assert re.fullmatch("[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name)
    for item in objects:
        assert all(len(value) <= 63 for value in item["metadata"]["labels"].values())
    assert pod["serviceAccountName"] == names["ServiceAccount"]
    assert volumes["web-config"]["secret"]["secretName"] == names["Secret"]
    assert names["DaemonSet"] == names["Service"] == names["NetworkPolicy"]


def test_inside_another_chart(tmp_path: Path) -> None:
    """As a part of another chart it renders, with shared values and the switch of its parent."""
    parent = tmp_path / "parent"
    shutil.copytree(CHART, parent / "charts" / "joulery")
    about = {"apiVersion": "v2", "name": "parent", "version": "1.0.0"}
    part = {"name": "joulery", "version": joulery.__version__, "condition": "joulery.enabled"}
    (parent / "Chart.yaml").write_text(
        yaml.safe_dump({**about, "dependencies": [part]}), encoding="utf-8"
    )
    shared = {"global": {"region": "edge"}}
    assert one(rendered(shared, {"joulery.enabled": True}, chart=parent), "DaemonSet")
    assert rendered(shared, {"joulery.enabled": False}, chart=parent) == []


@pytest.mark.parametrize("name", MATRIX)
def test_notes(name: str, tmp_path: Path) -> None:
    """The notes name what was made, how to look at it, and what an estimate is."""
    copy = tmp_path / "joulery"
    shutil.copytree(CHART, copy)
    notes = (copy / "templates" / "NOTES.txt").read_text(encoding="utf-8")
    (copy / "templates" / "_notes.tpl").write_text(
        f'{{{{- define "notes" -}}}}{notes}{{{{- end }}}}', encoding="utf-8"
    )
    (copy / "templates" / "notes.yaml").write_text(
        'kind: Notes\napiVersion: v1\ntext: {{ include "notes" . | quote }}\n', encoding="utf-8"
    )
    objects = rendered(MATRIX[name], chart=copy)
    said = one(objects, "Notes")["text"]
    assert f"rollout status daemonset/{one(objects, 'DaemonSet')['metadata']['name']}" in said
    assert "pod-security.kubernetes.io/enforce=privileged" in said
    assert '"estimated" means' in said
    has_services = len(containers(objects)) == 2
    assert ("joulery.io/scrape" in said) == has_services
    assert ("//joulery-otlp.energy:4318" in said) == has_services
    assert ("$(HOST_IP):4318" in said) == (name in {"services", "everything"})
    tls = container(objects)["readinessProbe"].get("httpGet", {}).get("scheme") != "HTTP"
    assert ("--insecure https://" in said) == tls
    assert max(len(line) for line in said.splitlines()) <= 110
