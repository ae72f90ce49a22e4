"""The README's Python runs as it is written."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from prometheus_client.parser import text_string_to_metric_families

from ..conftest import REPOSITORY
from .scraping import value

_SCRAPE = """
import urllib.request
print(urllib.request.urlopen(profiler.url).read().decode())
"""


def test_the_readme_runs_as_written() -> None:
    """The block measures, prints its one line, and serves what the service recorded."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", block + _SCRAPE],
        env=os.environ
        | {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.stderr, ended.returncode) == ("", 0)
    line, _, scrape = ended.stdout.partition("\n")
    assert re.fullmatch(
        r"squares: \S+ [mk]?J \(\S+–\S+, \w+\) in \S+ m?s; "
        r"this process \S+ [mk]?J \(\S+–\S+, \w+\), \S+ m?s of CPU",
        line,
    )
    found = {family.name: family for family in text_string_to_metric_families(scrape)}
    labels = {"model": "squares", "variant": "small"}
    assert value(found["joulery_inference_requests"], "_total", outcome="ok", **labels) == 2
    assert value(found["joulery_inference_quality"], "_sum", exit="early", **labels) == 1.0
