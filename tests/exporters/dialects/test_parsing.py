"""Reading the lines of a scrape: what is passed over, what is refused, what it may cost."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from joulery.exporters.dialects import Dialect, Limits, Reading, ScrapeRefused, parse

DIALECT = Dialect(
    name="mine",
    title="Mine",
    prefixes=("mine_",),
    signature=("mine_",),
    port_names=(),
    port=1,
    path="/metrics",
    translate=lambda _families, _hints: Reading(told=()),
)


def samples(body: bytes | str, *, openmetrics: bool = False) -> dict[str, list[tuple]]:  # type: ignore[type-arg]
    """Return name, labels and value of each sample, by family."""
    families = parse(body, [DIALECT], openmetrics=openmetrics)
    return {
        name: [(one.name, one.labels, one.value) for one in family.samples]
        for name, family in families.items()
    }


def refusal(body: bytes | str, limits: Limits | None = None, *, openmetrics: bool = False) -> str:
    """Return the reason for which a scrape is refused."""
    with pytest.raises(ScrapeRefused) as refused:
        parse(body, [DIALECT], limits=limits, openmetrics=openmetrics)
    assert refused.value.reason in str(refused.value)
    assert len(str(refused.value)) < 300
    return refused.value.reason


def test_lines_of_other_families_are_not_even_looked_at() -> None:
    """What no dialect speaks of may be as wrong as it likes: binary, malformed, endless."""
    body = b"other{{{\nmine_a 1\n\xff\xfe\n# TYPE other what is this\n" + b"x" * 100_000
    assert samples(body) == {"mine_a": [("mine_a", {}, 1.0)]}


def test_only_the_dialects_in_question_count() -> None:
    """A line is read if any of the candidates speaks of it."""
    other = replace(DIALECT, name="other", prefixes=("other_",))
    body = "mine_a 1\nother_b 2\nthird_c 3\n"
    assert set(parse(body, [DIALECT, other])) == {"mine_a", "other_b"}
    assert set(parse(body, [other])) == {"other_b"}
    assert parse(body, []) == {}


def test_a_family_without_samples_is_there() -> None:
    """A server that has had no request is known by the types that it tells."""
    assert samples("# TYPE mine_a_total counter\n") == {"mine_a": []}


@pytest.mark.parametrize(
    ("line", "labels", "value"),
    [
        ("mine_a 1", {}, 1.0),
        ("mine_a{} 1", {}, 1.0),
        ('mine_a{x="1",} +Inf', {"x": "1"}, math.inf),
        ('mine_a { x = "1" , y="2" } -2.5e-3 1700000000000', {"x": "1", "y": "2"}, -0.0025),
        (r'mine_a{x="a\\n\"}b,=\n"}' + "\t7", {"x": 'a\\n"}b,=\n'}, 7.0),
        ('mine_a{x="#{} 9"} 7 # {trace_id="a b"} 0.5 12.5', {"x": "#{} 9"}, 7.0),
        ('mine_a{x="ü"} 7\r', {"x": "ü"}, 7.0),
    ],
)
def test_a_line_is_read(line: str, labels: dict[str, str], value: float) -> None:
    """Spaces, escapes, timestamps and exemplars are as the formats allow them."""
    assert samples(f"{line}\n") == {"mine_a": [("mine_a", labels, value)]}


@pytest.mark.parametrize(
    "line",
    [
        "mine_a",
        "mine_a ",
        "mine_a one",
        "mine_a 1_000",
        "mine_a 0x10",
        "mine_a 1 2 3",
        "mine_a-1",
        'mine_a{x="1} 1',
        'mine_a{x="1"',
        "mine_a{x=1} 1",
        'mine_a{x="1" y="2"} 1',
        'mine_a{x="1",x="2"} 1',
        'mine_a{,x="1"} 1',
        'mine_a{"mine.a", x="1"} 1',
        'mine_a{9x="1"} 1',
        "# TYPE mine_a",
        "# TYPE mine_a counter counter",
        b'mine_a{x="\xff"} 1',
    ],
)
def test_a_malformed_line_refuses_the_scrape(line: str | bytes) -> None:
    """As with Prometheus, one line that cannot be read makes the whole doubtful."""
    whole = line if isinstance(line, bytes) else line.encode()
    assert refusal(b"mine_b 1\n" + whole + b"\n") == "malformed"


def test_types_name_families() -> None:
    """Samples belong to the family whose type was told, and times of creation are left out."""
    body = (
        "# TYPE mine_h histogram\n"
        'mine_h_bucket{le="+Inf"} 1\nmine_h_sum 2\nmine_h_count 1\nmine_h_created 3\n'
        "# TYPE mine_h_created gauge\nmine_h_created 3\n"
        "# TYPE mine_c counter\nmine_c 4\n"
        "# TYPE mine_d_total counter\nmine_d_total 5\nmine_d_created 3\n"
        "# TYPE mine_s summary\nmine_s_sum 1\nmine_s_count 2\n"
        'mine_s{quantile="0.5"} 3\n'
        "# TYPE mine_g odd\nmine_g 6\n"
        "# TYPE mine_g gauge\nmine_u_sum 7\n"
    )
    families = parse(body, [DIALECT])
    assert {name: one.type for name, one in families.items()} == {
        "mine_h": "histogram",
        "mine_c": "counter",
        "mine_d": "counter",
        "mine_s": "summary",
        "mine_g": "unknown",
        "mine_u_sum": "unknown",
    }
    assert [one.name for one in families["mine_h"].samples] == [
        "mine_h_bucket",
        "mine_h_sum",
        "mine_h_count",
    ]
    assert [one.name for one in families["mine_c"].samples] == ["mine_c_total"]
    assert len(families["mine_s"].samples) == 3


def test_openmetrics_has_an_end() -> None:
    """A scrape in OpenMetrics that broke off is refused; text tells no end."""
    body = "# TYPE mine_a counter\nmine_a_total 1.0\n"
    assert samples(body + "# EOF\n", openmetrics=True) == {"mine_a": [("mine_a_total", {}, 1.0)]}
    assert refusal(body, openmetrics=True) == "truncated"
    assert refusal(body + "# EOF\nmine_b 1\n", openmetrics=True) == "truncated"
    assert refusal("", openmetrics=True) == "truncated"
    assert samples(body)


@pytest.mark.parametrize(
    ("body", "limits", "reason"),
    [
        ("mine_a 1\n" * 4, Limits(samples=3), "too_many_samples"),
        ("# TYPE mine_a gauge\n" * 4, Limits(samples=3), "too_many_samples"),
        ("mine_a 1\n" * 4, Limits(series=3), "too_many_series"),
        ("mine_a 1\n" * 4, Limits(size_bytes=35), "too_large"),
        ("\n" * 4, Limits(lines=3), "too_many_lines"),
        ('mine_a{x="' + "y" * 90 + '"} 1', Limits(line_bytes=100), "line_too_long"),
        ('mine_a{x="' + "y" * 101 + '"} 1', Limits(label_characters=100), "label_too_long"),
    ],
)
def test_what_a_scrape_may_cost(body: str, limits: Limits, reason: str) -> None:
    """Beyond each limit it is refused, with a word for it."""
    assert refusal(body, limits) == reason


def test_at_its_limits_a_scrape_is_read() -> None:
    """What is just within the limits is taken; buckets are no series."""
    body = 'mine_b_bucket{le="1"} 1\n' * 3 + 'mine_a{x="' + "y" * 100 + '"} 1'
    limits = Limits(
        samples=4, series=1, label_characters=100, size_bytes=len(body), line_bytes=112 + 5
    )
    assert len(parse(body, [DIALECT], limits=limits)) == 2


@pytest.mark.parametrize(
    "line",
    [
        'mine_a{x="' + '\\"' * 4000 + "",
        "mine_a{" + 'x="1",' * 1300,
        "mine_a{" + "x" * 8000,
        "mine_a" + " " * 8000 + "x",
        "mine_a" + "{" * 8000,
        "mine_a 1" + " \t" * 4000 + "#",
        "mine_a 1 " + "1" * 8000 + "x",
    ],
)
def test_hostile_lines_end(line: str) -> None:
    """Thousands of lines made to be tried again and again are refused at the first of them."""
    reason = refusal(f"{line[:8100]}\n" * 200)
    assert reason in {"malformed", "too_many_samples"}
