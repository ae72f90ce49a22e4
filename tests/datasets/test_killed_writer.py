"""A writer that is killed at its steps: the name holds what was there, or all, or nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from joulery.datasets.folder import discard, sweep
from joulery.datasets.store import load
from joulery.errors import DatasetError

from ..campaigns.samples import synthetic_records, write_synthetic

PROGRAM = """
import os, shutil, signal, sys
from pathlib import Path
from joulery.datasets.folder import files, read_manifest, sweep
from joulery.datasets.metadata import file_facts
from tests.campaigns.samples import synthetic_records, write_synthetic

root, has_old = Path(sys.argv[1]), sys.argv[2] == "old"
target, old = root / "set", root / "kept"
small, large = synthetic_records(done=1), synthetic_records(done=2)


def in_child(work):
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def write_until(step):
    seen = []

    def count(event, arguments):
        # Audit events come before the call they tell of.
        if event.startswith(("open", "os.", "shutil.", "tempfile.")):
            seen.append(event)
            if len(seen) == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    write_synthetic(target, large, replace=has_old)
    (root / "events").write_text(" ".join(seen))


def prepare():
    shutil.rmtree(target, ignore_errors=True)
    if has_old:
        shutil.copytree(old, target)


def steps():
    # Those before and after a rename, a dozen others, and the last.
    events = (root / "events").read_text().split()
    last = len(events)
    renames = [at for at, event in enumerate(events, start=1) if event == "os.rename"]
    near = {at + by for at in renames[-3:] for by in (0, 1)}
    return sorted(near | set(range(1, last, last // 12)) | {last})


def state():
    if not target.exists():
        return "absent"
    sums = read_manifest(target)
    assert set(files(target)) - {"SHA256SUMS"} == set(sums), "files that no manifest lists"
    assert all(file_facts(target / path)[1] == sums[path] for path in sums), "a torn file"
    return "old" if sums == old_sums else "new"


assert in_child(lambda: write_synthetic(old, small)) == 0
old_sums = read_manifest(old)
prepare()
assert in_child(lambda: write_until(0)) == 0
for step in steps():
    prepare()
    killed = in_child(lambda: write_until(step))
    (root / "events").unlink(missing_ok=True)
    at_once = state()
    sweep(target)
    print(killed, at_once, state(), len(list(root.iterdir())), flush=True)
"""


@pytest.mark.parametrize("before", ["old", "nothing"])
def test_a_writer_may_be_killed_at_any_step(tmp_path: Path, before: str) -> None:
    """Before each rename, and between, a kill leaves no half dataset and loses no old one."""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), before],
        # Threads of a linear algebra library would not live through a fork.
        env=os.environ | {"PYTHONPATH": str(root), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = [line.split() for line in done.stdout.splitlines()]
    former = {"old": "old", "nothing": "absent"}[before]
    assert {killed for killed, _, _, _ in seen} == {"-9"}
    assert {at_once for _, at_once, _, _ in seen} == {former, "new", "absent"}
    assert (seen[0][1], seen[-1][1]) == (former, "new")
    for step, (_, _, swept, left) in enumerate(seen):
        assert swept in {former, "new"}, step
        assert int(left) == (1 if swept == "absent" else 2), f"step {step}: something is left"


def test_what_another_writer_still_writes_is_left_alone(tmp_path: Path) -> None:
    """Two that write to one name do not take each other's folder away; the later one is refused."""
    folder = tmp_path / "set"

    def meanwhile(_: Path) -> None:
        sweep(folder)
        assert len(list(tmp_path.glob(".set-*.partial"))) == 1
        write_synthetic(folder, synthetic_records(done=1))

    with pytest.raises(DatasetError, match="found a dataset"):
        write_synthetic(folder, synthetic_records(done=2), finish=meanwhile)
    assert load(folder).about.trials_done == 1
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_only_what_belongs_to_the_folder_is_swept(tmp_path: Path) -> None:
    """Hidden folders of a longer name, and anybody's own, stay."""
    names = [".set-x-abcdefgh.partial", ".set-mine.partial", ".sets-abcdefgh.partial"]
    for name in [*names, ".set-abcdefgh.partial"]:
        (tmp_path / name).mkdir()
    sweep(tmp_path / "set")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    sweep(tmp_path / "nowhere" / "set")


def test_a_folder_is_discarded_at_one_stroke(tmp_path: Path) -> None:
    """A discarded folder is gone, and what a kill would leave of it is swept."""
    (tmp_path / "set" / "deep").mkdir(parents=True)
    (tmp_path / "set" / "deep" / "file").write_text("x")
    discard(tmp_path / "set")
    assert list(tmp_path.iterdir()) == []
