"""The name a clone prompt gives its speaker (spec 20 §3.2)."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import ArrayLike

DEFAULT_SPEAKER = "debug"
_EDGE = 1000


def speaker_id(prompt_text: str, wave: ArrayLike) -> str:
    """The first release's name for a speaker: `clone_` and 16 hex digits of a hash of the words and the sound.

    `wave`: the decoded recording before any processing, (samples,) or (channels, samples), as float32. Of more than
    2000 values only the first and the last 1000 count.
    """
    samples = np.ascontiguousarray(wave, "<f4").reshape(-1)
    if samples.size > 2 * _EDGE:
        samples = np.concatenate([samples[:_EDGE], samples[-_EDGE:]])
    return "clone_" + hashlib.sha256(prompt_text.encode() + samples.tobytes()).hexdigest()[:16]
