"""What a trial puts into the cluster: the project's own chart, rendered for one configuration."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ...errors import SpecError, TrialError
from ..configuration import KNOB_FACTORS, Configuration
from .spec import KubernetesSpec

__all__ = [
    "CAMPAIGN_LABEL",
    "CONTAINER",
    "MANAGER",
    "TRIAL_LABEL",
    "chart_values",
    "label_value",
    "manifest",
    "node_labels",
    "object_name",
    "selector",
]

CAMPAIGN_LABEL, TRIAL_LABEL = "joulery.io/campaign", "joulery.io/trial"
CONTAINER = "service"
"""What the chart calls the container that answers."""
MANAGER = {"app.kubernetes.io/managed-by": "joulery"}

_CHART = Path(__file__).resolve().parents[1] / "chart"
_HOSTNAME = "kubernetes.io/hostname"
_LONGEST_LABEL, _LONGEST_NAME = 63, 40
_LIMIT_S = 60.0


def label_value(campaign: str) -> str:
    """Return a campaign's name as the value of a label; one that is too long is cut and hashed."""
    if len(campaign) <= _LONGEST_LABEL and campaign[-1].isalnum():
        return campaign
    return f"{campaign[: _LONGEST_LABEL - 9].rstrip('-_')}-{_digest(campaign)}"


def object_name(campaign: str, what: str) -> str:
    """Return a name for an object of a campaign, such as `joulery-traffic-12`."""
    plain = campaign.replace("_", "-")[:_LONGEST_NAME].strip("-")
    # Two names that become the same without their underscores must not.
    tail = "" if plain == campaign else f"-{_digest(campaign)}"
    return f"joulery-{plain}{tail}-{what}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def selector(campaign: str, trial: int | None = None) -> str:
    """Return what selects the objects of a campaign, or of one of its trials, by label."""
    labels = {**MANAGER, CAMPAIGN_LABEL: label_value(campaign)}
    if trial is not None:
        labels[TRIAL_LABEL] = str(trial)
    return ",".join(f"{name}={value}" for name, value in labels.items())


def node_labels(spec: KubernetesSpec, node: str | None) -> Mapping[str, str]:
    """Return the labels that a level of `factors.node` stands for: a name's own, or a host's."""
    if node is None:
        return {}
    return spec.nodes.get(node, {_HOSTNAME: node})


def chart_values(
    spec: KubernetesSpec, configuration: Configuration, *, name: str, batch_wait_s: float
) -> dict[str, Any]:
    """Return the values of the chart for a configuration.

    What the user's `values` say wins, but for the configuration, which the trial is about.

    Args:
        spec: Where it goes.
        configuration: What it serves.
        name: Of its objects.
        batch_wait_s: Longest wait for others of a batch.
    """
    whole, _, digest = spec.image.partition("@")
    repository, tag = _split_tag(whole)
    # Frames that are passed by are not sent, so that the service knows nothing of them.
    knobs = {k: getattr(configuration, k) for k in KNOB_FACTORS if k != "stride"}
    values: dict[str, Any] = {
        "fullnameOverride": name,
        "image": {"repository": repository, "tag": tag, "digest": digest},
        "scenario": configuration.scenario,
        # Nobody scrapes it, and what it would push is measured here already.
        "telemetry": {"exporter": "none"},
        # Nobody asks it any more when it ends, and the next trial waits for that.
        "drainSeconds": 0,
        "nodeSelector": dict(node_labels(spec, configuration.node)),
    }
    if spec.resources is not None:
        values["resources"] = {name: dict(amounts) for name, amounts in spec.resources if amounts}
    values = _merged(values, spec.values)
    values["config"] = dict(spec.values.get("config", {})) | {
        "model": configuration.model,
        "precision": configuration.precision,
        "batch": configuration.batch,
        "batch_wait_s": batch_wait_s,
        "threads": configuration.threads,
        "provider": configuration.provider,
        **knobs,
    }
    return values


def _split_tag(image: str) -> tuple[str, str]:
    """Part the tag from an image's name; a colon before a slash is a port's."""
    found = re.fullmatch(r"(.+?):([^/:]+)", image)
    return (found[1], found[2]) if found else (image, "")


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        inner = merged.get(key)
        if isinstance(inner, Mapping) and isinstance(value, Mapping):
            value = _merged(inner, value)
        merged[key] = value
    return merged


def manifest(
    spec: KubernetesSpec,
    configuration: Configuration,
    *,
    campaign: str,
    trial: int,
    batch_wait_s: float,
    owner: Mapping[str, Any] | None,
) -> list[dict[str, Any]]:
    """Return the objects of a trial.

    Args:
        spec: Where they go.
        configuration: What is served.
        campaign: Name of the campaign.
        trial: Number of the trial.
        batch_wait_s: Longest wait for others of a batch.
        owner: With which they go; `None`: nothing, they are only looked at.

    Raises:
        SpecError: When the chart refuses a value.
        TrialError: When helm is missing.
    """
    name = object_name(campaign, str(trial))
    values = chart_values(spec, configuration, name=name, batch_wait_s=batch_wait_s)
    labels = {**MANAGER, CAMPAIGN_LABEL: label_value(campaign), TRIAL_LABEL: str(trial)}
    objects = _rendered(name, spec.namespace, values)
    for one in objects:
        one["metadata"]["labels"] = one["metadata"].get("labels", {}) | labels
        if owner is not None:
            one["metadata"]["ownerReferences"] = [dict(owner)]
        if one["kind"] == "Deployment":
            inner = one["spec"]["template"]["metadata"]
            inner["labels"] = inner.get("labels", {}) | labels
    return objects


def _rendered(name: str, namespace: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    helm = shutil.which("helm")
    if helm is None:
        raise TrialError(
            "helm",
            found="no such program on the PATH",
            expected="helm 3 or newer, which renders the chart of the service",
            remedy="install it, see helm.sh/docs/intro/install",
        )
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(values, file)
        file.flush()
        command = [helm, "template", name, str(_CHART), "--namespace", namespace]
        ended = subprocess.run(
            [*command, "--values", file.name],
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
    if ended.returncode != 0:
        raise SpecError(
            "kubernetes",
            place="values",
            found=_told(ended.stderr.splitlines()),
            expected="values of the chart in campaigns/chart",
            remedy="its values.yaml explains each",
        )
    return [one for one in yaml.safe_load_all(ended.stdout) if one]


def _told(lines: Sequence[str]) -> str:
    """Return what helm says, without what it says of itself and of the file between us."""
    said = [line.strip() for line in lines if line.strip() and "level=" not in line]
    return "; ".join(line.removeprefix("Error: ") for line in said)[:400] or "no word from helm"
