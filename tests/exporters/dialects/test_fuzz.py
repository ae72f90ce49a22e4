"""Whatever text a pod serves, there is a reading within the laws, or a refusal with a word."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from joulery.exporters.dialects import DIALECTS, Dialect

from ...conftest import REPOSITORY
from .laws import check
from .recorded import bodies

LINES = {name: body.decode().splitlines() for name, body in bodies().items()}
NASTY = st.sampled_from(
    ["NaN", "-1", "+Inf", "-Inf", "1e308", "5e-324", "0", "", "x", '"', "{", "}", "\\", "\n", ",",
     'le="+Inf"', 'le="NaN"', 'le="1e-320"', " # {} 1", "=", "\x00", "é", "# EOF", "# TYPE "]
)  # fmt: skip
ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """Return a recorded scrape in part, with lines repeated, moved, mixed and damaged."""
    lines = LINES[draw(st.sampled_from(sorted(LINES)))]
    other = LINES[draw(st.sampled_from(sorted(LINES)))]
    start = draw(st.integers(0, len(lines) - 1))
    chosen = lines[start : start + draw(st.integers(1, 60))]
    for _ in range(draw(st.integers(0, 6))):
        place = draw(st.integers(0, len(chosen) - 1))
        what = draw(st.integers(0, 4))
        if what == 0:
            chosen.insert(place, draw(st.sampled_from(chosen)))
        elif what == 1:
            chosen.insert(place, draw(st.sampled_from(other)))
        elif what == 2:
            chosen[place] = chosen[place].rpartition(" ")[0] + " " + draw(NASTY)
        else:
            at = draw(st.integers(0, len(chosen[place])))
            skip = draw(st.integers(0, 5))
            chosen[place] = chosen[place][:at] + draw(NASTY) + chosen[place][at + skip :]
    return "\n".join(chosen) + "\n"


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.name)
@SETTINGS
@given(body=st.one_of(mutated(), st.text(), st.binary()), openmetrics=st.booleans())
def test_any_text_is_read_or_refused(
    dialect: Dialect, body: bytes | str, openmetrics: bool
) -> None:
    """Values are finite, histograms rise, each series is there once, and nothing else is raised."""
    if openmetrics and isinstance(body, str):
        body += "# EOF\n"
    check(body, dialect, openmetrics=openmetrics)


@SETTINGS
@given(
    names=st.lists(st.sampled_from([p for one in DIALECTS for p in one.prefixes]), max_size=4),
    suffixes=st.lists(
        st.sampled_from(["", "_total", "_bucket", "_sum", "_count", "_created"]), min_size=1
    ),
    kind=st.sampled_from(["counter", "gauge", "histogram", "summary", "untyped", "info"]),
    labels=st.dictionaries(
        st.sampled_from(["le", "quantile", "model", "model_name", "name", "deployment", "version"]),
        st.one_of(st.sampled_from(["+Inf", "1", "NaN", "0.5", "é"]), st.text(max_size=5)),
    ),
    value=st.floats(),
)
def test_any_series_of_a_known_family_is_read(
    names: list[str], suffixes: list[str], kind: str, labels: dict[str, str], value: float
) -> None:
    """Well written series of families that dialects know, of any type, are never refused."""
    escaped = ",".join(f'{name}="{text.translate(ESCAPES)}"' for name, text in labels.items())
    body = "".join(
        f"# TYPE {name} {kind}\n"
        + "".join(f"{name}{end}{{{escaped}}} {value}\n" for end in suffixes)
        for name in names
    )
    for dialect in DIALECTS:
        assert check(body.encode("utf-8", "replace"), dialect) is not None


def test_a_fuzzer_guided_by_coverage_finds_nothing(tmp_path: Path) -> None:
    """Some thousand inputs that atheris makes of the recorded scrapes keep the laws."""
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed")
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "tests.exporters.dialects.fuzz_scrape"),
            *("-runs=3000", "-max_total_time=20", "-seed=1", f"-artifact_prefix={tmp_path}/"),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert not list(tmp_path.iterdir())
