"""The list of dialects: names, what is recognised, and what other packages add."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from joulery.errors import SpecError
from joulery.exporters.dialects import DIALECTS, dialects, named, recognised


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder for packages of others, which are looked for anew."""
    monkeypatch.syspath_prepend(tmp_path)
    dialects.cache_clear()
    yield tmp_path
    dialects.cache_clear()


def install(folder: Path, package: str, code: str, names: str = "DIALECT") -> None:
    """Put a package with entry points into a folder, as an installer does."""
    (folder / f"{package}.py").write_text(code)
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    points = "".join(f"{package}_{name} = {package}:{name}\n" for name in names.split())
    (info / "entry_points.txt").write_text(f"[joulery.dialects]\n{points}")


def code(name: str) -> str:
    """Return a module with a dialect of this name."""
    return (
        "from dataclasses import replace\n"
        "from joulery.exporters.dialects import DIALECTS\n"
        f"DIALECT = replace(DIALECTS[0], name={name!r}, signature=('{name}_',))\n"
    )


def test_what_a_dialect_says_of_itself() -> None:
    """Names are in kebab-case and there once, and a scrape can be known by what is parsed of it."""
    names = [one.name for one in DIALECTS]
    assert len(set(names)) == len(names)
    for one in DIALECTS:
        assert re.fullmatch("[a-z]+(-[a-z]+)*", one.name)
        assert one.path.startswith("/")
        assert 0 < one.port < 65536
        assert any(prefix.startswith(one.signature) for prefix in one.prefixes)


def test_a_port_name_stands_for_one_path() -> None:
    """However many dialects use a port's name, they serve at the same path."""
    paths: dict[str, set[str]] = {}
    for one in DIALECTS:
        for name in one.port_names:
            assert re.fullmatch("[a-z0-9-]{1,15}", name), "Kubernetes allows no other"
            paths.setdefault(name, set()).add(one.path)
    assert {name: len(found) for name, found in paths.items() if len(found) > 1} == {}


def test_a_dialect_has_a_name() -> None:
    """It is found by it, and a wrong name is answered with the nearest."""
    assert named("vllm").title == "vLLM"
    with pytest.raises(SpecError) as wrong:
        named("trition")
    assert wrong.value.remedy == "the nearest is 'triton'"
    with pytest.raises(SpecError, match="expected one of joulery, vllm"):
        named("")


def test_a_server_within_another_is_known() -> None:
    """A server of KServe's that runs vLLM is vLLM; what nobody knows is no dialect."""
    found = recognised(["request_predict_seconds", "vllm:num_requests_running"])
    assert found is named("vllm")
    assert recognised(["python_info", "process_cpu_seconds"]) is None
    assert recognised([]) is None


def test_other_packages_add_dialects(packages: Path) -> None:
    """A dialect of another package stands after ours, and is named and recognised like them."""
    install(packages, "others_good", code("theirs"))
    assert [one.name for one in dialects()] == [*(one.name for one in DIALECTS), "theirs"]
    assert recognised(["theirs_x"]) is named("theirs")


@pytest.mark.parametrize(
    ("package", "text", "said"),
    [
        ("others_broken", "raise RuntimeError('on import')", "cannot be loaded: on import"),
        ("others_empty", "", "cannot be loaded"),
        ("others_wrong", "DIALECT = 'triton'", "is no Dialect"),
        ("others_taken", code("triton"), "there is a dialect 'triton' already"),
    ],
)
def test_a_bad_package_is_a_warning(
    packages: Path, caplog: pytest.LogCaptureFixture, package: str, text: str, said: str
) -> None:
    """What cannot be used is said once in the log, and all others work."""
    install(packages, package, text)
    assert dialects() == DIALECTS
    assert dialects() == DIALECTS
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert said in record.getMessage()
    assert package in record.getMessage()
