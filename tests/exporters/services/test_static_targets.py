"""The file that names services on machines without Kubernetes."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from joulery.errors import SpecError
from joulery.exporters.services.static_targets import StaticTargets
from joulery.exporters.services.target import Pod, Target

from .test_discovery import DIALECTS


def _write(folder: Path, text: str) -> Path:
    path = folder / "targets.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def _one(folder: Path, *lines: str) -> Target:
    text = "targets:\n  - name: a\n" + "".join(f"    {line}\n" for line in lines)
    [target] = StaticTargets(_write(folder, text), DIALECTS).current()
    return target


def test_all_keys(tmp_path: Path) -> None:
    """Each key of a target reaches it, and its addresses have one spelling."""
    target = _one(
        tmp_path,
        "url: https://inference.example:8443/stats?format=text",
        "dialect: triton",
        "model: ranker",
        "variant: int8",
        "golden: clicks",
        "infer_url: http://inference.example:8000/",
        "addresses: [192.0.2.7, '2001:DB8::0:1', '::ffff:192.0.2.8']",
    )
    assert target == Target(
        pod=Pod(
            namespace="", name="a", uid="", addresses=("192.0.2.7", "2001:db8::1", "192.0.2.8")
        ),
        url="https://inference.example:8443/stats?format=text",
        dialect="triton",
        model="ranker",
        variant="int8",
        golden="clicks",
        infer_url="http://inference.example:8000",
    )


@pytest.mark.parametrize(
    ("lines", "url", "addresses"),
    [
        (["url: http://192.0.2.7:8002"], "http://192.0.2.7:8002/metrics", ("192.0.2.7",)),
        (["url: 'http://[2001:DB8::1]/m'"], "http://[2001:DB8::1]/m", ("2001:db8::1",)),
        (["url: http://localhost:80/m"], "http://localhost:80/m", ("127.0.0.1", "::1")),
        (["url: http://some.example/m"], "http://some.example/m", ()),
        (
            ["url: http://192.0.2.7:8501/", "dialect: tensorflow-serving"],
            "http://192.0.2.7:8501/monitoring/prometheus/metrics",
            ("192.0.2.7",),
        ),
        (["infer_url: http://192.0.2.7:1", "golden: g"], "", ("192.0.2.7",)),
        (["addresses: [192.0.2.9]"], "", ("192.0.2.9",)),
    ],
    ids=str,
)
def test_what_is_left_out(
    tmp_path: Path, lines: list[str], url: str, addresses: tuple[str, ...]
) -> None:
    """A path is the dialect's, an address the URL's; who only pushes or is probed needs no URL."""
    target = _one(tmp_path, *lines)
    assert (target.url, target.pod.addresses) == (url, addresses)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "found an empty file, expected targets:"),
        ("targets: 3", "line 1, targets: found no list"),
        ("{}", "targets: found nothing, expected a list"),
        ("targets: [", "expected YAML"),
        ("target: []", "line 1, target: found the unknown key 'target'.*did you mean 'targets'"),
        ("targets: [3]", r"line 1, targets\[0\]: found 3, expected keys with values"),
        ("targets:\n- url: http://a", r"line 2, targets\[0\]: found nothing.*the key 'name'"),
        ("targets:\n- name: a b\n", "line 2.*name: found 'a b'"),
        ("targets:\n- name: a\n", "url: found nothing, expected where its metrics are; add 'url:'"),
        ("targets:\n- name: a\n  ulr: x\n", "line 3.*unknown key 'ulr'.*did you mean 'url'"),
        ("targets:\n- name: a\n  url: ftp://a\n", "line 3.*url: found 'ftp://a', expected a URL"),
        ("targets:\n- name: a\n  url: 'http://a:99999'\n", "expected a URL"),
        ("targets:\n- name: a\n  url: 'http://[a'\n", "expected a URL"),
        ("targets:\n- name: a\n  url: http://u:p@a/\n", "url: found a user in the URL"),
        ("targets:\n- name: a\n  url: http://a\n  dialect: tritn\n", "did you mean 'triton'"),
        ("targets:\n- name: a\n  url: http://a\n  golden: g\n", "line 4.*golden: found no infer"),
        ("targets:\n- name: a\n  addresses: [host]\n", "addresses: found 'host', expected IP"),
        ('targets:\n- name: a\n  url: http://a\n  model: "x\\ny"\n', "model: found .*a line of"),
        (
            "targets:\n- {name: a, url: 'http://a'}\n- {name: a, url: 'http://b'}\n",
            r"line 3, targets\[1\].name: found 'a' twice, expected once",
        ),
    ],
)
def test_refuses(tmp_path: Path, text: str, said: str) -> None:
    """What is wrong is refused with file, line and key, and a misspelt key with the nearest."""
    path = _write(tmp_path, text)
    with pytest.raises(SpecError, match=said) as caught:
        StaticTargets(path, DIALECTS)
    assert caught.value.subject == str(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """Without the file there is nothing to begin with."""
    with pytest.raises(SpecError, match="No such file"):
        StaticTargets(tmp_path / "targets.yaml", DIALECTS)


def test_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A changed file is read again; a broken change is told once, and the old stays."""
    targets = StaticTargets(_write(tmp_path, "targets: []"), DIALECTS)
    assert targets.current() == ()
    entry = "targets:\n- {name: %s, url: 'http://a'}\n"
    _write(tmp_path, entry % "first")
    [first] = targets.current()
    assert first.pod.name == "first"
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            _write(tmp_path, "targets: oops\n")
            assert targets.current() == (first,)
        (tmp_path / "targets.yaml").unlink()
        assert targets.current() == (first,)
        assert targets.current() == (first,)
    assert len(caplog.records) == 2
    assert "what was read before stays in use" in caplog.records[0].getMessage()
    _write(tmp_path, entry % "second")
    assert [one.pod.name for one in targets.current()] == ["second"]
