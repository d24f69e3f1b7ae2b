"""One call per recording, and nothing the second time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from editx.audio.clip import Clip
from editx.cancellation import Cancellation
from editx.engines.step.audio.cache import ResultCache
from editx.engines.step.audio.waveform import prepare
from editx.engines.step.text.audio_tokens import PUBLISHED, split
from editx.engines.step.tokenizers.audio_tokenizer import AudioTokenizer
from editx.engines.step.tokenizers.linguistic_features import code_count
from editx.errors import Cancelled, InvalidRequest, TooLarge
from tests.engines.step.tokenizers.helpers import sound, tiny_linguistic, tiny_semantic


def tokenizer(*, cached: bool = True) -> AudioTokenizer:
    return AudioTokenizer(tiny_linguistic(), tiny_semantic(), None if cached else ResultCache(0))


def clip(name: str = "clip", seconds: float = 2.0, rate: int = 24_000) -> Clip:
    return Clip(sound(name, int(seconds * rate)).numpy(), rate)


class Calls:
    """Counts signs of work."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def __call__(self, done: float) -> None:
        self.seen.append(done)


def test_both_streams_come_from_the_prepared_sound() -> None:
    codes = tokenizer().encode(clip())
    prepared = prepare(clip())
    assert len(codes.vq02) == code_count(len(prepared.samples))
    assert abs(len(codes.vq06) - 25 * len(prepared.samples) / 16000) <= 1
    assert codes.seconds == prepared.seconds
    assert len({*codes.vq02}) > 3


def test_ids_are_both_streams_in_groups_of_five() -> None:
    codes = tokenizer().encode(clip())
    groups = min(len(codes.vq02) // 2, len(codes.vq06) // 3)
    assert groups > 10
    vq02, vq06 = split(codes.ids(), PUBLISHED)
    assert (tuple(vq02), tuple(vq06)) == (codes.vq02[: 2 * groups], codes.vq06[: 3 * groups])


def test_the_second_time_costs_nothing_and_gives_the_same() -> None:
    kept, off = tokenizer(), tokenizer(cached=False)
    first, second, third = Calls(), Calls(), Calls()
    a = kept.encode(clip(), on_progress=first)
    b = kept.encode(clip(), on_progress=second)
    assert a is b
    assert first.seen
    assert not second.seen
    for _ in range(2):
        assert off.encode(clip(), on_progress=third) == a
    assert len(third.seen) == 2 * len(first.seen)
    assert len(off.cache) == 0


def test_other_sound_is_other_work() -> None:
    kept = tokenizer()
    louder = Clip(clip().samples * np.float32(0.99), 24_000)
    slower = Clip(clip().samples, 22_050)
    results = [kept.encode(each) for each in (clip(), louder, slower, clip("other"))]
    assert len(kept.cache) == 4
    assert len({result.vq02 for result in results}) >= 3


def test_many_threads_agree() -> None:
    kept, expected = tokenizer(), tokenizer(cached=False)
    clips = [clip(f"voice {at}", 0.5) for at in range(3)]
    wanted = [expected.encode(each) for each in clips]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(kept.encode, clips * 6))
    assert found == wanted * 6


def test_progress_runs_from_nothing_to_all() -> None:
    calls = Calls()
    tokenizer().encode(clip(), on_progress=calls)
    assert calls.seen[0] == 0.0
    assert calls.seen[-1] == 1.0
    assert calls.seen == sorted(calls.seen)


def test_a_cancelled_request_stops_and_leaves_nothing_behind() -> None:
    kept, cancellation, calls = tokenizer(), Cancellation(), Calls()

    def hook(done: float) -> None:
        calls(done)
        if done > 0.1:
            cancellation.cancel("the client left")
        cancellation.raise_if_cancelled()

    with pytest.raises(Cancelled, match="the client left"):
        kept.encode(clip(), on_progress=hook)
    assert max(calls.seen) < 0.6
    assert len(kept.cache) == 0


def test_too_long_is_said_with_both_lengths_also_from_the_cache() -> None:
    kept = tokenizer()
    with pytest.raises(TooLarge, match=r"is 2\.0 s long .* at most 1\.5 s") as caught:
        kept.encode(clip(), longest_s=1.5)
    assert caught.value.param == "audio"
    kept.encode(clip())
    with pytest.raises(TooLarge, match=r"at most 1\.5 s"):
        kept.encode(clip(), longest_s=1.5)


def test_thirty_seconds_of_speech_pass_and_silence_does_not_count() -> None:
    speech = sound("half a minute", 30 * 16_000).numpy()
    kept = tokenizer()
    assert kept.encode(Clip(speech, 16_000)).seconds <= 30
    silence = np.zeros(16_000 * 5, np.float32)
    padded = kept.encode(Clip(np.concatenate([silence, speech[: 16_000 * 28], silence]), 16_000))
    assert padded.seconds <= 28.1
    with pytest.raises(TooLarge, match="at most 30 s"):
        kept.encode(Clip(np.concatenate([speech, speech[:16_000]]), 16_000))


def test_ninety_seconds_are_the_end() -> None:
    speech = np.tile(sound("more than that", 16_000).numpy(), 91)
    with pytest.raises(TooLarge, match="at most 90 s"):
        tokenizer().encode(Clip(speech, 16_000), longest_s=1000)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 44_101, 96_000])
def test_any_rate_is_heard(rate: int) -> None:
    codes = tokenizer().encode(clip("rates", 1.0, rate))
    assert 15 <= len(codes.vq02) <= 22
    assert 22 <= len(codes.vq06) <= 33


def test_silence_and_scraps_are_refused() -> None:
    for samples in (np.zeros(24_000, np.float32), np.ones(2000, np.float32), np.zeros(0, np.float32)):
        with pytest.raises(InvalidRequest):
            tokenizer().encode(Clip(samples, 24_000))
