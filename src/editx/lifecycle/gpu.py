"""What the NVIDIA driver says about GPU memory. Reading it creates no CUDA context and takes no GPU memory.

Where there is no driver or no GPU, `read_gpus()` is the empty tuple: nothing here raises for that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

SETTLE_LIMIT_S = 1.5
"""How far the driver's free memory was seen to lag behind the end of a process."""
SETTLE_STEP_S = 0.05


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU and its memory, in bytes. `processes`: bytes by process id as the driver sees it, which inside a
    container is the host's id; a process whose share the driver does not tell (WSL, MIG) is left out."""

    index: int
    name: str
    total_bytes: int
    free_bytes: int
    used_bytes: int
    processes: Mapping[int, int] = field(default_factory=dict)


def read_gpus() -> tuple[Gpu, ...]:
    """Every GPU there is, now; the empty tuple where there is none."""
    nvml = _nvml()
    if nvml is None:
        return ()
    try:
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        return tuple(_read(nvml, index, handle) for index, handle in enumerate(handles))
    except nvml.NVMLError:  # a GPU that fell off the bus, or a driver that is being replaced
        return ()


_ready: Any = None


def _nvml() -> Any:
    """The module, initialised once and kept so, because that takes longer than asking; None without a driver."""
    global _ready
    if _ready is None:
        import pynvml

        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:
            return None
        _ready = pynvml
    return _ready


def _read(nvml: Any, index: int, handle: Any) -> Gpu:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    name = nvml.nvmlDeviceGetName(handle)
    return Gpu(
        index=index,
        name=name.decode() if isinstance(name, bytes) else str(name),
        total_bytes=int(memory.total),
        free_bytes=int(memory.free),
        used_bytes=int(memory.used),
        processes=_processes(nvml, handle),
    )


def _processes(nvml: Any, handle: Any) -> dict[int, int]:
    try:
        found = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except nvml.NVMLError:  # not supported here, which says nothing about the rest
        return {}
    return {int(process.pid): int(process.usedGpuMemory) for process in found if process.usedGpuMemory is not None}


def process_bytes(pid: int) -> int | None:
    """GPU memory of a process on all GPUs, in bytes; 0 if it holds none, None if there is no GPU."""
    gpus = read_gpus()
    return sum(gpu.processes.get(pid, 0) for gpu in gpus) if gpus else None


def free_bytes() -> int | None:
    """Free memory of all GPUs together, in bytes; None if there is none."""
    gpus = read_gpus()
    return sum(gpu.free_bytes for gpu in gpus) if gpus else None


def settle(
    free: Callable[[], int | None] = free_bytes,
    *,
    limit_s: float = SETTLE_LIMIT_S,
    step_s: float = SETTLE_STEP_S,
    quiet_steps: int = 3,
) -> float:
    """Wait until free GPU memory has stopped rising, after a process that held some was killed.

    Returns the seconds it took, at most about `limit_s`; at once where there is no GPU. It has stopped once
    `quiet_steps` readings in a row, `step_s` apart, were no higher than the highest before.
    """
    began = time.monotonic()
    highest = free()
    quiet = 0
    while highest is not None and quiet < quiet_steps and time.monotonic() - began + step_s <= limit_s:
        time.sleep(step_s)
        reading = free()
        if reading is None:
            break
        quiet = 0 if reading > highest else quiet + 1
        highest = max(highest, reading)
    return time.monotonic() - began
