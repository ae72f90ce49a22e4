"""The fuzzer of the receiver: that it runs, takes what is right, and finds nothing at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .otlp_fuzzed import Fuzzed
from .otlp_requests import REQUEST, in_json


def seeds() -> list[bytes]:
    """Return bodies that are right, from which the fuzzer goes on."""
    return [b"\0" + REQUEST.SerializeToString(), b"\1" + in_json(REQUEST)]


def test_what_is_right_is_taken() -> None:
    """The fuzzed receiver takes requests, in either form, and refuses what is none."""
    fuzzed = Fuzzed()
    assert [fuzzed.take(one) for one in (*seeds(), b"\0\xff", b"\1{", b"")] == [
        *(True, True),
        *(False, False, True),
    ]


def test_a_short_run_finds_nothing(tmp_path: Path) -> None:
    """A few thousand bodies, guided by coverage, raise nothing that is not expected."""
    pytest.importorskip("atheris")
    for number, one in enumerate(seeds()):
        (tmp_path / str(number)).write_bytes(one)
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "joulery.tests.exporters.services.fuzz_otlp"),
            *(str(tmp_path), "-runs=3000", "-seed=1", "-max_len=4096"),
            *("-rss_limit_mb=1024", f"-artifact_prefix={tmp_path}/"),
        ],
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
