"""How many tokens a result may have (spec 20 §5): a runaway must end, and a long result must fit.

Caps are of whole groups (spec 20 §5): of half a group the decoder would make sound that the model never chose.
"""

from __future__ import annotations

import math
import re

from editx.engines.step.text.audio_tokens import GROUP
from editx.errors import InvalidRequest, TooLarge
from editx.recipe import Step

MAX_TOKENS = 8192
"""Prompt and output together."""

_SLACK = 125
_CLONE_LEAST = 210
_PER_CJK = 16
_PER_OTHER = 6
_EDIT_FACTOR = 1.6
_SLOWER_FACTOR = 2.2
_SAME_WORDS_FACTOR = 1.1

_CJK = re.compile(
    "[\u2e80-\u2fdf\u3005-\u3007\u3031-\u3035\u3040-\u30ff\u3100-\u318f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff66-\uff9f\u1100-\u11ff\U00020000-\U0003ffff]"
)


def edit_cap(step: Step, source_tokens: int) -> int:
    """The most tokens an edit of `source_tokens` audio tokens may give."""
    if step.kind == "clone":
        raise InvalidRequest("clone is no edit; its length follows from its text", param="steps")
    factor = _EDIT_FACTOR
    if step.kind == "speed" and "slower" in step.option:
        factor = _SLOWER_FACTOR
    elif step.kind in ("vad", "denoise"):
        factor = _SAME_WORDS_FACTOR
    # Rounding first keeps 1.1 * 100 at 110 where binary fractions would say 111.
    return _whole(math.ceil(round(factor * source_tokens, 6)) + _SLACK)


def clone_cap(text: str) -> int:
    """The most tokens that speaking `text` may give."""
    wide = len(_CJK.findall(text))
    return _whole(max(_CLONE_LEAST, _PER_CJK * wide + _PER_OTHER * (len(text) - wide) + _SLACK))


def _whole(tokens: int) -> int:
    return tokens // GROUP * GROUP


def fit(cap: int, prompt_tokens: int, max_tokens: int = MAX_TOKENS) -> int:
    """`cap`, or less where prompt and output would not fit in `max_tokens`.

    Raises TooLarge, naming the lengths, when the prompt leaves no room at all.
    """
    room = max_tokens - prompt_tokens
    if room <= 0:
        raise TooLarge(
            f"the prompt has {prompt_tokens} tokens, and prompt and result together may have {max_tokens}; "
            "give a shorter recording or a shorter text",
            param="input",
        )
    return min(cap, room)
