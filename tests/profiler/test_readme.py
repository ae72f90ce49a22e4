"""The Python of the READMEs runs as it is written."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from prometheus_client.parser import text_string_to_metric_families

from ..conftest import REPOSITORY
from .answers_receiver import receiving_answers
from .scraping import value

_SCRAPE = """
import urllib.request
print(urllib.request.urlopen(profiler.url).read().decode())
"""


def _ran(block: str, **environ: str) -> str:
    """Run a block and a scrape of its profiler; return what both printed."""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", block + _SCRAPE],
        env=os.environ
        | {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": "0"}
        | environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.stderr, ended.returncode) == ("", 0)
    return ended.stdout


def test_the_readme_runs_as_written() -> None:
    """The block measures, prints its one line, and serves what the service recorded."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    line, _, scrape = _ran(block).partition("\n")
    assert re.fullmatch(
        r"squares: \S+ [mk]?J \(\S+–\S+, \w+\) in \S+ m?s; "
        r"this process \S+ [mk]?J \(\S+–\S+, \w+\), \S+ m?s of CPU",
        line,
    )
    found = {family.name: family for family in text_string_to_metric_families(scrape)}
    labels = {"model": "squares", "variant": "small"}
    assert value(found["joulery_inference_requests"], "_total", outcome="ok", **labels) == 2
    assert value(found["joulery_inference_quality"], "_sum", exit="early", **labels) == 1.0


def test_the_profilers_readme_runs_as_written() -> None:
    """The service's block counts what it says, and tells the one answer whose id is known."""
    text = (REPOSITORY / "profiler" / "README.md").read_text(encoding="utf-8")
    [section] = re.findall(r"^## In a service\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    [block] = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    with receiving_answers() as receiver:
        scrape = _ran(block, JOULERY_ANSWERS_URL=receiver.url)
    known = {"model": "resnet", "variant": "int8"}
    assert receiver.answers == [{"id": "r-1", **known, "exit": "early", "prediction": 7}]
    found = {family.name: family for family in text_string_to_metric_families(scrape)}
    requests = found["joulery_inference_requests"]
    assert value(requests, "_total", outcome="ok", **known) == 2
    assert value(requests, "_total", outcome="error", error_type="timeout", **known) == 1
    duration = found["joulery_inference_duration_seconds"]
    for taken in ("early", "late"):
        assert value(duration, "_count", outcome="ok", exit=taken, **known) == 1
    quality = found["joulery_inference_quality"]
    assert value(quality, "_sum", exit="early", precision="int8", metric="accuracy") == 1.0
    listed = set(re.findall(r"^\| `(joulery_inference_\w+?)(?:_total)?` \|", section, re.MULTILINE))
    # Answers and folded labels are there once there are any.
    assert listed - {"joulery_inference_answers", "joulery_inference_labels_folded"} == {
        name for name in found if name.startswith("joulery_inference_")
    }
