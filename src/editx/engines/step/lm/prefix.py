"""Keeps keys and values of beginnings that many prompts share: the head of all edits, a voice's clone prompt."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor


class PrefixStore:
    """The most recently used beginnings, up to `max_tokens` tokens in all. Used by the scheduler thread only."""

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self._kept: OrderedDict[tuple[int, ...], Tensor] = OrderedDict()

    @property
    def tokens(self) -> int:
        """How many tokens are kept."""
        return sum(map(len, self._kept))

    def __contains__(self, ids: Sequence[int]) -> bool:
        return tuple(ids) in self._kept

    def get(self, ids: Sequence[int]) -> Tensor | None:
        """Keys and values of `ids`, (layers, 2, groups, tokens, head_dim), or None."""
        kv = self._kept.get(tuple(ids))
        if kv is not None:
            self._kept.move_to_end(tuple(ids))
        return kv

    def put(self, ids: Sequence[int], kv: Tensor) -> None:
        """Keep `kv` of `ids`, and drop what was not used for longest. What alone is too large is not kept."""
        if len(ids) > self.max_tokens:
            return
        self._kept[tuple(ids)] = kv
        self._kept.move_to_end(tuple(ids))
        while self.tokens > self.max_tokens:
            self._kept.popitem(last=False)

    def clear(self) -> None:
        self._kept.clear()
