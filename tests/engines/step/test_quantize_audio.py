"""Recordings become prompts, prompts what layers are fed, and that int4 weights which err less on other recordings."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from editx.audio.clip import Clip
from editx.audio.codec import Decoder, encode
from editx.cancellation import Cancellation
from editx.engines.layout import find_files
from editx.engines.step.lm.config import LanguageModelConfig
from editx.engines.step.lm.model import Step1, prefill
from editx.engines.step.loading import load_audio_tokenizer, load_language_model
from editx.engines.step.quantize import Inputs, Quantized, quantize
from editx.engines.step.quantize_audio import MOST_TOKENS, Recording, listen, prompts_of
from editx.engines.step.quantize_inputs import LayerInputs
from editx.engines.step.quantize_scales import SITES
from editx.engines.step.synth.checkpoint import write_checkpoint
from editx.engines.step.text.prompts import clone_prompt, edit_prompt
from editx.engines.step.text.tokenizer import EOT, SentencePieceTokenizer
from editx.engines.step.weights.writer import write_safetensors
from editx.errors import Cancelled, EditXError, NotFound, TooLarge, UndecodableAudio
from editx.recipe import STEP_TYPES, Denoise, Emotion, Paralinguistic, Speed, Style, Vad
from editx.voices.builtin import BUILTIN_DIRECTORY, read_builtin

VOICES = [
    Recording(BUILTIN_DIRECTORY / voice.file, voice.transcript) for voice in read_builtin(BUILTIN_DIRECTORY)
]  # fmt: skip
WEIGHTS = "Step-Audio-EditX/model-00001.safetensors"
LOUD = 20.0


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model in which norms let a few channels through much louder than others, as trained ones do."""
    root = tmp_path_factory.mktemp("uneven")
    write_checkpoint(root)
    tensors = load_file(root / WEIGHTS)
    for i, key in enumerate(sorted(key for key in tensors if key.endswith("layernorm.weight"))):
        loud = torch.randperm(64, generator=torch.Generator().manual_seed(i))[:4]
        tensors[key][loud] *= LOUD
    save_file(tensors, root / WEIGHTS)
    return root


@pytest.fixture
def root(uneven: Path, tmp_path: Path) -> Path:
    shutil.copytree(uneven, tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> list[Recording]:
    """The first seconds of recordings of six voices."""
    folder = tmp_path_factory.mktemp("recordings")
    clips = [Decoder().decode_path(voice.path) for voice in VOICES]
    return [
        write(folder / f"{i}.wav", clip.samples[: 2 * clip.rate], clip.rate, VOICES[i].transcript[:20])
        for i, clip in enumerate(clips)
    ]


def write(path: Path, samples: np.ndarray, rate: int, words: str = "words") -> Recording:
    path.write_bytes(encode(Clip(samples.astype(np.float32), rate), "wav"))
    return Recording(path, words)


def text_of(root: Path) -> SentencePieceTokenizer:
    return SentencePieceTokenizer(find_files(root, "base").text_tokenizer)


def heard(root: Path, recordings: Sequence[Recording]) -> Callable[[], Inputs]:
    return lambda: listen(root, recordings, cache=root.parent / "cache")[0]


def made_from(root: Path, recordings: Sequence[Recording]) -> Quantized:
    return quantize(root, "awq", group=32, inputs=heard(root, recordings), force=True)


def load(root: Path, variant: str) -> Step1:
    return load_language_model(find_files(root, variant), device=torch.device("cpu"), max_tokens=4096)


def test_prompts_are_those_of_the_engine_with_the_recording_for_an_answer(uneven: Path) -> None:
    text, ids = text_of(uneven), [65536, 65537, 66560, 66561, 66562]
    words = "What I say."
    made = [prompt for _, prompt in prompts_of([Recording(Path("me.wav"), f" {words}\n")], lambda number: ids, text)]
    steps = [
        Emotion("happy"),
        Denoise(),
        Style("serious"),
        Vad(),
        Speed("faster"),
        Paralinguistic(f"{words} [Breathing]"),
    ]
    asked = [*(edit_prompt(text, step, words, ids) for step in steps), clone_prompt(text, words, words, ids)]
    assert len(made) == len(STEP_TYPES)
    assert sorted(made) == sorted([*prompt.ids, *ids, EOT] for prompt in asked)


def test_every_recording_has_its_turn_before_one_has_its_second(uneven: Path) -> None:
    recordings = [Recording(Path("a.wav"), "Words."), Recording(Path("b.wav")), Recording(Path("c.wav"), "Others.")]
    made = list(prompts_of(recordings, lambda number: [65536 + number] * 5, text_of(uneven)))
    assert [number for number, _ in made[:6]] == [0, 1, 2, 0, 1, 2]
    assert sum(number == 1 for number, _ in made) == 2  # denoise and vad, which need no words
    assert all(65536 + number in ids for number, ids in made)
    assert len({tuple(ids) for _, ids in made}) == len(made)


@torch.no_grad()
def test_layers_are_fed_what_the_whole_model_feeds_them(uneven: Path) -> None:
    """Through one layer at a time, in chunks, prompt after prompt: the same as through all layers at once."""
    random = torch.Generator().manual_seed(1)
    prompts = [torch.randint(65536, 70656, (length,), generator=random).tolist() for length in (300, 40)]
    files = find_files(uneven, "base")
    tensors, model = load_file(uneven / WEIGHTS), load(uneven, "base")
    ids = torch.tensor(prompts[0] + prompts[1])
    inputs = LayerInputs(
        LanguageModelConfig.read(files.config), prompts, tensors["model.embed_tokens.weight"][ids], rows=1000
    )
    seen: dict[str, list[torch.Tensor]] = {}
    for layer in range(2):
        for name in ("input_layernorm", "post_attention_layernorm"):
            key = f"{layer}.{name}"
            module = model.model.layers[layer].get_submodule(name)
            module.register_forward_hook(lambda _, given, out, key=key: seen.setdefault(key, []).append(out[0]))
    for prompt in prompts:
        prefill(model, torch.tensor(prompt), model.new_cache(1), 0)
    for layer in range(2):
        prefix = f"model.layers.{layer}."
        fed = inputs({key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)})
        assert fed.keys() == {site.observed for site in SITES}
        for site in SITES[:2]:
            expected = torch.cat(seen[f"{layer}.{site.producer}"])
            torch.testing.assert_close(fed[site.observed], expected, rtol=1e-4, atol=1e-4)
        assert fed["mlp.down_proj"].shape == (340, 128)


def test_a_sample_of_what_layers_are_fed_is_kept(uneven: Path) -> None:
    config = LanguageModelConfig.read(find_files(uneven, "base").config)
    tensors = load_file(uneven / WEIGHTS)
    weights = {
        key.removeprefix("model.layers.0."): value
        for key, value in tensors.items()
        if key.startswith("model.layers.0.")
    }
    embeddings_td = tensors["model.embed_tokens.weight"][torch.arange(65536, 65536 + 200)]
    everything, some = (
        LayerInputs(config, [range(150), range(50)], embeddings_td, rows=rows)(weights) for rows in (200, 30)
    )
    for name, rows in some.items():
        assert rows.shape == (30, everything[name].shape[1])
        assert all((everything[name] == row).all(1).any() for row in rows)


@torch.no_grad()
def layer_errors(root: Path, prompts: Sequence[torch.Tensor]) -> list[float]:
    """For each layer, how far its output is off in int4 when it is fed what the bf16 model feeds it on `prompts`."""
    base, awq = load(root, "base"), load(root, "awq")
    errors = []
    hidden = [base.model.embed_tokens(ids)[None] for ids in prompts]
    for layer in range(base.config.layers):
        off = power = 0.0
        for i, x_bsd in enumerate(hidden):
            count = x_bsd.shape[1]
            bias = base.bias.at(torch.arange(count)[None], count)
            exact, rounded = (
                model.model.layers[layer](x_bsd, layer, model.new_cache(1).chunk(0, 0, count), bias) - x_bsd
                for model in (base, awq)
            )
            off += float((rounded - exact).square().sum())
            power += float(exact.square().sum())
            hidden[i] = x_bsd + exact
        errors.append((off / power) ** 0.5)
    return errors


def test_scales_from_some_recordings_lessen_the_error_on_others(root: Path, short: list[Recording]) -> None:
    known, others = short[:4], short[4:]
    audio = load_audio_tokenizer(find_files(root, "base"), device=torch.device("cpu"), cache=root.parent / "cache")
    held_out = [
        torch.tensor(ids)
        for _, ids in prompts_of(
            others, lambda number: audio.encode(Decoder().decode_path(others[number].path)).ids(), text_of(root)
        )
    ]
    made = made_from(root, known)
    assert made.output_error is not None
    assert made.plain_output_error is not None
    assert made.output_error < made.plain_output_error
    scaled = layer_errors(root, held_out)
    quantize(root, "awq", group=32, force=True)
    plain = layer_errors(root, held_out)
    print("error of the layers' outputs with scales and without:", scaled, plain)
    assert all(ours < 0.9 * theirs for ours, theirs in zip(scaled, plain, strict=True))


def test_the_order_of_tensors_in_the_file_does_not_matter(root: Path, short: list[Recording]) -> None:
    made_from(root, short[:1])
    before = load_file(root / "Step-Audio-EditX-AWQ-4bit/model.safetensors")
    tensors = load_file(root / WEIGHTS)
    write_safetensors(root / WEIGHTS, dict(sorted(tensors.items(), reverse=True)))
    made_from(root, short[:1])
    after = load_file(root / "Step-Audio-EditX-AWQ-4bit/model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_only_so_much_is_listened_to(root: Path) -> None:
    many = [Recording(voice.path, f"{voice.transcript} {i}") for i in range(6) for voice in VOICES]
    _, listened = listen(root, many, cache=root.parent / "cache")
    assert MOST_TOKENS - 1500 < listened.tokens <= MOST_TOKENS
    assert listened.recordings == listened.prompts < len(many)


def test_what_is_wrong_with_a_recording_is_said_with_its_name(
    root: Path, short: list[Recording], tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    (tmp_path / "broken.wav").write_bytes(b"RIFF, and then nothing more")
    cases: list[tuple[Recording, type[EditXError], str]] = [
        (Recording(tmp_path / "broken.wav"), UndecodableAudio, "not audio we can read"),
        (Recording(tmp_path / "gone.wav"), NotFound, "there is no file"),
        (write(tmp_path / "silent.wav", np.zeros(16_000), 16_000), EditXError, "silent"),
        (write(tmp_path / "long.wav", 0.3 * random.standard_normal(31 * 16_000), 16_000), TooLarge, "at most 30 s"),
    ]
    for recording, kind, what in cases:
        with pytest.raises(kind, match=what) as error:
            made_from(root, [short[0], recording])
        assert str(recording.path) in error.value.message
    assert sorted(path.name for path in root.iterdir()) == ["Step-Audio-EditX", "Step-Audio-Tokenizer"]


def test_cancelling_ends_listening_and_searching(root: Path, short: list[Recording]) -> None:
    for stage in ("listening", "searching"):
        cancellation = Cancellation()

        def inputs(stage: str = stage, cancellation: Cancellation = cancellation) -> Inputs:
            told = (lambda share: cancellation.cancel()) if stage == "listening" else (lambda share: None)
            layers, _ = listen(root, short[:2], cache=root.parent / "cache", told=told, cancellation=cancellation)
            cancellation.cancel()
            return layers

        with pytest.raises(Cancelled):
            quantize(root, "awq", group=32, inputs=inputs, cancellation=cancellation)
    assert sorted(path.name for path in root.iterdir()) == ["Step-Audio-EditX", "Step-Audio-Tokenizer"]
