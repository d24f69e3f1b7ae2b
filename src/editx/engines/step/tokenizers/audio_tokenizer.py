"""A recording in, the codes of both tokenizers out; the second time for nothing (spec 30).

Precision: both networks run in float32, since rounding flips codes. No convolution of theirs is one that cuDNN may run
in TF32; `torch.set_float32_matmul_precision` must stay at "highest".
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from editx.audio.clip import Clip
from editx.engines.step.audio.cache import ResultCache
from editx.engines.step.audio.waveform import prepare
from editx.engines.step.text.audio_tokens import PUBLISHED, TokenLayout, interleave
from editx.engines.step.tokenizers.hook import Hook, no_hook
from editx.engines.step.tokenizers.linguistic import LinguisticTokenizer
from editx.engines.step.tokenizers.semantic import SemanticTokenizer
from editx.errors import TooLarge

DEFAULT_LONGEST_S = 30.0
LONGEST_S = 90.0
_LINGUISTIC_SHARE = 0.6  # of the work: 11.8 of 18.9 GFLOP a second
_CODE_BYTES = 40  # a Python integer and its place in a tuple


@dataclass(frozen=True, slots=True)
class Codes:
    """What a recording says and how it sounds.

    `vq02`: linguistic codes, 16.67 a second, 0 to 1023. `vq06`: semantic codes, 25 a second, 0 to 4095. `seconds`: how
    long the recording is once silence at both ends is cut.
    """

    vq02: tuple[int, ...]
    vq06: tuple[int, ...]
    seconds: float

    def ids(self, layout: TokenLayout = PUBLISHED) -> list[int]:
        """Both streams as one sequence of vocabulary ids, 2 + 3 interleaved, leftovers dropped (spec 20 §3.3)."""
        return interleave(self.vq02, self.vq06, layout)


class AudioTokenizer:
    """Both tokenizers over one preparation of the sound. Thread-safe.

    `cache`: results by the recording's digest; `ResultCache(0)` switches it off.
    """

    def __init__(
        self,
        linguistic: LinguisticTokenizer,
        semantic: SemanticTokenizer,
        cache: ResultCache[Codes] | None = None,
    ) -> None:
        self.linguistic = linguistic
        self.semantic = semantic
        self.cache: ResultCache[Codes] = ResultCache() if cache is None else cache

    def encode(self, clip: Clip, *, longest_s: float = DEFAULT_LONGEST_S, on_progress: Hook = no_hook) -> Codes:
        """Codes of `clip`, which may have any sample rate from 1 to 768 kHz.

        `on_progress` is told the share of the work done, several times a second; what it raises ends the work. Raises
        InvalidRequest for less than 0.1 s and for silence, TooLarge for more than `longest_s` seconds (at most 90)
        once silence at both ends is cut.
        """
        key = clip.digest()
        codes = self.cache.get(key)
        if codes is not None:
            _check_length(codes.seconds, longest_s)
            return codes
        on_progress(0.0)
        prepared = prepare(clip)
        _check_length(prepared.seconds, longest_s)
        x_n = torch.from_numpy(prepared.samples)
        rest = 1 - _LINGUISTIC_SHARE
        vq02 = self.linguistic.encode(x_n, lambda done: on_progress(done * _LINGUISTIC_SHARE))
        vq06 = self.semantic.encode(x_n, lambda done: on_progress(_LINGUISTIC_SHARE + done * rest))
        codes = Codes(tuple(vq02.tolist()), tuple(vq06.tolist()), prepared.seconds)
        self.cache.put(key, codes, _CODE_BYTES * (len(codes.vq02) + len(codes.vq06)))
        on_progress(1.0)
        return codes


def _check_length(seconds: float, longest_s: float) -> None:
    limit = min(longest_s, LONGEST_S)
    if seconds > limit:
        raise TooLarge(
            f"the recording is {seconds:.1f} s long without the silence at its ends, and at most {limit:g} s can be "
            "worked on at once; cut it at a pause",
            param="audio",
        )
