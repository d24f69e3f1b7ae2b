from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import psutil
import pytest

from editx.engines.lite.espeak import Manner, speaker
from editx.engines.lite.sound import RATE
from editx.errors import LoadFailed
from tests.engines.lite.measure import median_pitch, voiced_share

SENTENCES = {
    "en-us": "The weather is lovely today, let us go for a walk.",
    "cmn": "今天天气很好，我们一起去公园散步吧。",
    "yue": "今日天氣好好，我哋一齊去公園行下啦。",
    "ja": "おはようございます、おげんきですか。",
    "ko": "안녕하세요, 만나서 반갑습니다.",
}


@pytest.mark.parametrize(("voice", "text"), SENTENCES.items())
def test_every_language_speaks_at_an_intelligible_length(voice: str, text: str) -> None:
    said = speaker().speak(text, voice)
    assert 1.5 < len(said) / RATE < 6.0
    assert np.abs(said).max() > 0.2
    assert voiced_share(said) > 0.4


def test_female_variant_is_higher() -> None:
    low, high = (speaker().speak(SENTENCES["en-us"], "en-us", Manner(variant)) for variant in ("", "f1"))
    assert median_pitch(high) > 1.5 * median_pitch(low)


def test_rate_changes_the_length() -> None:
    slow, fast = (len(speaker().speak(SENTENCES["en-us"], "en-us", Manner(rate=rate))) for rate in (120, 240))
    assert 1.6 < slow / fast < 2.4


def test_markup_is_text() -> None:
    plain = speaker().speak("slow down now", "en-us")
    marked = speaker().speak('<prosody rate="x-slow">slow down now</prosody>', "en-us")
    assert len(marked) > 1.5 * len(plain)  # the words of the tag are read, not obeyed


def test_no_words_give_no_crash() -> None:
    for text in ("", "\0", "\n", "\ud800"):
        assert len(speaker().speak(text, "en-us")) < RATE


def test_unknown_voice_says_so() -> None:
    with pytest.raises(LoadFailed, match="no voice 'xx'"):
        speaker().speak("hello", "xx")


def test_takes_of_the_same_words_are_the_same() -> None:
    first, _, again = (speaker().speak(text, "en-us") for text in ("one two three", "four", "one two three"))
    assert np.array_equal(first, again)


def test_memory_does_not_grow_with_the_takes() -> None:
    """Each of these makes espeak-ng load English besides, which it never gives back: 180 to 360 KiB a take."""
    texts = {"cmn": "价格是50%", "yue": "100€元", "ko": "50% 할인", "ja": "半額は50%です"}
    process = psutil.Process()

    def held() -> int:
        return process.memory_info().rss + sum(child.memory_info().rss for child in process.children())

    def takes(n: int) -> None:
        for _ in range(n):
            for voice, text in texts.items():
                speaker().speak(text, voice)

    takes(10)
    before = held()
    takes(50)
    assert held() - before < 45 * 2**20


def test_a_child_that_has_gone_is_replaced() -> None:
    expected = speaker().speak("one two three", "en-us")
    for child in psutil.Process().children():
        if any("espeak_child" in word for word in child.cmdline()):
            child.kill()
            child.wait(30)
    assert np.array_equal(speaker().speak("one two three", "en-us"), expected)


def test_the_child_ends_with_its_owner() -> None:
    code = "from editx.engines.lite.espeak import speaker; print(speaker()._child.pid, flush=True); input()"
    owner = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with owner:
        child = psutil.Process(int(owner.stdout.readline()))
        owner.kill()
    assert psutil.wait_procs([child], timeout=30)[0]


def test_threads_do_not_mix_their_words() -> None:
    alone = {voice: speaker().speak(text, voice) for voice, text in SENTENCES.items()}
    together: dict[str, list[np.ndarray]] = {voice: [] for voice in SENTENCES}

    def work(voice: str) -> None:
        for _ in range(4):
            together[voice].append(speaker().speak(SENTENCES[voice], voice))

    threads = [threading.Thread(target=work, args=(voice,)) for voice in SENTENCES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for voice, takes in together.items():
        assert len(takes) == 4
        assert all(np.array_equal(take, alone[voice]) for take in takes)
