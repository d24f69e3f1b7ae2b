"""The synthetic model root, read by the real loaders of every part."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from editx.engines.catalog import catalog, find
from editx.engines.layout import find_files
from editx.engines.step.decoder.config import DecoderConfig
from editx.engines.step.decoder.decoder import TokenDecoder
from editx.engines.step.frontend.campplus import CamPlus
from editx.engines.step.frontend.campplus_onnx import campplus_weights
from editx.engines.step.lm.model import Step1
from editx.engines.step.loading import load_language_model, read_pickled
from editx.engines.step.onnx_weights import read_onnx
from editx.engines.step.synth.checkpoint import write_checkpoint
from editx.engines.step.synth.noise import Noise
from editx.engines.step.synth.sizes import TINY
from editx.engines.step.synth.text_tokenizer import text_tokenizer
from editx.engines.step.text.tokenizer import SentencePieceTokenizer
from editx.engines.step.tokenizers.linguistic import LinguisticTokenizer, read_centroids
from editx.engines.step.tokenizers.linguistic_features import read_cmvn
from editx.engines.step.tokenizers.sanm import LinguisticConfig, LinguisticNetwork
from editx.engines.step.tokenizers.semantic_network import SemanticNetwork
from editx.engines.step.tokenizers.semantic_onnx import semantic_config, semantic_weights
from editx.engines.step.weights.header import open_files
from editx.errors import Conflict, InvalidRequest, LoadFailed


def language_model(root: Path, variant: str) -> Step1:
    return load_language_model(find_files(root, variant), device=torch.device("cpu"), max_tokens=64)


def with_weights(root: Path, variant: str, folder: Path, tensors: dict[str, torch.Tensor]) -> Step1:
    """A language model of `variant` with other weights."""
    files = find_files(root, variant)
    save_file(tensors, folder / "model.safetensors")
    changed = replace(files, model=folder, weights=(folder / "model.safetensors",))
    return load_language_model(changed, device=torch.device("cpu"), max_tokens=64)


def logits(model: Step1) -> torch.Tensor:
    ids = torch.tensor([1, 4, 2323, 78, 66000, 67000, 70000, 3])
    return model.logits(model.chunk(ids, model.new_cache(1, 16), 0, 0))


def test_it_is_small(tiny_root: Path) -> None:
    parts = ("Step-Audio-EditX", "Step-Audio-Tokenizer")
    files = [path for part in parts for path in (tiny_root / part).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 60 * 10**6
    assert not [path for path in tiny_root.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("variant", ["base", "awq", "bnb"])
def test_every_variant_has_all_its_files(tiny_root: Path, variant: str) -> None:
    files = find_files(tiny_root, variant)
    assert files.config.is_file()
    assert "no weights" not in getattr(find(catalog(tiny_root), variant), "reason", "no variant")


def test_the_language_model_speaks_finite_numbers(tiny_root: Path) -> None:
    out = logits(language_model(tiny_root, "base"))
    assert out.shape == (8, 74752)
    assert out.isfinite().all()
    assert 0.5 < out.std() < 2


@pytest.mark.parametrize("variant", ["awq", "bnb"])
def test_the_quantised_variants_are_the_same_model(tiny_root: Path, variant: str) -> None:
    plain, quantised = logits(language_model(tiny_root, "base")), logits(language_model(tiny_root, variant))
    assert torch.nn.functional.cosine_similarity(plain, quantised, dim=1).mean() > 0.93


@pytest.mark.parametrize("variant", ["awq", "bnb"])
def test_quantised_variants_are_smaller_in_every_projection(tiny_root: Path, variant: str) -> None:
    files = find_files(tiny_root, variant)
    stored = open_files(files.weights)
    projections = [tensor for name, tensor in stored.items() if "_proj" in name]
    config = TINY.language
    weights = config.layers * (
        2 * config.hidden_size * (config.hidden_size + config.kv_size)
        + 3 * config.hidden_size * config.intermediate_size
    )
    data = [tensor for tensor in projections if tensor.name.endswith(("_packed", "weight", "_scale", ".absmax"))]
    assert sum(tensor.size for tensor in data) < 0.6 * weights
    assert not [name for name in stored if name.endswith("_proj.weight") and variant == "awq"]


def test_a_missing_quantisation_state_is_named(tiny_root: Path, tmp_path: Path) -> None:
    tensors = load_file(find_files(tiny_root, "bnb").weights[0])
    key = "model.layers.0.mlp.up_proj.weight.quant_state.bitsandbytes__nf4"
    wrong = json.loads(bytes(tensors[key].tolist())) | {"shape": [64, 128]}
    other = torch.tensor(list(json.dumps(wrong).encode()), dtype=torch.uint8)
    with pytest.raises(LoadFailed, match=r"states \(64, 128\) for .*up_proj"):
        with_weights(tiny_root, "bnb", tmp_path, {**tensors, key: other})
    del tensors[key]
    with pytest.raises(LoadFailed, match=r"lacks .*up_proj\.weight\.quant_state"):
        with_weights(tiny_root, "bnb", tmp_path, tensors)


def test_a_missing_head_is_refused(tiny_root: Path, tmp_path: Path) -> None:
    tensors = load_file(find_files(tiny_root, "base").weights[0])
    del tensors["lm_head.weight"]
    with pytest.raises(LoadFailed, match=r"missing: 'lm_head\.weight'"):
        with_weights(tiny_root, "base", tmp_path, tensors)


def test_useless_keys_are_ignored(tiny_root: Path, tmp_path: Path) -> None:
    tensors = load_file(find_files(tiny_root, "base").weights[0])
    extra = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(8), "model.position_ids": torch.zeros(2)}
    model = with_weights(tiny_root, "base", tmp_path, {**tensors, **extra})
    assert torch.equal(logits(model), logits(language_model(tiny_root, "base")))


def test_flow_and_vocoder_make_sound(tiny_root: Path, tmp_path: Path) -> None:
    files = find_files(tiny_root, "base")
    config = DecoderConfig.read(files.decoder_config.read_text())
    decoder = TokenDecoder.load(
        config,
        read_pickled(files.flow, tmp_path),
        read_pickled(files.vocoder, tmp_path),
        device="cpu",
    )
    group = [5, 900, 1024, 3000, 5119]
    voice = decoder.voice(group * 4, torch.randn(1, 24, 80), torch.randn(1, 192))
    wave = decoder.offline(group * 6, voice, seed=1)
    assert len(wave) == 6 * 3 * 960
    assert wave.isfinite().all()
    assert 0.001 < float(wave.std()) < 0.9
    assert float(wave.abs().max()) <= 0.99


def test_the_linguistic_tokenizer_gives_many_codes(tiny_root: Path, tmp_path: Path) -> None:
    files = find_files(tiny_root, "base")
    config = LinguisticConfig.from_mapping(yaml.safe_load(files.linguistic_config.read_text())["encoder_conf"])
    assert config == TINY.linguistic
    network = LinguisticNetwork(config)
    network.load_state_dict(read_pickled(files.linguistic, tmp_path, prefix="encoder."))
    tokenizer = LinguisticTokenizer(network, read_cmvn(files.linguistic_cmvn), read_centroids(files.centroids))
    seconds = torch.arange(48_000) / 16_000
    codes = tokenizer.encode(torch.sin(6.28 * (100 + 600 * seconds) * seconds) * (0.5 + 0.5 * torch.sin(9 * seconds)))
    assert len(codes.unique()) > 5
    assert int(codes.max()) < 1024


def test_the_semantic_weights_are_where_the_reader_looks(tiny_root: Path) -> None:
    graph = read_onnx(find_files(tiny_root, "base").semantic)
    config = semantic_config(graph)
    assert config == TINY.semantic
    network = SemanticNetwork(config)
    state = semantic_weights(graph)
    network.load_state_dict(state, strict=True)
    expected = Noise(3).weight("encoder.blocks.1.mlp.0.weight", (256, 64))
    assert torch.equal(state["encoder.blocks.1.mlp.0.weight"], expected)


def test_the_speaker_weights_are_where_the_reader_looks(tiny_root: Path) -> None:
    network = CamPlus()
    network.load_state_dict(campplus_weights(read_onnx(find_files(tiny_root, "base").speaker)), strict=True)
    one, other = network(torch.randn(2, 120, 80) * torch.tensor([1.0, 3.0]).view(2, 1, 1))
    assert one.isfinite().all()
    assert not torch.allclose(one, other)


def test_folding_a_batch_norm_changes_nothing(tiny_root: Path) -> None:
    """The file's network computes what the unfolded weights of the same seed do."""
    unfolded, folded = CamPlus().eval(), CamPlus().eval()
    unfolded.load_state_dict({n: Noise(3).weight(n, tuple(p.shape)) for n, p in unfolded.state_dict().items()})
    folded.load_state_dict(campplus_weights(read_onnx(find_files(tiny_root, "base").speaker)))
    x = torch.randn(1, 90, 80)
    torch.testing.assert_close(folded(x), unfolded(x), atol=1e-4, rtol=1e-4)


def test_the_text_tokenizer_has_the_published_ids(tiny_root: Path) -> None:
    tokenizer = SentencePieceTokenizer(find_files(tiny_root, "base").text_tokenizer)
    assert tokenizer.vocab_size == 74752
    assert tokenizer.encode(" system\n") == [2323, 78]
    assert tokenizer.encode(" human\n") == [4623, 78]
    assert tokenizer.encode(" assistant\n") == [15886, 78]
    assert tokenizer.encode("\n") == [78]
    for text in ("Hello there, 42 <audio_5>!", "你好，世界", "<|EOT|> <s>", "a\tb  c"):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert all(68 <= i < 65536 for i in ids)
    assert tokenizer._pieces.PieceToId("<audio_0>") == 65536
    assert tokenizer._pieces.PieceToId("<|EOT|>") == 3
    assert tokenizer._pieces.IdToPiece(68 + 255) == "<0xFF>"


def test_seeds_decide_everything(tiny_root: Path, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "same", seed=3)
    write_checkpoint(tmp_path / "other", seed=4)
    name = "Step-Audio-EditX/model-00001.safetensors"
    original = (tiny_root / name).read_bytes()
    assert (tmp_path / "same" / name).read_bytes() == original
    assert (tmp_path / "other" / name).read_bytes() != original
    assert text_tokenizer() == (tiny_root / "Step-Audio-EditX/tokenizer.model").read_bytes()


def test_what_exists_is_replaced_only_by_force(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    marked = tmp_path / "Step-Audio-EditX" / "mark"
    marked.touch()
    with pytest.raises(Conflict, match="--force"):
        write_checkpoint(tmp_path)
    assert marked.exists()
    write_checkpoint(tmp_path, force=True)
    assert not marked.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Step-Audio-EditX", "Step-Audio-Tokenizer"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"size": "huge"}, "no size 'huge'"), ({"variants": ("lite",)}, "no weights of 'lite'")],
)
def test_what_does_not_exist_is_refused(tmp_path: Path, arguments: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        write_checkpoint(tmp_path, **arguments)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_large_tensors_come_in_rows_and_repeat_themselves_by_seed() -> None:
    shape = (1100, 4096)
    rows = list(Noise(1).rows("large", (40_000, 1024)))
    assert len(rows) > 1
    assert torch.equal(torch.cat(rows), Noise(1).weight("large", (40_000, 1024)))
    weight = Noise(1).weight("embed", shape)
    assert abs(float(weight.std()) * 64 - 1) < 0.01
    assert not torch.equal(weight[0], weight[1])


def test_the_index_names_every_tensor(tiny_root: Path) -> None:
    model = tiny_root / "Step-Audio-EditX"
    index = json.loads((model / "model.safetensors.index.json").read_text())["weight_map"]
    with safe_open(model / "model-00001.safetensors", "pt") as file:
        assert sorted(index) == sorted(file.keys())
