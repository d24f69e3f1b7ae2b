"""What a voice is to the decoder: everything of it that does not depend on the words to be said (spec 70 §7)."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class VoicePrompt:
    """The exact per-voice parts, on the decoder's device in fp32.

    `entered_btd` (1, P, D): the prompt's dual frames embedded and through the encoder's first step. `mel_btc`
    (1, 2P, 80): the prompt mel aligned to them. `speaker_bc` (1, 80): the projected speaker embedding.
    """

    entered_btd: Tensor
    mel_btc: Tensor
    speaker_bc: Tensor

    @property
    def frames(self) -> int:
        """Dual frames of the prompt."""
        return self.entered_btd.shape[1]


class VoiceCache:
    """The latest `limit` prepared voices, the least recently used dropped first. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._voices: OrderedDict[bytes, VoicePrompt] = OrderedDict()

    def __len__(self) -> int:
        return len(self._voices)

    def get(self, key: bytes, prepare: Callable[[], VoicePrompt]) -> VoicePrompt:
        """The voice under `key`, prepared now if it is not there. Two threads may both prepare; the results equal."""
        with self._lock:
            if key in self._voices:
                self._voices.move_to_end(key)
                return self._voices[key]
        voice = prepare()
        with self._lock:
            self._voices[key] = voice
            self._voices.move_to_end(key)
            while len(self._voices) > self._limit:
                self._voices.popitem(last=False)
        return voice

    def clear(self) -> None:
        with self._lock:
            self._voices.clear()


def content_key(tokens: list[int], mel_btc: Tensor, embedding_bc: Tensor) -> bytes:
    """A name for exactly this prompt: sha256 over its numbers."""
    digest = hashlib.sha256(f"{len(tokens)} {tuple(mel_btc.shape)}".encode())
    digest.update(torch.tensor(tokens, dtype=torch.int64).numpy().tobytes())
    digest.update(mel_btc.contiguous().numpy().tobytes())
    digest.update(embedding_bc.contiguous().numpy().tobytes())
    return digest.digest()
