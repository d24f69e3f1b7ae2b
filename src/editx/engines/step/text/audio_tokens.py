"""Audio codes as vocabulary ids: two streams of codes interleaved into one sequence, and back (spec 20 §1, §3.3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from editx.errors import InvalidRequest

LINGUISTIC_PER_GROUP = 2
GROUP = 5
"""Ids in one group: two linguistic (vq02), then three semantic (vq06). 0.12 s of audio."""


@dataclass(frozen=True, slots=True)
class TokenLayout:
    """Which ids of a vocabulary are audio, and which one ends a generation. The defaults are the published ones."""

    eos: int = 3
    audio_base: int = 65536
    linguistic: int = 1024
    semantic: int = 4096

    @property
    def semantic_base(self) -> int:
        """The id of semantic code 0."""
        return self.audio_base + self.linguistic

    @property
    def audio_end(self) -> int:
        """One past the last audio id that is used."""
        return self.semantic_base + self.semantic

    def is_linguistic(self, token: int) -> bool:
        return self.audio_base <= token < self.semantic_base

    def is_semantic(self, token: int) -> bool:
        return self.semantic_base <= token < self.audio_end

    def fits(self, token: int, slot: int) -> bool:
        """Whether `token` is of the kind that position `slot` of an audio sequence holds."""
        return self.is_linguistic(token) if slot % GROUP < LINGUISTIC_PER_GROUP else self.is_semantic(token)


PUBLISHED = TokenLayout()


def interleave(vq02: Sequence[int], vq06: Sequence[int], layout: TokenLayout = PUBLISHED) -> list[int]:
    """Ids of linguistic codes `vq02` and semantic codes `vq06`, in groups of 2 + 3; leftovers are dropped.

    Raises InvalidRequest for a code outside its codebook.
    """
    _check(vq02, layout.linguistic, "linguistic")
    _check(vq06, layout.semantic, "semantic")
    ids: list[int] = []
    for g in range(min(len(vq02) // 2, len(vq06) // 3)):
        ids += (layout.audio_base + code for code in vq02[2 * g : 2 * g + 2])
        ids += (layout.semantic_base + code for code in vq06[3 * g : 3 * g + 3])
    return ids


def split(ids: Sequence[int], layout: TokenLayout = PUBLISHED) -> tuple[list[int], list[int]]:
    """The linguistic and the semantic codes of interleaved `ids`; the inverse of `interleave`.

    The last group may be incomplete. Raises InvalidRequest for an id that does not belong where it stands.
    """
    vq02: list[int] = []
    vq06: list[int] = []
    for slot, token in enumerate(ids):
        if not layout.fits(token, slot):
            kind = "linguistic" if slot % GROUP < LINGUISTIC_PER_GROUP else "semantic"
            raise InvalidRequest(f"audio token {token} at position {slot} is not {kind}; groups are 2 + 3")
        if layout.is_linguistic(token):
            vq02.append(token - layout.audio_base)
        else:
            vq06.append(token - layout.semantic_base)
    return vq02, vq06


def realign(ids: Iterable[int], layout: TokenLayout = PUBLISHED) -> list[int]:
    """Whole groups out of ids drawn without the structure mask (spec 20 §5).

    Drops what is no audio, starts at the first position from which a group follows, leaves out whatever breaks the
    pattern later, and drops an incomplete last group.
    """
    audio = [token for token in ids if layout.is_linguistic(token) or layout.is_semantic(token)]
    aligned: list[int] = []
    at = 0
    while at + GROUP <= len(audio):
        group = audio[at : at + GROUP]
        if all(layout.fits(token, slot) for slot, token in enumerate(group)):
            aligned += group
            at += GROUP
        else:
            at += 1
    return aligned


def token_string(ids: Iterable[int], layout: TokenLayout = PUBLISHED) -> str:
    """The text form of audio ids: `<audio_N>` without separators."""
    return "".join(f"<audio_{token - layout.audio_base}>" for token in ids)


def _check(codes: Sequence[int], size: int, kind: str) -> None:
    for code in codes:
        if not 0 <= code < size:
            raise InvalidRequest(f"{code} is no {kind} audio code; they run from 0 to {size - 1}")
