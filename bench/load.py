"""How fast a checkpoint gets into parameters: our reader against torch.load and memory-mapped safetensors.

    python bench/load.py [--size 1GB] [--rounds 3] [--device cpu] [--cold] [--json FILE]

Bfloat16 matrices are written to a temporary folder, as published files hold them and as files of our own do, with
checksums; read into preallocated parameters by each method in turn, from a warm page cache or with --cold from the
disk; and deleted. Once the parameters are bfloat16, as on a GPU, and once float32, as `base` has them on the CPU: then
every number is converted on the way. The methods take turns, so that a noisy machine harms all alike; the best round of
each counts. Parameters have been touched before, as memory of a built model has. What the machine can do at best is
shown by weights that lie in memory already and are only copied.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from editx.engines.step.weights.header import open_files
from editx.engines.step.weights.reader import load_into
from editx.engines.step.weights.writer import write_safetensors
from editx.settings import parse_bytes

ROWS, COLUMNS = 4096, 3072
DTYPES = {"bfloat16 as it is": torch.bfloat16, "bfloat16 to float32": torch.float32}
LIBRARIES = ("torch.load + copy", "torch.load(mmap=True) + copy", "mapped safetensors + copy")
PUBLISHED, CHECKED = "model.safetensors", "checked.safetensors"
LIMIT = "from memory to memory"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=parse_bytes, default=10**9, help="bytes of the file, such as 1GB")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cold", action="store_true", help="read from the disk, not from the page cache")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        count, expected = write(Path(folder), options.size)
        for conversion, dtype in DTYPES.items():
            found[conversion] = measure(
                Path(folder), count, expected, options.rounds, torch.device(options.device), dtype, cold=options.cold
            )
    print(table(found))
    if options.json:
        rates_ = {conversion: {name: rate * 1e9 for name, rate in rates.items()} for conversion, rates in found.items()}
        options.json.write_text(json.dumps({"bytes_per_second": rates_}, indent=2) + "\n", "utf-8")
    return 0


def table(found: dict[str, dict[str, float]]) -> str:
    """Each rate, how many times that of the slowest and of the fastest library it is, and its share of the limit."""
    head = f"{'file to parameters':<21} {'method':<42} {'GB/s':>6}  {'slowest':>8} {'fastest':>8} {'limit':>6}"
    lines = [head]
    for conversion, rates in found.items():
        slowest, *_, fastest = sorted(rates[name] for name in LIBRARIES)
        for name, rate in rates.items():
            ratios = f"{rate / slowest:7.1f}x {rate / fastest:7.1f}x {rate / rates[LIMIT]:6.0%}"
            lines.append(f"{conversion:<21} {name:<42} {rate:6.2f}  {ratios}")
    return "\n".join(lines)


def write(folder: Path, size: int) -> tuple[int, float]:
    """Write the weights in every format: how many matrices, and the sum of the last."""
    count = max(1, size // (ROWS * COLUMNS * 2))
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(ROWS, COLUMNS, generator=generator).to(torch.bfloat16) for name in names(count)}
    save_file(weights, folder / PUBLISHED)
    write_safetensors(folder / CHECKED, weights)
    torch.save(weights, folder / "model.pt")
    os.sync()
    return count, float(weights[names(count)[-1]].float().sum())


def names(count: int) -> list[str]:
    return [f"layers.{i}.weight" for i in range(count)]


def measure(
    folder: Path, count: int, expected: float, rounds: int, device: torch.device, dtype: torch.dtype, *, cold: bool
) -> dict[str, float]:
    """GB of the file read per second by each method into parameters of `dtype`, the best of `rounds`."""
    parameters = {name: torch.zeros(ROWS, COLUMNS, dtype=dtype, device=device) for name in names(count)}
    total = count * ROWS * COLUMNS * 2
    weights = torch.load(folder / "model.pt", weights_only=True)
    methods: dict[str, Callable[[], None]] = {
        LIMIT: lambda: copy(weights, parameters),
        "torch.load + copy": lambda: pickled(folder, parameters, mmap=False),
        "torch.load(mmap=True) + copy": lambda: pickled(folder, parameters, mmap=True),
        "mapped safetensors + copy": lambda: mapped(folder, parameters),
    }
    # Numbers that are converted, or copied to a GPU, always pass through the ring.
    straight = dtype == torch.bfloat16 and device.type == "cpu"
    for direct in (True, False) if straight else (False,):
        for threads in (1, 2, 4):
            way = "" if direct else ", through the ring"
            for file, checked in ((PUBLISHED, ""), (CHECKED, ", checked")):
                methods[f"ours, {threads} threads{way}{checked}"] = partial(
                    ours, folder / file, parameters, threads, direct=direct
                )
    best = dict.fromkeys(methods, 0.0)
    for _ in range(rounds):
        for name, method in methods.items():
            for parameter in parameters.values():
                parameter.zero_()
            if cold:
                forget(folder.iterdir())
            synchronise(device)
            began = time.perf_counter()
            method()
            synchronise(device)
            best[name] = max(best[name], total / (time.perf_counter() - began) / 1e9)
            if float(parameters[names(count)[-1]].float().sum()) != expected:
                sys.exit(f"{name} read something else")
    return best


def pickled(folder: Path, parameters: dict[str, torch.Tensor], *, mmap: bool) -> None:
    copy(torch.load(folder / "model.pt", map_location="cpu", weights_only=True, mmap=mmap), parameters)


def copy(weights: dict[str, torch.Tensor], parameters: dict[str, torch.Tensor]) -> None:
    for name, parameter in parameters.items():
        parameter.copy_(weights[name])


def mapped(folder: Path, parameters: dict[str, torch.Tensor]) -> None:
    with safe_open(folder / PUBLISHED, "pt") as file:
        for name, parameter in parameters.items():
            parameter.copy_(file.get_tensor(name))


def ours(file: Path, parameters: dict[str, torch.Tensor], threads: int, *, direct: bool) -> None:
    load_into(parameters, open_files([file]), threads=threads, direct=direct)


def forget(paths: Iterable[Path]) -> None:
    """Drop files from the page cache, where the system can be asked to. They must have reached the disk."""
    if not hasattr(os, "posix_fadvise"):
        return
    os.sync()
    for path in paths:
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    sys.exit(main())
