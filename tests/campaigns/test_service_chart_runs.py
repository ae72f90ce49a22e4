"""What the services' chart renders is understood by those who read it: server and exporter."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from joulery.exporters.dialects import dialects
from joulery.exporters.services.discovery import targets_of
from joulery.exporters.services.target import Target

from ..exporters.helm import one
from .test_service_chart import VALUES, rendered_service

_PATIENCE_S = 60.0


def _mount(folder: Path, data: Mapping[str, str], version: int) -> None:
    """Bring a ConfigMap's content into a folder as the kubelet does: by the swap of a link."""
    inner = folder / f"..{version}"
    inner.mkdir(parents=True)
    for name, text in data.items():
        (inner / name).write_text(text, encoding="utf-8")
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path("..data", name))
    (folder / "..new").symlink_to(inner.name)
    (folder / "..new").rename(folder / "..data")


@contextlib.contextmanager
def _started(folder: Path, *values: Mapping[str, Any]) -> Iterator[str]:
    """Start the server as the rendered container would be, on this machine; yield its URL."""
    [container] = one(rendered_service(*values), "Deployment")["spec"]["template"]["spec"][
        "containers"
    ]
    [mount] = container["volumeMounts"]
    arguments = [
        argument.replace(mount["mountPath"], str(folder)).replace("0.0.0.0", "127.0.0.1")
        for argument in container["args"]
        if not argument.startswith("--port=")
    ]
    environ = dict(os.environ)
    for entry in container["env"]:
        value = entry.get("value", "127.0.0.1")
        environ[entry["name"]] = re.sub(r"\$\((\w+)\)", lambda m: environ[m[1]], value)
    process = subprocess.Popen(
        [sys.executable, "-m", "joulery.campaigns.scenarios.server", *arguments, "--port=0"],
        stdout=subprocess.PIPE,
        env=environ,
        text=True,
    )
    assert process.stdout is not None
    try:
        ready = json.loads(process.stdout.readline())
        yield f"http://127.0.0.1:{ready['port']}"
    finally:
        process.terminate()
        process.communicate()
    assert process.returncode == 0


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=_PATIENCE_S) as answer:
        return json.load(answer)


def _data(*values: Mapping[str, Any]) -> dict[str, str]:
    return dict(one(rendered_service(*values), "ConfigMap")["data"])


def test_a_change_takes_effect_without_a_restart(tmp_path: Path) -> None:
    """The server starts from what is rendered, and follows a new ConfigMap while it runs."""
    # Nobody listens there: telling must not hold up the service.
    away = {"telemetry.endpoint": "http://127.0.0.1:9", "telemetry.answersUrl": ""}
    _mount(tmp_path, _data(away), 1)
    with _started(tmp_path, away) as url:
        for probe in ("live", "ready"):
            assert _get(f"{url}/v2/health/{probe}")
        assert _get(f"{url}/v2/models/mlp/config")["max_batch_size"] == 1
        _mount(tmp_path, _data(away, {"config.batch": 8, "config.precision": "int8"}), 2)
        until_s = time.monotonic() + _PATIENCE_S
        while _get(f"{url}/v2/models/mlp/config")["max_batch_size"] != 8:
            assert time.monotonic() < until_s, "the new configuration is not followed"
            time.sleep(0.1)


def test_another_scenario_starts(tmp_path: Path) -> None:
    """Another scenario with all that can be configured starts, and answers to its name."""
    quiet = {"telemetry.exporter": "none", "prediction": "alarm"}
    _mount(tmp_path, _data(VALUES["configured"], quiet), 1)
    with _started(tmp_path, VALUES["configured"], quiet) as url:
        assert _get(f"{url}/v2/models/autoencoder")["name"] == "autoencoder"
        assert _get(f"{url}/v2/models/autoencoder/config")["max_batch_size"] == 8


def _found(*values: Mapping[str, Any]) -> Target:
    """Return what the service exporter makes of a pod of the rendered Deployment."""
    template = one(rendered_service(*values), "Deployment")["spec"]["template"]
    metadata = template["metadata"] | {"namespace": "services", "name": "traffic-1", "uid": "1"}
    status = {"phase": "Running", "podIP": "192.0.2.7", "podIPs": [{"ip": "192.0.2.7"}]}
    _, [target], problems = targets_of(
        template | {"metadata": metadata, "status": status}, dialects()
    )
    assert problems == []
    return target


def test_the_exporter_probes_a_pod_that_pushes() -> None:
    """A pod that pushes is not scraped, and is probed on its protocol's port all the same."""
    target = _found({"annotations": {"golden": "telemetry", "variant": "int8"}})
    assert (target.url, target.infer_url) == ("", "http://192.0.2.7:8080")
    assert (target.golden, target.variant) == ("telemetry", "int8")


def test_the_exporter_scrapes_a_pod_that_serves_metrics() -> None:
    """A pod that serves its metrics is scraped where it does, in our own dialect."""
    target = _found(VALUES["everything"])
    assert (target.url, target.dialect) == ("http://192.0.2.7:9464/metrics", "joulery")
    assert (target.golden, target.model, target.variant) == ("digits", "mlp", "int8")
