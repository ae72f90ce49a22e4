"""What the log says of problems."""

from __future__ import annotations

import pytest

from joulery.exporters.problems import explained


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("name_unknown", "--pod-logs"),
        ("container_logs_missing", "(--container-logs) is not there"),
        ("cgroup_forbidden", "may not be read"),
        ("pod_resources: SourceForbidden", "SourceForbidden"),
        ("gpu-0: SourceFailed", "gpu-0: SourceFailed"),
    ],
)
def test_each_reason_has_a_sentence(reason: str, words: str) -> None:
    """A reason becomes a sentence that names its subject and, where there is one, its flag."""
    assert words in explained(reason)
