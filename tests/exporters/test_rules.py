"""The recording rules and alerts, as Prometheus' own tool reads and evaluates them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from joulery.exporters.alerts import ALERTS
from joulery.exporters.metrics import CATALOGUE, Metric
from joulery.exporters.quality import WINDOWS as QUALITY_WINDOWS
from joulery.exporters.rule_words import WINDOWS, Rule
from joulery.exporters.rules import window_rules
from joulery.exporters.rules_file import rules_file
from joulery.exporters.service_metrics import SERVICE_CATALOGUE
from joulery.exporters.services.answers import ACCURACY
from joulery.exporters.services.judging import Judge
from joulery.profiler.feedback import RIGHT_OR_WRONG

from ..conftest import require_program
from .helm import CHART, one, rendered

_FILE = CHART / "files" / "rules.yaml"
_EXPECTED = sorted((Path(__file__).parent / "rules").glob("*.yaml"))
_RULES = [rule for window in WINDOWS for rule in window_rules(window)]


def _promtool(*arguments: str) -> None:
    ended = subprocess.run(
        [require_program("promtool"), *arguments], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def _series(metric: Metric) -> Iterator[str]:
    """Yield the names of the samples of a metric."""
    yield metric.series
    if metric.type in ("histogram", "summary"):
        yield from (f"{metric.name}_{part}" for part in ("bucket", "sum", "count"))


def _names(expr: str) -> set[str]:
    """Return the names of the series that an expression reads."""
    return set(re.findall(r"(?<![\w:])(?:[a-z_]+:)?joulery_[\w:]+", expr))


def test_prometheus_accepts_the_file() -> None:
    """`promtool check rules` has nothing to say about the file that is shipped."""
    _promtool("check", "rules", "--lint-fatal", str(_FILE))


@pytest.mark.parametrize("path", _EXPECTED, ids=lambda path: path.stem)
def test_evaluation(path: Path) -> None:
    """Prometheus computes from series what was computed by hand."""
    _promtool("test", "rules", str(path))


def test_every_rule_and_alert_is_evaluated() -> None:
    """What is expected by hand leaves no rule of 5 minutes out, and no alert."""
    text = "".join(path.read_text(encoding="utf-8") for path in _EXPECTED)
    assert [r.record for r in window_rules("5m") if r.record not in text] == []
    assert [alert.name for alert in ALERTS if f"alertname: {alert.name}" not in text] == []


def test_names_are_the_catalogue_s() -> None:
    """An expression reads metrics that there are, and rules that stand before it."""
    told = {name for metric in (*CATALOGUE, *SERVICE_CATALOGUE) for name in _series(metric)}
    for window in WINDOWS:
        known = set(told)
        for rule in window_rules(window):
            assert _names(rule.expr) <= known, rule.record
            known.add(rule.record)
    for alert in ALERTS:
        assert _names(alert.expr) <= told, alert.name


def test_names_follow_the_convention() -> None:
    """A rule is level, metric and operations; the metric ends in its unit; none is there twice."""
    for rule in _RULES:
        level, metric, operations = rule.record.split(":")
        assert level in ("pod", "pod_model", "pod_model_exit", "model")
        assert metric.startswith("joulery_")
        assert operations.endswith(("5m", "1h"))
        assert rule.help.endswith(".")
        if rule.unit == "J":
            assert metric.endswith("_joules")
    assert len({(rule.record, rule.labels) for rule in _RULES}) == len(_RULES)


def test_windows_say_the_same() -> None:
    """The rules of the hour are those of 5 minutes, over an hour of energy and of quality."""

    def hourly(rule: Rule) -> tuple[str, str]:
        record, expr = (text.replace("5m", "1h") for text in (rule.record, rule.expr))
        return record, expr.replace(f'window="{WINDOWS["5m"]}"', f'window="{WINDOWS["1h"]}"')

    long = [(rule.record, rule.expr) for rule in window_rules("1h")]
    records = {record for record, _ in long}
    short = [hourly(rule) for rule in window_rules("5m")]
    assert long == [pair for pair in short if pair[0] in records]


def test_quality_is_called_as_those_call_it_who_tell_it() -> None:
    """Windows are ones that there are, and metrics of right or wrong are what judges tell."""
    assert set(WINDOWS.values()) | {"all"} <= QUALITY_WINDOWS.keys()
    within = Judge(output="y", rule="within", tolerance=1.0)
    equal = Judge(output="y", rule="equal")
    assert set(RIGHT_OR_WRONG) == {ACCURACY, within.metric, equal.metric}


def test_labels_are_what_is_promised() -> None:
    """What an expression is grouped by, or joined on, are labels that some metric has."""
    known = {label for metric in (*CATALOGUE, *SERVICE_CATALOGUE) for label in metric.labels}
    known |= {"job", "le"}
    for rule in _RULES:
        for clause in re.findall(r"(?:by|on|group_left|group_right) \(([^)]*)\)", rule.expr):
            assert {name for name in clause.split(", ") if name} <= known, rule.record
        assert set(rule.by) <= known | {"quantile"}


@pytest.mark.parametrize("kind", ["PrometheusRule", "ConfigMap"])
def test_chart(tmp_path: Path, kind: str) -> None:
    """The chart ships the rules for the operator or for a plain Prometheus, when it is asked to."""
    assert not {item["kind"] for item in rendered({})} & {"PrometheusRule", "ConfigMap"}
    switch = "rules.enabled" if kind == "PrometheusRule" else "rules.configMap"
    objects = rendered({switch: True, "rules.labels": {"release": "mine"}})
    shipped = [
        item
        for item in objects
        if item["kind"] == kind and item["metadata"]["labels"].get("release") == "mine"
    ]
    found = one(shipped, kind)
    assert found["metadata"]["labels"]["app.kubernetes.io/name"] == "joulery"
    if kind == "ConfigMap":
        [(name, text)] = found["data"].items()
        assert name.endswith(".rules.yaml")
    else:
        text = yaml.safe_dump(found["spec"])
    assert yaml.safe_load(text) == yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    path = tmp_path / "rules.yaml"
    path.write_text(text, encoding="utf-8")
    _promtool("check", "rules", str(path))


def test_writing_is_deterministic() -> None:
    """The file is what the code says, and the same each time it is written."""
    assert rules_file() == rules_file()
    assert _FILE.read_text(encoding="utf-8").split("\n", 1)[1] == rules_file()
