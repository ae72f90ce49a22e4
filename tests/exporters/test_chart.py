"""The Helm chart: what it renders, for which Kubernetes, with which values, and what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

import joulery
from joulery.exporters.web_config import load_web_config

from .chart_schemas import VERSIONS, check
from .helm import (
    CHART,
    EVERYTHING,
    MATRIX,
    VALUES,
    container,
    containers,
    lint,
    named,
    one,
    rendered,
)


def test_lint() -> None:
    """`helm lint --strict` finds nothing to say against the chart."""
    lint(CHART)


def test_version_is_the_package_s() -> None:
    """Chart and image have the package's version, and no image is ever `latest`."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == chart["version"] == joulery.__version__
    image = container(rendered({}))["image"]
    assert image == f"joulery-exporter:{joulery.__version__}"
    digest = "sha256:" + "0" * 64
    pinned = container(rendered({"image.digest": digest, "image.tag": "0.2.0"}))["image"]
    assert pinned == f"joulery-exporter@{digest}"


@pytest.mark.parametrize("name", MATRIX)
def test_kubernetes_accepts_the_objects(name: str) -> None:
    """Every version of Kubernetes accepts what is rendered for it, down to the last field."""
    renderings: dict[bool, Any] = {}
    for version in VERSIONS:
        new = int(version.split(".")[1]) >= 30
        if new not in renderings:
            renderings[new] = rendered(MATRIX[name], kubernetes=version)
        for item in renderings[new]:
            check(item, version)
    assert set(renderings) == {False, True}
    assert rendered(MATRIX[name], kubernetes="1.22.0") == renderings[False]
    assert rendered(MATRIX[name], kubernetes=VERSIONS[-1]) == renderings[True]
    # The one Service that keeps to a node came with 1.22.
    local = [item for item in renderings[False] if "internalTrafficPolicy" in str(item)]
    older = rendered(MATRIX[name], kubernetes="1.20.0")
    assert older == [item for item in renderings[False] if item not in local]
    assert len(local) == len(containers(older)) - 1
    # One that was built without a version may be as old.
    assert rendered(MATRIX[name], kubernetes="0.0.0") == older


@pytest.mark.parametrize("name", MATRIX)
def test_least_privilege(name: str) -> None:
    """Whatever is switched on: root, but nothing that root could do, and no word with the API."""
    objects = rendered(MATRIX[name])
    roles = {"ClusterRole", "ClusterRoleBinding"}
    assert {item["kind"] for item in objects} - roles <= {
        "ConfigMap",
        "DaemonSet",
        "NetworkPolicy",
        "PodMonitor",
        "PrometheusRule",
        "Secret",
        "Service",
        "ServiceAccount",
        "ServiceMonitor",
    }
    places = {o["metadata"].get("namespace") for o in objects if o["kind"] not in roles}
    assert places == {"energy"}
    for account in (item for item in objects if item["kind"] == "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    pod = one(objects, "DaemonSet")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["hostNetwork"] is False
    assert "hostIPC" not in pod
    assert pod["hostPID"] is MATRIX[name].get("hostPID", False)
    group = {"fsGroup": 65532} if len(pod["containers"]) == 2 else {}
    assert pod["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}, **group}
    rights = container(objects)["securityContext"]
    capabilities = rights.pop("capabilities")
    assert capabilities.pop("drop") == ["ALL"]
    assert capabilities == ({"add": ["PERFMON"]} if name == "everything" else {})
    assert rights == {
        "runAsUser": 0,
        "runAsGroup": 0,
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        **({"seLinuxOptions": {"type": "spc_t"}} if name == "everything" else {}),
    }


@pytest.mark.parametrize("kubernetes", ["1.20.0", "1.29.0", "1.30.0", VERSIONS[-1]])
def test_host_is_read_only(kubernetes: str) -> None:
    """No mount but /tmp can be written; of the host, not even what is mounted below."""
    objects = rendered(EVERYTHING, {"services.enabled": False}, kubernetes=kubernetes)
    volumes = {
        v["name"]: v for v in one(objects, "DaemonSet")["spec"]["template"]["spec"]["volumes"]
    }
    mounts = {mount["mountPath"]: mount for mount in container(objects)["volumeMounts"]}
    writable = [path for path, mount in mounts.items() if not mount.get("readOnly")]
    assert writable == ["/tmp"]
    assert {mount["name"] for mount in mounts.values()} == set(volumes)
    recursive = int(kubernetes.split(".")[1]) >= 30
    for mount in mounts.values():
        volume = volumes[mount["name"]]
        assert "mountPropagation" not in mount
        if "hostPath" in volume:
            assert mount.get("recursiveReadOnly") == ("IfPossible" if recursive else None)
            # Neither made on the host by the kubelet, nor a reason not to start.
            assert volume["hostPath"]["type"] == ""
        else:
            assert "recursiveReadOnly" not in mount
    # Where mounts are not read-only recursively, these cover writable file systems below /sys.
    assert volumes[mounts["/host/sys/fs/cgroup"]["name"]]["hostPath"]["path"] == "/sys/fs/cgroup"
    assert "emptyDir" in volumes[mounts["/host/sys/kernel"]["name"]]


def test_host_folders_reach_the_exporter() -> None:
    """Each host folder that a value names is mounted where the exporter is told to look."""
    wanted = {
        "SYSFS": ("hostPaths.sys", "/mnt/sys"),
        "PROCFS": ("hostPaths.proc", "/mnt/proc"),
        "CGROUPFS": ("hostPaths.cgroup", "/mnt/cgroup"),
        "POD_LOGS": ("hostPaths.podLogs", "/mnt/pods"),
        "CONTAINER_LOGS": ("hostPaths.containerLogs", "/mnt/containers"),
        "POD_RESOURCES": ("kubelet.rootDir", "/mnt/kubelet"),
    }
    objects = rendered(dict(wanted.values()))
    pod = one(objects, "DaemonSet")["spec"]["template"]["spec"]
    sources = {v["name"]: v["hostPath"]["path"] for v in pod["volumes"] if "hostPath" in v}
    only = container(objects)
    places = {mount["mountPath"]: sources.get(mount["name"]) for mount in only["volumeMounts"]}
    told = {e["name"]: e["value"] for e in only["env"] if "value" in e}
    for name, (_, source) in wanted.items():
        path = told[f"JOULERY_{name}"]
        if name == "POD_RESOURCES":
            path, _, socket = path.rpartition("/")
            assert socket == "kubelet.sock"
            source = f"{source}/pod-resources"
        assert places[path] == source
    # A sysfs of another place may lack the folders that would be covered.
    assert not any(path.startswith("/host/sys/") for path in places)


def test_web_configuration_is_one_the_exporter_reads(tmp_path: Path) -> None:
    """What the chart writes into its Secret is a web configuration, and pods follow its changes."""
    objects = rendered(VALUES["password"])
    path = tmp_path / "web.yml"
    path.write_text(one(objects, "Secret")["stringData"]["web.yml"], encoding="utf-8")
    assert set(load_web_config(path).users) == {"alice"}
    tls = one(rendered(VALUES["tls"]), "Secret")["stringData"]["web.yml"]
    assert yaml.safe_load(tls) == {
        "tls_server_config": {
            "cert_file": "/etc/joulery/tls/tls.crt",
            "key_file": "/etc/joulery/tls/tls.key",
        }
    }
    checksums = {
        one(rendered(values), "DaemonSet")["spec"]["template"]["metadata"]["annotations"][
            "checksum/web-config"
        ]
        for values in (VALUES["password"], VALUES["tls"], EVERYTHING)
    }
    assert len(checksums) == 3


def test_probes() -> None:
    """Probes speak what the port speaks; where it wants a certificate they only connect."""
    for values, scheme in ((VALUES["password"], "HTTP"), (VALUES["tls"], "HTTPS")):
        only = container(rendered(values))
        for kind, path in (("startup", "health"), ("liveness", "health"), ("readiness", "ready")):
            wanted = {"path": f"/{path}z", "port": "metrics", "scheme": scheme}
            assert only[f"{kind}Probe"]["httpGet"] == wanted
    asks = {"client_auth_type": "RequireAndVerifyClientCert"}
    inline = {**VALUES["tls"], "webConfig.inline": {"tls_server_config": asks}}
    for values in (inline, VALUES["own web configuration"]):
        probe = container(rendered(values))["readinessProbe"]
        assert probe["tcpSocket"] == {"port": "metrics"}
        assert "httpGet" not in probe


@pytest.mark.parametrize("kind", ["ServiceMonitor", "PodMonitor"])
def test_monitor(kind: str) -> None:
    """A monitor keeps our namespace and pod labels, tells the node, and replaces annotations."""
    switch = f"{kind[0].lower()}{kind[1:]}.enabled"
    objects = rendered(VALUES["tls"], {switch: True})
    spec = one(objects, kind)["spec"]
    endpoints = spec["podMetricsEndpoints" if kind == "PodMonitor" else "endpoints"]
    assert [endpoint["port"] for endpoint in endpoints] == ["metrics", "services"]
    node = {"sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "node"}
    for endpoint in endpoints:
        assert (endpoint["honorLabels"], endpoint["scheme"]) == (True, "https")
        assert endpoint["relabelings"] == [node]
    service = named(objects, "Service", "joulery")
    # Only one Service has these ports, so that each is scraped once.
    assert [port["name"] for port in service["spec"]["ports"]] == ["metrics", "services"]
    seen = service if kind == "ServiceMonitor" else one(objects, "DaemonSet")
    labels = seen["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    alone = rendered(VALUES["tls"], {switch: True}, VALUES["energy alone"])
    assert "'services'" not in str(one(alone, kind))
    assert not any("annotations" in o["metadata"] for o in objects if o["kind"] == "Service")


def test_annotated_services() -> None:
    """Prometheus, by annotations of Services, finds each exporter once, at its own port."""
    objects = rendered(VALUES["tls"])
    for name, port in (("joulery", "28480"), ("joulery-otlp", "28481")):
        found = named(objects, "Service", name)["metadata"]["annotations"]
        assert found == {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": port,
            "prometheus.io/path": "/metrics",
            "prometheus.io/scheme": "https",
        }


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [
        ("http://collector:4318", 4318),
        ("http://[2001:db8::1]:4317/v1", 4317),
        ("https://collector.example", 443),
        ("http://collector/otlp", 80),
    ],
)
def test_network_policy_lets_out_only_otlp(endpoint: str, port: int) -> None:
    """For energy alone our port is open, and outwards only DNS and the collector, if one is."""
    closed = one(rendered(VALUES["energy alone"]), "NetworkPolicy")["spec"]
    assert closed["policyTypes"] == ["Ingress", "Egress"]
    assert closed["ingress"] == [{"ports": [{"port": "metrics"}]}]
    assert closed["egress"] == []
    otlp = {"otlp": {"enabled": True, "endpoint": endpoint}}
    spec = one(rendered(VALUES["energy alone"], otlp), "NetworkPolicy")["spec"]
    ports = [rule["port"] for peer in spec["egress"] for rule in peer["ports"]]
    assert ports == [53, 53, port]


def test_upgrade_keeps_selectors(tmp_path: Path) -> None:
    """Another version with other values has the same selectors, and its pods are still selected."""
    newer = tmp_path / "joulery"
    shutil.copytree(CHART, newer)
    text = (newer / "Chart.yaml").read_text(encoding="utf-8")
    (newer / "Chart.yaml").write_text(text.replace(joulery.__version__, "9.9.9"), encoding="utf-8")
    mine = {"podLabels": {"app.kubernetes.io/name": "mine"}}
    before, after = rendered({}), rendered(EVERYTHING, mine, chart=newer)
    assert "9.9.9" in container(after)["image"]
    selectors = [
        (
            one(o, "DaemonSet")["spec"]["selector"]["matchLabels"],
            *(item["spec"]["selector"] for item in o if item["kind"] == "Service"),
        )
        for o in (before, after)
    ]
    assert selectors[0] == selectors[1]
    labels = one(after, "DaemonSet")["spec"]["template"]["metadata"]["labels"]
    assert selectors[1][0].items() <= labels.items()
    assert not any("9.9.9" in value for value in selectors[1][0].values())
