"""Feeds text that was made to hurt to the parser and to every dialect, guided by coverage.

By hand, as long as wanted: `python -m tests.exporters.dialects.fuzz_scrape -max_total_time=600`,
with atheris installed and the root of the repository as working folder; any option of libFuzzer
works. It begins with the recorded scrapes.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

with atheris.instrument_imports(include=["joulery.exporters.dialects"]):
    from joulery.exporters.dialects import DIALECTS

from tests.exporters.dialects.laws import check
from tests.exporters.dialects.recorded import bodies


def one_input(data: bytes) -> None:
    """Try one body: its first byte chooses the dialect and the format."""
    if not data:
        return
    dialect = DIALECTS[data[0] // 2 % len(DIALECTS)]
    check(data[1:], dialect, openmetrics=bool(data[0] % 2))


def main() -> None:
    """Fuzz until something is wrong, or the time is over."""
    with tempfile.TemporaryDirectory() as folder:
        for n, body in enumerate(bodies().values()):
            for chosen in range(len(DIALECTS)):
                (Path(folder) / f"{n}-{chosen}").write_bytes(bytes([chosen * 2]) + body[:20_000])
        atheris.Setup([*sys.argv, folder], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
