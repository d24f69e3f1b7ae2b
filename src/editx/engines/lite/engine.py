"""The preview engine: real speech on a CPU, with no weights.

espeak-ng speaks, the WORLD vocoder bends voices, and everything else is plain signal processing. It shows what every
option does, in milliseconds and on any machine; it is no substitute for the model.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from editx.audio.clip import Clip, Samples
from editx.engines.base import Context, Memory, Progress
from editx.engines.lite import clone
from editx.engines.lite.denoise import denoise
from editx.engines.lite.espeak import Manner, speaker
from editx.engines.lite.hum import without_hum
from editx.engines.lite.options import change_for
from editx.engines.lite.paralinguistic import insert_sounds, place_tags
from editx.engines.lite.plan import plan_change
from editx.engines.lite.profile import Profile, profile
from editx.engines.lite.render import render
from editx.engines.lite.sound import HOP, RATE, Floats, at_engine_rate, is_silent
from editx.engines.lite.vad import remove_silence
from editx.engines.lite.world import track_pitch
from editx.errors import InvalidRequest
from editx.recipe import Clone, Denoise, Paralinguistic, Step, Vad
from editx.text import unknown_tags

log = logging.getLogger(__name__)

_CHUNK = RATE // 2
_SHORTEST = RATE // 20
_LONGEST_REFERENCE_S = 60
_PREPARED = 0.1  # share of the work after preprocessing

T = TypeVar("T")
Work = Iterator[Progress | tuple[Floats, float]]


class LiteEngine:
    """Applies steps with espeak-ng and WORLD; any number of runs may be under way at once.

    Between runs it only keeps how the `remembered` voices cloned last were heard, so that cloning one again starts at
    once; 0 remembers none. What is made is the same either way.
    """

    sample_rate: int = RATE

    def __init__(self, remembered: int = 32) -> None:
        self._remembered = remembered
        self._lock = threading.Lock()
        self._references: OrderedDict[tuple[str, str], tuple[Profile, Manner]] = OrderedDict()

    def run(self, step: Step, clip: Clip, context: Context) -> Iterator[Progress | Clip]:
        """Apply `step` to `clip`; yields progress and chunks of at most 0.5 s at 24 kHz. See `engines.base.Engine`.

        Raises InvalidRequest for an empty clip, for a clip that is silent or shorter than 50 ms where the step needs a
        voice, and for a text without anything to speak. From steps that would only change a voice, a clip without
        one comes back as it is.
        """
        if not len(clip.samples):
            raise InvalidRequest("the recording is empty; send one with speech in it", param="audio")
        tick = context.cancellation.raise_if_cancelled
        tick()
        for tag in unknown_tags(step.new_text):
            log.warning("%s is no tag there is a sound for; it is taken for words", tag)
        yield Progress("preprocessing", 0.0)
        sent = 0
        for item in self._work(step, clip, context):
            tick()
            if isinstance(item, Progress):
                yield item
                continue
            piece, fraction = item
            yield Progress("generation", _PREPARED + (1.0 - _PREPARED) * fraction, sent / RATE)
            for start in range(0, len(piece), _CHUNK):
                chunk = np.ascontiguousarray(piece[start : start + _CHUNK], dtype=np.float32)
                sent += len(chunk)
                yield Clip(chunk, RATE)
                tick()
        yield Progress("decoding", 1.0, sent / RATE)

    def memory(self) -> Memory:
        """Nothing: this engine uses no GPU."""
        return Memory()

    def close(self) -> None:
        """Nothing to give back; espeak-ng belongs to the process."""

    def _work(self, step: Step, clip: Clip, context: Context) -> Work:
        """Listen first where the step has to, then give the result's samples piece by piece."""
        tick = context.cancellation.raise_if_cancelled
        rng = np.random.default_rng(context.seed)
        if isinstance(step, Clone):
            reference, manner = yield from self._hear(clip, context)
            said = yield from _alive(clone.speaking(step.text, manner), tick)
            f0 = yield from _listen(said, tick)
            yield from render(said, clone.plan_clone(said, f0, reference, rng))
            return
        x = at_engine_rate(clip)
        if isinstance(step, Vad):
            yield from remove_silence(x)
        elif isinstance(step, Denoise):
            yield from denoise(x)
        elif isinstance(step, Paralinguistic):
            heard = without_hum(x[: _LONGEST_REFERENCE_S * RATE])
            speaker_profile = profile(heard, (yield from _listen(heard, tick)))
            tags = yield from _alive(place_tags(step.text, speaker_profile), tick)
            yield from insert_sounds(x, tags, speaker_profile, rng)
        elif is_silent(x) or len(x) < _SHORTEST:
            yield np.asarray(x, dtype=np.float64), 1.0
        else:
            speech = without_hum(x)
            f0 = yield from _listen(speech, tick)
            yield from render(speech, plan_change(speech, f0, change_for(step), rng))

    def _hear(self, clip: Clip, context: Context) -> Generator[Progress, None, tuple[Profile, Manner]]:
        """What the voice in a reference recording is like, and how espeak comes nearest to it."""
        key = clip.digest(), context.transcript
        with self._lock:
            known = self._references.get(key)
            if known is not None:
                self._references.move_to_end(key)
        if known is None:
            known = yield from _hear_reference(at_engine_rate(clip), context)
            with self._lock:
                self._references[key] = known
                while len(self._references) > self._remembered:
                    self._references.popitem(last=False)
        return known


def _hear_reference(x: Samples, context: Context) -> Generator[Progress, None, tuple[Profile, Manner]]:
    tick = context.cancellation.raise_if_cancelled
    if len(x) < _SHORTEST:
        raise InvalidRequest(
            f"the reference recording is {len(x) / RATE:.3f} s long; give at least {_SHORTEST / RATE} s, "
            "better 3 to 30 s",
            param="audio",
        )
    if is_silent(x):
        raise InvalidRequest("the reference recording is silent; send one with the voice to be cloned", param="audio")
    heard = without_hum(x[: _LONGEST_REFERENCE_S * RATE])
    reference = profile(heard, (yield from _listen(heard, tick)))
    manner = clone.manner_for(reference)
    if len(heard) == len(x):  # of a longer recording nobody knows which words were heard
        tempo = yield from _alive(clone.tempo_of(reference, context.transcript, manner), tick)
        manner = clone.at_tempo(manner, tempo)
    return reference, manner


def _listen(x: NDArray[np.floating], tick: Callable[[], None]) -> Generator[Progress, None, Floats]:
    """Track the pitch of a recording, with a sign of life every few seconds of it."""
    blocks: list[Floats] = []
    done = 0
    for block in track_pitch(x):
        tick()
        blocks.append(block)
        done += len(block) * HOP
        yield Progress("preprocessing", _PREPARED * min(done / len(x), 1.0))
    return np.concatenate(blocks)


def _alive(work: clone.Speaking[T], tick: Callable[[], None]) -> Generator[Progress, None, T]:
    """What `work` makes, with a sign of life for every stretch of speech."""
    while True:
        tick()
        try:
            next(work)
        except StopIteration as end:
            return cast(T, end.value)
        yield Progress("preprocessing")


def open_engine(variant: str, options: dict[str, object], report: Callable[[Progress], None]) -> LiteEngine:
    """Open the preview engine: loads espeak-ng, which takes milliseconds. `options` are not used.

    Raises LoadFailed when espeak-ng cannot be loaded.
    """
    report(Progress("loading", 0.0))
    speaker()
    report(Progress("loading", 1.0))
    return LiteEngine()
