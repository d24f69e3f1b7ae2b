"""Text to be spoken: language tags, paralinguistic tags, and where a long text may be cut."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator

from editx.errors import InvalidRequest
from editx.recipe import PARALINGUISTIC_TAGS

LANGUAGE_TAGS = ("[Sichuanese]", "[Cantonese]", "[Japanese]", "[Korean]")
"""Stand at the very start of a text. Mandarin and English need none."""

PART_SECONDS = 15.0
SHORT_SECONDS = 2.0
_CJK_SECONDS = 0.25
_OTHER_SECONDS = 0.07

_LANGUAGES = {
    "[Sichuanese]": ("sichuanese", "zh-sichuan", "zh-cn-sichuan", "sc"),
    "[Cantonese]": ("cantonese", "yue", "yue-hk", "yue-cn", "zh-yue", "zh-hk", "zh-mo"),
    "[Japanese]": ("japanese", "ja", "ja-jp", "jp", "jpn"),
    "[Korean]": ("korean", "ko", "ko-kr", "kr", "kor"),
    "": (
        "", "auto", "mandarin", "chinese", "zh", "zh-cn", "zh-tw", "zh-sg", "zh-hans", "zh-hant", "zho", "cmn",
        "english",
        "en", "en-us", "en-gb", "en-au", "en-in", "en-ca", "eng",
    ),
}  # fmt: skip
_TAG_OF_LANGUAGE = {name: tag for tag, names in _LANGUAGES.items() for name in names}
_LOCALE = re.compile(r"(?P<language>zh|cmn|yue|ja|ko|en)(-[a-z]{4})?(-(?P<region>[a-z]{2}|[0-9]{3}))?([.@].*)?")
_KNOWN_TAGS = {tag.lower(): tag for tag in (*PARALINGUISTIC_TAGS, *LANGUAGE_TAGS)}
_MOSTLY_KANA = 0.2

_CJK = r"\u2e80-\u2fdf\u3005-\u3007\u3031-\u3035\u3040-\u30ff\u3100-\u318f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf" \
    r"\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff66-\uff9f\u1100-\u11ff\U00020000-\U0003ffff"  # fmt: skip
_KANA = r"\u3041-\u309f\u30a1-\u30fa\u31f0-\u31ff\uff66-\uff9f"
_HAN = r"\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
_CJK_CHAR = re.compile(f"[{_CJK}]")
_BRACKETED = re.compile(r"\[[^\[\]\n]{1,40}\]")
_TAG_LIKE = re.compile(r"\[[A-Za-z][A-Za-z _-]{0,38}\]")
_LEADING = re.compile(r"\s*(" + "|".join(re.escape(tag) for tag in LANGUAGE_TAGS) + r")\s*", re.IGNORECASE)
_URL = re.compile(r"(?:https?://|www\.)[!-~]+", re.IGNORECASE)

_STOPS = re.compile(
    r"(?P<wide>[。！？；｡．؟۔।!?…]{0,8}[。！？；｡．؟۔।][。！？；｡．؟۔।!?…]*)|(?P<narrow>…+|[.!?]+|;)|(?P<line>\n)"
)
_CLOSERS = "”’»』」）】》〉〕］｝)]}"
_ABBREVIATIONS = frozenset((
    "mr", "mrs", "ms", "mx", "dr", "prof", "st", "sr", "rev", "hon", "gen", "col", "capt", "cmdr", "lt", "sgt", "gov",
    "sen", "rep", "pres", "vs", "approx", "dept", "est", "e.g", "i.e", "cf", "viz", "al", "mt", "messrs", "mme", "mlle",
    "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec",
))  # fmt: skip
_BEFORE_NUMBERS = frozenset(("no", "nos", "vol", "fig", "figs", "eq", "sec", "ch", "pp", "p", "art", "ext", "tel"))
_SOFT_ABBREVIATIONS = frozenset(("etc", "a.m", "p.m", "inc", "ltd", "co", "corp", "jr", "bros"))
"""May well end a sentence; the next word's capital decides."""


def with_language(text: str, language: str | None) -> str:
    """`text` with the tag of `language` in front, where that language needs one and the text has none yet.

    `language` is a name or a locale (`Cantonese`, `yue`, `ja-JP`, `zh-Hant-HK`); None and `auto` leave the choice to
    the script. Raises InvalidRequest for a language that no model speaks.
    """
    key = (language or "").strip().lower().replace("_", "-").strip("[]")
    tag = _TAG_OF_LANGUAGE.get(key)
    if tag is None and (found := _LOCALE.fullmatch(key)):
        cantonese = found["language"] == "zh" and found["region"] in ("hk", "mo")
        tag = "[Cantonese]" if cantonese else _TAG_OF_LANGUAGE[found["language"]]
    if tag is None:
        raise InvalidRequest(
            f"{language!r} is no language we speak; use auto, zh, en, ja, ko, yue (Cantonese) or sichuanese",
            param="language",
        )
    return text if not tag or _LEADING.match(text) else f"{tag}{text.lstrip()}"


def language_tag(text: str) -> str:
    """The language tag at the start of `text`, in its usual spelling; empty when there is none."""
    found = _LEADING.match(text)
    return next((tag for tag in LANGUAGE_TAGS if tag.lower() == found[1].lower()), "") if found else ""


def guess_language(text: str) -> str:
    """The language of `text`, by its tag or else its script: `zh`, `en`, `ja`, `ko`, `yue` or `sichuanese`."""
    if tag := language_tag(text):
        return {"[Sichuanese]": "sichuanese", "[Cantonese]": "yue", "[Japanese]": "ja", "[Korean]": "ko"}[tag]
    words = strip_tags(text)
    if re.search(f"[{_KANA}]", words):
        return "ja"
    if re.search(r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]", words):
        return "ko"
    return "zh" if re.search(f"[{_HAN}]", words) else "en"


def strip_tags(text: str) -> str:
    """The words alone: without the known language and paralinguistic tags. Other brackets are words and stay."""
    bare = _BRACKETED.sub(lambda found: " " if found[0].lower() in _KNOWN_TAGS else found[0], text)
    if bare == text:
        return text.strip()
    bare = re.sub(r"[ \t]{2,}", " ", bare)
    # A tag between a word and its full stop, or between two CJK characters, leaves no gap.
    bare = re.sub(r" +(?=[,.!?;:，。！？；：、…])", "", bare)
    return re.sub(f"(?<=[{_CJK}，。！？；：、…]) (?=[{_CJK}])", "", bare).strip()


def spelled_tags(text: str) -> str:
    """`text` with its known tags as the models were taught them: `[laughter]` is `[Laughter]`, `[LAUGH]` is `[laugh]`.

    What is spelled right stays, `[Sigh]` and `[sigh]` both; every other bracket too.
    """
    spellings = (*PARALINGUISTIC_TAGS, *LANGUAGE_TAGS)
    return _BRACKETED.sub(
        lambda found: found[0] if found[0] in spellings else _KNOWN_TAGS.get(found[0].lower(), found[0]), text
    )


def unknown_tags(text: str) -> list[str]:
    """What looks like a tag and is none, in order; nobody would make a sound for it."""
    return [tag for tag in _TAG_LIKE.findall(text) if tag.lower() not in _KNOWN_TAGS]


def estimate_seconds(text: str) -> float:
    """About how long `text` takes to speak, in seconds."""
    wide = len(_CJK_CHAR.findall(text))
    return wide * _CJK_SECONDS + (len(text) - wide) * _OTHER_SECONDS


def split_sentences(text: str, *, max_seconds: float = PART_SECONDS, max_chars: int | None = None) -> list[str]:
    """Cut `text` into parts that can be spoken one after the other, in order; nothing but space is lost.

    A part is one sentence or a few short ones, at most `max_seconds` of speech by `estimate_seconds` and, where given,
    `max_chars` characters. A longer sentence is cut at commas, else at spaces, else anywhere but inside a [tag]. A
    language tag at the start is repeated in front of every part. Empty for a text without anything in it.
    """
    tag = language_tag(text)
    body = text[found.end() :] if (found := _LEADING.match(text)) else text

    def fits(start: int, end: int) -> bool:
        part = body[start:end].strip()
        return estimate_seconds(part) <= max_seconds and (max_chars is None or len(part) <= max_chars)

    spans = _pieces(body, fits)
    parts = [body[start:end].strip() for start, end in _without_short(body, spans, fits)]
    parts = [part for part in parts if part]
    if not parts:
        return [tag] if tag else []
    return [tag + part for part in parts]


Span = tuple[int, int]
Fits = Callable[[int, int], bool]


def split_speech(text: str) -> list[str]:
    """`split_sentences`, where the language of the whole holds for every part.

    A sentence of a Japanese text may hold no kana and would be read as Chinese alone: it gets the language's tag.
    """
    parts = split_sentences(text)
    words = strip_tags(text)
    kana, han = len(re.findall(f"[{_KANA}]", words)), len(re.findall(f"[{_HAN}]", words))
    if language_tag(text) or not kana or kana < _MOSTLY_KANA * (kana + han):
        return parts
    return [f"[Japanese]{part}" if guess_language(part) == "zh" else part for part in parts]


def _pieces(body: str, fits: Fits) -> list[Span]:
    """Sentences, and of each that does not fit as large pieces as do."""
    tags = [found.span() for found in _BRACKETED.finditer(body)]
    whole = _inside([*tags, *_urls(body)])
    inside_tag = _inside(tags)
    cuts: list[Callable[[int, int], Iterator[int]]] = [
        lambda start, end: (
            at for found in re.compile(r"[，、,：:]\s*|\s[-–—]+\s|——").finditer(body, start, end)
            if (at := found.end()) not in whole and not _in_number(body, found.start())
        ),
        lambda start, end: (found.end() for found in re.compile(r"\s+").finditer(body, start, end)
                            if found.end() not in inside_tag),
        lambda start, end: (at for at in range(start + 1, end) if at not in inside_tag and not _continues(body, at)),
    ]  # fmt: skip

    def cut(start: int, end: int, level: int) -> list[Span]:
        if level == len(cuts) or fits(start, end):
            return [(start, end)]
        spans: list[Span] = []
        for piece in _between(start, end, cuts[level](start, end)):
            if spans and fits(spans[-1][0], piece[1]):
                spans[-1] = (spans[-1][0], piece[1])
            elif fits(*piece):
                spans.append(piece)
            else:
                spans += cut(*piece, level + 1)
        return spans

    return [
        span
        for start, end in _between(0, len(body), (at for at in _sentence_ends(body) if at not in whole))
        for span in cut(start, end, 0)
    ]


def _without_short(body: str, spans: list[Span], fits: Fits) -> list[Span]:
    """A very short piece joins the next one where both fit, the last one the one before; what has nothing to speak
    joins a neighbour whether it fits or not."""

    def text(span: Span) -> str:
        return body[slice(*span)].strip()

    merged: list[Span] = []
    spoken = False
    """Whether the span before has anything to speak."""
    for i, span in enumerate(spans):
        speaks = _speakable(text(span))
        if merged:
            before = merged[-1]
            candidates = (before, span) if i == len(spans) - 1 else (before,)
            if not (spoken and speaks) or (
                any(estimate_seconds(text(candidate)) < SHORT_SECONDS for candidate in candidates)
                and fits(before[0], span[1])
            ):
                merged[-1] = (before[0], span[1])
                spoken = spoken or speaks
                continue
        merged.append(span)
        spoken = speaks
    return merged


def _sentence_ends(body: str) -> Iterator[int]:
    """Where a sentence ends: behind its stop, the quotes and brackets that close there, and the space that follows."""
    for found in _STOPS.finditer(body):
        if found["line"]:
            yield found.end()
            continue
        end = _behind_closers(body, found.end())
        space = re.compile(r"\s*").match(body, end)
        after = space.end() if space else end
        following = body[after : after + 1]
        if found["wide"]:
            if not _in_number(body, found.start()):
                yield after
        elif found[0] == "." and _abbreviated(body, found.start(), following):
            continue
        elif not following or _CJK_CHAR.match(following) or (after > end and not following.islower()):
            yield after


def _behind_closers(body: str, at: int) -> int:
    while at < len(body):
        char = body[at]
        if char == '"':
            # The same sign opens and closes: it closes when one is open in this line.
            line = body.rfind("\n", 0, at) + 1
            if body.count('"', line, at) % 2 == 0:
                break
        elif char == "'":
            if body[at + 1 : at + 2].isalnum():
                break
        elif char not in _CLOSERS:
            break
        at += 1
    return at


def _abbreviated(body: str, stop: int, following: str) -> bool:
    """Whether the full stop at `stop` belongs to an abbreviation or an initial."""
    found = re.compile(r"[^\W\d_]+(?:\.[^\W\d_]+)*$").search(body, max(0, stop - 20), stop)
    if not found or not following:
        return False
    word = found[0].lower()
    if word in _BEFORE_NUMBERS:
        return following.isdigit()
    if word in _SOFT_ABBREVIATIONS:
        return not following.isupper()
    dotted = all(len(part) == 1 for part in word.split("."))
    return word in _ABBREVIATIONS or (dotted and found[0] != "I" and word.isascii())


def _in_number(body: str, at: int) -> bool:
    return body[at - 1 : at].isdigit() and body[at + 1 : at + 2].isdigit()


def _urls(body: str) -> Iterator[Span]:
    for found in _URL.finditer(body):
        yield found.start(), found.start() + len(found[0].rstrip(".,!?;:)]}'\""))


def _inside(spans: list[Span]) -> set[int]:
    """The places within spans, where no cut may be; their edges are free."""
    return {at for start, end in spans for at in range(start + 1, end)}


def _between(start: int, end: int, cuts: Iterator[int]) -> Iterator[Span]:
    for at in cuts:
        if start < at < end:
            yield start, at
            start = at
    if start < end:
        yield start, end


def _continues(body: str, at: int) -> bool:
    """Whether the character at `at` belongs to the one before: accents, emoji variants and joiners."""
    return unicodedata.combining(body[at]) != 0 or body[at] in "\u200d\ufe0e\ufe0f" or body[at - 1] == "\u200d"


def _speakable(text: str) -> bool:
    return any(char.isalnum() for char in text)
