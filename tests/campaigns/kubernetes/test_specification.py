"""The `kubernetes` section of a specification: what it may say, and what cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from joulery.campaigns.campaign import Campaign
from joulery.errors import SpecError

from ...conftest import REPOSITORY
from ..command import joulery

_SPEC = """\
name: there
scenarios:
  - scenario: traffic_prediction
    kubernetes:
      namespace: trials
      image: a/b:1
      prometheus_url: http://prometheus:9090
    factors: {model: [ridge], threads: [1, 64], node: [edge, rack-1]}
loads: [{arrival: poisson, rate_hz: 100}]
"""


def _campaign(folder: Path, old: str = "", new: str = "") -> Campaign:
    assert old in _SPEC
    (folder / "there.yaml").write_text(_SPEC.replace(old, new) if old else _SPEC)
    return Campaign.from_file(folder / "there.yaml")


def test_the_example_is_right_without_a_cluster() -> None:
    """The specification that ships is checked and planned with no cluster in sight."""
    path = REPOSITORY / "campaigns" / "kubernetes.yaml"
    done = joulery("spec", "validate", path, environment={"KUBECONFIG": "nowhere", "PATH": ""})
    assert "18 trials" in done.stdout
    assert {one.configuration.node for one in Campaign.from_file(path).plan.trials} == {
        "edge",
        "cloud",
    }


def test_nodes_are_a_factor(tmp_path: Path) -> None:
    """Nodes are crossed with the rest, and threads are not limited by this machine's CPUs."""
    campaign = _campaign(tmp_path)
    levels = {(one.configuration.threads, one.configuration.node) for one in campaign.plan.trials}
    assert levels == {(1, "edge"), (1, "rack-1"), (64, "edge"), (64, "rack-1")}
    assert all("node=" in str(one.configuration) for one in campaign.plan.trials)
    assert campaign.clusters["traffic_prediction"].reach == "pod_ip"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("namespace: trials", "namespace: Trials", r"line 5, .*namespace: found 'Trials', expec"),
        ("image: a/b:1", "image: 'a b'", "image: found 'a b', expected an image, such as"),
        ("http://prometheus:9090", "prometheus:9090", "prometheus_url.*expected a URL"),
        ("http://prometheus:9090", "http://me:word@prometheus", "prometheus_url.*expected a URL"),
        ("image: a/b:1", "images: a/b:1", "unknown key 'images'.*did you mean 'image'"),
        ("image: a/b:1", "image: a/b:1\n      reach: node", "'pod_ip' or 'port_forward'"),
        ("    factors", "    endpoint: {url: 'http://a'}\n    factors", "endpoint and kubernetes"),
        ("    factors", "    data: mine.csv\n    factors", "data: found models of your own in a"),
        ("node: [edge, rack-1]", "node: [edge, edge]", "node: found edge twice"),
    ],
)
def test_what_cannot_be(old: str, new: str, words: str, tmp_path: Path) -> None:
    """It is refused with the place and what would be right."""
    with pytest.raises(SpecError, match=words):
        _campaign(tmp_path, old, new)


def test_nodes_without_a_cluster(tmp_path: Path) -> None:
    """Levels of `node` mean nothing on this machine."""
    section = _SPEC[_SPEC.index("    kubernetes:") : _SPEC.index("    factors:")]
    with pytest.raises(SpecError, match=r"factors\.node: found levels, and nothing that chooses"):
        _campaign(tmp_path, section, "")


def test_no_kubeconfig(tmp_path: Path) -> None:
    """Without a way into a cluster the message says what to set, and names that cannot be, so."""
    nowhere = {"KUBECONFIG": str(tmp_path / "nothing"), "HOME": str(tmp_path)}
    refused = joulery("campaign", "clean", "small", code=1, environment=nowhere)
    assert "cluster: found no way in" in refused.stderr
    assert "set KUBECONFIG" in refused.stderr
    assert "Traceback" not in refused.stderr
    wrong = joulery("campaign", "clean", "a,b", code=2, environment=nowhere)
    assert "expected the `name` that a specification has" in wrong.stderr
