"""Work on GPUs: every way to share one, over the compiled NVML library; laws of the sums."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulery.profiler.gpu import UtilSample, bounded, newest_us, process_ratios
from joulery.profiler.mig import instance_ratios
from joulery.profiler.sharing import MigInstance

from .nvml_library import compile_nvml, run_with

PLAY = """
import json, os, pynvml
from joulery.errors import SourceError
from joulery.profiler.gpu import open_gpus

def play(steps, owners=None):
    os.environ["FAKE_NVML_CLOCK"] = "0"
    clock = lambda: float(os.environ["FAKE_NVML_CLOCK"])
    work, rows = None, []
    for seconds, words, processes in steps:
        os.environ |= {"FAKE_NVML_CLOCK": str(seconds), "FAKE_NVML": words,
                       "FAKE_NVML_PROCESSES": processes}
        work = work or open_gpus(pynvml, clock=clock, owners=owners)[0]
        try:
            busy = dict(work.busy_s())
        except SourceError as error:
            busy = {"error": type(error).__name__, "text": str(error)}
        rows.append([busy, work.total_s, work.mode, work.note])
    print(json.dumps(rows))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the compiled library."""
    return compile_nvml(tmp_path_factory.mktemp("nvml"))


Step = tuple[float, str, str]


def play(folder: Path, steps: list[Step], owners: dict[str, str] | None = None) -> Any:
    """Read the work of GPU 0 at each step: seconds, words, processes."""
    code = PLAY + f"play({steps!r}, {owners!r})"
    return run_with(folder, code, FAKE_NVML_ACTIVITY="1:80,2:50")


def close(**expected: float) -> Any:
    """Return busy seconds by consumer, to compare with."""
    return pytest.approx({key.replace("_", ":"): value for key, value in expected.items()})


def test_processes_share_by_their_sm_utilisation(library: Path) -> None:
    """Processes in turns get their percents of the time, and none for what was before the start."""
    two = "7:60:C,8:30:C"
    rows = play(library, [(10, "", two), (12, "", two), (12.5, "", two), (14, "", two)])
    assert [row[0] for row in rows] == [
        close(pid_7=0, pid_8=0),
        close(pid_7=1.2, pid_8=0.6),
        close(pid_7=1.2, pid_8=0.6),  # sooner than a second: as before
        close(pid_7=2.4, pid_8=1.2),
    ]
    assert rows[-1][1:] == [pytest.approx(3.6), "sm_share", "time-sliced: 2 processes"]


def test_no_sample_is_zero(library: Path) -> None:
    """A process that runs without work has zero seconds, and starts to count when it works."""
    rows = play(library, [(10, "", "7:-:C"), (50, "", "7:-:C"), (52, "", "7:50:C")])
    assert [row[0] for row in rows] == [close(pid_7=0), close(pid_7=0), close(pid_7=1.0)]


def test_work_of_nobody_known_is_not_shared_out(library: Path) -> None:
    """What keeps the GPU busy without a sample counts in the total, and for no process."""
    rows = play(library, [(10, "display", "7:-:C"), (20, "display", "7:-:C")])
    assert rows[-1][:2] == [close(pid_7=0), pytest.approx(4.0)]


def test_one_who_ends_keeps_its_seconds(library: Path) -> None:
    """What an ended process used stays for a quarter of an hour, then its name is given up."""
    rows = play(
        library,
        [(10, "", "7:50:C"), (20, "", "7:50:C"), (30, "", ""), (931, "", "8:10:C")],
    )
    assert [row[0] for row in rows[1:]] == [close(pid_7=5), close(pid_7=5), close(pid_8=90.1)]


def test_garbage_does_not_count(library: Path) -> None:
    """Samples beyond 100 % or of no process, which drivers are known to add, count for nobody."""
    rows = play(library, [(10, "garbage", "7:50:C"), (12, "garbage", "7:50:C")])
    assert rows[-1][0] == close(pid_7=1.0)


def test_refused_and_not_told_are_different(library: Path) -> None:
    """Without permission there is an error with a remedy; a GPU that cannot tell: equal turns."""
    two = "7:60:C,8:20:C"
    [refused] = play(library, [(10, "utildenied", two)])
    assert refused[0]["error"] == "SourceForbidden"
    assert "utilisation of processes" in refused[0]["text"]
    rows = play(library, [(10, "utilunsupported", two), (20, "utilunsupported", two)])
    assert rows[-1][0] == close(pid_7=4, pid_8=4)
    assert "no utilisation per process: equal turns" in rows[-1][3]


def test_an_owner_gets_all_work(library: Path) -> None:
    """Who has the GPU to itself gets its activity, or the whole time where none is told."""
    owners = {"GPU-aaaa": "pod-1"}
    rows = play(library, [(10, "", "7:60:C"), (20, "", "7:60:C"), (30, "norates", "")], owners)
    assert [row[0] for row in rows[1:]] == [{"pod-1": 6.0}, {"pod-1": 16.0}]
    assert rows[1][2] == "exclusive"
    assert "the whole time counts" in rows[2][3]


def test_exclusive_mode_names_its_process(library: Path) -> None:
    """A GPU set to one process at a time gives its activity to that process."""
    rows = play(library, [(10, "exclusive", "7:60:C"), (20, "exclusive", "7:60:C")])
    assert rows[-1] == [close(pid_7=6), pytest.approx(6.0), "exclusive", "one process at a time"]


def test_clients_of_mps(library: Path) -> None:
    """MPS clients count by their own samples; what only the server shows, they share equally."""
    seen, hidden = "7:40:M,8:20:M,9:0:S", "7:-:M,8:-:M,9:60:S"
    rows = play(library, [(10, "", seen), (20, "", seen), (30, "", hidden)])
    assert rows[1][:3] == [close(pid_7=4, pid_8=2), pytest.approx(6.0), "mps"]
    assert rows[2][0] == close(pid_7=7, pid_8=5)
    assert "the server hides its clients' utilisation: equal turns" in rows[2][3]
    assert "equal turns" not in rows[1][3]


def test_mps_that_overlaps_stays_within_time(library: Path) -> None:
    """Clients that run at once and report more than 100 % together get no more than the time."""
    over = "7:90:M,8:60:M,9:0:S"
    rows = play(library, [(10, "", over), (20, "", over)])
    assert rows[-1][0] == close(pid_7=6, pid_8=4)
    assert rows[-1][1] == pytest.approx(10.0)


def test_instances_count_by_slices_and_activity(library: Path) -> None:
    """A MIG device counts its slices times its activity; devices of one instance share it."""
    rows = play(library, [(10, "mig", ""), (17, "mig", "")])
    busy, total, mode, note = rows[-1]
    # Seven slices for seven seconds: three of them 80 % busy, two of them 50 %.
    assert busy == pytest.approx({"MIG-aaaa": 2.4, "MIG-bbbb": 0.5, "MIG-cccc": 0.5})
    assert (total, mode) == (pytest.approx(3.4), "mig")
    assert note == "MIG: 3g.40gb, 1c.2g.20gb, 1c.2g.20gb"


@pytest.mark.parametrize(
    ("word", "reason"), [("nogpm", "since Hopper"), ("gpmdenied", "Insufficient Permissions")]
)
def test_instances_without_activity_count_by_slices(library: Path, word: str, reason: str) -> None:
    """Where activity is not told slices alone count, and the note says why."""
    rows = play(library, [(10, f"mig,{word}", ""), (17, f"mig,{word}", "")])
    assert rows[-1][0] == pytest.approx({"MIG-aaaa": 3.0, "MIG-bbbb": 1.0, "MIG-cccc": 1.0})
    assert "by slices alone" in rows[-1][3]
    assert reason in rows[-1][3]


def test_a_lost_gpu_works_for_nobody(library: Path) -> None:
    """The time in which a GPU is lost is nobody's; after its return counting goes on."""
    one = "7:50:C"
    rows = play(library, [(10, "", one), (12, "", one), (14, "lost0", one), (20, "", one)])
    assert rows[2][0]["error"] == "SourceFailed"
    assert rows[3][0] == close(pid_7=1.0)
    rows = play(library, [(10, "mig", ""), (12, "mig,lost0", ""), (20, "mig", ""), (27, "mig", "")])
    assert rows[-1][0] == pytest.approx({"MIG-aaaa": 2.4, "MIG-bbbb": 0.5, "MIG-cccc": 0.5})


samples_of_drivers = st.lists(
    st.builds(
        UtilSample,
        st.integers(0, 5),
        st.integers(0, 1000),
        st.one_of(st.integers(0, 100), st.just(2147483632)),
    ),
    max_size=20,
)


@given(st.lists(st.tuples(samples_of_drivers, st.floats(0, 10)), max_size=20))
def test_sums_never_fall_nor_pass_the_time(
    reads: list[tuple[list[UtilSample], float]],
) -> None:
    """Whatever a driver gives, no seconds fall and together they are no more than the time."""
    since_us, passed_s = 0, 0.0
    busy_s: dict[int, float] = {}
    for samples, elapsed_s in reads:
        ratios = process_ratios(samples, since_us)
        assert all(0 <= ratio <= 1 for ratio in ratios.values())
        later_us = newest_us(samples, since_us, elapsed_s)
        assert later_us >= since_us
        since_us, passed_s = later_us, passed_s + elapsed_s
        for pid, ratio in ratios.items():
            busy_s[pid] = busy_s.get(pid, 0.0) + ratio * elapsed_s
    assert sum(busy_s.values()) <= passed_s * (1 + 1e-9)


@given(samples_of_drivers, st.integers(0, 1000), st.floats(0, 10))
def test_no_sample_counts_twice(samples: list[UtilSample], since_us: int, elapsed_s: float) -> None:
    """What one call counted, the next one with the same samples does not count again."""
    later_us = newest_us(samples, since_us, elapsed_s)
    if process_ratios(samples, since_us):
        assert process_ratios(samples, later_us) == {}


@given(st.dictionaries(st.integers(), st.floats(0, 1)))
def test_shares_are_bounded_fairly(ratios: dict[int, float]) -> None:
    """Shares that fit stay as they are; those that do not keep their proportions."""
    scaled = bounded(ratios)
    assert sum(scaled.values()) <= 1 + 1e-9
    if sum(ratios.values()) <= 1:
        assert scaled == ratios


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 2)), max_size=4),
    st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=3, max_size=3),
)
def test_devices_of_an_instance_share_all_of_it(
    devices: list[tuple[int, int]], activity: list[float | None]
) -> None:
    """The devices of a GPU instance together have exactly its slices times its activity."""
    instances = [
        MigInstance(uuid=f"MIG-{n}", profile="", gpu_instance=gi, gpu_slices=2, own_slices=own)
        for n, (gi, own) in enumerate(devices)
    ]
    ratios = instance_ratios(instances, 7, dict(enumerate(activity)))
    for gi in {one.gpu_instance for one in instances}:
        busy = activity[gi]
        share = sum(ratios[one.uuid] for one in instances if one.gpu_instance == gi)
        assert share == pytest.approx(2 / 7 * (1.0 if busy is None else busy))
