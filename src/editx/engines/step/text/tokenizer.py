"""The text tokenizer: sentencepiece on the checkpoint's `tokenizer.model`; no text makes special ids (spec 20 §1)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol

import sentencepiece

from editx.engines.step.text.audio_tokens import PUBLISHED
from editx.engines.step.text.pieces import user_defined
from editx.errors import InvalidRequest, LoadFailed

BOS, EOT, BOT = 1, 3, 4
"""`<s>`, `<|EOT|>` and `<|BOT|>`."""
NUMBERED = {
    BOS: "<s>", 2: "</s>", EOT: "<|EOT|>", BOT: "<|BOT|>", 68: "<0x00>", 323: "<0xFF>", 324: "▁",
    2323: "▁system", 4623: "▁human", 15886: "▁assistant",
    PUBLISHED.audio_base: "<audio_0>", PUBLISHED.audio_end - 1: "<audio_5119>",
}  # fmt: skip
"""Pieces whose numbers the model was trained with."""
_REMEDY = "fetch tokenizer.model of the published checkpoint"


class TextTokenizer(Protocol):
    """Turns text into ids. Special and audio ids never come out of it, whatever the text says."""

    def encode(self, text: str) -> list[int]:
        """Ids of text that follows a special token or an audio token: without the dummy prefix. E(x) of the spec."""
        ...

    def encode_section(self, text: str) -> list[int]:
        """Ids of text encoded on its own: id 1, then with the dummy prefix. P(x) of the spec, for legacy framing."""
        ...


class SentencePieceTokenizer:
    """`TextTokenizer` on a sentencepiece model file."""

    def __init__(self, model: Path) -> None:
        """Read `model`. Raises LoadFailed for a file that is missing, damaged or of another kind of tokenizer."""
        self.path = model
        try:
            proto = model.read_bytes()
        except OSError as error:
            raise LoadFailed(f"cannot read the text tokenizer {model}: {error.strerror}; fetch it again") from error
        self._pieces = sentencepiece.SentencePieceProcessor()
        try:
            loaded = bool(proto) and self._pieces.LoadFromSerializedProto(proto)
        except RuntimeError:
            loaded = False
        if not loaded:
            raise LoadFailed(f"{model} is damaged: it is no sentencepiece model; fetch it again")
        self.vocab_size: int = self._pieces.GetPieceSize()
        # A newline is never inside a piece, so text behind one is encoded as if nothing stood before it.
        self._lead: list[int] = self._pieces.EncodeAsIds("\n")
        if len(self._lead) != 2 or not self._pieces.IsByte(self._lead[1]):
            raise LoadFailed(
                f"{model} is not the model's tokenizer: a newline should be a lone space and a byte, and is "
                f"{self._lead}; {_REMEDY}"
            )
        spelled = user_defined(proto)
        self._reserved = frozenset(spelled)
        others = [re.escape(piece) for piece in spelled.values() if not re.fullmatch(r"<audio_\d+>", piece)]
        self._hidden = re.compile("|".join([r"<audio_\d+>", *others]))

    def check(self, vocab_size: int) -> None:
        """Raises LoadFailed unless it has `vocab_size` pieces, and those that EditX names by number in their places."""
        if self.vocab_size != vocab_size:
            raise LoadFailed(
                f"{self.path} has {self.vocab_size} pieces, and config.json beside it says {vocab_size}; {_REMEDY}"
            )
        for i, piece in NUMBERED.items():
            found = self._pieces.IdToPiece(i) if i < vocab_size else None
            if found != piece:
                raise LoadFailed(f"{self.path} has {found!r} where {piece!r} is expected, at {i}; {_REMEDY}")

    def encode(self, text: str) -> list[int]:
        """Ids of `text` without the dummy prefix; none of them special. Raises InvalidRequest for broken Unicode."""
        ids: list[int] = []
        start = 0
        # Encoded apart, the first character and the rest no longer spell a piece that stands for something else.
        for found in self._hidden.finditer(text):
            cut = found.start() + 1
            ids += self._behind_newline(text[start:cut])
            start = cut
        return self._checked(ids + self._behind_newline(text[start:]), text)

    def encode_section(self, text: str) -> list[int]:
        """Id 1 and the ids of `text` with the dummy prefix."""
        found = self._hidden.search(text)
        cut = len(text) if found is None else found.start() + 1
        return self._checked([*self._ids(text[:cut]), *self.encode(text[cut:])], text, BOS)

    def decode(self, ids: list[int]) -> str:
        """The text of ordinary ids, for logs and tests."""
        return str(self._pieces.DecodeIds(ids))

    def _behind_newline(self, text: str) -> list[int]:
        if not text:
            return []
        ids = self._ids("\n" + text)
        if ids[:2] != self._lead:
            raise LoadFailed(f"{self.path} splits text across a newline; it is not the model's tokenizer")
        return ids[2:]

    def _ids(self, text: str) -> list[int]:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest(
                f"the text holds half a character, {text[error.start]!r}; send valid Unicode", param="text"
            ) from error
        ids: list[int] = self._pieces.EncodeAsIds(text)
        return ids

    def _checked(self, ids: list[int], text: str, *lead: int) -> list[int]:
        hidden = next((i for i in ids if i in self._reserved), None)
        if hidden is not None:
            raise InvalidRequest(
                f"the text spells {self._pieces.IdToPiece(hidden)!r}, which the model reads as a control token",
                param="text",
            )
        return [*lead, *ids]
