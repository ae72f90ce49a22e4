"""The services' Helm chart: what it renders, for which Kubernetes, and what a change restarts."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import joulery
from joulery.campaigns.configuration import Configuration
from joulery.campaigns.kubernetes.deployment import chart_values
from joulery.campaigns.kubernetes.spec import KubernetesSpec
from joulery.campaigns.scenarios import scenarios

from ..conftest import REPOSITORY
from ..exporters.chart_schemas import VERSIONS, check
from ..exporters.helm import Objects, explained, lint, one, render, schema_leaves
from ..exporters.helm import rendered as rendered_of

CHART = REPOSITORY / "campaigns" / "chart"
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
LEAVES = list(schema_leaves(SCHEMA))
DEFAULTS: Any = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
SUPPORTED = [version for version in VERSIONS if int(version.split(".")[1]) >= 25]

_DEVICE = {"resource": "nvidia.com/gpu", "count": 2, "runtimeClassName": "nvidia"}

VALUES: Mapping[str, Mapping[str, Any]] = {
    "defaults": {},
    "bare": {"nodeSelector": None, "resources": None, "affinity": None, "strategy": None},
    "prometheus": {"telemetry.exporter": "prometheus"},
    "silent": {"telemetry.exporter": "none"},
    "device alone": {"accelerator": _DEVICE, "resources": None},
    "device": {"accelerator": _DEVICE, "strategy": {"type": "Recreate"}},
    "configured": {
        "scenario": "anomaly_detection",
        "config": {
            "model": "autoencoder",
            "precision": "int8",
            "batch": 8,
            "batch_wait_s": 0.02,
            "threads": 2,
            "exit_threshold": None,
            "variant": "small",
        },
    },
    "everything": {
        "accelerator": _DEVICE,
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        "annotations": {"model": "mlp", "variant": "int8", "golden": "digits"},
        "extraEnv": [{"name": "JOULERY_DEBUG", "value": "1"}],
        "extraVolumeMounts": [{"name": "models", "mountPath": "/models", "readOnly": True}],
        "extraVolumes": [{"name": "models", "emptyDir": {}}],
        "image.pullSecrets": [{"name": "registry"}],
        "podAnnotations": {"team": "energy"},
        "podLabels": {"team": "energy"},
        "priorityClassName": "system-cluster-critical",
        "replicas": 3,
        "service": {"type": "NodePort", "annotations": {"team": "energy"}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0}},
        "telemetry": {"exporter": "prometheus", "answersUrl": ""},
        "tolerations": [{"key": "edge", "operator": "Exists", "effect": "NoSchedule"}],
    },
}
"""Sets of values that people have, by what they are after."""


def rendered_service(*values: Mapping[str, Any], **more: Any) -> Objects:
    """Return the objects that the services' chart renders to."""
    return rendered_of(*values, **{"chart": CHART, "release": "traffic", **more})


def _pod(*values: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    template = one(rendered_service(*values, **more), "Deployment")["spec"]["template"]
    return dict(template)


def _container(*values: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    [only] = _pod(*values, **more)["spec"]["containers"]
    return dict(only)


def _environment(*values: Mapping[str, Any]) -> dict[str, str]:
    """Return each variable with its value, or with the field that its value is taken from."""
    return {
        entry["name"]: entry.get("value") or entry["valueFrom"]["fieldRef"]["fieldPath"]
        for entry in _container(*values)["env"]
    }


def _config(*values: Mapping[str, Any]) -> dict[str, Any]:
    text = one(rendered_service(*values), "ConfigMap")["data"]["config.yaml"]
    return dict(yaml.safe_load(text))


def test_lint() -> None:
    """`helm lint --strict` finds nothing to say against the chart."""
    lint(CHART)


def test_version_is_the_package_s() -> None:
    """Chart and image have the package's version, and a digest wins over a tag."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == chart["version"] == joulery.__version__
    assert _container({})["image"] == f"joulery-service:{joulery.__version__}"
    digest = "sha256:" + "0" * 64
    pinned = _container({"image.digest": digest, "image.tag": "0.2.0"})["image"]
    assert pinned == f"joulery-service@{digest}"


@pytest.mark.parametrize("name", VALUES)
def test_kubernetes_accepts_the_objects(name: str) -> None:
    """Every supported version of Kubernetes accepts each object, down to the last field."""
    objects = rendered_service(VALUES[name], kubernetes="1.25.0")
    assert {item["kind"] for item in objects} == {"ConfigMap", "Deployment", "Service"}
    assert {item["metadata"]["namespace"] for item in objects} == {"energy"}
    for version in SUPPORTED:
        for item in objects:
            check(item, version)
    assert rendered_service(VALUES[name], kubernetes=VERSIONS[-1]) == objects


def test_old_kubernetes_is_refused() -> None:
    """A cluster older than the chart supports is told so."""
    assert "1.25" in render({}, kubernetes="1.24.17", chart=CHART).stderr
    assert rendered_service({}, kubernetes="0.0.0-master+faecb196815e2"), (
        "one built without a version"
    )


@pytest.mark.parametrize("name", VALUES)
def test_restricted(name: str) -> None:
    """Whatever is switched on, the pod keeps to the Pod Security level `restricted`."""
    pod = _pod(VALUES[name])["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & pod.keys()
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    [only] = pod["containers"]
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all("hostPort" not in port for port in only["ports"])
    assert all({"configMap", "emptyDir"} & volume.keys() for volume in pod["volumes"])


@pytest.mark.parametrize("key", DEFAULTS["config"])
def test_a_new_configuration_restarts_nothing(key: str) -> None:
    """A change of the live configuration changes the mounted folder alone, never the pods."""
    [example] = dict(LEAVES)["config", key]["examples"]
    before, after = rendered_service({}), rendered_service({f"config.{key}": example})
    assert one(before, "Deployment") == one(after, "Deployment")
    assert one(before, "ConfigMap")["metadata"] == one(after, "ConfigMap")["metadata"]
    assert _config({}) | {key: example} == _config({f"config.{key}": example})


def test_what_is_null_is_not_said() -> None:
    """What the user leaves to the server does not appear in its configuration."""
    assert _config({}) == {
        key: value for key, value in DEFAULTS["config"].items() if value is not None
    }
    nothing = dict.fromkeys(DEFAULTS["config"].keys() - {"model", "precision"})
    chosen = {"config.model": "mlp", "config.precision": "int8"}
    given = {f"config.{key}": value for key, value in nothing.items()}
    assert _config(chosen, given) == {"model": "mlp", "precision": "int8"}


def test_configuration_is_mounted_as_a_folder() -> None:
    """The server is told a file in the ConfigMap's folder, which the kubelet keeps current."""
    pod = _pod({})["spec"]
    [only] = pod["containers"]
    [mount], [volume] = only["volumeMounts"], pod["volumes"]
    [given] = [a for a in only["args"] if a.startswith("--config=")]
    assert given == f"--config={mount['mountPath']}/config.yaml"
    assert "subPath" not in mount
    assert mount["readOnly"] is True
    assert volume["configMap"] == {
        "name": one(rendered_service({}), "ConfigMap")["metadata"]["name"]
    }


def test_telemetry_goes_to_the_pod_s_own_node() -> None:
    """By default the exporter of the node, by its Service, is told what is of which pod."""
    told = _environment({})
    assert told["OTEL_METRICS_EXPORTER"] == "otlp"
    assert told["OTEL_TRACES_EXPORTER"] == "none"
    assert told["OTEL_METRIC_EXPORT_INTERVAL"] == "10000"
    assert told["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://joulery-otlp.joulery:4318"
    # Kubernetes puts in what is defined before.
    names = list(told)
    fields = {"POD_UID": "metadata.uid", "POD_NAME": "metadata.name", "NODE_NAME": "spec.nodeName"}
    fields |= {"POD_NAMESPACE": "metadata.namespace", "HOST_IP": "status.hostIP"}
    assert fields.items() <= told.items()
    for name, value in told.items():
        for used in re.findall(r"\$\((\w+)\)", value):
            assert names.index(used) < names.index(name)
    assert dict(pair.split("=") for pair in told["OTEL_RESOURCE_ATTRIBUTES"].split(",")) == {
        "k8s.pod.uid": "$(POD_UID)",
        "k8s.pod.name": "$(POD_NAME)",
        "k8s.namespace.name": "$(POD_NAMESPACE)",
        "k8s.node.name": "$(NODE_NAME)",
    }
    assert told["JOULERY_ANSWERS_URL"] == "http://joulery-otlp.joulery:4318"
    assert "JOULERY_ANSWERS_URL" not in _environment({"telemetry.answersUrl": ""})


def test_annotations_say_where_metrics_are() -> None:
    """A pod is to be scraped exactly when it serves metrics, and never counts twice."""
    pushes = _pod({})["metadata"]["annotations"]
    assert pushes["joulery.io/scrape"] == "false"
    assert not {"joulery.io/port", "joulery.io/dialect"} & pushes.keys()
    pod = _pod(VALUES["everything"])
    told = {k: v for k, v in pod["metadata"]["annotations"].items() if k.startswith("joulery.io/")}
    assert told == {
        "joulery.io/scrape": "true",
        "joulery.io/port": "9464",
        "joulery.io/dialect": "joulery",
        "joulery.io/model": "mlp",
        "joulery.io/variant": "int8",
        "joulery.io/golden": "digits",
    }
    [only] = pod["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in only["ports"]}
    assert ports == {"http": 8080, "metrics": 9464}
    assert _environment(VALUES["everything"])["OTEL_EXPORTER_PROMETHEUS_HOST"] == "0.0.0.0"


def test_a_pod_that_ends_goes_on_to_answer() -> None:
    """It has time until nobody is led to it any more, and is not killed before it has ended."""
    assert "--drain-s=5" in _container({})["args"]
    assert not [one for one in _container({"drainSeconds": 0})["args"] if "drain" in one]
    assert _pod({})["spec"]["terminationGracePeriodSeconds"] >= DEFAULTS["drainSeconds"] + 30
    assert "lifecycle" not in _container({}), "an image needs no shell"


def test_no_trial_waits_for_a_drain() -> None:
    """A campaign's pods stop at once, unless the user's own values say something else."""
    spec = KubernetesSpec(
        image="joulery-service:1", namespace="trials", prometheus_url="http://prometheus"
    )
    configuration = Configuration(
        scenario="traffic_prediction", model="mlp", precision="fp32", batch=1, threads=1
    )
    values = chart_values(spec, configuration, name="n", batch_wait_s=0.005)
    assert not [one for one in _container(values)["args"] if "drain" in one]


def test_probes() -> None:
    """The kubelet asks the protocol's own health endpoints."""
    only = _container({})
    for kind, path in (("startup", "live"), ("liveness", "live"), ("readiness", "ready")):
        wanted = {"path": f"/v2/health/{path}", "port": "http"}
        assert only[f"{kind}Probe"]["httpGet"] == wanted


def test_device() -> None:
    """A device is asked for beside CPU and memory, as a limit, for it is never overcommitted."""
    assert "limits" not in _container({"resources.limits": None})["resources"]
    resources = _container(VALUES["device"])["resources"]
    assert resources["limits"] == {"memory": "512Mi", "nvidia.com/gpu": "2"}
    assert resources["requests"] == DEFAULTS["resources"]["requests"]
    alone = _container(VALUES["device alone"])["resources"]
    assert alone == {"limits": {"nvidia.com/gpu": "2"}}
    assert _pod(VALUES["device"])["spec"]["runtimeClassName"] == "nvidia"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replica": 2}, "replica"),
        ({"config.modle": "mlp"}, "modle"),
        ({"config.model": None}, "model"),
        ({"config.batch": 0}, "config.batch"),
        ({"config.exit_threshold": -1}, "exit_threshold"),
        ({"image.tag": "latest"}, r"image\.tag"),
        ({"port": 80}, "port"),
        ({"telemetry.exporter": "zipkin"}, "telemetry.exporter.*prometheus"),
        ({"telemetry.endpoint": "collector:4318"}, "telemetry.endpoint"),
        ({"drainSeconds": -1}, "drainSeconds"),
        ({"drainSeconds": 40}, "terminationGracePeriodSeconds: found 40, expected more than"),
        ({"accelerator.resource": "gpu"}, "accelerator.resource"),
        ({"accelerator.count": 0}, "accelerator.count"),
        ({"tolerations": [{"operater": "Exists"}]}, "operater"),
    ],
    ids=str,
)
def test_refuses(values: Mapping[str, Any], said: str) -> None:
    """A misspelt or wrong value is refused, and helm's message names it."""
    ended = render(values, chart=CHART)
    assert ended.returncode != 0
    assert re.search(said, " ".join(ended.stderr.split()))


@pytest.mark.parametrize("path", [path for path, _ in LEAVES], ids=".".join)
def test_every_value_matters(path: tuple[str, ...]) -> None:
    """Another value than the default changes what is rendered, under some circumstances."""
    [example] = dict(LEAVES)[path]["examples"]
    other = {".".join(path): example}
    for values in VALUES.values():
        before, after = render(values, chart=CHART), render(values, other, chart=CHART)
        assert after.returncode == 0, after.stderr
        if before.stdout != after.stdout:
            return
    pytest.fail(f"no template reads {'.'.join(path)}")


def test_every_value_is_explained() -> None:
    """Each value has a comment right above it, and values and schema know the same ones."""
    explained(CHART)


def test_every_scenario_is_named() -> None:
    """The comment on `scenario` names each there is, and the default has the default model."""
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    known = {one.name: one for one in scenarios()}
    assert all(f"`{name}`" in text for name in known)
    [model] = [
        m for m in known[DEFAULTS["scenario"]].models if m.name == DEFAULTS["config"]["model"]
    ]
    assert DEFAULTS["config"]["precision"] in model.precisions


@pytest.mark.parametrize("release", ["r" * 53, "my-joulery-service"])
def test_names_fit(release: str) -> None:
    """However long a release's name is, each object's has 63 characters at most."""
    for item in rendered_service(VALUES["everything"], release=release):
        assert re.fullmatch("[a-z]([-a-z0-9]{0,61}[a-z0-9])?", item["metadata"]["name"])
        assert all(len(value) <= 63 for value in item["metadata"]["labels"].values())


def test_upgrade_keeps_selectors(tmp_path: Path) -> None:
    """Another version with other values has the same selectors, and its pods are still selected."""
    newer = tmp_path / "joulery-service"
    shutil.copytree(CHART, newer)
    text = (newer / "Chart.yaml").read_text(encoding="utf-8")
    (newer / "Chart.yaml").write_text(text.replace(joulery.__version__, "9.9.9"), encoding="utf-8")
    mine = {"podLabels": {"app.kubernetes.io/name": "mine"}}
    before, after = rendered_service({}), rendered_service(VALUES["everything"], mine, chart=newer)
    selectors = [
        [
            one(objects, "Deployment")["spec"]["selector"]["matchLabels"],
            one(objects, "Service")["spec"]["selector"],
        ]
        for objects in (before, after)
    ]
    assert selectors[0] == selectors[1]
    labels = one(after, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert selectors[1][0].items() <= labels.items()


@pytest.mark.parametrize("name", VALUES)
def test_notes(name: str, tmp_path: Path) -> None:
    """The notes name what was made and how to ask it, and are narrow enough for a terminal."""
    copy = tmp_path / "joulery-service"
    shutil.copytree(CHART, copy)
    notes = (copy / "templates" / "NOTES.txt").read_text(encoding="utf-8")
    (copy / "templates" / "_notes.tpl").write_text(
        f'{{{{- define "notes" -}}}}{notes}{{{{- end }}}}', encoding="utf-8"
    )
    (copy / "templates" / "notes.yaml").write_text(
        'kind: Notes\napiVersion: v1\ntext: {{ include "notes" . | quote }}\n', encoding="utf-8"
    )
    objects = rendered_service(VALUES[name], chart=copy)
    said = one(objects, "Notes")["text"]
    assert f"rollout status deployment/{one(objects, 'Deployment')['metadata']['name']}" in said
    assert f"port-forward service/{one(objects, 'Service')['metadata']['name']}" in said
    assert max(len(line) for line in said.splitlines()) <= 120
