"""Writes rules and alerts as the file that Prometheus reads; the same rules, the same bytes."""

from __future__ import annotations

from typing import Any

import yaml

from .alerts import ALERTS, Alert
from .rule_words import WINDOWS, Rule
from .rules import window_rules

__all__ = ["rules_file"]


_UNFOLDED = 1_000_000


class _Dumper(yaml.SafeDumper):
    """Writes expressions line by line, as they are."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def rules_file() -> str:
    """Return the rules of all windows, and the alerts, in YAML.

    A window's rules are one group: Prometheus evaluates them in turn, each after those that it
    builds upon.
    """
    groups = [
        {"name": f"joulery-{window}", "rules": [_rule(one) for one in window_rules(window)]}
        for window in WINDOWS
    ]
    groups.append({"name": "joulery-alerts", "rules": [_alert(one) for one in ALERTS]})
    written: str = yaml.dump(
        {"groups": groups}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_UNFOLDED
    )
    return written


def _rule(rule: Rule) -> dict[str, Any]:
    labels = {"labels": dict(rule.labels)} if rule.labels else {}
    return {"record": rule.record, "expr": rule.expr, **labels}


def _alert(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expr,
        "for": alert.wait,
        "labels": {"severity": alert.severity},
        "annotations": {"summary": alert.summary, "description": alert.description},
    }
