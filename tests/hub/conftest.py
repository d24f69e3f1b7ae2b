"""A hub with two small repositories in the published shape."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.hub.hub import Hub, running

EDITX, TOKENIZER = "stepfun-ai/Step-Audio-EditX", "stepfun-ai/Step-Audio-Tokenizer"


def content(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub({
        EDITX: {
            "config.json": b"{}",
            "model-00001.safetensors": content(300_000, 1),
            "tokenizer.model": content(5_000, 2),
            "CosyVoice-300M-25Hz/flow.pt": content(50_000, 3),
            "CosyVoice-300M-25Hz/speech_tokenizer_v1.onnx": content(9_000, 4),
            "a name with spaces & more.json": b"[1]",
            "empty": b"",
            "modeling_step1.py": b"import os",
            "lib/liboptimus_ths-torch.so": content(4_000, 5),
            ".gitattributes": b"x",
        },
        TOKENIZER: {
            "linguistic_tokenizer.npy": content(20_000, 6),
            "speech_tokenizer_v1.onnx": content(80_000, 7),
            "dengcunqin/F/model.pt": content(60_000, 8),
            "dengcunqin/F/tokens.txt": b"words",
        },
    })  # fmt: skip
    with running(hub):
        yield hub
