"""Whether a recording will make a good voice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from editx.audio.clip import Clip
from editx.errors import InvalidRequest

SHORTEST_SECONDS = 0.1
MIN_SECONDS = 3.0
MAX_SECONDS = 30.0
_SILENT_PEAK = 1e-3
_CLIPPED_LEVEL = 0.995
_CLIPPED_SHARE = 1e-3
_QUIET_DB = -45.0
_FRAME_SECONDS = 0.02
_BELOW_SPEECH_DB = -35.0
_SILENCE_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that could make a recording clone badly.

    `kind`: short, long (`value` in seconds), clipped, silence (a share of it, 0 to 1) or quiet (dBFS). As a string it
    is a sentence.
    """

    kind: str
    value: float

    @property
    def written(self) -> str:
        """The value as it stands in a sentence."""
        scale, decimals = _WRITTEN[self.kind]
        return f"{scale * self.value:.{decimals}f}"

    def __str__(self) -> str:
        return _SENTENCES[self.kind].format(self.written)


_WRITTEN = {"short": (1, 1), "long": (1, 1), "clipped": (100, 1), "quiet": (1, 0), "silence": (100, 0)}
_SENTENCES = {
    "short": f"it is {{}} s long; {MIN_SECONDS:g} to {MAX_SECONDS:g} s of speech clone better",
    "long": f"it is {{}} s long; {MIN_SECONDS:g} to {MAX_SECONDS:g} s are enough, and faster",
    "clipped": "{} % of it is clipped; record it at a lower level",
    "quiet": "it is very quiet, {} dBFS; record it at a higher level",
    "silence": "{} % of it is silence; cut it to the speech",
}
FINDINGS = tuple(_SENTENCES)
"""Every kind there is."""


def inspect(clip: Clip) -> list[str]:
    """What could make `clip` clone badly, a sentence each; empty when nothing was found."""
    return [str(finding) for finding in findings(clip)]


def findings(clip: Clip) -> list[Finding]:
    """What could make `clip` clone badly; empty when nothing was found."""
    found = []
    if clip.seconds < MIN_SECONDS:
        found.append(Finding("short", clip.seconds))
    if clip.seconds > MAX_SECONDS:
        found.append(Finding("long", clip.seconds))
    levels = _levels_db(clip)
    if not len(levels):
        return found
    if (clipped := _clipped_share(clip)) > _CLIPPED_SHARE:
        found.append(Finding("clipped", clipped))
    if (loud := float(np.percentile(levels, 90))) < _QUIET_DB:
        found.append(Finding("quiet", loud))
    if (silence := float(np.mean(levels < loud + _BELOW_SPEECH_DB))) > _SILENCE_SHARE:
        found.append(Finding("silence", silence))
    return found


def refuse_silence(clip: Clip, *, param: str = "file") -> None:
    """Raises InvalidRequest for a clip in which nothing can be heard, or that is shorter than any engine takes."""
    peak = float(np.max(np.abs(clip.samples))) if len(clip.samples) else 0.0
    if peak < _SILENT_PEAK:
        raise InvalidRequest(
            f"the recording is silent: its peak is {peak:.5f} of full scale; a voice needs {MIN_SECONDS:g} to "
            f"{MAX_SECONDS:g} s of clear speech",
            param=param,
        )
    if clip.seconds < SHORTEST_SECONDS:
        raise InvalidRequest(
            f"the recording is {clip.seconds:.3f} s long; give at least {SHORTEST_SECONDS} s, better "
            f"{MIN_SECONDS:g} to {MAX_SECONDS:g} s",
            param=param,
        )


def _levels_db(clip: Clip) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The level of each 20 ms frame in dBFS, shape (frames,)."""
    size = max(1, round(_FRAME_SECONDS * clip.rate))
    frames = clip.samples[: len(clip.samples) // size * size].astype(np.float64).reshape(-1, size)
    levels: np.ndarray[tuple[int], np.dtype[np.float64]] = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-12)
    return levels


def _clipped_share(clip: Clip) -> float:
    """The share of samples that stay at full scale with a neighbour; a lone peak there is no clipping."""
    high = np.abs(clip.samples) >= _CLIPPED_LEVEL
    return float(np.mean(high[1:] & high[:-1])) if len(high) > 1 else 0.0
