"""Mixed tokens, dual frames, and the alignment of the prompt mel (spec 40 §4 and §6).

A mixed list is groups of five, `[a0, a1, b0, b1, b2]`: two codes of the 16.67 Hz linguistic codebook (0..1023) and
three of the 25 Hz semantic one (1024..5119). Dual frames are rows of two embedding ids at 25 Hz.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from editx.errors import InvalidRequest

GROUP = 5
FRAMES_PER_GROUP = 3
MEL_PER_FRAME = 2
SAMPLES_PER_MEL = 480
SAMPLES_PER_FRAME = MEL_PER_FRAME * SAMPLES_PER_MEL
SAMPLE_RATE = 24000
MEL_RATE = SAMPLE_RATE // SAMPLES_PER_MEL
SEMANTIC_OFFSET = 1024
LARGEST = 5119

_log = logging.getLogger(__name__)
_PADDING = (0, 0, 0, SEMANTIC_OFFSET, SEMANTIC_OFFSET, SEMANTIC_OFFSET)


def mixed_length(frames: int) -> int:
    """How many mixed tokens `frames` dual frames take (spec 70 §2)."""
    return frames // FRAMES_PER_GROUP * GROUP


def dual_length(tokens: int) -> int:
    """How many dual frames `tokens` mixed tokens become, the last group padded."""
    return -(-tokens // GROUP) * FRAMES_PER_GROUP


def checked(tokens: Sequence[int], param: str = "tokens") -> list[int]:
    """The tokens as plain integers, checked on the host in both modes: an id past the table would poison a GPU process.

    Negative ones (text ids the language model let slip in) are reported in the log; `dual_frames` clamps them.
    Raises InvalidRequest, naming `param`, for one that no row of the embedding has.
    """
    ids = [int(token) for token in tokens]
    largest = max(ids, default=0)
    if largest > LARGEST:
        raise InvalidRequest(f"audio token {largest} at position {ids.index(largest)} is over {LARGEST}", param=param)
    if negative := sum(token < 0 for token in ids):
        _log.warning("%d of %d audio tokens were text ids and are decoded as code 0", negative, len(ids))
    return ids


def dual_frames(mixed: Sequence[int]) -> Tensor:
    """Mixed tokens as dual frames: int64 (T, 2), ids 0..5120, T = 3 * ceil(len / 5). An incomplete group is padded."""
    ids = list(mixed)
    if missing := -len(ids) % GROUP:
        ids += _PADDING[-missing:]
    groups = torch.tensor(ids, dtype=torch.int64).view(-1, GROUP)
    pad = torch.full((len(groups), 1), SEMANTIC_OFFSET, dtype=torch.int64)
    linguistic = torch.cat([groups[:, :2], pad], dim=1)
    dual = torch.stack([linguistic.reshape(-1), (groups[:, 2:] + 1).reshape(-1)], dim=1)
    return dual.clamp_(0, LARGEST + 1)


def nearest_index(length: int, target: int) -> Tensor:
    """Which of `length` frames each of `target` frames copies: int64 (target,). All in fp32, as the reference does."""
    scale = torch.tensor(length, dtype=torch.float32) / torch.tensor(target, dtype=torch.float32)
    index = torch.floor(torch.arange(target, dtype=torch.float32) * scale).to(torch.int64)
    return index.clamp_(max=length - 1)


def aligned(mel_btc: Tensor, target: int) -> Tensor:
    """The mel (B, T, 80) resampled along time to `target` frames by nearest neighbour."""
    return mel_btc[:, nearest_index(mel_btc.shape[1], target).to(mel_btc.device)]
