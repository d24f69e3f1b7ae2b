"""The tokenizer that the stub ids of `prompts.json` were made with: a byte is an id."""

from __future__ import annotations


class ByteTokenizer:
    """Every UTF-8 byte b becomes id 256 + b; no prefix and no id at the beginning."""

    def encode(self, text: str) -> list[int]:
        return [256 + byte for byte in text.encode()]

    def encode_section(self, text: str) -> list[int]:
        return self.encode(text)
