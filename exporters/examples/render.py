"""Write what the chart renders into the examples that hold it: the kpt package, kustomize's base.

`python exporters/examples/render.py` writes them; with `--check` it only tells which of them
drifted, and exits 1 when one did. It needs `helm` on the PATH.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

__all__ = ["drifted", "rendered"]

_HERE = Path(__file__).resolve().parent
_KUBERNETES = "1.30.0"
"""The oldest version with `recursiveReadOnly`, which older ones refuse."""

_OBJECT = re.compile(r"^# Source: joulery/templates/(\w+\.yaml)\n(.*?)(?=^---$|\Z)", re.M | re.S)
# Who applies these files is not Helm, and tools that look for its objects must not find them.
_HELM_LABELS = re.compile(r"^ +(?:app\.kubernetes\.io/managed-by|helm\.sh/chart): .*\n", re.M)
_SETTERS = (
    (re.compile(r"^( +namespace: joulery)$", re.M), "${namespace}"),
    (re.compile(r"^( +name: joulery-joulery-pods)$", re.M), "${namespace}-joulery-pods"),
    (re.compile(r"^( +image: joulery-exporter:\S+)$", re.M), "${image}"),
    (
        re.compile(r"^( +path: /var/lib/kubelet/pod-resources)$", re.M),
        "${kubelet-root}/pod-resources",
    ),
)


def rendered() -> Mapping[str, str]:
    """Return the content of every rendered file by its path from this folder.

    Raises:
        OSError: There is no `helm`.
        subprocess.CalledProcessError: The chart does not render; helm has said why.
    """
    command = ["helm", "template", "joulery", str(_HERE.parent / "chart"), "--namespace", "joulery"]
    command += ["--kube-version", _KUBERNETES]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    files: dict[str, str] = {}
    for name, text in _OBJECT.findall(said):
        plain = _HELM_LABELS.sub("", text)
        files[f"kustomize/base/{name}"] = plain
        files[f"kpt/{name}"] = _with_setters(plain)
    return files


def _with_setters(text: str) -> str:
    """Mark the fields that kpt's apply-setters may set."""
    for field, setter in _SETTERS:
        text = field.sub(rf"\1 # kpt-set: {setter}", text)
    return text


def drifted(files: Mapping[str, str]) -> list[str]:
    """Return the paths of the files that are missing or not as they should be."""
    return [
        path
        for path, text in files.items()
        if not (_HERE / path).is_file() or (_HERE / path).read_text(encoding="utf-8") != text
    ]


def main() -> int:
    """Write the files, or tell which of them drifted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 on drift")
    check = parser.parse_args().check
    try:
        files = rendered()
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"helm: found {error}, expected the chart's objects", file=sys.stderr)
        return 1
    for path in (old := drifted(files)):
        if check:
            print(f"{path} drifted; 'python exporters/examples/render.py' writes it again")
        else:
            (_HERE / path).write_text(files[path], encoding="utf-8")
            print(f"wrote {path}")
    return 1 if check and old else 0


if __name__ == "__main__":
    raise SystemExit(main())
