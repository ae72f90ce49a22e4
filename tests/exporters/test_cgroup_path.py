"""Whose a control group is: recorded lines of many nodes, and any text at all."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulery.errors import SourceFailed, SourceForbidden
from joulery.exporters.cgroup_path import (
    GroupKind,
    GroupName,
    is_like_pod,
    is_pods_folder,
    parse_group,
    parse_line,
    pod_in_name,
    pod_of_process,
)

from ..unprivileged import open_folder, run_unprivileged

_UID = "7a96c459-d529-44ae-9f99-90d3798d6426"
_OTHER = "95ef92a4-1e30-4d9a-92b5-3f8b2a2b3cf1"
_ID = "1d3d308a7d48a27814a68bf33a44acf4441c9c02463ca0bc1cdfdc8c0b4a8496"
_TOLD_ELSEWHERE = 4
"""Recorded lines whose path ends in a bare id, and whose runtime only their recorder knew."""


def test_recorded_lines(test_data: Path) -> None:
    """Every recorded line: the pod, the container, the runtime, the driver and the kind."""
    with (test_data / "cgroup/cgroup_lines.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    told_elsewhere = 0
    for row in rows:
        runtime = row["runtime"] or None
        bare = row["line"].rpartition("/")[2] == row["container_id"]
        if runtime and bare and row["pod_uid"]:
            runtime, told_elsewhere = None, told_elsewhere + 1
        assert parse_line(row["line"]) == GroupName(
            pod_uid=row["pod_uid"] or None,
            container_id=row["container_id"] or None,
            runtime=runtime,
            driver=row["driver"] or None,
            kind=GroupKind(row["kind"]),
        ), row["line"]
    assert len(rows) >= 77
    assert told_elsewhere == _TOLD_ELSEWHERE


def test_recorded_processes(test_data: Path, tmp_path: Path) -> None:
    """Whole recorded files: the pod of a process in one, and none of a process in none."""
    expected = {
        "elastic_ubuntu1804_3757": None,
        "kepler_1337": None,
        "spire_cgroups_pid_in_crio_pod": None,
        "spire_cgroups_pid_in_kind_pod": "a2830d0d-b0f0-4ff0-81b5-0ee4e299cf80",
        "spire_cgroups_pid_in_pod": "2c48913c-b29f-11e7-9350-020968147796",
        "spire_cgroups_pid_not_in_pod": None,
        "spire_systemd_cgroups_pid_in_pod": "2c48913c-b29f-11e7-9350-020968147796",
        "spire_systemd_crio_cgroups_pid_in_pod": "a2830d0d-b0f0-4ff0-81b5-0ee4e299cf80",
    }
    for pid, name in enumerate(expected):
        folder = tmp_path / f"{pid}"
        folder.mkdir()
        shutil.copy(test_data / f"cgroup/proc/{name}.txt", folder / "cgroup")
    assert [pod_of_process(tmp_path, pid) for pid in range(len(expected))] == [*expected.values()]
    eks = test_data / "cgroup/trees/eks_amzn2_v1_containerd/proc"
    assert pod_of_process(eks, 493239) == _UID


def test_processes_that_are_gone_forbidden_or_in_no_pod(tmp_path: Path) -> None:
    """A process that is gone or in no pod has none; one that may not be looked at is forbidden."""
    assert pod_of_process(Path("/proc"), os.getpid()) is None
    assert pod_of_process(tmp_path, 42) is None
    (tmp_path / "7/cgroup").mkdir(parents=True)
    with pytest.raises(SourceFailed, match="7/cgroup"):
        pod_of_process(tmp_path, 7)
    program = (
        "import sys; from pathlib import Path; from joulery.errors import SourceForbidden\n"
        "from joulery.exporters.cgroup_path import pod_of_process\n"
        "try: pod_of_process(Path(sys.argv[1]), 1)\n"
        f"except {SourceForbidden.__name__} as error: print(error.remedy)\n"
    )
    with open_folder() as folder:
        (folder / "1").mkdir()
        (folder / "1/cgroup").write_text("0::/\n")
        (folder / "1/cgroup").chmod(0)
        ended = run_unprivileged("-c", program, str(folder))
    assert "root" in ended.stdout, ended.stderr


@pytest.mark.parametrize(
    ("path", "uid", "container"),
    [
        # A kubelet within a pod: the outer pod is the node's own.
        (f"/kubepods/pod{_UID}/{_ID}/kubepods/pod{_OTHER}/{_ID[::-1]}", _UID, _ID),
        # Docker within a pod: the inner container is no container of the pod.
        (f"/kubepods/burstable/pod{_UID}/{_ID}/docker/{_ID[::-1]}", _UID, _ID),
        (
            f"/../../kubepods-besteffort-pod{_UID.replace('-', '_')}.slice/crio-{_ID}.scope",
            _UID,
            _ID,
        ),
        (f"/kubepods/pod{_UID}/{_ID} (deleted)", _UID, _ID),
        (f"/machine.slice/libpod-{_ID}.scope", None, _ID),
        (f"/kubepods/pod{_UID}x/{_ID}", None, None),
        (f"/kubepods-pod{_UID}.slice:cri-containerd:{_ID}0", _UID, None),
    ],
)
def test_groups_within_groups(path: str, uid: str | None, container: str | None) -> None:
    """Pods and containers within each other, hidden parents, removed groups and names too long."""
    parsed = parse_group(path)
    assert (parsed.pod_uid, parsed.container_id) == (uid, container)


def test_names_without_parents() -> None:
    """A group's own name tells whether it is a pod's, holds pods, or seems to be a pod's."""
    slice_ = f"kubelet-kubepods-burstable-pod{_UID.replace('-', '_')}.slice"
    assert pod_in_name(slice_) == pod_in_name(f"pod{_UID}") == _UID
    assert pod_in_name(f"{slice_}:cri-containerd:{_ID}") == _UID
    for name in ("kubepods", "kubepods.slice", "burstable", "kubelet-kubepods-besteffort.slice"):
        assert is_pods_folder(name)
        assert pod_in_name(name) is None
        assert not is_like_pod(name)
    assert not is_pods_folder("system.slice")
    assert is_like_pod("podweb")
    assert is_like_pod("kubepods-podweb.slice")


_PARTS = st.sampled_from(
    f".. docker ecs garden kubepods burstable pod{_UID} {_ID} crio-conmon-{_ID} crio-{_ID}.scope "
    f"kubepods-pod{_UID}.slice kubepods-pod{_UID}.slice:crio:{_ID} x.mount :".split(" ")
)


@given(st.text() | st.lists(_PARTS | st.text(max_size=3)).map("/".join))
def test_any_text_is_taken(text: str) -> None:
    """No text makes it raise, and what it tells is a whole uid, which the text holds."""
    for parsed in (parse_group(text), parse_line(text), parse_line(f"0::{text}")):
        uid = parsed.pod_uid
        assert uid is None or uid.replace("-", "") in text.replace("-", "").replace("_", "")
        assert parsed.container_id is None or parsed.container_id in text
        assert (parsed.kind is GroupKind.NONE) == (uid is None and parsed.container_id is None)
    pod_in_name(text)
