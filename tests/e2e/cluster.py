"""The cluster of the current kubeconfig, and the parts of a test bed on this very machine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from ..conftest import absent

__all__ = ["Bed", "Cluster", "eventually", "program"]

T = TypeVar("T")

_CACHE = Path(os.environ.get("TESTBED_CACHE", Path.home() / ".cache" / "k8s-testbed"))
_STATE = Path(os.environ.get("TESTBED_STATE", _CACHE / "state"))


def program(name: str) -> str:
    """Return the path of a program, on the PATH or among the test bed's own."""
    found = shutil.which(name) or shutil.which(name, path=str(_CACHE / "bin"))
    if found is None:
        absent(f"the program {name!r} is neither on the PATH nor in {_CACHE / 'bin'}")
    return found


def eventually(probe: Callable[[], T], *, seconds: float, what: str) -> T:
    """Return what a probe returns once that is true; fail when it takes too long."""
    until_s = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < until_s:
        try:
            found = probe()
        except (AssertionError, LookupError, OSError, subprocess.CalledProcessError) as error:
            last = error
        else:
            if found:
                return found
            last = found
        time.sleep(0.5)
    raise AssertionError(f"{what}: not within {seconds:g} s; last: {last}")


class Cluster:
    """Commands to the cluster; each fails with what it said."""

    def run(self, name: str, *arguments: str, text: str | None = None) -> str:
        """Run kubectl or helm; return what it printed."""
        ended = subprocess.run(
            [program(name), *arguments], input=text, capture_output=True, text=True
        )
        assert ended.returncode == 0, f"{name} {' '.join(arguments)}: {ended.stderr}"
        return ended.stdout

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        """Run kubectl."""
        return self.run("kubectl", *arguments, text=text)

    def get(self, *arguments: str) -> Any:
        """Return what `kubectl get` knows, parsed."""
        return json.loads(self.kubectl("get", *arguments, "--output=json"))

    def helm(self, *arguments: str) -> str:
        """Run helm."""
        return self.run("helm", *arguments)

    def apply(self, *objects: dict[str, Any]) -> None:
        """Create objects, or bring them up to date."""
        self.kubectl(
            "apply",
            "-f",
            "-",
            text=json.dumps({"kind": "List", "apiVersion": "v1", "items": list(objects)}),
        )

    def pod(self, namespace: str, selector: str) -> Any:
        """Return the one pod that a selector chooses and that is not on its way out."""
        items = self.get("pods", "--namespace", namespace, "--selector", selector)["items"]
        [pod] = [one for one in items if "deletionTimestamp" not in one["metadata"]]
        return pod

    def left_of(self, release: str) -> list[str]:
        """Return every object of any kind that carries the label of a release."""
        kinds = self.kubectl("api-resources", "--verbs=list", "--output=name").split()
        found = self.kubectl(
            *("get", ",".join(kinds), "--all-namespaces", "--ignore-not-found"),
            *("--selector", _of(release), "--output=name"),
        )
        return found.split()

    def wait_gone(self, release: str) -> None:
        """Wait until nothing is left of a release; what its objects owned is collected later."""
        # Else a pod whose containers have ended stays until the kubelet next looks, in a minute.
        self.kubectl(
            *("delete", "pods", "--all-namespaces", "--selector", _of(release)),
            *("--force", "--grace-period=0", "--ignore-not-found"),
        )

        def gone() -> bool:
            left = self.left_of(release)
            assert not left, left
            return True

        eventually(gone, seconds=180, what=f"nothing is left of {release}")


def _of(release: str) -> str:
    return f"app.kubernetes.io/instance={release}"


class Bed:
    """The processes of a one-node cluster on this machine, by the files its scripts leave."""

    state = _STATE

    def __init__(self) -> None:
        if not (self.state / "pids").is_dir():
            absent(f"there is no test bed in {self.state}: its parts cannot be stopped")
        self._commands = {
            path.name: self._command(int(path.read_text()))
            for path in (self.state / "pids").iterdir()
        }

    @staticmethod
    def _command(pid: int) -> list[str]:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]

    @property
    def kubelet_root(self) -> Path:
        """The kubelet's root folder."""
        return self.state / "kubelet"

    @contextlib.contextmanager
    def service(self, address: str, behind: str) -> Iterator[None]:
        """Lead pods from a Service's address:port to what is behind it, as a kube-proxy would.

        Where one runs, nothing is done.
        """
        host, port = address.split(":")
        rule = ["PREROUTING", "--destination", host, "--protocol", "tcp", "--dport", port]
        rule += ["--jump", "DNAT", "--to-destination", behind]
        table = [program("iptables"), "--wait", "--table", "nat"]
        chains = subprocess.run([*table, "--list-rules"], capture_output=True, check=True).stdout
        if b"-N KUBE-SERVICES" in chains:
            yield
            return
        subprocess.run([*table, "--append", *rule], check=True)
        try:
            yield
        finally:
            subprocess.run([*table, "--delete", *rule], check=True)

    def containers(self, *arguments: str) -> None:
        """Run containerd's client."""
        socket = str(self.state / "containerd.sock")
        ended = subprocess.run(
            [program("ctr"), "--address", socket, "--namespace", "k8s.io", *arguments],
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0, ended.stderr

    @contextlib.contextmanager
    def without(self, component: str) -> Iterator[None]:
        """Kill a component; start it again, and what went down with it, when the block is left."""
        pid = int((self.state / "pids" / component).read_text())
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not _alive(pid), seconds=10, what=f"{component} ends")
        try:
            yield
        finally:
            self._revive()

    def _revive(self) -> None:
        order = ["containerd", "etcd", "kube-apiserver"]
        names = sorted(self._commands, key=lambda n: order.index(n) if n in order else len(order))
        for name in names:
            file = self.state / "pids" / name
            if not _alive(int(file.read_text())):
                file.write_text(str(self._start(self._commands[name], self.state / "log" / name)))

    @staticmethod
    def _start(command: list[str], log: Path) -> int:
        """Start a process that goes on after us, and return its number."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        return os.posix_spawnp(
            command[0],
            command,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )


def _alive(pid: int) -> bool:
    """Tell whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
