"""The examples for Flux, kpt and kustomize: current, accepted, and saying what the chart says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import joulery

from ..conftest import REPOSITORY, require_program
from .chart_schemas import VERSIONS, check
from .helm import CHART, Objects, containers, helm, one, rendered

EXAMPLES = REPOSITORY / "exporters" / "examples"
KPT = EXAMPLES / "kpt"
FLUX = EXAMPLES / "flux"


def _objects(*paths: Path) -> Objects:
    return [o for path in paths for o in yaml.safe_load_all(path.read_text(encoding="utf-8")) if o]


def _kustomized(folder: Path) -> Objects:
    command = [require_program("kubectl"), "kustomize", str(folder)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return list(yaml.safe_load_all(said))


def _render(*arguments: str, chart_tool: str) -> subprocess.CompletedProcess[str]:
    folders = [str(Path(chart_tool).parent), os.environ["PATH"]]
    return subprocess.run(
        [sys.executable, str(EXAMPLES / "render.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": os.pathsep.join(folders)},
    )


def _without_helm_labels(item: Any) -> Any:
    """Leave out the labels that say Helm has applied an object."""
    if isinstance(item, list):
        return [_without_helm_labels(inner) for inner in item]
    if not isinstance(item, dict):
        return item
    helms = {"app.kubernetes.io/managed-by", "helm.sh/chart"}
    return {k: _without_helm_labels(v) for k, v in item.items() if k not in helms}


def test_rendered_files_are_current() -> None:
    """The rendered files of the examples are what the chart renders today."""
    ended = _render("--check", chart_tool=helm())
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_missing_helm_is_told(tmp_path: Path) -> None:
    """Without helm the rendering script says what it lacks, in one line."""
    ended = subprocess.run(
        [sys.executable, str(EXAMPLES / "render.py")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": str(tmp_path)},
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("helm: ")
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("folder", ["kpt", "kustomize/base"])
def test_rendered_objects_are_the_chart_s(folder: str) -> None:
    """The package and the base hold the chart's objects, all of them, but for Helm's own labels."""
    kinds = {"ClusterRole", "ClusterRoleBinding", "DaemonSet", "Service", "ServiceAccount"}
    found = [o for o in _objects(*(EXAMPLES / folder).glob("*.yaml")) if o["kind"] in kinds]
    wanted = _without_helm_labels(rendered({}, namespace="joulery"))
    assert sorted(found, key=str) == sorted(wanted, key=str)
    for version in (version for version in VERSIONS if int(version.split(".")[1]) >= 30):
        for item in found:
            check(item, version)


def test_kpt_setters() -> None:
    """Each setter sets something, and the package already has the values that its setters name."""
    [kptfile] = _objects(KPT / "Kptfile")
    assert (kptfile["apiVersion"], kptfile["kind"]) == ("kpt.dev/v1", "Kptfile")
    [setting] = kptfile["pipeline"]["mutators"]
    assert re.fullmatch(r"apply-setters:v[\d.]+", setting["image"]), "no registry is named"
    [config] = _objects(KPT / setting["configPath"])
    setters = config["data"]
    # What only configures the pipeline must not be applied to a cluster.
    for local in (kptfile, config):
        assert local["metadata"]["annotations"]["config.kubernetes.io/local-config"] == "true"
    used = set()
    for path in KPT.glob("*.yaml"):
        marked = re.findall(r": (\S+) # kpt-set: (\S+)$", path.read_text("utf-8"), re.MULTILINE)
        for value, pattern in marked:
            names = re.findall(r"\$\{([^}]+)\}", pattern)
            used.update(names)
            filled = re.sub(r"\$\{([^}]+)\}", lambda name: str(setters[name[1]]), pattern)
            assert value == filled, path.name
    assert used == set(setters)
    applied = [o for o in _objects(*KPT.glob("*.yaml")) if o is not config and o != config]
    places = {o["metadata"].get("namespace", o["metadata"]["name"]) for o in applied}
    role = one(applied, "ClusterRole")["metadata"]["name"]
    assert places == {setters["namespace"], role}
    assert role.startswith(setters["namespace"]), "two packages may be in one cluster"
    assert one(applied, "Namespace")
    assert {item["image"] for item in containers(applied).values()} == {setters["image"]}
    assert setters["image"].endswith(f":{joulery.__version__}")


def test_kustomize_overlay() -> None:
    """The overlay moves everything into its namespace and the exporter onto edge nodes."""
    objects = _kustomized(EXAMPLES / "kustomize")
    kinds = sorted(item["kind"] for item in objects)
    assert kinds == [
        "ClusterRole",
        "ClusterRoleBinding",
        "DaemonSet",
        "Namespace",
        "Service",
        "Service",
        "ServiceAccount",
    ]
    binding = one(objects, "ClusterRoleBinding")
    assert binding["roleRef"]["name"] == one(objects, "ClusterRole")["metadata"]["name"]
    names = {o["metadata"].get("namespace") for o in objects if "namespace" in o["metadata"]}
    assert names == {"energy", *(subject["namespace"] for subject in binding["subjects"])}
    pod = one(objects, "DaemonSet")["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {
        "kubernetes.io/os": "linux",
        "node-role.kubernetes.io/edge": "",
    }
    for item in containers(objects).values():
        assert item["image"] == f"registry.example/joulery-exporter:{joulery.__version__}"
    for item in objects:
        check(item, VERSIONS[-1])


def test_flux_release() -> None:
    """The release takes the chart from its source, with values that the chart accepts."""
    objects = _kustomized(FLUX)
    release, source = one(objects, "HelmRelease"), one(objects, "GitRepository")
    assert release["apiVersion"] == "helm.toolkit.fluxcd.io/v2"
    assert source["apiVersion"] == "source.toolkit.fluxcd.io/v1"
    namespace = one(objects, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"
    places = {o["metadata"]["namespace"] for o in (release, source)}
    assert places == {namespace["metadata"]["name"]}
    spec = release["spec"]
    required = {"interval", "chart", "values"}
    assert required <= spec.keys() <= required | {"install", "upgrade", "driftDetection"}
    assert spec["driftDetection"]["mode"] in {"enabled", "warn", "disabled"}
    chart = spec["chart"]["spec"]
    assert (REPOSITORY / chart["chart"]).resolve() == CHART
    assert chart["reconcileStrategy"] in {"ChartVersion", "Revision"}
    assert chart["sourceRef"] == {"kind": source["kind"], "name": source["metadata"]["name"]}
    assert {"interval", "url", "ref"} <= source["spec"].keys()
    assert source["spec"]["ref"] == {"tag": f"v{joulery.__version__}"}
    for duration in (spec["interval"], source["spec"]["interval"]):
        assert re.fullmatch(r"([0-9.]+(ms|s|m|h))+", duration)
    kinds = {item["kind"] for item in rendered(spec["values"])}
    assert {"DaemonSet", "NetworkPolicy", "ServiceMonitor"} <= kinds


def test_flux_source_holds_the_chart(tmp_path: Path) -> None:
    """What the source ignores, in the words of gitignore, is all but the chart."""
    [source] = _objects(FLUX / "source.yaml")
    git = [require_program("git"), "-C", str(tmp_path)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    (tmp_path / ".git/info/exclude").write_text(source["spec"]["ignore"], encoding="utf-8")
    for name in ("README.md", "exporters/chart/templates/a.yaml", "exporters/b.py", "docs/c.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    listed = subprocess.run(
        [*git, "ls-files", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert listed.split() == ["exporters/chart/templates/a.yaml"]


def test_sylva_unit() -> None:
    """Sylva's unit names its own source, the chart in it, and values that the chart accepts."""
    [values] = _objects(FLUX / "sylva-values.yaml")
    [unit] = values["units"].values()
    assert unit["repo"] in values["source_templates"]
    [source] = _objects(FLUX / "source.yaml")
    given = values["source_templates"][unit["repo"]]
    assert given["kind"] == source["kind"]
    assert given["spec"] == {key: source["spec"][key] for key in ("url", "ref")}
    release = unit["helmrelease_spec"]
    assert (REPOSITORY / release["chart"]["spec"]["chart"]).resolve() == CHART
    assert rendered(release["values"])


def test_every_example_explains_itself() -> None:
    """Each example has a README, and the README above them names each."""
    folders = [path.name for path in EXAMPLES.iterdir() if path.is_dir() and path.name[0] != "_"]
    overview = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert sorted(folders) == ["flux", "kpt", "kustomize"]
    for folder in folders:
        assert f"({folder}/README.md)" in overview
        assert (EXAMPLES / folder / "README.md").is_file()
