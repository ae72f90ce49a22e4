"""Public data: fetched by hash from a real HTTP server, or an error that helps."""

from __future__ import annotations

import functools
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from joulery.campaigns.scenarios import scenarios
from joulery.campaigns.scenarios.fetching import fetch, public_data
from joulery.campaigns.scenarios.series import checksum
from joulery.errors import DatasetError, SpecError
from joulery.tests.conftest import REPOSITORY

_VIDEOS = REPOSITORY.parent / "shared" / "data" / "video"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A server of a folder: its URL, and the folder."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()
        thread.join()


def test_what_can_be_fetched_is_for_scenarios_that_there_are() -> None:
    """Each has a licence, a pinned origin, and a hash a file."""
    known = {one.name for one in scenarios()}
    for data in public_data().values():
        assert set(data.scenarios) <= known
        assert data.licence
        commit = data.base_url.rstrip("/").rsplit("/", 1)[1]
        assert len(commit) == 40
        assert all(len(digest) == 64 for digest in data.files.values())


def test_data_is_fetched_once(mirror: tuple[str, Path], tmp_path: Path) -> None:
    """The files come whole; a second time nothing is asked for."""
    url, folder = mirror
    files = public_data()["videos"].files
    for name in files:
        (folder / name).write_bytes((_VIDEOS / name).read_bytes())
    told: list[str] = []
    found = fetch("videos", tmp_path / "to", mirror=url, fetched=told.append)
    assert told == list(files)
    assert {name: checksum((found / name).read_bytes()) for name in files} == files
    again = fetch("videos", tmp_path / "to", mirror="http://127.0.0.1:9")
    assert again == found


def test_another_content_is_refused(mirror: tuple[str, Path], tmp_path: Path) -> None:
    """What comes is checked before it counts; nothing of it stays."""
    url, folder = mirror
    for name in public_data()["videos"].files:
        (folder / name).write_bytes(b"not a video")
    with pytest.raises(DatasetError, match="other content than was registered"):
        fetch("videos", tmp_path / "to", mirror=url)
    assert not [path for path in (tmp_path / "to").rglob("*") if path.is_file()]


def test_a_file_that_is_not_there(mirror: tuple[str, Path], tmp_path: Path) -> None:
    """The error says which, and what to do."""
    with pytest.raises(DatasetError, match=r"car-detection\.mp4: found 404 .*--mirror"):
        fetch("videos", tmp_path, mirror=mirror[0])


def test_a_name_that_there_is_not(tmp_path: Path) -> None:
    """The error has the nearest."""
    with pytest.raises(SpecError, match="did you mean 'videos'"):
        fetch("video", tmp_path)


def test_a_server_that_cannot_be_reached(tmp_path: Path) -> None:
    """The command says so in one message, and ends with 2."""
    command = [sys.executable, "-c", "from joulery.cli import main; main()", "data", "fetch", "nab"]
    command += ["--to", str(tmp_path), "--mirror", "http://127.0.0.1:9"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert "see that it can be reached from here" in " ".join(found.stderr.split())
    assert "Traceback" not in found.stderr
