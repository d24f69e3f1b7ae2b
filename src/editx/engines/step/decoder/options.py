"""Switches of the decoder: every optimisation can be turned off, and the result stays the same but for rounding."""

from __future__ import annotations

from dataclasses import dataclass

from editx.engines.step.decoder.tokens import FRAMES_PER_GROUP, MEL_PER_FRAME, dual_length, mixed_length
from editx.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class DecoderOptions:
    """How the decoder runs. The first group changes only speed and memory; the second changes the result.

    `modulation_table`: the adaLN vectors of the fixed time steps are computed once at load, and their weights dropped.
    `split_in_proj`: the share of mu, speaker and prompt mel in `in_proj` is computed once per solve, not per step.
    `batched_guidance`: the conditional and unconditional rows run as one batch of two.
    `skip_unused`: the last block of the last step computes only the frames that are kept.
    `fused_qkv`: query, key and value are one matrix product.
    `packed_weights`: on CPU in fp32, weights are kept in the blocked layout oneDNN computes with.
    `cached_positions`: the projected relative positions are kept between calls.
    `fused_snake`: the snake activation runs in place, a cache's worth at a time.
    `half_rate_convs`: on CPU, wide convolutions of the vocoder run on even and odd samples (`half_rate`).

    `steps`: Euler steps of the solve. `chunk_frames`: dual frames of the first, second and all later streaming chunks;
    a chunk is made of whole groups of tokens, so that their number is rounded down to a multiple of 3 (spec 70 §2).
    `context_frames`: generated mel frames a streaming chunk sees besides the prompt. `latest_context`: keep the latest
    of them where chunks do not tile, not the ones the reference keeps. `rounded_prompt`: round prompt mel and speaker
    embedding to bfloat16 as the reference application does (spec 40 §11). `mel_overlap_frames`: mel frames that
    consecutive streaming chunks both render, of which BigVGAN loses 6 at the edges. `max_prompt_frames`: the longest
    prompt accepted, in 50 Hz mel frames. `cached_voices`: how many voices' prepared prompts are kept.
    """

    modulation_table: bool = True
    split_in_proj: bool = True
    batched_guidance: bool = True
    skip_unused: bool = True
    fused_qkv: bool = True
    packed_weights: bool = True
    cached_positions: bool = True
    fused_snake: bool = True
    half_rate_convs: bool = True

    steps: int = 10
    chunk_frames: tuple[int, ...] = (15, 24, 48)
    context_frames: int = 96
    latest_context: bool = False
    rounded_prompt: bool = False
    mel_overlap_frames: int = 8
    max_prompt_frames: int = 3000
    cached_voices: int = 32

    def __post_init__(self) -> None:
        """Raises InvalidRequest for values no session could run with."""
        if self.steps < 1:
            raise InvalidRequest(f"steps is {self.steps}; expected at least 1", param="steps")
        if not self.chunk_frames or min(self.chunk_frames) < FRAMES_PER_GROUP:
            raise InvalidRequest(
                f"chunk_frames is {self.chunk_frames}; expected numbers from {FRAMES_PER_GROUP} on, at least one",
                param="chunk_frames",
            )
        smallest = MEL_PER_FRAME * dual_length(mixed_length(min(self.chunk_frames)))
        if not 0 < self.mel_overlap_frames <= smallest:
            raise InvalidRequest(
                f"mel_overlap_frames is {self.mel_overlap_frames}; expected over 0 and no more than the "
                f"{smallest} mel frames of the smallest chunk",
                param="mel_overlap_frames",
            )
        if self.cached_voices < 0 or self.max_prompt_frames < 1 or self.context_frames < 0:
            raise InvalidRequest("cached_voices, max_prompt_frames and context_frames may not be negative")


SPEED_SWITCHES = (
    "modulation_table", "split_in_proj", "batched_guidance", "skip_unused", "fused_qkv", "packed_weights",
    "cached_positions", "fused_snake", "half_rate_convs",
)  # fmt: skip
"""The options that change speed only."""


def plain() -> DecoderOptions:
    """Every optimisation off."""
    return DecoderOptions(**dict.fromkeys(SPEED_SWITCHES, False))  # type: ignore[arg-type]
