"""Specifications: what is read, and what a person is told when something is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from joulery.campaigns.spec import load_spec
from joulery.errors import SpecError

GOOD = """\
name: small
scenarios:
  - scenario: traffic_prediction
    factors:
      model: [ridge]
      batch: [1, 8]
loads:
  - {arrival: poisson, rate_hz: 50}
trial:
  window_s: 2
"""


def _write(folder: Path, text: str) -> Path:
    path = folder / "campaign.yaml"
    path.write_text(text)
    return path


def test_a_good_specification_is_read_with_its_defaults(tmp_path: Path) -> None:
    """What is written is taken, an integer counts as a number, the rest has defaults."""
    spec = load_spec(_write(tmp_path, GOOD))
    assert spec.scenarios[0].factors.batch == (1, 8)
    assert spec.scenarios[0].factors.precision == ("fp32",)
    assert spec.trial.window_s == 2.0
    assert str(spec.loads[0]) == "poisson 50 Hz"


@pytest.mark.parametrize(
    ("old", "new", "line", "place", "words"),
    [
        ("rate_hz: 50", "rate_hz: -5", 8, "loads[0].rate_hz", ["found -5", "> 0"]),
        ("rate_hz: 50", "rate_hz: fast", 8, "loads[0].rate_hz", ["'fast'", "number"]),
        ("rate_hz: 50", "rate_hz: .inf", 8, "loads[0].rate_hz", ["inf", "finite"]),
        ("rate_hz: 50", "rate_hz: true", 8, "loads[0].rate_hz", ["True", "number"]),
        ("window_s", "windw_s", 10, "trial.windw_s", ["did you mean 'window_s'?"]),
        ("model: [ridge]", "modle: [ridge]", 5, "factors.modle", ["did you mean 'model'?"]),
        ("arrival: poisson", "arrival: gauss", 8, "loads[0].arrival", ["'poisson'"]),
        ("model: [ridge]", "model: ridge", 5, "factors.model", ["a list", "[ridge]"]),
        ("model: [ridge]", "model: []", 5, "factors.model", ["nothing in it", "at least 1"]),
        ("name: small", "name: Very Small", 1, "name", ["lower case"]),
        ("name: small\n", "", 1, "name", ["found nothing", "add 'name:'"]),
        ("name: small", "name: small\nname: big", 2, "name", ["second time"]),
        ("batch: [1, 8]", "batch: [0]", 6, "factors.batch[0]", ["found 0", ">= 1"]),
        ("loads:", "loads: [", 8, "", ["YAML"]),
        ("rate_hz: 50", "rate_hz: 1.0e+19", 8, "loads[0].rate_hz", ["<= 1000000"]),
        ("rate_hz: 50", "rate_hz: 1e2", 8, "loads[0].rate_hz", ["write 1.0e-2"]),
        ("window_s: 2", "window_s: 1.0e+300", 10, "trial.window_s", ["<= 86400"]),
    ],
)
def test_an_error_names_line_key_found_and_expected(
    tmp_path: Path, old: str, new: str, line: int, place: str, words: list[str]
) -> None:
    """Each mistake gives one message with its line, its key, what was found and expected."""
    assert old in GOOD
    with pytest.raises(SpecError) as caught:
        load_spec(_write(tmp_path, GOOD.replace(old, new, 1)))
    assert caught.value.subject.endswith("campaign.yaml")
    message = str(caught.value)
    assert f"line {line}" in message
    assert place in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    "text",
    [
        *("", "# nothing\n", "- 1\n", "just words\n"),
        *("name: 2024-13-45\n", "!foo x\n", "[a]: b\n", "&a [*a]\n"),
    ],
)
def test_a_file_that_is_no_specification_is_refused(tmp_path: Path, text: str) -> None:
    """An empty file, a list, a bare word, and YAML that no specification needs are refused."""
    with pytest.raises(SpecError) as caught:
        load_spec(_write(tmp_path, text))
    assert caught.value.expected is not None


def test_a_missing_file_and_bytes_that_are_not_text_are_refused(tmp_path: Path) -> None:
    """What cannot be read is named, with what was expected instead."""
    with pytest.raises(SpecError, match="no such file"):
        load_spec(tmp_path / "nothing.yaml")
    path = tmp_path / "bytes.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="readable text"):
        load_spec(path)


def test_other_mistakes_are_counted_beside_the_first(tmp_path: Path) -> None:
    """Two mistakes give one message that also says where the second one is."""
    text = GOOD.replace("rate_hz: 50", "rate_hz: -5").replace("window_s: 2", "window_s: 0")
    with pytest.raises(SpecError, match=r"also look at trial\.window_s"):
        load_spec(_write(tmp_path, text))
