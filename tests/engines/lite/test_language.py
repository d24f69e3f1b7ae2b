from __future__ import annotations

import re

import pytest

from editx.engines.lite.espeak import speaker
from editx.engines.lite.kanji import to_kana
from editx.engines.lite.language import runs
from editx.engines.lite.sound import RATE


def voices(text: str) -> list[str]:
    return [run.voice for run in runs(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello there", ["en-us"]),
        ("你好，世界", ["cmn"]),
        ("こんにちは", ["ja"]),
        ("カタカナ", ["ja"]),
        ("안녕하세요", ["ko"]),
        ("Привет", ["en-us"]),
        ("[Cantonese]你好呀", ["yue"]),
        ("[Sichuanese] 巴适得很", ["cmn"]),
        ("[Japanese]おはよう", ["ja"]),
        ("[Korean] 안녕", ["ko"]),
        ("你好 hello 世界", ["cmn", "en-us", "cmn"]),
        ("Say 你好 to 안녕", ["en-us", "cmn", "en-us", "ko"]),
        ("2024年", ["cmn"]),
        ("3 dogs", ["en-us"]),
        ("123", ["en-us"]),
        ("[Japanese]123", ["ja"]),
        ("今天是 3 月 5 日", ["cmn"]),
    ],
)
def test_language_follows_the_tag_or_the_script(text: str, expected: list[str]) -> None:
    assert voices(text) == expected


def test_no_text_is_lost_between_runs() -> None:
    text = "他说 hello，然后 2 人都笑了。 Right?"
    assert "".join(run.text for run in runs(text)).replace(" ", "") == text.replace(" ", "").replace("，", ",")


@pytest.mark.parametrize("pinyin", ["guo4", "zhong1", "lü4", "er2", "xiong2", "a5"])
def test_pinyin_stays_with_the_chinese_around_it(pinyin: str) -> None:
    assert voices(f"我今天 {pinyin} 得很好") == ["cmn"]


def test_pinyin_lookalikes_in_english_are_english() -> None:
    assert voices("the ma3 model") == ["en-us"]


@pytest.mark.parametrize("text", ["", "   ", "!!!", "[Laughter]", "🙂", "[Cantonese] ...", "\0"])
def test_nothing_to_speak(text: str) -> None:
    assert runs(text) == []


def test_tags_are_no_words() -> None:
    assert "augh" not in "".join(run.text for run in runs("Well [Laughter] yes [laughter] no"))


def test_other_brackets_are_words() -> None:
    assert "Enter" in "".join(run.text for run in runs("Press [Enter] to continue."))
    assert "hello" in "".join(run.text for run in runs("[[hello]]"))


def test_known_kanji_become_kana_and_the_particle_is_spoken_wa() -> None:
    assert to_kana("今日は日本語を話します") == "きょうわにほんごをはなします"
    assert voices("私は東京に行きます") == ["ja"]


def test_unknown_kanji_in_japanese_are_still_words() -> None:
    assert voices("これは躊躇です") == ["ja", "cmn", "ja"]


@pytest.mark.parametrize("text", ["今天天气很好，我们去公园。", "はい、そうです！", "네,알겠습니다.", "好的,走吧"])
def test_a_comma_is_a_pause(text: str) -> None:
    def seconds(text: str) -> float:
        return sum(len(speaker().speak(run.text, run.voice)) for run in runs(text)) / RATE

    assert seconds(text) > seconds(re.sub("[，、！,]", "", text)) + 0.1
