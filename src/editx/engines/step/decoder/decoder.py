"""Audio tokens to 24 kHz waveform: the loaded flow and vocoder, and everything one does with them (spec 40, 50, 70)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from editx.cancellation import Cancellation
from editx.engines.step.decoder.bigvgan import EDGE_FRAMES, BigVGAN
from editx.engines.step.decoder.config import BigVGANConfig, DecoderConfig
from editx.engines.step.decoder.flow import Flow
from editx.engines.step.decoder.hift import Hift
from editx.engines.step.decoder.noise import Noise, SeededNoise
from editx.engines.step.decoder.options import DecoderOptions
from editx.engines.step.decoder.precision import Precision
from editx.engines.step.decoder.session import Session
from editx.engines.step.decoder.tokens import (
    MEL_PER_FRAME,
    MEL_RATE,
    SAMPLE_RATE,
    aligned,
    checked,
    dual_frames,
    dual_length,
)
from editx.engines.step.decoder.voice import VoiceCache, VoicePrompt, content_key
from editx.engines.step.decoder.wave_stream import Vocoder, whole
from editx.errors import InvalidRequest

Told = Callable[[float], None]
"""Told the share of the work that is done, 0 to 1."""


class TokenDecoder:
    """The loaded modules. Read-only after loading: any number of threads may use one at once.

    The same tokens, voice, seed and device give the same samples, whatever else runs.
    """

    sample_rate = SAMPLE_RATE

    def __init__(self, flow: Flow, vocoder: Vocoder) -> None:
        self.flow, self.vocoder = flow, vocoder
        self.options = flow.options
        self._voices = VoiceCache(flow.options.cached_voices)

    @classmethod
    def load(
        cls, config: DecoderConfig, flow_state: Mapping[str, Tensor], vocoder_state: Mapping[str, Tensor], *,
        device: torch.device | str, precision: Precision | None = None, options: DecoderOptions | None = None,
    ) -> TokenDecoder:  # fmt: skip
        """Build from the tensors of `flow.pt` and `hift.pt`.

        The tensors are used as they are where device and dtype fit, so the caller gives them away. Raises LoadFailed,
        naming file and keys, when they are not what `config` asks for, and InvalidRequest for options that the vocoder
        cannot stream with.
        """
        place, precision, options = torch.device(device), precision or Precision(), options or DecoderOptions()
        if isinstance(config.vocoder, BigVGANConfig) and options.mel_overlap_frames <= 2 * EDGE_FRAMES:
            raise InvalidRequest(
                f"mel_overlap_frames is {options.mel_overlap_frames}; expected over {2 * EDGE_FRAMES} with BigVGAN, "
                "which loses that many at the edges of a chunk",
                param="mel_overlap_frames",
            )
        flow = Flow.load(config.flow, flow_state, device=place, dtype=precision.flow, options=options)
        vocoder: Vocoder
        if isinstance(config.vocoder, BigVGANConfig):
            vocoder = BigVGAN.load(config.vocoder, vocoder_state, device=place)
        else:
            vocoder = Hift.load(config.vocoder, vocoder_state, device=place, dtype=precision.vocoder, options=options)
        return cls(flow, vocoder)

    @property
    def longest_prompt_s(self) -> float:
        """The longest recording that `voice` takes, silence included, in seconds."""
        return self.options.max_prompt_frames / MEL_RATE

    @property
    def device(self) -> torch.device:
        return self.flow.device

    def voice(self, prompt_tokens: Sequence[int], prompt_mel: Tensor, embedding: Tensor) -> VoicePrompt:
        """Prepare a prompt, or find it among the latest ones.

        `prompt_tokens`: mixed tokens; `prompt_mel`: log-mel (1, T, 80) or (T, 80) at 50 Hz; `embedding`: (1, 192) or
        (192,). Raises InvalidRequest, naming the parameter, for shapes that do not fit, numbers that are not finite,
        tokens that do not exist, or a prompt over `max_prompt_frames`.
        """
        ids = checked(prompt_tokens, "prompt_tokens")
        mel = self._features(prompt_mel, "prompt_mel", self.flow.config.mels, 3)
        speaker = self._features(embedding, "embedding", self.flow.config.speaker_size, 2)
        longest = max(mel.shape[1], MEL_PER_FRAME * dual_length(len(ids)))
        if not ids or not mel.shape[1]:
            raise InvalidRequest("the prompt is empty; expected at least one token and one mel frame", param="prompt")
        if longest > self.options.max_prompt_frames:
            raise InvalidRequest(
                f"the prompt has {longest / MEL_RATE:.1f} s; expected at most {self.longest_prompt_s:.1f} s. "
                "Use a shorter reference recording",
                param="prompt",
            )
        if self.options.rounded_prompt:
            mel, speaker = mel.bfloat16().float(), speaker.bfloat16().float()
        return self._voices.get(content_key(ids, mel, speaker), partial(self._prepare, ids, mel, speaker))

    @torch.inference_mode()
    def offline(
        self, tokens: Sequence[int], voice: VoicePrompt, seed: int = 0, *, noise: Noise | None = None,
        cancellation: Cancellation | None = None, told: Told = lambda share: None,
    ) -> Tensor:  # fmt: skip
        """All tokens at once -> fp32 samples on the CPU, (960 * dual frames,).

        `noise` replaces what `seed` would give. `told` hears the share that is done, 0 to 1. Raises InvalidRequest for
        a token that does not exist, Cancelled soon after the cancellation.
        """
        noise = noise or SeededNoise(seed, self.device, self.flow.config.mels)
        check = (cancellation or Cancellation()).raise_if_cancelled
        mel = self.offline_mel(tokens, voice, noise, cancellation, told)
        check()
        wave = whole(self.vocoder, mel, noise)[0].cpu() if mel.shape[2] else torch.zeros(0)
        with torch.inference_mode(False):
            return wave.clone()

    @torch.inference_mode()
    def offline_mel(
        self, tokens: Sequence[int], voice: VoicePrompt, noise: Noise, cancellation: Cancellation | None = None,
        told: Told = lambda share: None,
    ) -> Tensor:  # fmt: skip
        """All tokens at once -> log-mel (1, 80, 2 * dual frames) on the decoder's device."""
        ids = checked(tokens)
        if not ids:
            return torch.zeros(1, self.flow.config.mels, 0, device=self.device)
        entered = torch.cat([voice.entered_btd, self.flow.enter(dual_frames(ids))], dim=1)
        flow_noise = noise.flow(0, MEL_PER_FRAME * entered.shape[1])
        check, steps = (cancellation or Cancellation()).raise_if_cancelled, itertools.count()

        def before_a_step() -> None:
            check()
            told(next(steps) / (self.options.steps + 1))

        return self.flow.offline(entered, voice.speaker_bc, voice.mel_btc, flow_noise, before_a_step)

    def session(
        self, voice: VoicePrompt, seed: int = 0, *, noise: Noise | None = None, cancellation: Cancellation | None = None
    ) -> Session:
        """A streaming session of its own state. `noise` replaces what `seed` would give."""
        noise = noise or SeededNoise(seed, self.device, self.flow.config.mels)
        return Session(self.flow, self.vocoder, voice, noise, cancellation or Cancellation())

    @torch.inference_mode()
    def _prepare(self, ids: list[int], mel_btc: Tensor, embedding_bc: Tensor) -> VoicePrompt:
        dual = dual_frames(ids)
        return VoicePrompt(
            entered_btd=self.flow.enter(dual),
            mel_btc=aligned(mel_btc, MEL_PER_FRAME * len(dual)).to(self.device),
            speaker_bc=self.flow.speaker(embedding_bc.to(self.device)),
        )

    @staticmethod
    def _features(given: Tensor, name: str, width: int, dims: int) -> Tensor:
        """fp32 on the CPU with a leading axis of 1."""
        value = given.detach().to("cpu", torch.float32)
        value = value[None] if value.dim() == dims - 1 else value
        if value.dim() != dims or value.shape[0] != 1 or value.shape[-1] != width:
            expected = "(1, T, {})" if dims == 3 else "(1, {})"
            raise InvalidRequest(
                f"{name} has the shape {tuple(given.shape)}; expected {expected.format(width)}", param=name
            )
        if not bool(value.isfinite().all()):
            raise InvalidRequest(f"{name} holds numbers that are not finite", param=name)
        return value
