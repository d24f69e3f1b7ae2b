"""vq06, the semantic tokenizer: 25 codes a second, 4096 entries (spec 30 §6)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from editx.engines.step.audio.whisper_mel import whisper_log_mel
from editx.engines.step.tokenizers.hook import Hook, no_hook
from editx.engines.step.tokenizers.packing import pack
from editx.engines.step.tokenizers.semantic_network import SemanticNetwork, code_count

PART_SAMPLES = 480_000
SHORTEST_PART_SAMPLES = 480
_FRAMES_AT_ONCE = 3_000
"""Of log-mel, padding included, in one batch: one part of 30 s."""


class SemanticTokenizer:
    """Turns sound into semantic codes. Holds no state between calls, so any number may be under way at once.

    `network` in float32 on its device. `packed`: give up the network's matrices for packed copies, see `packing.py`.
    """

    def __init__(self, network: SemanticNetwork, *, packed: bool = True) -> None:
        self.network = network
        self.device = next(network.parameters()).device
        if packed:
            pack(network)

    def encode(self, x_n: torch.Tensor, on_progress: Hook = no_hook) -> torch.Tensor:
        """Codes of one prepared clip: float32 (n,) at 16 kHz to int64 (codes,), on the device."""
        return self.encode_batch([x_n], on_progress)[0]

    @torch.no_grad()
    def encode_batch(self, waves: Sequence[torch.Tensor], on_progress: Hook = no_hook) -> list[torch.Tensor]:
        """Codes of several clips. Each is cut every 30 s, and its parts are encoded as if they were clips of their own.

        Parts of similar length run together, as many as fill 30 s.
        """
        cuts = [parts(x_n) for x_n in waves]
        mels = [whisper_log_mel(part.to(self.device), self.network.config.n_mels) for cut in cuts for part in cut]
        codes: list[torch.Tensor] = [torch.empty(0)] * len(mels)
        done, total = 0, sum(mel.shape[1] for mel in mels)
        for batch in _batches([mel.shape[1] for mel in mels]):
            on_progress(done / total)
            for index, hidden_td in zip(batch, self.hidden([mels[index] for index in batch]), strict=True):
                codes[index] = self.network.quantizer(hidden_td)
                done += mels[index].shape[1]
        nothing = torch.zeros(0, dtype=torch.int64, device=self.device)
        rest = iter(codes)
        return [torch.cat([nothing, *(next(rest) for _ in cut)]) for cut in cuts]

    @torch.no_grad()
    def hidden(self, mels: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Encoder output, not normalised, of parts given as log-mel (mels, frames): (code_count(frames), d) each."""
        frames = [mel.shape[1] for mel in mels]
        longest = max(frames)
        mel_bmt = torch.stack([F.pad(mel, (0, longest - mel.shape[1])) for mel in mels])
        frames_b = None if min(frames) == longest else torch.tensor(frames, device=self.device)
        hidden_btd = self.network.encoder(mel_bmt, frames_b)
        return [rows[: code_count(count)] for rows, count in zip(hidden_btd, frames, strict=True)]


def parts(x_n: torch.Tensor) -> list[torch.Tensor]:
    """Cut at exact multiples of 30 s; what is left behind the last cut counts from 480 samples on (spec 30 §6.3)."""
    return [part for part in x_n.split(PART_SAMPLES) if len(part) >= SHORTEST_PART_SAMPLES]


def _batches(frames: Sequence[int]) -> list[list[int]]:
    """Indices grouped, longest first, so that a group padded to its longest stays within one part of 30 s."""
    batches: list[list[int]] = []
    for index in sorted(range(len(frames)), key=lambda index: -frames[index]):
        if batches and frames[batches[-1][0]] * (len(batches[-1]) + 1) <= _FRAMES_AT_ONCE:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
