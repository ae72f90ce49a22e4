"""Traces: what is read, what is refused, and that a dataset says which one it was."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from joulery.campaigns.campaign import Campaign
from joulery.campaigns.loads import TraceLoad
from joulery.campaigns.spec import parse_spec
from joulery.campaigns.spec_file import load_spec
from joulery.campaigns.traces import read_trace
from joulery.errors import SpecError

COUNTS = "start_s,count\n0,100\n1,300\n2,200\n"
SPEC = """\
name: traced
scenarios:
  - scenario: traffic_prediction
    factors: {model: [ridge]}
loads:
  - {arrival: trace, path: data/day.csv}
trial: {window_s: 2, warmup_max_s: 2}
"""


def _write(folder: Path, text: str) -> Path:
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "day.csv").write_text(text)
    path = folder / "campaign.yaml"
    path.write_text(SPEC)
    return path


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", None, "an empty file"),
        ("time\n1\n2\n", "line 1", "the head `time`"),
        ("arrival_s\n", None, "0 rows"),
        ("arrival_s\n1\n", None, "1 rows"),
        ("arrival_s\n1\nnan\n", "line 3", "arrival_s nan, expected a finite number"),
        ("arrival_s\n1\ninf\n", "line 3", "arrival_s inf"),
        ("arrival_s\n-1\n2\n", "line 2", "arrival_s -1, expected a number >= 0"),
        ("start_s,count\n0,1e308\n5,1\n", "line 2", "count 1e308, expected a number <= 1e+15"),
        ("arrival_s\n1\n3\n2\n", "line 4", "2 s after 3 s"),
        ("arrival_s\n1\nsoon\n", "line 3", "'soon', expected a number"),
        ("start_s,count\n0,1\n0,2\n", "line 3", "times that ascend"),
        ("start_s,count\n0,1\n1\n", "line 3", "1 columns"),
        ("start_s,count\n0,1\n1,2.5\n", "line 3", "count 2.5, expected a whole number"),
        ("start_s,count\n0,1\n1,-2\n", "line 3", "count -2"),
        ("start_s,rate_hz\n0,1\n1,nan\n", "line 3", "rate_hz nan"),
        ("arrival_s\n0\n1\n1.5\n", None, "found 1.5 s, expected at least the window's 2 s"),
        ("start_s,count\n0,0\n3,0\n", None, "no request in the first 2 s"),
    ],
)
def test_a_file_that_is_no_trace_is_refused(
    tmp_path: Path, text: str, place: str | None, words: str
) -> None:
    """Each mistake gives one message with the file, its line, what was found and expected."""
    with pytest.raises(SpecError) as caught:
        load_spec(_write(tmp_path, text))
    assert caught.value.subject.endswith("day.csv")
    assert caught.value.place == place
    assert words in str(caught.value)


def test_a_missing_trace_is_named(tmp_path: Path) -> None:
    """The message says where the file was looked for, and from where its path counts."""
    path = _write(tmp_path, COUNTS)
    (tmp_path / "data" / "day.csv").unlink()
    with pytest.raises(SpecError, match=r"day\.csv: found no such file.*relative"):
        load_spec(path)
    (tmp_path / "data" / "day.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(SpecError, match="readable CSV"):
        load_spec(path)
    with pytest.raises(SpecError, match="readable CSV"):
        read_trace(tmp_path / "a\0b")


def test_a_trace_is_part_of_the_campaigns_data(tmp_path: Path) -> None:
    """Name and SHA-256 stand where those of the data do, and the rate is that of the window."""
    campaign = Campaign.from_file(_write(tmp_path, COUNTS), out=tmp_path / "out")
    [load] = campaign.spec.loads
    assert load.rate_hz == 200.0
    digest = hashlib.sha256(COUNTS.encode()).hexdigest()
    assert campaign.identity({})["data"] == {"load data/day.csv": digest}
    [source] = campaign.trace_sources()
    assert (source["source"], source["sha256"]) == ("day.csv", digest)
    assert campaign.plan.trials[0].load is load


def test_a_recorded_specification_is_read_without_its_trace(tmp_path: Path) -> None:
    """A report of an unfinished campaign needs the plan, and not the file."""
    spec = load_spec(_write(tmp_path, COUNTS))
    again = parse_spec(spec.model_dump(mode="json"))
    [load] = again.loads
    assert isinstance(load, TraceLoad)
    assert load.rate_hz is None
    assert (load.at(200.0).rate_hz, load.at(200.0).cut) == (200.0, None)
    assert Campaign(again, subject="x", out=tmp_path / "out").plan.trials


def test_spaces_blank_lines_and_a_byte_order_mark_are_no_matter(tmp_path: Path) -> None:
    """Files as spreadsheets write them are read."""
    path = tmp_path / "sheet.csv"
    path.write_bytes("\ufeffstart_s, rate_hz\r\n0, 10\r\n\r\n5, 20\r\n".encode())
    trace = read_trace(path)
    assert trace.edges_s.tolist() == [0.0, 5.0, 10.0]
    assert trace.requests.tolist() == [50.0, 100.0]
