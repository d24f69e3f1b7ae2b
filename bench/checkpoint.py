"""What a whole model root costs: loading it, part by part, its decode steps, two edits of one clip, GPU memory."""

from __future__ import annotations

import gc
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from bench.language_model import served_steps
from bench.load import forget
from bench.machine import Machine
from bench.row import Row

from editx.audio.clip import Clip
from editx.engines.base import Context
from editx.engines.layout import ModelFiles, find_files
from editx.engines.step.decoder import DecoderConfig, Precision, TokenDecoder
from editx.engines.step.engine import StepEngine, open_engine
from editx.engines.step.frontend.campplus import CamPlus
from editx.engines.step.frontend.campplus_onnx import campplus_weights
from editx.engines.step.frontend.speaker import SpeakerFrontend
from editx.engines.step.loading import Parts, load_audio_tokenizer, load_language_model, read_pickled
from editx.engines.step.onnx_weights import read_onnx
from editx.engines.step.text.audio_tokens import PUBLISHED
from editx.engines.step.text.limits import MAX_TOKENS
from editx.engines.step.text.tokenizer import SentencePieceTokenizer
from editx.engines.step.weights.header import open_checkpoint
from editx.lifecycle.gpu import process_bytes
from editx.recipe import Emotion
from editx.voices import VoiceLibrary


def checkpoint(machine: Machine, root: Path, variant: str, max_batch: int) -> Iterator[Row]:
    """One variant under `root`. Nothing of it is left in memory afterwards."""
    files = find_files(root, variant)
    with tempfile.TemporaryDirectory() as folder, VoiceLibrary(Path(folder) / "voices") as library:
        clip, cache = library.get("alloy").clip(), Path(folder) / "cache"
        options = {"model_path": str(root), "device": str(machine.device), "max_batch": max_batch, "cache": str(cache)}
        began = time.perf_counter()
        opened = open_engine(variant, options, lambda progress: None)
        yield Row(f"load {variant}, first, converting .pt files", time.perf_counter() - began)
        opened.close()
        del opened
        _release(machine)
        forget([getattr(files, field.name) for field in fields(files) if isinstance(getattr(files, field.name), Path)])
        forget(files.weights)
        forget(cache.rglob("*"))
        # No name here may hold on to the parts, or two variants are in memory at once.
        found: list[Parts] = []
        yield from _load(machine, files, variant, cache, found)
        layers = sum(s.size for k, s in open_checkpoint(files.model).items() if k.startswith("model.layers."))
        name = f"{variant}, as loaded"
        yield from served_steps(machine, found[0].model, name, layers, max_batch, PUBLISHED)
        engine = StepEngine(found.pop(), max_batch=max_batch)
        try:
            for moment in ("first", "second"):
                yield from _edit(machine, engine, clip, f"{moment} edit of a clip, {variant}")
        finally:
            engine.close()
    del engine
    _release(machine)


def _load(machine: Machine, files: ModelFiles, variant: str, cache: Path, found: list[Parts]) -> Iterator[Row]:
    """Load part by part, as `load_parts` does, from files that are not in the page cache where the system can forget
    them."""
    rows: list[Row] = []

    def timed(part: str, work: Callable[[], Any]) -> Any:
        results: list[Any] = []
        seconds = machine.seconds(lambda: results.append(work()))
        rows.append(Row(f"load {variant}, cold: {part}", seconds, **_held(machine)))
        return results[0]

    device = machine.device
    with torch.no_grad():
        model = timed("language model", lambda: load_language_model(files, device=device, max_tokens=MAX_TOKENS))
        config = DecoderConfig.read(files.decoder_config.read_text("utf-8"))
        states = [timed("reading the flow", lambda: read_pickled(files.flow, cache))]
        states += [timed("reading the vocoder", lambda: read_pickled(files.vocoder, cache))]
        decoder = timed(
            "flow and vocoder into place",
            lambda: TokenDecoder.load(config, *states, device=device, precision=Precision.fast(device)),
        )
        states.clear()
        audio = timed("audio tokenizers", lambda: load_audio_tokenizer(files, device=device, cache=cache))
        network = timed("speaker encoder", lambda: _speaker(files, device))
        text = timed("text tokenizer", lambda: SentencePieceTokenizer(files.text_tokenizer))
    found.append(Parts(text, audio, SpeakerFrontend(network, config.mel), decoder, model))
    yield from rows
    yield Row(f"load {variant}, cold: the whole", sum(row.seconds for row in rows), **_held(machine))


def _speaker(files: ModelFiles, device: torch.device) -> CamPlus:
    network = CamPlus()
    network.load_state_dict(campplus_weights(read_onnx(files.speaker)))
    return network.to(device).eval()


def _edit(machine: Machine, engine: StepEngine, clip: Clip, name: str) -> Iterator[Row]:
    spent: dict[str, float] = {}
    stage, first, samples = "preprocessing", 0.0, 0
    began = last = time.perf_counter()
    for item in engine.run(Emotion("happy"), clip, Context("some words", 1)):
        now = time.perf_counter()
        spent[stage] = spent.get(stage, 0.0) + now - last
        last = now
        if isinstance(item, Clip):
            first = first or now - began
            samples += len(item.samples)
        else:
            stage = item.stage
    whole = Row(f"{name}: the whole", time.perf_counter() - began, audio=samples / engine.sample_rate)
    yield Row(f"{name}: tokenizers and voice", spent["preprocessing"])
    yield Row(f"{name}: time to first audio", first)
    yield replace(whole, **_held(machine))


def _held(machine: Machine) -> dict[str, int | None]:
    """GPU memory as fields of a row."""
    if machine.device.type != "cuda":
        return {}
    return {
        "gpu_bytes": torch.cuda.memory_allocated(machine.device),
        "gpu_peak_bytes": torch.cuda.max_memory_reserved(machine.device),
        "gpu_process_bytes": process_bytes(os.getpid()),
    }


def _release(machine: Machine) -> None:
    gc.collect()
    if machine.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(machine.device)
