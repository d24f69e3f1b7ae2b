"""Weights that are whole, damaged, or too large for the GPU."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from editx.doctor.gpu import Card, Driver, Torch
from editx.doctor.needs import need_as_published
from editx.doctor.weights import Place, Variant, check_weights
from editx.engines.catalog import catalog, find
from editx.settings import Settings, load_settings

GB = 10**9
CUDA = Torch("2.13.0", (12, 8))


def settings_of(models: Path) -> Settings:
    return load_settings(model_path=models)


def look(models: Path, total: int = 0, free: int = 0, *, works: bool = False) -> Variant:
    """The base variant under `models`, on a machine whose GPU has so many bytes, or that has none."""
    cards = (Card(0, "GPU", (8, 9), total, free),) if total else ()
    spec = find(catalog(models), "base")
    assert spec is not None
    return check_weights(spec, Place(settings_of(models), Driver("550", (12, 8), cards), CUDA, works))


@pytest.fixture
def models(tmp_path: Path, native_root: Path) -> Path:
    """The tiny base checkpoint, to be damaged."""
    for name in ("Step-Audio-EditX", "Step-Audio-Tokenizer"):
        shutil.copytree(native_root / name, tmp_path / name)
    return tmp_path


def test_what_it_takes_follows_from_the_files(models: Path):
    on_cpu, on_gpu = look(models), look(models, 24 * GB, 24 * GB)
    assert on_cpu.check.facts["memory"] == "main"
    assert on_gpu.check.facts["memory"] == "gpu"
    assert on_gpu.need.memory_bytes < on_cpu.need.memory_bytes  # half precision
    assert on_cpu.need.disk_bytes == on_gpu.need.disk_bytes
    files = [path for path in models.rglob("*") if path.is_file()]
    assert 0.9 * sum(path.stat().st_size for path in files) < on_cpu.need.disk_bytes
    assert on_cpu.need.disk_bytes <= sum(path.stat().st_size for path in files)


def test_quantised_weights_are_counted_as_they_are_kept_in_memory():
    need = {
        (variant, device): need_as_published(variant, 1, device).memory_bytes
        for variant in ("base", "awq", "bnb")
        for device in ("cuda", "mps", "cpu")
    }  # fmt: skip
    # Packed where something multiplies them so, else as large as the plain ones.
    for device in ("cuda", "cpu"):
        assert need["awq", device] < 0.6 * need["base", device]
    assert need["bnb", "cuda"] < 0.65 * need["base", "cuda"]
    assert need["bnb", "cpu"] == need["base", "cpu"] > 4 * 3_529_706_496
    assert need["bnb", "mps"] == need["awq", "mps"] == need["base", "mps"] == need["base", "cuda"]


def test_a_gpu_may_be_too_small_or_too_full(models: Path):
    small = look(models, 12 * GB, 12 * GB)
    assert small.check.status == "warn"
    assert small.unusable == "14.0 GB are set aside for it until it was measured, and the budget is 10.8 GB"
    full = look(models, 24 * GB, 1000)
    assert full.check.status == "warn"
    assert "0.0 GB of it are free now" in full.check.detail
    assert full.unusable == ""


def test_a_truncated_shard_is_noticed(models: Path):
    assert look(models, works=True).check.status == "ok"
    shard = next((models / "Step-Audio-EditX").glob("*.safetensors"))
    with shard.open("r+b") as file:
        file.truncate(shard.stat().st_size - 1)
    found = look(models, works=True)
    assert found.check.facts["state"] == "incomplete"
    assert shard.name in found.unusable
    assert "editx pull --variant base" in found.check.remedy


def test_hyper_parameters_that_do_not_fit_are_noticed(models: Path):
    config = models / "Step-Audio-EditX" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "num_hidden_layers": 0}))
    found = look(models)
    assert found.check.status == "warn"
    assert "config.json: layers of the language model is 0" in found.unusable
