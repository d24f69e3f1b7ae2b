"""Changes the sample rate of a clip, or of a stream, in high quality."""

from __future__ import annotations

import numpy as np

from editx.audio.clip import Clip, Samples


def resample(clip: Clip, rate: int) -> Clip:
    """The same sound at `rate` Hz; the clip itself when it has that rate already."""
    import soxr

    if clip.rate == rate:
        return clip
    if not len(clip.samples):
        return Clip(clip.samples, rate)
    return Clip(np.ascontiguousarray(soxr.resample(clip.samples, clip.rate, rate, "HQ"), np.float32), rate)


class Resampler:
    """Resamples a stream from `from_rate` to `to_rate` Hz, piece by piece, as `resample` would the whole."""

    def __init__(self, from_rate: int, to_rate: int) -> None:
        import soxr

        self._stream = (
            None
            if from_rate == to_rate
            else soxr.ResampleStream(float(from_rate), float(to_rate), 1, dtype="float32", quality="HQ")
        )

    def write(self, samples: Samples) -> Samples:
        """What can be said of the result so far; float32, shape (m,)."""
        return samples if self._stream is None else self._chunk(samples, last=False)

    def finish(self) -> Samples:
        """The rest of the result. The resampler is used up afterwards."""
        empty = np.zeros(0, np.float32)
        return empty if self._stream is None else self._chunk(empty, last=True)

    def _chunk(self, samples: Samples, *, last: bool) -> Samples:
        assert self._stream is not None
        return np.ascontiguousarray(self._stream.resample_chunk(samples, last=last), np.float32)
