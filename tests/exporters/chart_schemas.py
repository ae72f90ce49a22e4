"""What Kubernetes accepts: its own schemas by version, and ours for the operator's monitors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema
import kubernetes_validate
from kubernetes_validate.utils import all_versions

__all__ = ["VERSIONS", "check"]

VERSIONS = sorted(set(all_versions()), key=lambda version: [int(n) for n in version.split(".")])
"""Every version whose schemas we have, oldest first."""


def _closed(properties: Mapping[str, Any], *required: str) -> Mapping[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": list(required),
    }


def _monitor(endpoints: str) -> Mapping[str, Any]:
    """Describe the spec of a ServiceMonitor or PodMonitor as far as the chart uses it.

    Names and types are those of the API reference of monitoring.coreos.com/v1.
    """
    text = {"type": "string", "minLength": 1}
    words = {"type": "array", "items": text}
    relabeling = _closed(
        {
            "action": text,
            "regex": text,
            "replacement": text,
            "sourceLabels": words,
            "targetLabel": text,
        }
    )
    secret = _closed({"name": text, "key": text}, "name", "key")
    endpoint = _closed(
        {
            "basicAuth": _closed({"username": secret, "password": secret}),
            "honorLabels": {"type": "boolean"},
            "interval": {"type": "string", "pattern": "^([0-9]+(ms|s|m|h))+$"},
            "metricRelabelings": {"type": "array", "items": relabeling},
            "path": {"type": "string", "pattern": "^/"},
            "port": text,
            "relabelings": {"type": "array", "items": relabeling},
            "scheme": {"enum": ["http", "https"]},
            "scrapeTimeout": {"type": "string", "pattern": "^([0-9]+(ms|s|m|h))+$"},
            "tlsConfig": {"type": "object"},
        },
        "port",
    )
    labels = {"type": "object", "additionalProperties": text}
    return _closed(
        {
            "selector": _closed({"matchLabels": labels}, "matchLabels"),
            endpoints: {"type": "array", "items": endpoint, "minItems": 1},
        },
        "selector",
        endpoints,
    )


def _rules() -> Mapping[str, Any]:
    """Describe the groups of a PrometheusRule as far as the chart uses it; likewise."""
    text = {"type": "string", "minLength": 1}
    words = {"type": "object", "additionalProperties": text}
    rule = _closed(
        {
            "alert": text,
            "annotations": words,
            "expr": text,
            "for": {"type": "string", "pattern": "^([0-9]+(ms|s|m|h|d))+$"},
            "labels": words,
            "record": text,
        },
        "expr",
    )
    group = _closed(
        {
            "interval": {"type": "string", "pattern": "^([0-9]+(ms|s|m|h|d))+$"},
            "name": text,
            "rules": {"type": "array", "items": rule, "minItems": 1},
        },
        "name",
        "rules",
    )
    return _closed({"groups": {"type": "array", "items": group, "minItems": 1}}, "groups")


def _of_operator(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """Describe an object of the Prometheus Operator."""
    text = {"type": "string", "minLength": 1}
    labels = {"type": "object", "additionalProperties": text}
    return _closed(
        {
            "apiVersion": {"const": "monitoring.coreos.com/v1"},
            "kind": text,
            "metadata": _closed({"name": text, "namespace": text, "labels": labels}, "name"),
            "spec": spec,
        },
        "apiVersion",
        "spec",
    )


_OPERATOR = {
    "PodMonitor": _of_operator(_monitor("podMetricsEndpoints")),
    "PrometheusRule": _of_operator(_rules()),
    "ServiceMonitor": _of_operator(_monitor("endpoints")),
}


def check(item: Mapping[str, Any], version: str) -> None:
    """Check one object against the schemas of a Kubernetes version; unknown fields are refused.

    Raises:
        jsonschema.ValidationError: The operator would refuse it.
        kubernetes_validate.ValidationError: Kubernetes would.
    """
    if item["kind"] in _OPERATOR:
        jsonschema.validate(item, _OPERATOR[item["kind"]])
    else:
        kubernetes_validate.validate(item, version, strict=True)
