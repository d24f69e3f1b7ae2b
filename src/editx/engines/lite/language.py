"""Which language each part of a text is in, and what of it can be spoken.

A language tag at the very start decides for the whole text; else the script does: kana means Japanese, hangul Korean,
Han Mandarin, everything else English. Sichuanese is spoken as Mandarin, for which espeak-ng has data.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from editx.engines.lite.kanji import to_kana
from editx.text import strip_tags

MANDARIN, CANTONESE, ENGLISH, JAPANESE, KOREAN = "cmn", "yue", "en-us", "ja", "ko"
"""Languages by the name of their espeak-ng voice."""

LANGUAGE_TAGS = {"sichuanese": MANDARIN, "cantonese": CANTONESE, "japanese": JAPANESE, "korean": KOREAN}

_LEADING_TAG = re.compile(r"\s*\[(sichuanese|cantonese|japanese|korean)\]", re.IGNORECASE)
_HAN = r"\u2e80-\u2fdf\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_KANA = r"\u3041-\u309f\u30a0-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_HANGUL = r"\u1100-\u11ff\u3130-\u318f\uac00-\ud7af"
# espeak pauses only at marks with a space behind; those of Chinese and Japanese have none once they are made plain
_PAUSE_BEFORE_CJK = re.compile(f"[,;:!?](?=[{_HAN}{_KANA}{_HANGUL}])")
# a syllable as pinyin writes it, its tone as a digit: how a user forces one reading of a character
_PINYIN = (
    r"(?<![A-Za-z0-9])(?:[bpmfdtnlgkhjqxrzcsyw]|[zcs]h)?"
    r"(?:a|ai|an|ang|ao|e|ei|en|eng|er|i|ia|ian|iang|iao|ie|in|ing|iong|iu|o|ong|ou|u|ua|uai|uan|uang|ue|ui|un|uo"
    r"|ü|üe|v|ve)[1-5](?![A-Za-z0-9])"
)
_PIECE = re.compile(
    f"(?P<pinyin>{_PINYIN})|(?P<kana>[{_KANA}]+)|(?P<hangul>[{_HANGUL}]+)|(?P<han>[{_HAN}]+)"
    f"|(?P<word>[^\\W\\d_{_HAN}{_KANA}{_HANGUL}]+(?:['’][^\\W\\d_{_HAN}{_KANA}{_HANGUL}]+)*)|(?P<other>.)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Run:
    """A stretch of text to be spoken by one voice."""

    text: str
    voice: str


def runs(text: str) -> list[Run]:
    """Split a text into runs of one language each, in order; empty when it holds nothing that can be spoken.

    Digits and punctuation belong to the run they follow, or else to the first one. Pinyin with a tone digit (`guo4`)
    stays with the Chinese around it. Han inside a text with kana is Japanese: words of a small list are spoken in
    kana; other kanji, whose Japanese readings espeak-ng does not know, are spoken in their Mandarin reading, which
    at least is a word and not the name of a letter.
    """
    tag = _LEADING_TAG.match(text)
    tagged = LANGUAGE_TAGS[tag.group(1).lower()] if tag else None
    text = unicodedata.normalize("NFKC", strip_tags(text))
    text = _PAUSE_BEFORE_CJK.sub(r"\g<0> ", text)
    japanese = tagged == JAPANESE or (tagged is None and re.search(f"[{_KANA}]", text) is not None)
    if japanese:
        text = to_kana(text)
    chinese = not japanese and (tagged in (MANDARIN, CANTONESE) or re.search(f"[{_HAN}]", text) is not None)
    han_voice = CANTONESE if tagged == CANTONESE else MANDARIN

    pieces: list[Run] = []
    waiting = ""
    for match in _PIECE.finditer(text):
        kind, piece = match.lastgroup, match.group()
        if kind == "other" and (not piece.isdigit() or pieces):
            voice = pieces[-1].voice if pieces else None
        elif kind == "other":
            voice = tagged or (MANDARIN if chinese else JAPANESE if japanese else None)
        else:
            voice = {
                "pinyin": han_voice if chinese else ENGLISH,
                "kana": JAPANESE,
                "hangul": KOREAN,
                "han": han_voice,
            }.get(kind or "", ENGLISH)
        if voice is None:
            waiting += piece
        elif pieces and pieces[-1].voice == voice:
            pieces[-1] = Run(pieces[-1].text + piece, voice)
        else:
            pieces.append(Run(waiting + piece, voice))
            waiting = ""
    if waiting:
        pieces.append(Run(waiting, tagged or ENGLISH))
    return [run for run in pieces if any(char.isalnum() for char in run.text)]
