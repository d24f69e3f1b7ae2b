"""The native engine: Step-Audio-EditX in PyTorch, from the published checkpoint directories.

A request's way: the recording becomes audio tokens and a voice prompt (both remembered), the language model continues a
prompt made of them, and the decoder turns its tokens into sound: while more are drawn where somebody listens, else in
one piece, which hears both sides of every moment and has no seams.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import torch
from torch import Tensor

from editx.audio.clip import Clip
from editx.engines.base import Context, DeviceLost, Memory, Progress
from editx.engines.layout import find_files
from editx.engines.step.decoder.decoder import Told
from editx.engines.step.decoder.voice import VoicePrompt
from editx.engines.step.devices import is_lost, resolve
from editx.engines.step.lm.batcher import LanguageModel
from editx.engines.step.lm.generation import Generation
from editx.engines.step.lm.sampling import SamplingOptions
from editx.engines.step.loading import Parts, load_parts
from editx.engines.step.text.audio_tokens import PUBLISHED
from editx.engines.step.text.limits import MAX_TOKENS, clone_cap, edit_cap
from editx.engines.step.text.prompts import Prompt, clone_prompt, edit_prompt
from editx.errors import EngineFault, OutOfMemory, TooLarge
from editx.recipe import Clone, Step
from editx.text import unknown_tags

log = logging.getLogger(__name__)


class StepEngine:
    """One loaded variant. Requests are batched: up to `max_batch` generate at once, without changing each other."""

    def __init__(self, parts: Parts, *, max_batch: int, max_tokens: int = MAX_TOKENS) -> None:
        self.sample_rate = parts.decoder.sample_rate
        self._parts = parts
        self._device = parts.model.device
        self._language_model = LanguageModel(parts.model, max_batch=max_batch, max_tokens=max_tokens)

    def run(self, step: Step, clip: Clip, context: Context) -> Iterator[Progress | Clip]:
        """Apply `step` to `clip`; see `engines.base.Engine`. With `context.stream` audio leaves while the language
        model still generates.

        Raises InvalidRequest and TooLarge for recordings that are silent, too short or too long (30 s, and a minute
        with the silence at their ends), OutOfMemory when the device's memory does not suffice, DeviceLost.
        """
        try:
            yield from self._run(step, clip, context)
        except torch.OutOfMemoryError as error:
            raise OutOfMemory(
                f"the device ran out of memory during {step.kind}; use a shorter recording, a smaller --max-batch or a "
                f"quantised variant ({str(error).splitlines()[0]})"
            ) from error
        except torch.AcceleratorError as error:
            if is_lost(error):
                raise DeviceLost(f"{self._device} failed for good: {str(error).splitlines()[0]}") from error
            raise

    def memory(self) -> Memory:
        """What torch holds on the GPU, in bytes; nothing elsewhere."""
        if self._device.type != "cuda":
            return Memory()
        return Memory(
            gpu_allocated=torch.cuda.memory_allocated(self._device),
            gpu_reserved=torch.cuda.memory_reserved(self._device),
            gpu_peak=torch.cuda.max_memory_reserved(self._device),
        )

    def close(self) -> None:
        """Stop generating. The memory goes with the process."""
        self._language_model.close()

    def _run(self, step: Step, clip: Clip, context: Context) -> Iterator[Progress | Clip]:
        tick = context.cancellation.raise_if_cancelled
        longest_s = self._parts.decoder.longest_prompt_s
        if clip.seconds > longest_s:
            raise TooLarge(
                f"the recording is {clip.seconds:.1f} s long and at most {longest_s:g} s are taken, silence included; "
                "cut it",
                param="audio",
            )
        yield Progress("preprocessing", 0.0)
        codes = self._parts.audio.encode(clip, on_progress=lambda share: tick())
        yield Progress("preprocessing", 0.5)
        speaker = self._parts.speaker.describe(clip)
        tick()
        audio_ids = codes.ids()
        voice = self._parts.decoder.voice(_mixed(audio_ids), speaker.mel_btf, speaker.embedding_bc)
        yield Progress("preprocessing", 1.0)
        prompt, cap = self._prompt(step, context, audio_ids)
        generation = self._language_model.generate(
            prompt,
            options=SamplingOptions.of(context.sampling),
            seed=context.seed,
            max_new=cap,
            cancellation=context.cancellation,
        )
        sent = 0
        for made in (self._streamed if context.stream else self._whole)(generation, voice, context):
            if isinstance(made, Progress):
                yield Progress(made.stage, made.fraction, sent / self.sample_rate)
                continue
            sent += len(made)
            yield Clip(made.numpy(), self.sample_rate)
        cut = generation.finish_reason == "length"
        if cut:
            log.warning("%s reached its limit of %d tokens and was cut there", step.kind, generation.limit)
        if not sent:
            raise EngineFault(f"the model ended {step.kind} without a sound; try another seed")
        yield Progress("decoding", 1.0, sent / self.sample_rate, cut)

    def _streamed(self, generation: Generation, voice: VoicePrompt, context: Context) -> Iterator[Progress | Tensor]:
        """Sound as it becomes ready."""
        with (
            closing(generation),
            self._parts.decoder.session(voice, context.seed, cancellation=context.cancellation) as session,
        ):
            yield Progress("generation")
            for ids in generation:
                if ids:
                    yield Progress("decoding")
                    yield from session.stream(_mixed(ids))
                yield Progress("generation")
            yield Progress("decoding")
            yield from session.stream([], last=True)

    def _whole(self, generation: Generation, voice: VoicePrompt, context: Context) -> Iterator[Progress | Tensor]:
        """Sound in one piece, once everything is generated."""
        found: list[int] = []
        with closing(generation):
            yield Progress("generation")
            for ids in generation:
                found += ids
                yield Progress("generation")
        yield from _telling(
            lambda told: self._parts.decoder.offline(
                _mixed(found), voice, context.seed, cancellation=context.cancellation, told=told
            )
        )

    def _prompt(self, step: Step, context: Context, audio_ids: list[int]) -> tuple[Prompt, int]:
        """What the language model continues, and by how many tokens at most."""
        text = self._parts.text
        for tag in unknown_tags(step.new_text):
            log.warning("%s is no tag these weights are known to speak; it is passed on as it is", tag)
        if isinstance(step, Clone):
            return clone_prompt(text, step.text, context.transcript, audio_ids), clone_cap(step.text)
        return edit_prompt(text, step, context.transcript, audio_ids), edit_cap(step, len(audio_ids))


def _telling(decode: Callable[[Told], Tensor]) -> Iterator[Progress | Tensor]:
    """What `decode` is told of its progress, and then what it returns. It runs in a thread: it may take minutes."""
    news: SimpleQueue[float | Tensor | BaseException] = SimpleQueue()

    def run() -> None:
        try:
            news.put(decode(news.put))
        except BaseException as error:
            news.put(error)

    thread = Thread(target=run, name="decoder", daemon=True)
    thread.start()
    try:
        while isinstance(said := news.get(), float):
            yield Progress("decoding", said)
        if isinstance(said, BaseException):
            raise said
        if len(said):
            yield said
    finally:
        thread.join()


def _mixed(ids: list[int]) -> list[int]:
    """Vocabulary ids as the decoder counts them (spec 40 §4)."""
    return [number - PUBLISHED.audio_base for number in ids]


def open_engine(variant: str, options: dict[str, Any], report: Callable[[Progress], None]) -> StepEngine:
    """Load `variant` from `options["model_path"]` onto `options["device"]`, for `options["max_batch"]`
    requests at once.

    `options["cache"]` is the directory for converted files. Raises LoadFailed naming file and remedy, OutOfMemory.
    """
    report(Progress("loading", 0.0))
    files = find_files(Path(options["model_path"]), variant)
    device = resolve(str(options["device"]))
    try:
        with torch.no_grad():
            parts = load_parts(
                files,
                device=device,
                max_tokens=MAX_TOKENS,
                cache=Path(options["cache"]),
                told=lambda share: report(Progress("loading", share)),
            )
        return StepEngine(parts, max_batch=int(options["max_batch"]))
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(
            f"{variant} does not fit into the free memory of {device}; unload other models, lower --max-batch or "
            f"choose a quantised variant ({str(error).splitlines()[0]})"
        ) from error
