"""What is made of a driver's answers, and of a machine that has no driver."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import pynvml
import pytest

from editx.doctor.gpu import Card, Driver, Torch, check_gpu, check_torch, has_nvidia_card, installed_torch, read_driver
from editx.lifecycle.gpu import read_gpus

GB = 10**9
CARD = Card(0, "NVIDIA L4", (8, 9), 24 * GB, 20 * GB)
DRIVER = Driver("550.54.15", (12, 4), (CARD,))
OLD = Driver("580.65", (13, 0), (Card(0, "Tesla V100", (7, 0), 16 * GB, 16 * GB),))
SILENT = Driver(silence="NVML Shared Library Not Found")


def test_the_driver_of_this_machine_is_asked_without_raising():
    driver = read_driver()
    assert len(driver.cards) == len(read_gpus())
    if driver.cards:
        assert driver.version
    else:
        with pytest.raises(pynvml.NVMLError, match=re.escape(driver.silence)):
            pynvml.nvmlInit()


def test_gpus_are_described_with_driver_and_compute_capability():
    check = check_gpu(DRIVER, "auto")
    assert check.detail.startswith(
        "driver 550.54.15, CUDA 12.4; 0: NVIDIA L4, compute capability 8.9, 20.0 GB of 24.0 GB free"
    )
    assert check.facts["gpus"][0]["free_bytes"] == 20 * GB


def test_a_device_that_is_not_there_is_a_warning():
    assert check_gpu(DRIVER, "cuda:1").status == "warn"
    assert check_gpu(DRIVER, "cuda:0").status == check_gpu(DRIVER, "cuda").status
    assert check_gpu(SILENT, "cuda").status == "warn"


def test_without_driver_and_gpu_all_is_well(tmp_path: Path):
    check = check_gpu(SILENT, "auto", tmp_path)
    assert (check.status, check.detail) == (
        "ok", "none (NVML Shared Library Not Found); the preview engine needs none"
    )  # fmt: skip


def test_a_gpu_without_a_driver_is_seen_on_the_bus(tmp_path: Path):
    device = tmp_path / "sys/bus/pci/devices/0000:01:00.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text("0x10de\n")
    (device / "class").write_text("0x040300\n")  # the sound output of a card, not the card
    assert not has_nvidia_card(tmp_path)
    (device / "class").write_text("0x030000\n")
    assert has_nvidia_card(tmp_path)
    check = check_gpu(SILENT, "auto", tmp_path)
    assert check.status == "warn"
    assert "NVML Shared Library Not Found" in check.detail
    (tmp_path / ".dockerenv").touch()
    assert "--gpus all" in check_gpu(SILENT, "auto", tmp_path).remedy


def test_the_installed_torch_is_read_without_importing_it():
    found = installed_torch()
    assert found is not None
    assert found.version == importlib.metadata.version("torch")
    assert (found.cuda is None) == found.version.endswith("+cpu")


@pytest.mark.parametrize(
    ("torch", "driver", "status", "said"),
    [
        (None, DRIVER, "warn", "not installed"),
        (Torch("2.13.0+cpu", None), DRIVER, "warn", "built without CUDA"),
        (Torch("2.13.0+cpu", None), SILENT, "ok", "no GPU was found"),
        (Torch("2.13.0", (12, 8)), DRIVER, "ok", "built for CUDA 12.8"),
        (Torch("2.13.0", (12, 8)), SILENT, "ok", "it will use the CPU"),
        (Torch("2.13.0", (13, 0)), DRIVER, "warn", "driver 550.54.15 runs CUDA up to 12.4"),
        (
            Torch("2.13.0", (13, 0)),
            OLD,
            "warn",
            "capability 7.5",
        ),
    ],
)
def test_torch_must_fit_the_driver_and_the_gpus(torch: Torch | None, driver: Driver, status: str, said: str):
    check = check_torch(torch, driver)
    assert check.status == status
    assert said in check.detail
    assert bool(check.remedy) == (status != "ok")
