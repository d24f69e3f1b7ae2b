"""What the flow decoder is told of a voice, from its recording; the second time for nothing (spec 60)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from editx.audio.clip import Clip
from editx.engines.step.audio.cache import ResultCache
from editx.engines.step.audio.fbank import fbank
from editx.engines.step.audio.resample import resample
from editx.engines.step.audio.waveform import capped
from editx.engines.step.decoder.config import MelConfig
from editx.engines.step.frontend.campplus import CamPlus
from editx.engines.step.frontend.mel import prompt_mel

SPEAKER_RATE = 16_000


@dataclass(frozen=True, slots=True, eq=False)
class SpeakerPrompt:
    """One voice, on the CPU.

    `mel_btf` float32 (1, frames, 80), natural log, 50 frames a second; `embedding_bc` float32 (1, 192), raw.

    Results are shared between callers, who must not change them.
    """

    mel_btf: torch.Tensor
    embedding_bc: torch.Tensor

    @property
    def nbytes(self) -> int:
        return self.mel_btf.nbytes + self.embedding_bc.nbytes


class SpeakerFrontend:
    """Prompt mel and speaker embedding of recordings. Thread-safe.

    Both come from the whole recording, silence included (spec 60 §1.3). `network` in float32 on its device. `cache`:
    results by the recording's digest; `ResultCache(0)` switches it off.
    """

    def __init__(self, network: CamPlus, mel: MelConfig, cache: ResultCache[SpeakerPrompt] | None = None) -> None:
        self.network = network
        self.device = next(network.parameters()).device
        self.mel = mel
        self.cache: ResultCache[SpeakerPrompt] = ResultCache() if cache is None else cache

    def describe(self, clip: Clip) -> SpeakerPrompt:
        """The voice in `clip`, which may have any sample rate from 1 to 768 kHz.

        Raises InvalidRequest for less than 0.1 s and for silence, TooLarge for more than 10 minutes.
        """
        key = clip.digest()
        prompt = self.cache.get(key)
        if prompt is None:
            x_n = capped(clip)
            prompt = SpeakerPrompt(
                prompt_mel(resample(x_n, clip.rate, self.mel.sampling_rate).to(self.device), self.mel).cpu(),
                self.embed(resample(x_n, clip.rate, SPEAKER_RATE)).cpu(),
            )
            self.cache.put(key, prompt, prompt.nbytes)
        return prompt

    @torch.no_grad()
    def embed(self, x_n: torch.Tensor) -> torch.Tensor:
        """Speaker embedding of float32 (n,) at 16 kHz, ±1: (1, 192), on the device."""
        fbank_tf = fbank(x_n.to(self.device), "povey")
        embedding_bc: torch.Tensor = self.network((fbank_tf - fbank_tf.mean(0))[None])
        return embedding_bc
