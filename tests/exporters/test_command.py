"""`joulery exporter energy` as a real process, scraped over real connections."""

from __future__ import annotations

import gzip
import json
import subprocess
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from joulery.exporters.exposition import OPENMETRICS

from ..conftest import require_program
from .process import COMMAND, PATIENCE_S, exporter


def test_it_serves_until_told_to_stop() -> None:
    """It is alive at once and ready after a cycle, serves both formats, and ends well."""
    with exporter() as running:
        assert running.get("/healthz")[0] == 200
        running.wait_ready()
        status, headers, body = running.get("/metrics", Accept_Encoding="gzip")
        assert (status, headers["Content-Encoding"]) == (200, "gzip")
        families = {f.name for f in text_string_to_metric_families(gzip.decompress(body).decode())}
        assert {"joulery_node_info", "joulery_node_energy_joules"} <= families
        _, headers, body = running.get("/metrics", Accept="application/openmetrics-text")
        assert headers["Content-Type"] == OPENMETRICS
        assert body.endswith(b"# EOF\n")
        assert running.get("/nothing")[0] == 404
        assert b"/metrics" in running.get("/")[2]
    assert running.log[-1].endswith("stopped")


def test_what_it_lacks_is_said_once() -> None:
    """Over many cycles the log says once that energies are estimated, where they are."""
    with exporter("--log-format", "json", JOULERY_LOG_LEVEL="info") as running:
        running.wait_ready()
        time.sleep(5)
    lines = [json.loads(line) for line in running.log]
    estimated = [line for line in lines if "energy is estimated" in line["message"]]
    summed = [line for line in lines if line["message"].startswith("energy of ")]
    assert len(summed) == 1
    assert len(estimated) == ("estimate:" in summed[0]["message"])


def test_once_prints_a_scrape() -> None:
    """`--once` prints one scrape that the linter likes, and ends."""
    ended = subprocess.run(
        [*COMMAND, "--once", "--interval", "2"], capture_output=True, timeout=PATIENCE_S
    )
    assert ended.returncode == 0
    assert b"joulery_node_info" in ended.stdout
    linted = subprocess.run(
        [require_program("promtool"), "check", "metrics"], input=ended.stdout, capture_output=True
    )
    assert (linted.returncode, linted.stderr) == (0, b"")


def test_passwords_guard_the_metrics_but_not_the_probes(tmp_path: Path) -> None:
    """With users in the web configuration scrapes need a password, probes none."""
    config = tmp_path / "web.yaml"
    # Of the password "joule"; the least cost, so that the test is quick.
    config.write_text(
        "basic_auth_users:\n"
        "  reader: $2b$04$.AW0xl.FqNGE8TcbTuSoJ.2g2rU/dhO0e5d7epdBU/Jw1CBh0pnuO\n"
    )
    with exporter("--web-config", str(config)) as running:
        assert running.get("/healthz")[0] == 200
        assert running.get("/metrics")[0] == 401
        running.wait_ready()
        authorization = "Basic cmVhZGVyOmpvdWxl"
        assert running.get("/metrics", Authorization=authorization)[0] == 200


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--listen", "localhost"], "--listen"),
        (["--web-config", "no-such-file.yaml"], "no-such-file.yaml"),
        (["--interval", "0"], "--interval"),
        (["--idle-policy", "fair"], "--idle-policy"),
    ],
)
def test_mistakes_are_told(arguments: list[str], words: str) -> None:
    """A wrong setting ends with 2 and a message that names it, without a traceback."""
    ended = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert ended.returncode == 2
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


def test_no_control_groups(tmp_path: Path) -> None:
    """Without control groups it ends with 1 and says what to do."""
    ended = subprocess.run(
        [*COMMAND, "--cgroupfs", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert ended.returncode == 1
    assert "--cgroupfs" in ended.stderr
