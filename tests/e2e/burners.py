"""Pods that use known parts of a CPU: a loop, a pause, and so on."""

from __future__ import annotations

from typing import Any

__all__ = ["burner", "loop"]

IMAGE = "testbed.local/busybox:1"


def loop(turns: int, *, on_s: int = 0, off_s: int = 0) -> str:
    """Return a shell program that turns so many times, rests for 20 ms, and again.

    With `on_s` it does so for that many seconds, then rests for `off_s`.
    """
    work = f"n=0; while [ $n -lt {turns} ]; do n=$((n+1)); done; /bin/busybox usleep 20000"
    if on_s == 0:
        return f"while :; do {work}; done"
    now = "/bin/busybox date +%s"
    return (
        f"while :; do until=$(( $({now}) + {on_s} )); while [ $({now}) -lt $until ]; do {work}; "
        f"done; /bin/busybox sleep {off_s}; done"
    )


def burner(name: str, namespace: str, program: str) -> dict[str, Any]:
    """Return a pod that runs a shell program."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "containers": [
                {
                    "name": "burner",
                    "image": IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["/bin/busybox", "sh", "-c", program],
                }
            ],
        },
    }
