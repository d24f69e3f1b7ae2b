"""How fast a checkpoint gets into parameters: our reader against torch.load and memory-mapped safetensors.

    python bench/load.py [--size 1GB] [--rounds 3] [--device cpu] [--cold] [--json FILE]

One file of bfloat16 matrices is written to a temporary folder, read into preallocated parameters by each method in
turn, and deleted: from a warm page cache, or with --cold from the disk. The methods take turns, so that a noisy machine
harms all alike; the best round of each counts. Parameters have been touched before, as memory of a built model has.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open

from editx.engines.step.weights.header import open_files
from editx.engines.step.weights.reader import load_into
from editx.engines.step.weights.writer import write_safetensors
from editx.settings import parse_bytes

ROWS, COLUMNS = 4096, 3072


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=parse_bytes, default=10**9, help="bytes of the file, such as 1GB")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cold", action="store_true", help="read from the disk, not from the page cache")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.size, options.rounds, torch.device(options.device), cold=options.cold)
    slowest = min(found["torch.load + copy"], found["mapped safetensors + copy"])
    print(f"{'method':<44} {'GB/s':>6}   against the slower library, against the faster")
    fastest = max(found["torch.load + copy"], found["mapped safetensors + copy"])
    for name, rate in found.items():
        print(f"{name:<44} {rate:6.2f}   {rate / slowest:5.1f}x   {rate / fastest:5.1f}x")
    if options.json:
        options.json.write_text(json.dumps({"bytes_per_second": {k: v * 1e9 for k, v in found.items()}}, indent=2))
    return 0


def measure(folder: Path, size: int, rounds: int, device: torch.device, *, cold: bool) -> dict[str, float]:
    """GB/s of each method, the best of `rounds`."""
    count = max(1, size // (ROWS * COLUMNS * 2))
    generator = torch.Generator().manual_seed(0)
    weights = {
        f"layers.{i}.weight": torch.randn(ROWS, COLUMNS, generator=generator).to(torch.bfloat16) for i in range(count)
    }
    total = sum(weight.nbytes for weight in weights.values())
    write_safetensors(folder / "model.safetensors", weights)
    torch.save(weights, folder / "model.pt")
    expected = float(weights[f"layers.{count - 1}.weight"].float().sum())
    parameters = {name: torch.zeros(ROWS, COLUMNS, dtype=torch.bfloat16, device=device) for name in weights}
    del weights
    os.sync()
    methods: dict[str, Callable[[], None]] = {
        "torch.load + copy": lambda: pickled(folder, parameters, mmap=False),
        "torch.load(mmap=True) + copy": lambda: pickled(folder, parameters, mmap=True),
        "mapped safetensors + copy": lambda: mapped(folder, parameters),
    }
    for threads in (1, 2, 4):
        methods[f"ours, {threads} threads"] = lambda threads=threads: ours(folder, parameters, threads, direct=True)
    for threads in (1, 2, 4):
        methods[f"ours, {threads} threads, through the ring"] = lambda threads=threads: ours(
            folder, parameters, threads, direct=False
        )
    best = dict.fromkeys(methods, 0.0)
    for _ in range(rounds):
        for name, method in methods.items():
            for parameter in parameters.values():
                parameter.zero_()
            if cold:
                forget(folder)
            synchronise(device)
            began = time.perf_counter()
            method()
            synchronise(device)
            best[name] = max(best[name], total / (time.perf_counter() - began) / 1e9)
            if float(parameters[f"layers.{count - 1}.weight"].float().sum()) != expected:
                sys.exit(f"{name} read something else")
    return best


def pickled(folder: Path, parameters: dict[str, torch.Tensor], *, mmap: bool) -> None:
    loaded = torch.load(folder / "model.pt", map_location="cpu", weights_only=True, mmap=mmap)
    for name, parameter in parameters.items():
        parameter.copy_(loaded[name])


def mapped(folder: Path, parameters: dict[str, torch.Tensor]) -> None:
    with safe_open(folder / "model.safetensors", "pt") as file:
        for name, parameter in parameters.items():
            parameter.copy_(file.get_tensor(name))


def ours(folder: Path, parameters: dict[str, torch.Tensor], threads: int, *, direct: bool) -> None:
    load_into(parameters, open_files([folder / "model.safetensors"]), threads=threads, direct=direct)


def forget(folder: Path) -> None:
    """Drop the files from the page cache."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    sys.exit(main())
