"""Audio tokens to waveform: flow decoder, vocoders, and streaming sessions."""

from editx.engines.step.decoder.config import DecoderConfig, MelConfig
from editx.engines.step.decoder.decoder import TokenDecoder
from editx.engines.step.decoder.noise import Noise, SeededNoise
from editx.engines.step.decoder.options import DecoderOptions
from editx.engines.step.decoder.precision import Precision
from editx.engines.step.decoder.session import Session
from editx.engines.step.decoder.voice import VoicePrompt

__all__ = [
    "DecoderConfig", "DecoderOptions", "MelConfig", "Noise", "Precision", "SeededNoise", "Session", "TokenDecoder",
    "VoicePrompt",
]  # fmt: skip
