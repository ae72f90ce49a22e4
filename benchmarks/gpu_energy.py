"""What NVML's counter, instant power and averaged power of one real GPU are worth.

At rest, over a step of load, under steady matrix products, in windows down to a millisecond, and
for a small transformer in three precisions. Ends inside ten minutes:

    python benchmarks/gpu_energy.py --out out/gpu

Needs a GPU, torch, numpy, pynvml and psutil, and this checkout importable as `joulery`. Writes a
CSV for each part and `environment.json`. Without a GPU it says so and exits 2.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from joulery.benchmarks.gpu.parts import (
    FULL,
    Bench,
    Job,
    Load,
    Plan,
    Row,
    coverage,
    inference,
    lags,
    renewal,
    steady,
    trace,
    windows,
)
from joulery.errors import JouleryError, SourceUnavailable
from joulery.profiler.sources import Source
from joulery.profiler.sources.nvml import Nvml, NvmlPower

__all__ = ["TorchLoad", "main", "measure"]

SEED = 20240607
READINGS: tuple[Literal["instant", "averaged"], ...] = ("instant", "averaged")
SEQUENCE, WIDTH, LAYERS, HEADS = 128, 512, 6, 8


class TorchLoad:
    """Matrix products and a small transformer encoder on the first GPU, with fixed numbers.

    Args:
        torch: The module.

    Raises:
        SourceUnavailable: torch sees no GPU.
    """

    def __init__(self, torch: Any) -> None:
        if not torch.cuda.is_available():
            raise SourceUnavailable("torch", found="no GPU that it can use", expected="CUDA")
        self._torch = torch
        torch.manual_seed(SEED)
        layer = torch.nn.TransformerEncoderLayer(
            WIDTH, HEADS, 4 * WIDTH, dropout=0.0, batch_first=True
        )
        self._model = torch.nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self._model = self._model.eval().cuda()

    def product(self, size: int) -> Job:
        """Return products of square bf16 matrices, about a millisecond of them."""
        torch = self._torch
        a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
        out = torch.empty_like(a)

        def run(items: int) -> None:
            for _ in range(items):
                torch.mm(a, b, out=out)
            torch.cuda.synchronize()

        run(3)  # loads the kernel
        began_s = time.perf_counter()
        run(10)
        items = max(1, round(10 * 1e-3 / (time.perf_counter() - began_s)))
        return Job(lambda: run(items), items)

    def network(self, precision: str, batch: int) -> Job:
        """Return one inference of a batch of sequences, in "fp32", "tf32" or "bf16"."""
        torch = self._torch
        kind = torch.bfloat16 if precision == "bf16" else torch.float32
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        model = self._model.to(kind)
        x = torch.randn(batch, SEQUENCE, WIDTH, device="cuda", dtype=kind)

        def run() -> None:
            with torch.inference_mode():
                model(x)
            torch.cuda.synchronize()

        return Job(run, batch)

    def rest(self) -> None:
        """Return when the GPU has nothing left to do."""
        self._torch.cuda.synchronize()

    def facts(self) -> Mapping[str, str]:
        """Return what the load runs on."""
        torch = self._torch
        return {
            "torch": str(torch.__version__),
            "cuda": str(torch.version.cuda),
            "device": str(torch.cuda.get_device_name(0)),
        }


def measure(client: Any, load: Load, out: Path, plan: Plan = FULL) -> dict[str, Any]:
    """Measure every part that fits into the time, and write its file.

    Args:
        client: The module `pynvml`.
        load: What keeps the GPU busy.
        out: Folder for the files.
        plan: What, and for how long.

    Returns:
        What `environment.json` says.

    Raises:
        SourceError: NVML or its first GPU cannot be read.
    """
    counter = Nvml(client)
    if counter.domains[0].form != "counter":
        raise SourceUnavailable("nvml", found=counter.domains[0].note, expected="energy counter")
    sources: list[Source] = [counter]
    for reading in READINGS:
        with contextlib.suppress(SourceUnavailable):  # before Ampere there is no averaged power
            sources.append(NvmlPower(client, reading))
    bench = Bench(sources, load, plan)
    out.mkdir(parents=True, exist_ok=True)
    begun_s, said = bench.clock(), {}
    derived: dict[str, tuple[str, Callable[[list[Row]], Iterable[Row]]]] = {
        "trace": ("lags", lags),
        "windows": ("coverage", coverage),
    }
    parts = {
        "renewal": renewal,
        "trace": trace,
        "steady": steady,
        "windows": windows,
        "inference": inference,
    }
    for name, part in parts.items():
        rows: list[Row] = []
        for row in part(bench):
            rows.append(row)
            if bench.clock() - begun_s > plan.limit_s:
                break
        cut = bench.clock() - begun_s > plan.limit_s
        said[name] = {"rows": len(rows), "cut_short": cut, "at_s": bench.clock() - begun_s}
        _write(out / f"{name}.csv", rows)
        if name in derived and rows and not cut:
            other, derive = derived[name]
            _write(out / f"{other}.csv", list(derive(rows)))
        if cut:
            break
    environment = {
        "gpu": counter.domains[0].note,
        "domains": {f"{s.name}:{d.name}": d.note for s in sources for d in s.domains},
        "driver": client.nvmlSystemGetDriverVersion(),
        "load": dict(load.facts()),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "seed": SEED,
        "plan": asdict(plan),
        "parts": said,
        "not_measured": [name for name in parts if name not in said],
    }
    (out / "environment.json").write_text(json.dumps(environment, indent=2) + "\n")
    return environment


def _write(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        names = list(dict.fromkeys(name for row in rows for name in row))
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def main(arguments: list[str] | None = None) -> int:
    """Measure the first GPU of this machine; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, add_help=True)
    parser.add_argument("--out", type=Path, default=Path("out/gpu"))
    parser.add_argument("--limit-s", type=float, default=FULL.limit_s)
    asked = parser.parse_args(arguments)
    # NVML numbers GPUs by their place on the bus; torch must mean the same one by 0.
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    try:
        import pynvml

        Nvml(pynvml)  # before torch, which is slow to load: there may be no GPU at all
        import torch

        plan = Plan(limit_s=asked.limit_s)
        said = measure(pynvml, TorchLoad(torch), asked.out, plan)
    except JouleryError as error:
        print(f"no measurement: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"no measurement: {error}; it must be installed", file=sys.stderr)
        return 2
    print(json.dumps(said["parts"], indent=2))
    print(f"written to {asked.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
