"""A small sentencepiece model of the published kind, trained on the spot."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import sentencepiece

from editx.engines.step.text.tokenizer import SentencePieceTokenizer

CORPUS = [
    "system human assistant Make the following audio more happy.",
    "The text corresponding to the audio is: I always feel that someone is following me.",
    "我总觉得，有人在跟着我，我能听到奇怪的脚步声。",
    "Remove any noise from the given audio while preserving the voice content clearly.",
    "Underneath the courtyard is a large underground exhibition room. 1 2 3 4 5 6 7 8 9 0 <>[]_",
]


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `tokenizer.model`: unigram, byte fallback, identity normaliser, spaces kept, dummy prefix, special pieces."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(CORPUS * 20),
        model_writer=out,
        vocab_size=450,
        model_type="unigram",
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        control_symbols=["<|EOT|>", "<|BOT|>"],
        user_defined_symbols=["<user_defined_symbol_22>", *(f"<audio_{n}>" for n in range(20))],
        hard_vocab_limit=False,
        minloglevel=2,
    )
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    path.write_bytes(out.getvalue())
    return path


@pytest.fixture(scope="session")
def tokenizer(model_file: Path) -> SentencePieceTokenizer:
    return SentencePieceTokenizer(model_file)
