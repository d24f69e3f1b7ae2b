"""The whole native engine on a tiny checkpoint: every step, streaming, batching, seeds, cancellation, damaged files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from editx.audio.clip import Clip
from editx.cancellation import Cancellation
from editx.engines.base import Context, Memory, Progress, Sampling
from editx.engines.layout import PARAFORMER_DIRECTORY
from editx.engines.step.devices import language_model_dtype, resolve
from editx.engines.step.engine import StepEngine, open_engine
from editx.errors import Cancelled, InvalidRequest, LoadFailed, MissingTranscript, TooLarge
from editx.recipe import AnyStep, Clone, Denoise, Emotion, Paralinguistic, Speed, Style, Vad

EVERY_STEP: list[AnyStep] = [
    Clone("Good morning."),
    Emotion("happy"),
    Style("whisper"),
    Speed("faster"),
    Paralinguistic("Good [Laughter] morning."),
    Denoise(),
    Vad(),
]


def options(root: Path, **changed: object) -> dict[str, object]:
    return {"model_path": str(root), "device": "cpu", "max_batch": 3, "cache": str(root.parent / "cache"), **changed}


@pytest.fixture(scope="module")
def engine(native_root: Path) -> Iterator[StepEngine]:
    engine = open_engine("base", options(native_root), lambda progress: None)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def short(speech: tuple[Clip, str]) -> Clip:
    clip = speech[0]
    return Clip(clip.samples[: 2 * clip.rate].copy(), clip.rate)


def run(engine: StepEngine, step: AnyStep, clip: Clip, seed: int = 1, **context: object) -> Clip:
    items = engine.run(step, clip, Context("some words", seed, **context))  # type: ignore[arg-type]
    return Clip.join([item for item in items if isinstance(item, Clip)])


@pytest.mark.parametrize("step", EVERY_STEP, ids=lambda step: step.kind)
def test_every_step_makes_sound_in_chunks_with_progress(engine: StepEngine, short: Clip, step: AnyStep) -> None:
    items = list(engine.run(step, short, Context("some words", 1)))
    stages = [item.stage for item in items if isinstance(item, Progress)]
    assert stages[0] == "preprocessing"
    assert {"generation", "decoding"} <= set(stages)
    clips = [item for item in items if isinstance(item, Clip)]
    assert len(clips) >= 2
    assert {clip.rate for clip in clips} == {24_000}
    samples = Clip.join(clips).samples
    assert np.isfinite(samples).all()
    assert 0.01 < np.abs(samples).max() <= 1.1


def test_sound_leaves_while_the_language_model_still_generates(engine: StepEngine, short: Clip) -> None:
    items = list(engine.run(Speed("more slower"), short, Context("some words", 1)))
    first = next(i for i, item in enumerate(items) if isinstance(item, Clip))
    assert any(isinstance(item, Progress) and item.stage == "generation" for item in items[first:])


@pytest.mark.parametrize("step", EVERY_STEP, ids=lambda step: step.kind)
def test_what_nobody_waits_for_is_made_in_one_piece(engine: StepEngine, short: Clip, step: AnyStep) -> None:
    items = list(engine.run(step, short, Context("some words", 1, stream=False)))
    (whole,) = [item for item in items if isinstance(item, Clip)]
    streamed = run(engine, step, short)
    assert len(whole.samples) == len(streamed.samples)
    assert not np.array_equal(whole.samples, streamed.samples)
    assert whole.digest() == run(engine, step, short, stream=False).digest()
    assert 0.01 < np.abs(whole.samples).max() <= 0.99  # the seams of what is streamed may be louder
    shares = [
        item.fraction for item in items if isinstance(item, Progress) and item.fraction and item.stage == "decoding"
    ]
    assert shares == sorted(shares)
    assert len(shares) == 10
    assert shares[-1] == 1.0


def test_a_result_says_whether_it_was_cut_at_its_limit(engine: StepEngine, short: Clip) -> None:
    """A clone may have at least 210 tokens, 5 of which are 0.12 s."""
    reasons = set()
    for seed in range(12):
        items = list(engine.run(Clone("Hi."), short, Context("some words", seed)))
        last = items[-1]
        assert isinstance(last, Progress)
        samples = sum(len(item.samples) for item in items if isinstance(item, Clip))
        assert last.cut == (samples == 210 // 5 * 2880)
        assert not any(item.cut for item in items[:-1] if isinstance(item, Progress))
        reasons.add(last.cut)
        if len(reasons) == 2:
            return
    assert reasons == {True}, "these weights never end by themselves within 210 tokens"


@pytest.mark.parametrize("variant", ["base", "awq", "bnb"])
def test_the_same_seed_gives_the_same_samples_after_a_new_load(native_root: Path, short: Clip, variant: str) -> None:
    heard = []
    for _ in range(2):
        engine = open_engine(variant, options(native_root), lambda progress: None)
        try:
            heard.append(run(engine, Emotion("sad"), short).digest())
            other = run(engine, Emotion("sad"), short, seed=2).digest()
        finally:
            engine.close()
    assert heard[0] == heard[1]
    assert other != heard[0]


def test_requests_at_once_give_what_they_give_alone(engine: StepEngine, short: Clip) -> None:
    steps = EVERY_STEP[:5]
    alone = [run(engine, step, short, seed=7).digest() for step in steps]
    together: dict[int, str] = {}

    def work(i: int) -> None:
        together[i] = run(engine, steps[i], short, seed=7).digest()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(steps))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[i] for i in range(len(steps))] == alone


def test_cancelling_ends_the_run_and_frees_the_slot(engine: StepEngine, short: Clip) -> None:
    for _ in range(4):  # one more than there are slots
        cancellation = Cancellation()
        items = engine.run(Emotion("sad"), short, Context("some words", 1, cancellation=cancellation))
        assert any(isinstance(item, Clip) for item in items)
        cancellation.cancel()
        with pytest.raises(Cancelled):
            list(items)
    cancellation = Cancellation()
    items = engine.run(Emotion("sad"), short, Context("some words", 1, stream=False, cancellation=cancellation))
    assert any(isinstance(item, Progress) and item.stage == "decoding" for item in items)
    cancellation.cancel()
    with pytest.raises(Cancelled):
        list(items)
    assert engine._language_model.wait_idle(30)
    left = engine.run(Emotion("sad"), short, Context("some words", 1))
    assert any(isinstance(item, Clip) for item in left)
    left.close()  # type: ignore[attr-defined]
    assert engine._language_model.wait_idle(30)


@pytest.mark.parametrize("step", [Clone("Good morning."), Denoise()], ids=lambda step: step.kind)
def test_silence_around_a_recording_has_its_limit_too(engine: StepEngine, short: Clip, step: AnyStep) -> None:
    padded = Clip(np.concatenate([short.samples, np.zeros(60 * short.rate, np.float32)]), short.rate)
    items = engine.run(step, padded, Context("some words", 1))
    with pytest.raises(TooLarge, match=r"62\.0 s long and at most 60 s are taken, silence included") as caught:
        next(iter(items))
    assert caught.value.param == "audio"


def test_sampling_options_reach_the_model(engine: StepEngine, short: Clip) -> None:
    usual = run(engine, Denoise(), short)
    assert run(engine, Denoise(), short, sampling=Sampling(temperature=1.5)).digest() != usual.digest()
    with pytest.raises(InvalidRequest, match="top_p"):
        run(engine, Denoise(), short, sampling=Sampling(top_p=0.0))


def test_what_cannot_be_worked_on_is_refused(engine: StepEngine, short: Clip) -> None:
    rate = short.rate
    with pytest.raises(MissingTranscript):
        list(engine.run(Emotion("sad"), short, Context("")))
    with pytest.raises(InvalidRequest):
        run(engine, Denoise(), Clip(np.zeros(rate, np.float32), rate))
    with pytest.raises(InvalidRequest):
        run(engine, Denoise(), Clip(short.samples[:100].copy(), rate))
    with pytest.raises(TooLarge, match="30 s"):
        run(engine, Denoise(), Clip(np.tile(short.samples, 20), rate))
    assert run(engine, Denoise(), short).seconds > 1, "a refused request costs the next one nothing"


def test_loading_reports_progress_and_a_cpu_holds_no_gpu_memory(native_root: Path) -> None:
    seen: list[Progress] = []
    engine = open_engine("awq", options(native_root), seen.append)
    assert engine.memory() == Memory()
    engine.close()
    fractions = [item.fraction for item in seen]
    assert fractions[0] == 0.0
    assert fractions[-1] == 1.0
    assert fractions == sorted(fractions)  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("Step-Audio-EditX/config.json", "empty"),
        ("Step-Audio-EditX/tokenizer.model", "cut"),
        ("Step-Audio-EditX/tokenizer.model", "missing"),
        ("Step-Audio-EditX/CosyVoice-300M-25Hz/cosyvoice.yaml", "cut"),
        ("Step-Audio-EditX/CosyVoice-300M-25Hz/flow.pt", "cut"),
        ("Step-Audio-EditX/CosyVoice-300M-25Hz/hift.pt", "pointer"),
        ("Step-Audio-EditX/CosyVoice-300M-25Hz/campplus.onnx", "cut"),
        ("Step-Audio-Tokenizer/linguistic_tokenizer.npy", "cut"),
        ("Step-Audio-Tokenizer/speech_tokenizer_v1.onnx", "cut"),
    ],
)
def test_a_damaged_file_is_named_with_the_remedy(native_root: Path, tmp_path: Path, file: str, damage: str) -> None:
    root = tmp_path / "models"
    for name in ("Step-Audio-EditX", "Step-Audio-Tokenizer"):
        shutil.copytree(native_root / name, root / name)
    path = root / file
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
        path.write_bytes({"empty": b"", "cut": data[: len(data) // 3], "pointer": pointer}[damage])
    with pytest.raises(LoadFailed) as caught:
        open_engine("base", options(root), lambda progress: None)
    assert path.name in caught.value.message
    assert "fetch" in caught.value.message or "published" in caught.value.message


BASE, TOKENIZER = "Step-Audio-EditX", "Step-Audio-Tokenizer"
KINDS_OF_FILES = (
    f"{BASE}/model-00001.safetensors", f"{BASE}/config.json", f"{BASE}/tokenizer.model",
    f"{BASE}/CosyVoice-300M-25Hz/cosyvoice.yaml", f"{BASE}/CosyVoice-300M-25Hz/flow.pt",
    f"{BASE}/CosyVoice-300M-25Hz/hift.pt", f"{BASE}/CosyVoice-300M-25Hz/campplus.onnx",
    f"{TOKENIZER}/linguistic_tokenizer.npy", f"{TOKENIZER}/speech_tokenizer_v1.onnx",
    f"{TOKENIZER}/{PARAFORMER_DIRECTORY}/model.pt", f"{TOKENIZER}/{PARAFORMER_DIRECTORY}/config.yaml",
    f"{TOKENIZER}/{PARAFORMER_DIRECTORY}/am.mvn",
)  # fmt: skip


@pytest.mark.parametrize("name", KINDS_OF_FILES)
def test_one_flipped_bit_in_any_file_is_noticed(native_root: Path, tmp_path: Path, name: str) -> None:
    root = tmp_path / "models"
    for part in (BASE, TOKENIZER):
        shutil.copytree(native_root / part, root / part, copy_function=os.link)
    damaged = bytearray((root / name).read_bytes())
    damaged[len(damaged) * 2 // 3 + 1] ^= 0x01
    (root / name).unlink()
    (root / name).write_bytes(damaged)
    with pytest.raises(LoadFailed) as caught:
        open_engine("base", options(root, cache=str(tmp_path / "cache")), lambda progress: None)
    assert str(root / name) in caught.value.message
    assert "fetch" in caught.value.message


def test_files_of_ones_own_need_no_record(native_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "models"
    for part in (BASE, TOKENIZER):
        shutil.copytree(native_root / part, root / part, copy_function=os.link)
        (root / part / ".editx-files.json").unlink()
    config = root / BASE / "config.json"
    text = config.read_text().replace("1e-05", "2e-05")
    config.unlink()
    config.write_text(text)
    open_engine("base", options(root, cache=str(tmp_path / "cache")), lambda progress: None).close()


def test_a_text_tokenizer_of_another_model_is_refused_before_weights_are_read(
    native_root: Path, tmp_path: Path
) -> None:
    root = tmp_path / "models"
    for part in (BASE, TOKENIZER):
        shutil.copytree(native_root / part, root / part, copy_function=os.link)
        (root / part / ".editx-files.json").unlink()
    model = root / BASE / "tokenizer.model"
    published = model.read_bytes()
    model.unlink()
    heard: list[float | None] = []
    swapped = published.replace(b"<|EOT|>", b"<|TOE|>")
    # Without its last piece: a tag, the length, and what was counted.
    last = published.index(b"<audio_9215>") - 4
    short = published[:last] + published[last + 2 + published[last + 1] :]
    for other, said in ((swapped, r"'<\|TOE\|>' where '<\|EOT\|>' is expected, at 3"), (short, "has 74751 pieces")):
        model.write_bytes(other)
        with pytest.raises(LoadFailed, match=said) as caught:
            open_engine("base", options(root), lambda progress: heard.append(progress.fraction))
        assert str(model) in caught.value.message
    assert heard == [0.0, 0.0]


def test_devices() -> None:
    assert resolve("cpu") == torch.device("cpu")
    assert language_model_dtype(torch.device("cpu")) == torch.float32
    assert language_model_dtype(torch.device("cuda")) == torch.bfloat16
    if not torch.cuda.is_available():
        with pytest.raises(LoadFailed, match="--device"):
            resolve("cuda:1")


LOADED = """
import json, sys
from pathlib import Path
import torch
from editx.engines.step.engine import open_engine
from editx.engines.step.lm.config import LanguageModelConfig
from editx.engines.step.lm.model import Step1
options = json.loads(sys.argv[1])
open_engine("base", options, lambda progress: None).close()
config = LanguageModelConfig.read(Path(options["model_path"]) / "Step-Audio-EditX" / "config.json")
Step1(config, device="meta", dtype=torch.bfloat16)
print([name for name in ("torch._dynamo", "torch._inductor", "sympy") if name in sys.modules])
"""


def test_loading_imports_no_compiler(native_root: Path) -> None:
    """Torch's takes 70 MB and a second or two, and some operations without data import it in passing."""
    command = [sys.executable, "-c", LOADED, json.dumps(options(native_root))]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
