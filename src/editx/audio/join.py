"""Puts streamed segments of speech one after the other, without clicks."""

from __future__ import annotations

import numpy as np

from editx.audio.clip import Clip, Samples

_EMPTY = np.zeros(0, np.float32)


class Joiner:
    """Joins segments that arrive in chunks at `rate` Hz.

    Where two meet, the one fades out, a pause follows and the next fades in. The very beginning and the very end stay
    as they are, and so does a single segment.
    """

    def __init__(self, rate: int, *, pause_seconds: float = 0.2, fade_seconds: float = 0.01) -> None:
        self._rate = rate
        self._pause = np.zeros(round(pause_seconds * rate), np.float32)
        fade = max(1, round(fade_seconds * rate))
        self._fade_in = np.sin(np.linspace(0.0, np.pi / 2, fade, endpoint=False, dtype=np.float32)) ** 2
        self._faded = fade
        """How many samples of the current segment's beginning have been faded in; all of them in the first segment."""
        self._held = _EMPTY
        self._between = False

    def write(self, clip: Clip) -> Clip:
        """Add a chunk of the current segment; returns what is certain by now, all but the last few milliseconds."""
        if clip.rate != self._rate:
            raise ValueError(f"this joiner takes clips at {self._rate} Hz, not {clip.rate} Hz")
        samples = clip.samples
        if not len(samples):
            return clip
        lead = _EMPTY
        if self._between:
            self._between = False
            lead = self._pause
        fade = len(self._fade_in)
        if self._faded < fade:
            ramp = self._fade_in[self._faded : self._faded + len(samples)]
            samples = np.concatenate([samples[: len(ramp)] * ramp, samples[len(ramp) :]])
            self._faded += len(ramp)
        waiting = np.concatenate([self._held, samples])
        certain = max(0, len(waiting) - fade)
        self._held = waiting[certain:]
        return Clip(np.concatenate([lead, waiting[:certain]]), self._rate)

    def next(self) -> Clip:
        """The current segment is complete and another follows; returns its faded end."""
        end = self._fade_out(self._held)
        if len(end):
            self._between = True
            self._faded = 0
        self._held = _EMPTY
        return Clip(end, self._rate)

    def finish(self) -> Clip:
        """The end of the last segment. The joiner is used up afterwards."""
        end, self._held = self._held, _EMPTY
        return Clip(end, self._rate)

    def _fade_out(self, samples: Samples) -> Samples:
        return samples * self._fade_in[: len(samples)][::-1] if len(samples) else samples
