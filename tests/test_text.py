from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from editx.errors import InvalidRequest
from editx.recipe import PARALINGUISTIC_TAGS
from editx.text import (
    LANGUAGE_TAGS,
    estimate_seconds,
    guess_language,
    language_tag,
    spelled_tags,
    split_sentences,
    split_speech,
    strip_tags,
    unknown_tags,
    with_language,
)


@pytest.mark.parametrize(
    "text",
    [
        "The value of pi is about 3.14 or so.",
        "Mr. Smith met Dr. Jones and Prof. Lee yesterday.",
        "The U.S. Army marched through town.",
        "Use fruit, e.g. apples, i.e. the red ones.",
        "Written by J. R. R. Tolkien long ago.",
        "See https://example.com/a.b?c=1.2;d=e! for more.",
        "Wait... what is this... thing here?",
        "“What?” he asked, and “why?” too.",
        "It is No. 5 and Fig. 3 in the book.",
        "他说：版本３．１４是最新的一个。",
    ],
)
def test_what_is_one_sentence_stays_one(text: str) -> None:
    assert split_sentences(text + " " + "Another sentence follows it here and ends. ") == [
        text,
        "Another sentence follows it here and ends.",
    ]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            "今天天气很好我们去公园吧。明天呢？后天再说也可以！大家都同意了这个主意；于是散会了就这样吧",
            ["今天天气很好我们去公园吧。", "明天呢？后天再说也可以！", "大家都同意了这个主意；", "于是散会了就这样吧"],
        ),
        (
            "他大声地对着我们说：“快走吧！”我们大家就都走了……后来呢谁也不知道。",
            ["他大声地对着我们说：“快走吧！”", "我们大家就都走了……", "后来呢谁也不知道。"],
        ),
        (
            "「これは何ですか？」と彼は聞いた。私は答えなかったのです。",
            ["「これは何ですか？」と彼は聞いた。", "私は答えなかったのです。"],
        ),
        (
            "안녕하세요 여러분 반갑습니다. 오늘은 날씨가 참 좋네요! 그렇죠 그렇게 생각하나요?",
            ["안녕하세요 여러분 반갑습니다.", "오늘은 날씨가 참 좋네요!", "그렇죠 그렇게 생각하나요?"],
        ),
        (
            'He said "I will never come back here." She only laughed out loud at that. "Why would you?" Nobody knew.',
            [
                'He said "I will never come back here."',
                "She only laughed out loud at that.",
                '"Why would you?" Nobody knew.',
            ],
        ),
        (
            "A heading with no stop in it\nAnd then the text below that goes on. (It is in brackets, all of it.) So",
            [
                "A heading with no stop in it",
                "And then the text below that goes on.",
                "(It is in brackets, all of it.) So",
            ],
        ),
        ("It closed at 5 p.m. Nobody came after that at all.", ["It closed at 5 p.m. Nobody came after that at all."]),
        ("No. I really do not think so at all.", ["No. I really do not think so at all."]),
    ],
)
def test_sentences_end_where_a_reader_would_say(text: str, parts: list[str]) -> None:
    assert split_sentences(text, max_seconds=4.0) == parts


def test_a_long_sentence_is_cut_at_commas_then_spaces_then_anywhere() -> None:
    assert split_sentences("我们一起去公园，然后去吃饭，最后回家睡觉。", max_seconds=2.3) == [
        "我们一起去公园，", "然后去吃饭，", "最后回家睡觉。",
    ]  # fmt: skip
    words = split_sentences("one two three four five six seven eight nine ten", max_seconds=1.5)
    assert len(words) > 2
    assert " ".join(words) == "one two three four five six seven eight nine ten"
    letters = split_sentences("好" * 100, max_seconds=5.0)
    assert [len(part) for part in letters] == [20, 20, 20, 20, 20]
    assert split_sentences("It cost 1,000,000 at 12:30 today", max_seconds=1.2) == [
        "It cost 1,000,000", "at 12:30 today",
    ]  # fmt: skip


def test_characters_can_be_limited_too() -> None:
    parts = split_sentences("word " * 100, max_chars=30)
    assert max(map(len, parts)) <= 30
    assert "".join(parts).replace(" ", "") == "word" * 100


def test_very_short_sentences_stay_together() -> None:
    assert split_sentences("Hi! Yes. No! Ok.") == ["Hi! Yes. No! Ok."]
    parts = split_sentences("Hello there, this is it. " * 40)
    assert all(2 <= estimate_seconds(part) < 6 for part in parts)


def test_a_language_tag_is_repeated_on_every_part() -> None:
    parts = split_sentences("[cantonese] 你好呀，今日天氣真係好好喎。不如我哋一齊出去行下山啦好唔好？")
    assert parts == ["[Cantonese]你好呀，今日天氣真係好好喎。", "[Cantonese]不如我哋一齊出去行下山啦好唔好？"]
    assert split_sentences("[Korean]") == ["[Korean]"]


def test_nothing_gives_no_part() -> None:
    assert split_sentences(" \n\t ") == []
    assert split_sentences("...") == ["..."]


TEXTS = st.lists(
    st.one_of(
        st.sampled_from(
            ["。", "！", "？", "；", "…", "……", ". ", "! ", "? ", ", ", "，", "、", "\n", " ", '"', "“", "”", "」"]
        ),
        st.sampled_from(
            ["你好", "今天天气很好", "hello", "World", "3.14", "Mr. ", "e.g. ", "https://a.bc/d?e=f.g ", "カナ"]
        ),
        st.sampled_from([*PARALINGUISTIC_TAGS, *LANGUAGE_TAGS, "[clears throat]"]),
        st.text(max_size=8),
    ),
    max_size=40,
).map("".join)


def solid(text: str) -> str:
    return "".join(text.split())


@settings(max_examples=500, deadline=None)
@given(TEXTS, st.floats(0.3, 20), st.none() | st.integers(1, 80))
def test_nothing_but_space_is_lost(text: str, max_seconds: float, max_chars: int | None) -> None:
    parts = split_sentences(text, max_seconds=max_seconds, max_chars=max_chars)
    tag = language_tag(text)
    assert all(part.startswith(tag) and part == part.strip() and part for part in parts)
    whole = tag + "".join(part.removeprefix(tag) for part in parts)
    expected = text.lstrip()
    expected = tag + expected[len(tag) :] if tag else expected
    assert solid(whole) == solid(expected)


@settings(max_examples=500, deadline=None)
@given(TEXTS, st.floats(0.3, 20))
def test_tags_stay_whole(text: str, max_seconds: float) -> None:
    parts = split_sentences(text, max_seconds=max_seconds)
    tag = language_tag(text)
    known = [*PARALINGUISTIC_TAGS, *LANGUAGE_TAGS]
    in_text = text.lstrip()[len(tag) :]
    for name in known:
        assert in_text.count(name) == sum(part.removeprefix(tag).count(name) for part in parts), name


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(["你好吗", "word", " ", "。", ". ", "，", "!"]), max_size=60).map("".join))
def test_no_part_is_longer_than_allowed(text: str) -> None:
    for part in split_sentences(text, max_seconds=2.0):
        words = part.strip("。. ，!")
        assert estimate_seconds(words) <= 2.0


@pytest.mark.parametrize(
    "unit",
    ["一句话在这里结束了。", "It ends here. ", "a", "字", '。"', "[", "]", "[Sigh]", "！…", "!…", "“", ".", " ", ",a"],
)
def test_a_long_text_is_cut_in_no_time(unit: str) -> None:
    text = unit * (20_000 // len(unit))
    started = time.process_time()
    parts = split_sentences(text)
    assert time.process_time() - started < 5
    assert solid("".join(parts)) == solid(text)


def test_estimates_count_wide_and_narrow_characters() -> None:
    assert estimate_seconds("你好") == pytest.approx(0.5)
    assert estimate_seconds("hello") == pytest.approx(0.35)
    assert estimate_seconds("カナ한글漢字") == pytest.approx(1.5)
    assert estimate_seconds("") == 0


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("Hello [Laughter] world", "Hello world"),
        ("你好[Laughter]世界", "你好世界"),
        ("[Cantonese]你好[sigh]，再見", "你好，再見"),
        ("Well [Sigh], [clears throat] yes.", "Well, yes."),
        ("see [1] and [foo]", "see [1] and [foo]"),
        ("  plain  text ", "plain  text"),
        ("[laughter]ok", "ok"),
    ],
)
def test_tags_are_no_words(text: str, bare: str) -> None:
    assert strip_tags(text) == bare


def test_tags_that_nobody_knows_are_named() -> None:
    assert unknown_tags("a [Laughter] b [Laughing] c [1] [clears throat] [Fart-oh]") == ["[Laughing]", "[Fart-oh]"]


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("a [laughter] b", "a [Laughter] b"),
        ("[LAUGH][Cough]", "[laugh][cough]"),
        ("[Sigh] [sigh] [Uhm] [uhm]", "[Sigh] [sigh] [Uhm] [uhm]"),
        ("[surprise-Oh] [Clears Throat]", "[Surprise-oh] [clears throat]"),
        ("[cantonese]你好", "[Cantonese]你好"),
        ("Press [enter] or [1]", "Press [enter] or [1]"),
    ],
)
def test_tags_are_spelled_as_the_models_know_them(text: str, spelled: str) -> None:
    assert spelled_tags(text) == spelled


def test_every_tag_is_spelled_right_already() -> None:
    tags = " ".join([*PARALINGUISTIC_TAGS, *LANGUAGE_TAGS])
    assert spelled_tags(tags) == tags


def test_a_sentence_in_kanji_alone_is_japanese_among_japanese() -> None:
    text = (
        "昨日は友達と映画を見に行きました、とても楽しかったです。東京都千代田区霞関一丁目二番三号中央合同庁舎第五号館。"
    )
    spoken, address = split_speech(text)
    assert guess_language(spoken) == guess_language(address) == "ja"
    assert strip_tags(spoken + address) == text


@pytest.mark.parametrize(
    "text",
    [
        "这个店的招牌上写着一个日文的の字，大家都觉得很有意思。今天天气很好，我们一起去公园散步吧。",
        "[Cantonese]今日天氣好好，我哋一齊去公園行下啦。カラオケ都好好玩，大家一齊去啦好唔好呀。",
        "It ends here, after some words. 东京是一个很大的城市，我们去年去过。",
    ],
)
def test_other_texts_are_split_as_they_are(text: str) -> None:
    assert split_speech(text) == split_sentences(text)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("hello", "en"), ("你好 hello", "zh"), ("こんにちは世界", "ja"), ("안녕 世界", "ko"),
        ("[Cantonese]你好", "yue"),
        ("[sichuanese] 你好", "sichuanese"), ("[Japanese]東京", "ja"), ("", "en"), ("[Laughter] 好", "zh"),
    ],
)  # fmt: skip
def test_the_script_tells_the_language(text: str, language: str) -> None:
    assert guess_language(text) == language


@pytest.mark.parametrize(
    ("language", "tagged"),
    [
        (None, "你好"), ("auto", "你好"), ("zh-CN", "你好"), ("en_US", "你好"), ("yue", "[Cantonese]你好"),
        ("Cantonese", "[Cantonese]你好"), ("[Sichuanese]", "[Sichuanese]你好"),
        ("ja-JP", "[Japanese]你好"), ("KO", "[Korean]你好"), ("zh-Hans-CN", "你好"), ("zh-Hant-HK", "[Cantonese]你好"),
        ("zh-Hant-MO", "[Cantonese]你好"), ("yue-Hant-HK", "[Cantonese]你好"), ("cmn-Hans-HK", "你好"),
        ("en-NZ", "你好"), ("en_ZA.UTF-8", "你好"), ("en-001", "你好"), ("ko-Kore-KR", "[Korean]你好"),
    ],
)  # fmt: skip
def test_a_language_becomes_its_tag(language: str | None, tagged: str) -> None:
    assert with_language("你好", language) == tagged
    assert with_language("[Korean]x", language) == "[Korean]x"


@pytest.mark.parametrize("language", ["klingon", "de", "de-DE", "fr-CA", "zh-nan-Hant-TW", "sc-IT", "en-"])
def test_a_language_nobody_speaks_is_refused(language: str) -> None:
    with pytest.raises(InvalidRequest, match="yue") as caught:
        with_language("hallo", language)
    assert caught.value.param == "language"
