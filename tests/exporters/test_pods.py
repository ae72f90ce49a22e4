"""Which pods are on a node: each layout of control groups, names that come late, what is broken."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from joulery.errors import SourceUnavailable
from joulery.exporters.pods import Pod, PodFinder

from ..unprivileged import open_folder, run_unprivileged
from .nodes import LAYOUTS, Node, container_id, pod_uid, real_group

_EKS_UID = "7a96c459-d529-44ae-9f99-90d3798d6426"
_MINUTE_S = 61.0
"""A time after which everything is looked for again."""


class Clock:
    """Seconds that pass when a test says so."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """Return an empty node."""
    return Node(tmp_path)


@pytest.fixture
def clock() -> Clock:
    """Return a clock that stands still."""
    return Clock()


def _finder(node: Node, clock: Clock) -> PodFinder:
    return PodFinder(node.cgroup, node.pods, node.containers, clock=clock)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("static", [False, True])
def test_every_layout(node: Node, clock: Clock, layout: str, static: bool) -> None:
    """Pods of every driver and runtime are found with their topmost groups and their names."""
    uids = [pod_uid(number, static=static) for number in range(3)]
    for number, uid in enumerate(uids):
        for container in (10 * number, 10 * number + 1):
            node.group(layout, uid, container_id(container))
        ids = {"web": container_id(10 * number), "side-car": container_id(10 * number + 1)}
        node.name(uid, "shop", f"front.end-{number}", **ids)
    pods = _finder(node, clock).look()
    assert sorted(pods) == sorted(uids)
    for number, uid in enumerate(uids):
        one = 10 * number
        groups = {node.group(layout, uid, container_id(one + more)) for more in (0, 1)}
        assert pods[uid] == Pod(
            uid=uid,
            namespace="shop",
            name=f"front.end-{number}",
            groups=tuple(sorted(groups)),
            containers={container_id(one): "web", container_id(one + 1): "side-car"},
        )
        # One group where the pod has its own; where only its containers have, all of those.
        assert len(groups) == (2 if "only" in layout else 1)


def test_a_recorded_node_of_version_one(test_data: Path, tmp_path: Path, clock: Clock) -> None:
    """A recorded EKS node: the pod's group in the hierarchy that counts, and no other."""
    root = test_data / "cgroup/trees/eks_amzn2_v1_containerd/sys/fs/cgroup"
    [pod] = PodFinder(root, tmp_path / "none", tmp_path / "none", clock=clock).look().values()
    assert (pod.uid, pod.namespace, pod.name, pod.containers) == (_EKS_UID, None, None, {})
    [group] = pod.groups
    assert group.relative_to(root).parts[0] == "cpu,cpuacct"
    assert group.name.endswith("3798d6426.slice")
    docker = test_data / "cgroup/trees/docker_v1_and_v2/sys/fs/cgroup"
    assert not PodFinder(docker, tmp_path, tmp_path, clock=clock).look()


def test_real_groups() -> None:
    """Groups that this kernel makes and removes: a pod comes, and goes."""
    with real_group() as group:
        below = group / "kubepods/burstable" / f"pod{pod_uid(1)}"
        (below / container_id(1)).mkdir(parents=True)
        finder = PodFinder(Path("/sys/fs/cgroup"), group, group, clock=time.monotonic)
        pod = finder.look()[pod_uid(1)]
        assert pod.groups == (below,)
        assert pod.name is None
        (below / container_id(1)).rmdir()
        below.rmdir()
        assert pod_uid(1) not in finder.look()


def test_a_name_that_comes_late(node: Node, clock: Clock) -> None:
    """A pod without a log folder is there without a name, is counted, and gets its name later."""
    node.group("systemd", pod_uid(1), container_id(1))
    finder = _finder(node, clock)
    assert finder.look()[pod_uid(1)].name is None
    assert finder.problems == {"name_unknown": 1}
    node.name(pod_uid(1), "shop", "web-0")
    named = finder.look()[pod_uid(1)]
    assert (named.namespace, named.name, named.containers) == ("shop", "web-0", {})
    (node.containers / f"web-0_shop_plain-{container_id(3)}.log").touch()  # a file, not a link
    node.name(pod_uid(1), "shop", "web-0", main=container_id(2))
    expected = {container_id(2): "main", container_id(3): "plain"}
    assert finder.look()[pod_uid(1)].containers == expected
    clock.now_s += 5
    before = finder.look()[pod_uid(1)]
    assert finder.look()[pod_uid(1)] is before
    assert finder.problems == {"name_unknown": 1}


def test_a_pod_made_anew_under_its_old_name(node: Node, clock: Clock) -> None:
    """A pod with another's name and a uid of its own has only its own containers."""
    for number in (1, 2):
        node.group("cgroupfs", pod_uid(number), container_id(number))
        node.name(pod_uid(number), "shop", "web-0", main=container_id(number))
    finder = _finder(node, clock)
    for _ in range(2):
        for number in (1, 2):
            assert finder.look()[pod_uid(number)].containers == {container_id(number): "main"}
        clock.now_s += _MINUTE_S
    shutil.rmtree(node.group("cgroupfs", pod_uid(1), container_id(1)))
    [pod] = finder.look().values()
    assert pod.containers == {container_id(2): "main"}


def test_pods_come_and_go(node: Node, clock: Clock) -> None:
    """Pods and classes of pods come at once; another kubelet's are found by the next search."""
    finder = _finder(node, clock)
    assert not finder.look()
    node.group("only containers", pod_uid(1), container_id(1))
    clock.now_s += 6  # nothing was found so far: it is searched again soon
    assert set(finder.look()) == {pod_uid(1)}
    node.group("cgroupfs", pod_uid(2), container_id(2))
    guaranteed = node.group("cgroupfs guaranteed", pod_uid(3), container_id(3))
    assert set(finder.look()) == {pod_uid(1), pod_uid(2), pod_uid(3)}
    node.group("kind", pod_uid(4), container_id(4))
    clock.now_s += _MINUTE_S
    assert len(finder.look()) == 4
    shutil.rmtree(guaranteed)
    shutil.rmtree(node.cgroup / "system.slice")  # and with it two folders that held pods
    assert set(finder.look()) == {pod_uid(2)}
    node.group("kind on cgroupfs", pod_uid(5), container_id(5))
    shutil.rmtree(node.cgroup / "kubepods")
    clock.now_s += _MINUTE_S
    assert set(finder.look()) == {pod_uid(5)}
    shutil.rmtree(node.cgroup)
    assert not finder.look()


def test_names_that_tell_nothing(node: Node, clock: Clock) -> None:
    """Groups, log folders and logs with unreadable names are counted, and hide nothing else."""
    top = node.group("cgroupfs", pod_uid(1), container_id(1))
    node.name(pod_uid(1), "shop", "web-0", main=container_id(1))
    (top.parent / "podweb").mkdir()
    (node.cgroup / "podruntime").mkdir()
    (top.parent / "notes").mkdir()
    for name in ("lost+found", pod_uid(1), f"a_b_c_{pod_uid(2)}", f"-a_b_{pod_uid(3)}"):
        (node.pods / name).mkdir()
    Path(os.fsdecode(bytes(node.pods) + b"/shop_\xff_1")).mkdir()
    for name in ("web-0_shop_main-1234.log", f"{'x' * 251}.log", "notes.txt"):
        (node.containers / name).touch()
    (node.containers / f"other_shop_main-{container_id(9)}.log").symlink_to("/nowhere")
    finder = _finder(node, clock)
    pod = finder.look()[pod_uid(1)]
    assert (pod.name, pod.containers) == ("web-0", {container_id(1): "main"})
    assert finder.problems == {
        "pod_group_unparsed": 1,
        "pod_log_unparsed": 5,
        "container_log_unparsed": 3,
    }


def test_no_log_folders(node: Node, clock: Clock) -> None:
    """Without log folders pods have no names, and each look counts what is missing."""
    node.group("systemd", pod_uid(1), container_id(1))
    node.pods.rmdir()
    node.containers.rmdir()
    finder = _finder(node, clock)
    for count in (1, 2):
        assert finder.look()[pod_uid(1)].namespace is None
        assert finder.problems == {
            "name_unknown": count,
            "pod_logs_missing": count,
            "container_logs_missing": count,
        }


def test_what_may_not_be_read() -> None:
    """Forbidden folders are counted as forbidden; all that can be read is found."""
    program = (
        "import sys, time; from pathlib import Path\n"
        "from joulery.exporters.pods import PodFinder\n"
        "a, b, c = map(Path, sys.argv[1:])\n"
        "finder = PodFinder(a, b, c, clock=time.monotonic)\n"
        "print(list(finder.look()), sorted(finder.problems))\n"
        "try: PodFinder(b, b, c, clock=time.monotonic)\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    with open_folder() as folder:
        node = Node(folder)
        node.group("systemd", pod_uid(1), container_id(1))
        top = node.group("cgroupfs", pod_uid(2), container_id(2))
        for path in (top.parent, node.pods, node.containers):
            path.chmod(0)
        arguments = map(str, (node.cgroup, node.pods, node.containers))
        ended = run_unprivileged("-c", program, *arguments)
    reasons = ["cgroup_forbidden", "container_logs_forbidden", "name_unknown", "pod_logs_forbidden"]
    found, error = ended.stdout.splitlines()
    assert found == f"{[pod_uid(1)]} {reasons}", ended.stderr
    assert error.startswith("SourceForbidden"), error


def test_no_control_groups(tmp_path: Path, clock: Clock) -> None:
    """Where no hierarchy counts CPU time, there is no finder, and the error says what to do."""
    with pytest.raises(SourceUnavailable, match="--cgroupfs"):
        PodFinder(tmp_path, tmp_path, tmp_path, clock=clock)


def test_many_pods_that_vanish(node: Node, clock: Clock) -> None:
    """Hundreds of groups and logs: all are found, and looking goes on while they are removed."""
    many = 400
    for number in range(many):
        node.group("cgroupfs" if number % 2 else "systemd", pod_uid(number), container_id(number))
        node.name(pod_uid(number), "shop", f"web-{number}", main=container_id(number))
    finder = _finder(node, clock)
    pods = finder.look()
    assert len(pods) == many
    assert all(pods[pod_uid(number)].name == f"web-{number}" for number in range(many))
    with subprocess.Popen(["rm", "-rf", node.cgroup / "kubepods"]):
        looks = [len(finder.look()) for _ in range(20)]
    assert all(many // 2 <= count <= many for count in looks)
    assert set(finder.look()) == {pod_uid(number) for number in range(0, many, 2)}
    assert not finder.problems
