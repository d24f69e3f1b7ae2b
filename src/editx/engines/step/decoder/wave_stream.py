"""Mel to waveform, whole or chunk by chunk with overlap and cross-fade, for either vocoder (spec 70 §1 and §4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from editx.engines.step.decoder.bigvgan import EDGE_FRAMES, BigVGAN
from editx.engines.step.decoder.hift import Hift
from editx.engines.step.decoder.noise import Noise

Vocoder = Hift | BigVGAN


def whole(vocoder: Vocoder, mel_bct: Tensor, noise: Noise) -> Tensor:
    """mel (1, 80, T) -> waveform (1, 480 T), without fades."""
    if isinstance(vocoder, BigVGAN):
        wave: Tensor = vocoder(F.pad(mel_bct, (EDGE_FRAMES, EDGE_FRAMES), mode="reflect"))
        return wave
    wave, _ = vocoder(mel_bct, noise.vocoder(vocoder.hop * mel_bct.shape[2], vocoder.m_source.harmonics))
    return wave


class WaveStream:
    """One session's vocoder: consecutive chunks of mel become consecutive stretches of waveform."""

    def __init__(self, vocoder: Vocoder, noise: Noise, overlap_frames: int) -> None:
        self._vocoder, self._noise, self._overlap_frames = vocoder, noise, overlap_frames
        shared = overlap_frames - (2 * EDGE_FRAMES if isinstance(vocoder, BigVGAN) else 0)
        self._overlap = shared * vocoder.hop
        self._fade = torch.hamming_window(2 * self._overlap, periodic=False, dtype=torch.float64).float()
        self._mel: Tensor | None = None
        self._source: Tensor | None = None
        self._tail: Tensor | None = None

    def render(self, mel_bct: Tensor, *, last: bool) -> Tensor:
        """The next mel frames (1, 80, n) -> the samples that are final now, (samples,).

        All but the last chunk hold back the stretch that the next one fades into. The fade's halves add to 1.08, not 1,
        and nothing is clipped afterwards, as in the reference.
        """
        mel = mel_bct if self._mel is None else torch.cat([self._mel, mel_bct], dim=2)
        wave = self._bigvgan(self._vocoder, mel, last) if isinstance(self._vocoder, BigVGAN) else self._hift(mel)
        if self._tail is not None:
            size = self._overlap
            fade = self._fade.to(wave.device)
            wave[:, :size] = wave[:, :size] * fade[:size] + self._tail * fade[size:]
        self._mel = mel[:, :, -self._overlap_frames :].clone()
        self._tail = wave[:, -self._overlap :].clone()
        return wave[0] if last else wave[0, : -self._overlap]

    def _hift(self, mel_bct: Tensor) -> Tensor:
        vocoder = self._vocoder
        assert isinstance(vocoder, Hift)
        noise = self._noise.vocoder(vocoder.hop * mel_bct.shape[2], vocoder.m_source.harmonics)
        wave, source = vocoder(mel_bct, noise, self._source)
        self._source = source[:, :, -self._overlap :].clone()
        return wave

    def _bigvgan(self, vocoder: BigVGAN, mel_bct: Tensor, last: bool) -> Tensor:
        edges = (EDGE_FRAMES if self._mel is None else 0, EDGE_FRAMES if last else 0)
        wave: Tensor = vocoder(F.pad(mel_bct, edges, mode="reflect") if any(edges) else mel_bct)
        return wave
