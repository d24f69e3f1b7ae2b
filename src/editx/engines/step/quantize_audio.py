"""From recordings to the prompts that weights are quantised for: what the engine asks of the model, and an answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from editx.audio.codec import Decoder
from editx.cancellation import Cancellation
from editx.engines.layout import ModelFiles, find_files
from editx.engines.step.lm.config import LanguageModelConfig
from editx.engines.step.loading import load_audio_tokenizer, load_text_tokenizer
from editx.engines.step.quantize_inputs import LayerInputs
from editx.engines.step.text.prompts import clone_prompt, edit_prompt
from editx.engines.step.text.tokenizer import EOT, TextTokenizer
from editx.engines.step.tokenizers.audio_tokenizer import AudioTokenizer
from editx.engines.step.weights.header import open_checkpoint
from editx.engines.step.weights.state import read_state
from editx.errors import Cancelled, EditXError
from editx.recipe import (
    EMOTIONS,
    PARALINGUISTIC_TAGS,
    SPEEDS,
    STEP_TYPES,
    STYLES,
    AnyStep,
    Clone,
    Denoise,
    Emotion,
    Paralinguistic,
    Speed,
    Style,
    Vad,
)

MOST_TOKENS = 16_384
"""Of all prompts together, which bounds memory and time: about 3 minutes of recordings, each in one prompt."""

Tick = Callable[[], None]
"""Called many times a second; what it raises ends the work."""

_EMBEDDING = "model.embed_tokens.weight"


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording of speech, and the words in it, empty where nobody knows them."""

    path: Path
    transcript: str = ""


@dataclass(frozen=True, slots=True)
class Listened:
    """`recordings`: how many of those given there was room for. `tokens`: of all `prompts` together."""

    recordings: int
    prompts: int
    tokens: int


def listen(
    model_path: Path,
    recordings: Sequence[Recording],
    *,
    cache: Path,
    told: Callable[[float], None] = lambda share: None,
    cancellation: Cancellation | None = None,
) -> tuple[LayerInputs, Listened]:
    """Inputs of every layer of the bf16 model under `model_path` on prompts made of `recordings`.

    `cache`: where converted copies of `.pt` files are kept. Raises LoadFailed for files that are not right, and
    NotFound, InvalidRequest, UndecodableAudio or TooLarge, naming the recording, for one that cannot be used.
    """
    tick = (cancellation or Cancellation()).raise_if_cancelled
    files = find_files(model_path, "base")
    prompts, numbers = _prompts(files, recordings, cache, told, tick)
    tensors = open_checkpoint(files.model)
    table = read_state({_EMBEDDING: tensors[_EMBEDDING]})[_EMBEDDING]
    embeddings_td = table[torch.tensor([token for ids in prompts for token in ids])]
    inputs = LayerInputs(LanguageModelConfig.read(files.config), prompts, embeddings_td, tick=tick)
    return inputs, Listened(len(numbers), len(prompts), len(embeddings_td))


def _prompts(
    files: ModelFiles, recordings: Sequence[Recording], cache: Path, told: Callable[[float], None], tick: Tick
) -> tuple[list[list[int]], set[int]]:
    """As many prompts as there is room for, and which recordings they are made of."""
    text = load_text_tokenizer(files)
    audio = load_audio_tokenizer(files, device=torch.device("cpu"), cache=cache)
    decoder = Decoder()
    # Of more than there is room for, the first by name might all be of one voice.
    recordings = random.Random(0).sample(recordings, len(recordings))
    heard: dict[int, list[int]] = {}

    def audio_ids(number: int) -> list[int]:
        if number not in heard:
            heard[number] = _heard(recordings[number].path, decoder, audio, tick)
        return heard[number]

    prompts: list[list[int]] = []
    used: set[int] = set()
    room = MOST_TOKENS
    for number, ids in prompts_of(recordings, audio_ids, text):
        if len(ids) > room:
            break
        prompts.append(ids)
        used.add(number)
        room -= len(ids)
        told(max(len(heard) / len(recordings), 1 - room / MOST_TOKENS))
    return prompts, used


def _heard(path: Path, decoder: Decoder, audio: AudioTokenizer, tick: Tick) -> list[int]:
    """The audio tokens of a recording. Raises what is wrong with it, naming it."""
    try:
        return audio.encode(decoder.decode_path(path), on_progress=lambda share: tick()).ids()
    except Cancelled:
        raise
    except EditXError as error:
        if str(path) in error.message:
            raise
        raise type(error)(f"{path}: {error.message}", param="--audio") from error


def prompts_of(
    recordings: Sequence[Recording], audio_ids: Callable[[int], Sequence[int]], text: TextTokenizer
) -> Iterator[tuple[int, list[int]]]:
    """Prompts as the engine builds them, each with an answer; and the number of the recording it is made of.

    First one of each recording, then another of each, until every step has had its turn. `audio_ids` gives a
    recording's tokens. The answer is those tokens: the clean speech that denoising leaves, the voice that says its own
    words, and near what every other edit gives.
    """
    for turn in range(len(STEP_TYPES)):
        for number, recording in enumerate(recordings):
            words = recording.transcript.strip()
            steps = _steps(number, words)
            if turn < len(steps):
                step, ids = steps[(number + turn) % len(steps)], audio_ids(number)
                if isinstance(step, Clone):
                    prompt = clone_prompt(text, step.text, words, ids)
                else:
                    prompt = edit_prompt(text, step, words, ids)
                yield number, [*prompt.ids, *ids, EOT]


def _steps(number: int, words: str) -> list[AnyStep]:
    """Every kind of step that a recording of `words` allows; options go round with `number`."""
    if not words:
        return [Denoise(), Vad()]
    return [
        Emotion(EMOTIONS[number % len(EMOTIONS)]),
        Denoise(),
        Clone(words),
        Style(STYLES[number % len(STYLES)]),
        Vad(),
        Speed(SPEEDS[number % len(SPEEDS)]),
        Paralinguistic(f"{words} {PARALINGUISTIC_TAGS[number % len(PARALINGUISTIC_TAGS)]}"),
    ]
