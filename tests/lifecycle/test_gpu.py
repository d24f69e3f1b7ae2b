"""GPU memory as the driver tells it, on machines with and without one."""

from __future__ import annotations

import os
import subprocess
import sys

from editx.lifecycle import gpu


def test_reading_never_raises_and_agrees_with_itself() -> None:
    gpus = gpu.read_gpus()
    for found in gpus:
        assert 0 <= found.used_bytes <= found.total_bytes
        assert 0 < found.free_bytes <= found.total_bytes
        assert found.name
    if gpus:
        assert gpu.process_bytes(os.getpid()) == 0
        assert gpu.free_bytes() is not None
    else:
        assert gpus == ()
        assert gpu.process_bytes(os.getpid()) is None
        assert gpu.free_bytes() is None


def test_without_a_gpu_there_is_nothing_to_settle() -> None:
    assert gpu.settle(lambda: None, step_s=10) < 5


def test_settling_ends_once_free_memory_has_stopped_rising() -> None:
    readings = iter([10, 20, 30, 40, 40, 40, 40, 99])
    gpu.settle(lambda: next(readings), step_s=0.001, quiet_steps=3, limit_s=60)
    assert next(readings) == 99


def test_settling_has_a_limit() -> None:
    readings = iter(range(10**9))
    took = gpu.settle(lambda: next(readings), step_s=0.01, limit_s=0.1)
    assert took < 5
    assert 5 <= next(readings) <= 11


def test_a_gpu_that_goes_away_while_settling_ends_it() -> None:
    readings = iter([10, None, 99])
    gpu.settle(lambda: next(readings), step_s=0.001, limit_s=60)
    assert next(readings) == 99


def test_importing_the_lifecycle_loads_no_driver_and_nothing_heavy() -> None:
    program = (
        "import sys, editx.lifecycle, editx.lifecycle.gpu\n"
        "print([name for name in ('pynvml', 'torch', 'onnxruntime', 'fastapi') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
