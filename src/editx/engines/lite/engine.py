"""The preview engine: real speech on a CPU, with no weights.

espeak-ng speaks, the WORLD vocoder bends voices, and everything else is plain signal processing. It shows what every
option does, in milliseconds and on any machine; it is no substitute for the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from editx.audio.clip import Clip, Samples
from editx.engines.base import Context, Memory, Progress
from editx.engines.lite import clone
from editx.engines.lite.denoise import denoise
from editx.engines.lite.espeak import speaker
from editx.engines.lite.options import change_for
from editx.engines.lite.paralinguistic import insert_sounds
from editx.engines.lite.plan import plan_change
from editx.engines.lite.profile import profile
from editx.engines.lite.render import render
from editx.engines.lite.sound import RATE, Floats, at_engine_rate, is_silent
from editx.engines.lite.vad import remove_silence
from editx.errors import InvalidRequest
from editx.recipe import Clone, Denoise, Paralinguistic, Step, Vad

_CHUNK = RATE // 2
_LONGEST_REFERENCE_S = 60
_PREPARED = 0.1  # share of the work after preprocessing

Pieces = Iterator[tuple[Floats, float]]


class LiteEngine:
    """Applies steps with espeak-ng and WORLD. Holds nothing between runs, so any number may be under way at once."""

    sample_rate: int = RATE

    def run(self, step: Step, clip: Clip, context: Context) -> Iterator[Progress | Clip]:
        """Apply `step` to `clip`; yields progress and chunks of at most 0.5 s at 24 kHz. See `engines.base.Engine`.

        Raises InvalidRequest for an empty clip, for a silent clip where the step needs a voice, and for a text without
        anything to speak. A silent clip comes back as it is from steps that would only change its voice.
        """
        if not len(clip.samples):
            raise InvalidRequest("the recording is empty; send one with speech in it", param="audio")
        cancellation = context.cancellation
        cancellation.raise_if_cancelled()
        yield Progress("preprocessing", 0.0)
        x = at_engine_rate(clip)
        sent = 0
        for piece, fraction in self._pieces(step, x, context):
            cancellation.raise_if_cancelled()
            yield Progress("generation", _PREPARED + (1.0 - _PREPARED) * fraction, sent / RATE)
            for start in range(0, len(piece), _CHUNK):
                chunk = np.ascontiguousarray(piece[start : start + _CHUNK], dtype=np.float32)
                sent += len(chunk)
                yield Clip(chunk, RATE)
                cancellation.raise_if_cancelled()
        yield Progress("decoding", 1.0, sent / RATE)

    def memory(self) -> Memory:
        """Nothing: this engine uses no GPU."""
        return Memory()

    def close(self) -> None:
        """Nothing to give back; espeak-ng belongs to the process."""

    def _pieces(self, step: Step, x: Samples, context: Context) -> Pieces:
        """The result's samples in order, each piece with the share of the work that is done."""
        tick = context.cancellation.raise_if_cancelled
        rng = np.random.default_rng(context.seed)
        if isinstance(step, Clone):
            return self._clone(step, x, context, rng)
        if isinstance(step, Vad):
            return remove_silence(x)
        if isinstance(step, Denoise):
            return denoise(x)
        if isinstance(step, Paralinguistic):
            speech = x[: _LONGEST_REFERENCE_S * RATE]
            return insert_sounds(x, step.text, profile(speech, clone.whole(speech, tick)), rng)
        if is_silent(x):
            return iter([(np.asarray(x, dtype=np.float64), 1.0)])
        return render(x, plan_change(x, clone.whole(x, tick), change_for(step), rng))

    def _clone(self, step: Clone, x: Samples, context: Context, rng: np.random.Generator) -> Pieces:
        tick = context.cancellation.raise_if_cancelled
        if is_silent(x):
            raise InvalidRequest(
                "the reference recording is silent; send one with the voice to be cloned", param="audio"
            )
        heard = x[: _LONGEST_REFERENCE_S * RATE]
        reference = profile(heard, clone.whole(heard, tick))
        manner = clone.manner_for(reference)
        if len(heard) == len(x):  # of a longer recording nobody knows which words were heard
            manner = clone.at_tempo(manner, clone.tempo_of(reference, context.transcript, manner, tick))
        samples = clone.speak(step.text, manner, tick)
        spoken = clone.Spoken(samples, clone.whole(samples, tick))
        return render(samples, clone.plan_clone(spoken, reference, rng))


def open_engine(variant: str, options: dict[str, object], report: Callable[[Progress], None]) -> LiteEngine:
    """Open the preview engine: loads espeak-ng, which takes milliseconds. `options` are not used.

    Raises LoadFailed when espeak-ng cannot be loaded.
    """
    report(Progress("loading", 0.0))
    speaker()
    report(Progress("loading", 1.0))
    return LiteEngine()
