"""Specifications: what is read, and what a person is told when something is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from joulery.campaigns.spec import parse_spec
from joulery.campaigns.spec_file import load_spec
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


LOAD = "{arrival: poisson, rate_hz: 50}"


@pytest.mark.parametrize(
    ("load", "name"),
    [
        ("{rate_hz: 50}", "poisson 50 Hz"),
        ("{arrival: constant, rate_hz: 50}", "constant 50 Hz"),
        (
            "{arrival: mmpp, quiet_rate_hz: 0, burst_rate_hz: 90, quiet_s: 2, burst_s: 1}",
            "mmpp 0 Hz 2 s, 90 Hz 1 s",
        ),
        ("{arrival: diurnal, rate_hz: 50, period_s: 2}", "diurnal 50 Hz, 2 s, peak 1.8"),
        ("{arrival: closed, users: 1}", "closed 1 user"),
        ("{arrival: closed, users: 8, think_time_s: 0.5}", "closed 8 users, exponential 0.5 s"),
        ("{arrival: single_stream}", "single_stream"),
        ("{arrival: multi_stream}", "multi_stream 8"),
        ("{arrival: offline, samples: 500}", "offline 500, 64 in flight"),
    ],
)
def test_each_kind_of_load_is_read_and_has_a_name(tmp_path: Path, load: str, name: str) -> None:
    """What `arrival` says decides which keys there are; what was written is recorded as such."""
    spec = load_spec(_write(tmp_path, GOOD.replace(LOAD, load)))
    assert str(spec.loads[0]) == name
    assert parse_spec(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize(
    ("load", "place", "words"),
    [
        ("{arrival: poison, rate_hz: 5}", "loads[0].arrival", ["did you mean 'poisson'?"]),
        ("{arrival: 3}", "loads[0].arrival", ["'3'", "'closed'"]),
        ("{arrival: closed, user: 5}", "loads[0].user", ["'users'", "did you mean 'users'?"]),
        ("{arrival: closed, users: 0}", "loads[0].users", ["found 0", ">= 1"]),
        ("{arrival: closed}", "loads[0].users", ["add 'users:'"]),
        ("{arrival: single_stream, rate_hz: 5}", "loads[0].rate_hz", ["unknown key"]),
        (
            "{arrival: diurnal, rate_hz: 5, period_s: 2, peak_to_mean: 3}",
            "loads[0].peak_to_mean",
            ["found 3", "<= 2"],
        ),
        ("{arrival: trace}", "loads[0].path", ["add 'path:'"]),
        ("poisson", "loads[0]", ["'poisson'", "keys with values"]),
    ],
)
def test_each_kind_of_load_refuses_what_it_does_not_know(
    tmp_path: Path, load: str, place: str, words: list[str]
) -> None:
    """A mistake in a load is named by its place in the file, with the keys of that kind."""
    with pytest.raises(SpecError) as caught:
        load_spec(_write(tmp_path, GOOD.replace(LOAD, load)))
    assert caught.value.place == f"line 8, {place}"
    for word in words:
        assert word in str(caught.value)


def test_other_mistakes_are_counted_beside_the_first(tmp_path: Path) -> None:
    """Two mistakes give one message that also says where the second one is."""
    text = GOOD.replace("rate_hz: 50", "rate_hz: -5").replace("window_s: 2", "window_s: 0")
    with pytest.raises(SpecError, match=r"also look at trial\.window_s"):
        load_spec(_write(tmp_path, text))


def test_files_are_included(tmp_path: Path) -> None:
    """Keys of an included file hold where the file has none, key in key; lists go as a whole."""
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "times.yaml").write_text("trial: {window_s: 9, idle_s: 3}\n")
    (tmp_path / "common" / "base.yaml").write_text(
        "include: [times.yaml]\nloads: [{rate_hz: 7}]\nrepeats: 5\ntrial: {idle_s: 4}\n"
    )
    spec = load_spec(_write(tmp_path, f"include: [common/base.yaml]\n{GOOD}"))
    assert (spec.trial.window_s, spec.trial.idle_s, spec.repeats) == (2.0, 4.0, 5)
    assert [str(load) for load in spec.loads] == ["poisson 50 Hz"]
    assert spec.include == ()


@pytest.mark.parametrize(
    ("common", "include", "place", "words"),
    [
        ("repeats: none", "[common.yaml]", "line 1 of common.yaml, repeats", "valid integer"),
        ("trial: {windw_s: 3}", "[common.yaml]", "line 1 of common.yaml, trial.windw_s", "window"),
        ("include: [campaign.yaml]", "[common.yaml]", "line 1 of common.yaml, include[0]", "this"),
        ("seed: 1", "common.yaml", "line 1, include", "write [common.yaml]"),
        ("seed: 1", "[campaign.yaml]", "line 1, include[0]", "which includes this file"),
        ("seed: 1", "[missing.yaml]", "", "what "),
        ("- 1", "[common.yaml]", "", "keys with values"),
    ],
)
def test_wrong_includes_are_told_with_their_own_file(
    tmp_path: Path, common: str, include: str, place: str, words: str
) -> None:
    """The line is that of the file where the mistake is."""
    (tmp_path / "common.yaml").write_text(common)
    with pytest.raises(SpecError) as caught:
        load_spec(_write(tmp_path, f"include: {include}\n{GOOD}"))
    assert place in str(caught.value)
    assert words in str(caught.value)


def test_loads_or_a_search(tmp_path: Path) -> None:
    """One of both says how many requests come."""
    load = "loads:\n  - {arrival: poisson, rate_hz: 50}\n"
    search = "search: {lowest_hz: 50, highest_hz: 500}\n"
    assert load_spec(_write(tmp_path, GOOD.replace(load, search))).search is not None
    for text in (GOOD.replace(load, ""), GOOD + search):
        with pytest.raises(SpecError, match="loads or search"):
            load_spec(_write(tmp_path, text))


@pytest.mark.parametrize("head", ["<<: {include: 5}\n", "title: &b {include: 5}\n<<: *b\n"])
def test_what_is_merged_has_a_line(tmp_path: Path, head: str) -> None:
    """A mistake in keys that are merged is told by the line where they stand."""
    with pytest.raises(SpecError) as caught:
        load_spec(_write(tmp_path, f"{head}{GOOD}"))
    assert caught.value.place == "line 1, include"


def test_keys_beside_a_merge_win_and_have_their_own_line(tmp_path: Path) -> None:
    """What stands beside merged keys wins over them, and is told by where it stands."""
    merge = "<<: [{seed: 2},\n  {repeats: 0}]\n"
    with pytest.raises(SpecError, match="line 2, repeats: found 0"):
        load_spec(_write(tmp_path, f"{merge}{GOOD}"))
    spec = load_spec(_write(tmp_path, f"{merge}repeats: 5\n{GOOD}"))
    assert (spec.repeats, spec.seed) == (5, 2)
    with pytest.raises(SpecError, match="line 3, repeats: found -1"):
        load_spec(_write(tmp_path, f"{merge}repeats: -1\n{GOOD}"))


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("name: small", 'name: small\ninclude: ["a\\0b"]', "line 2, include[0]"),
        (LOAD, '{arrival: trace, path: "a\\0b"}', "line 8, loads[0].path"),
        ("trial:", 'networks: [{trace: "a\\0b"}]\ntrial:', "line 9, networks[0].trace"),
        ("    factors:", '    data: "a\\0b"\n    factors:', "line 4, scenarios[0].data"),
        ("name: small", 'name: small\ntitle: "\\ud800"', "line 2, title"),
        ("name: small", 'name: small\n"\\ud800": 1', "line 2"),
    ],
)
def test_characters_that_no_file_is_named_by_are_refused(
    tmp_path: Path, old: str, new: str, place: str
) -> None:
    """A NUL or half a character is told where it stands, before any file is looked for."""
    with pytest.raises(SpecError, match="the character") as caught:
        load_spec(_write(tmp_path, GOOD.replace(old, new)))
    assert caught.value.place == place


_BOMB = "x0: &b0 [a, a, a, a, a, a, a, a, a]\n" + "".join(
    f"x{level}: &b{level} [{', '.join([f'*b{level - 1}'] * 9)}]\n" for level in range(1, 10)
)
_MERGE_BOMB = "x0: &b0 {a: 1}\n" + "".join(
    f"x{level}: &b{level} {{<<: [{', '.join([f'*b{level - 1}'] * 9)}]}}\n" for level in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (_BOMB, "more than 50000 keys and items"),
        (_MERGE_BOMB, "more than 50000 keys and items"),
        ("&a [*a, *a]\n", "without end"),
        ("&a {<<: *a}\n", "without end"),
        ("[" * 60 + "]" * 60, "too deep"),
        ("[" * 20000, "too deep"),
        (GOOD + "#" * 200_000, "more than 200000 characters"),
        (GOOD + f"seed: 0x{'f' * 5000}\n", "a number of 5002 digits"),
        ("repeats: !!int ''\n", "not what its tag says"),
        ("repeats: !!timestamp x\n", "not what its tag says"),
        ("repeats: !!bool x\n", "not what its tag says"),
        ("? !!str {=: include}\n: 5\n", "a key that is a list"),
    ],
)
def test_files_made_to_go_on_for_ever_are_refused(tmp_path: Path, text: str, found: str) -> None:
    """Aliases that multiply, endless nesting, and values that their tags do not fit."""
    with pytest.raises(SpecError) as caught:
        load_spec(_write(tmp_path, text))
    assert found in str(caught.value)


def test_files_that_include_others_again_and_again_are_refused(tmp_path: Path) -> None:
    """Nine files each including the next one nine times would be read for ever."""
    for level in range(9):
        names = ", ".join([f"{level + 1}.yaml"] * 9)
        (tmp_path / f"{level}.yaml").write_text(f"include: [{names}]\n")
    (tmp_path / "9.yaml").write_text("seed: 1\n")
    with pytest.raises(SpecError, match="more than 100 files"):
        load_spec(tmp_path / "0.yaml")


def test_a_link_to_itself_and_a_device_are_refused(tmp_path: Path) -> None:
    """An included file that is none, or never ends, is named."""
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    for name, words in (("loop.yaml", "symbolic links"), ("/dev/zero", "more than 200000")):
        with pytest.raises(SpecError, match=words) as caught:
            load_spec(_write(tmp_path, f"include: [{name}]\n{GOOD}"))
        assert caught.value.subject.endswith(name)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("repeats: 50000000", "<= 10000"),
        ("subset: {hypercube: 1000000}", "<= 10000"),
        ("slo: {latency_s: 1, percentile: 1.0e-320}", ">= 1e-06"),
    ],
)
def test_numbers_have_bounds(tmp_path: Path, key: str, expected: str) -> None:
    """What nobody could wait for, or compute with, is refused with the bound."""
    with pytest.raises(SpecError, match=expected):
        load_spec(_write(tmp_path, f"{GOOD}{key}\n"))
