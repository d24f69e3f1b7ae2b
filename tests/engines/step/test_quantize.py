"""From the bf16 directory to int4 and NF4 directories that load and speak."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from editx.cancellation import Cancellation
from editx.engines.layout import find_files
from editx.engines.step.lm.model import Step1
from editx.engines.step.loading import load_language_model
from editx.engines.step.quantize import quantize
from editx.engines.step.quantize_formats import int4_round, int4_scale
from editx.engines.step.quantize_scales import SITES, best_scale, smooth_layer
from editx.engines.step.synth.checkpoint import write_checkpoint
from editx.errors import Cancelled, Conflict, InvalidRequest, LoadFailed

DIRECTORIES = {"awq": "Step-Audio-EditX-AWQ-4bit", "bnb": "Step-Audio-EditX-bnb-4bit"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("base")
    write_checkpoint(root)
    return root


@pytest.fixture
def root(base: Path, tmp_path: Path) -> Path:
    shutil.copytree(base, tmp_path / "models")
    return tmp_path / "models"


def load(root: Path, variant: str) -> Step1:
    return load_language_model(find_files(root, variant), device=torch.device("cpu"), max_tokens=64)


def logits(model: Step1) -> torch.Tensor:
    ids = torch.arange(65536, 65556)
    return model.logits(model.chunk(ids, model.new_cache(1, 32), 0, 0))


@pytest.mark.parametrize("variant", ["awq", "bnb"])
def test_the_directory_loads_and_speaks_alike(root: Path, variant: str) -> None:
    seen: list[tuple[int, int]] = []
    made = quantize(root, variant, group=32, report=lambda done, total: seen.append((done, total)))
    assert made.directory == root / DIRECTORIES[variant]
    assert 0.03 < made.error < 0.12
    assert made.bytes < made.source_bytes
    assert made.output_error is None
    assert seen[-1] == (made.source_bytes, made.source_bytes)
    plain, quantised = logits(load(root, "base")), logits(load(root, variant))
    assert F.cosine_similarity(plain, quantised, dim=1).mean() > 0.93
    assert sorted(path.name for path in root.iterdir()) == sorted(
        ["Step-Audio-EditX", "Step-Audio-Tokenizer", DIRECTORIES[variant]]
    )


def test_it_is_what_a_synthetic_checkpoint_of_the_variant_is(root: Path) -> None:
    write_checkpoint(root / "synthetic", ("awq", "bnb"))
    for variant, name in DIRECTORIES.items():
        made = quantize(root, variant, group=32).directory
        ours, theirs = (load_file(path / "model.safetensors") for path in (made, root / "synthetic" / name))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
        assert json.loads((made / "config.json").read_text()) == json.loads(
            (root / "synthetic" / name / "config.json").read_text()
        )


def test_other_files_are_shared_not_copied(root: Path) -> None:
    made = quantize(root, "bnb").directory
    flow = Path("CosyVoice-300M-25Hz/flow.pt")
    assert (made / flow).stat().st_ino == (root / "Step-Audio-EditX" / flow).stat().st_ino
    assert not (made / "model-00001.safetensors").exists()
    assert not (made / "model.safetensors.index.json").exists()


def test_what_exists_is_replaced_only_by_force(root: Path) -> None:
    quantize(root, "bnb")
    with pytest.raises(Conflict, match="--force"):
        quantize(root, "bnb")
    quantize(root, "bnb", force=True)
    load(root, "bnb")


def test_cancelling_leaves_nothing(root: Path) -> None:
    cancellation = Cancellation()
    with pytest.raises(Cancelled):
        quantize(root, "bnb", report=lambda done, total: cancellation.cancel(), cancellation=cancellation)
    assert sorted(path.name for path in root.iterdir()) == ["Step-Audio-EditX", "Step-Audio-Tokenizer"]


def test_a_group_that_does_not_fit_is_refused(root: Path) -> None:
    with pytest.raises(InvalidRequest, match="groups of 128 do not fit rows of 64") as error:
        quantize(root, "awq")
    assert error.value.param == "--group"


def test_only_whole_bf16_directories_are_taken(root: Path, tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="missing"):
        quantize(tmp_path / "nowhere", "awq")
    with pytest.raises(InvalidRequest, match="awq or bnb"):
        quantize(root, "base")
    path = root / "Step-Audio-EditX" / "model-00001.safetensors"
    tensors = load_file(path)
    del tensors["model.norm.weight"]
    save_file(tensors, path)
    (path.parent / "model.safetensors.index.json").unlink()
    with pytest.raises(LoadFailed, match=r"'model\.norm\.weight' .*is missing"):
        quantize(root, "bnb")
    save_file({**tensors, "model.norm.weight": torch.ones(64), "stray": torch.ones(1)}, path)
    with pytest.raises(LoadFailed, match="'stray'"):
        quantize(root, "bnb")


def uneven(width: int, seed: int) -> torch.Tensor:
    """Rows in which a few channels carry most, as in real models."""
    generator = torch.Generator().manual_seed(seed)
    loud = torch.ones(width)
    loud[torch.randperm(width, generator=generator)[: width // 16]] = 30.0
    return torch.randn(64, width, generator=generator) * loud


def error_of(x_nd: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor) -> float:
    scaled = (weight.float() * scale).bfloat16()
    unit = int4_scale(scaled, 32)
    rounded = (int4_round(scaled, unit).view(*unit.shape, -1) * unit.float()[..., None]).flatten(1) / scale
    return float(F.linear(x_nd, rounded - weight.float()).square().mean())


def test_scales_lessen_the_error_where_channels_are_uneven() -> None:
    x_nd, weight = uneven(128, 1), torch.randn(96, 128, generator=torch.Generator().manual_seed(2)).bfloat16()
    found = best_scale(x_nd, [weight], 32)
    scaled, plain = error_of(x_nd, weight, found.scale), error_of(x_nd, weight, torch.ones(128))
    assert scaled < 0.6 * plain
    power = float(F.linear(x_nd, weight.float()).square().mean())
    assert found.error == pytest.approx((scaled / power) ** 0.5, rel=1e-3)
    assert found.plain_error == pytest.approx((plain / power) ** 0.5, rel=1e-3)


def test_folded_scales_change_nothing_before_rounding(root: Path) -> None:
    """A smoothed layer computes what the layer did: the same logits, to bf16's rounding."""
    path = root / "Step-Audio-EditX" / "model-00001.safetensors"
    before = logits(load(root, "base"))
    tensors = load_file(path)
    for layer in range(2):
        prefix = f"model.layers.{layer}."
        short = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        smooth, _ = smooth_layer(short, uneven_inputs(short), 32)
        assert not torch.equal(smooth["input_layernorm.weight"], short["input_layernorm.weight"])
        tensors |= {prefix + key: value for key, value in smooth.items()}
    save_file(tensors, path)
    assert F.cosine_similarity(before, logits(load(root, "base")), dim=1).min() > 0.999


def uneven_inputs(weights: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    return {site.observed: uneven(weights[f"{site.observed}.weight"].shape[1], seed=1) for site in SITES}


def test_scales_are_used_when_there_are_inputs(root: Path) -> None:
    made = quantize(root, "awq", group=32, inputs=lambda: uneven_inputs)
    assert made.output_error is not None
    assert made.plain_output_error is not None
    assert made.output_error < 0.8 * made.plain_output_error
    norm = load_file(made.directory / "model.safetensors")["model.layers.0.input_layernorm.weight"]
    assert not torch.equal(
        norm, load_file(root / "Step-Audio-EditX" / "model-00001.safetensors")["model.layers.0.input_layernorm.weight"]
    )
    assert F.cosine_similarity(logits(load(root, "base")), logits(load(root, "awq")), dim=1).mean() > 0.9
