from __future__ import annotations

import numpy as np
import pytest

from editx.audio.clip import Clip
from editx.audio.join import Joiner
from tests.audio.sounds import speech_like, tone


def joined(segments: list[Clip], chunk: int, **options: float) -> Clip:
    joiner = Joiner(segments[0].rate, **options)
    parts = []
    for i, segment in enumerate(segments):
        if i:
            parts.append(joiner.next())
        starts = range(0, len(segment.samples), chunk)
        parts += [joiner.write(Clip(segment.samples[start : start + chunk], segment.rate)) for start in starts]
    return Clip.join([*parts, joiner.finish()])


def jump(clip: Clip) -> float:
    return float(np.abs(np.diff(clip.samples)).max())


@pytest.mark.parametrize("chunk", [1, 100, 1000, 10**6])
def test_no_jump_is_larger_than_in_the_parts(chunk: int) -> None:
    # Segments that begin and end in mid-wave, where plain appending clicks.
    segments = [tone(0.2, hz=90 + 7 * i, level=0.9) for i in range(5)]
    segments = [Clip(segment.samples[50 + 37 * i : -61 * (i + 1)], segment.rate) for i, segment in enumerate(segments)]
    result = joined(segments, chunk)
    appended = [segments[0].samples, np.zeros(4800, np.float32), segments[1].samples]
    assert jump(Clip(np.concatenate(appended), 24_000)) > 0.1
    assert jump(result) <= max(map(jump, segments))


@pytest.mark.parametrize("chunk", [1, 37, 5000])
def test_chunks_change_nothing(chunk: int) -> None:
    segments = [speech_like(0.1, seed=i) for i in range(3)]
    assert np.array_equal(joined(segments, chunk).samples, joined(segments, 10**6).samples)


def test_there_is_a_pause_between_and_none_around() -> None:
    segments = [tone(0.5), tone(0.3), tone(0.2)]
    result = joined(segments, 999, pause_seconds=0.25)
    assert len(result.samples) == 24_000 + 2 * 6_000
    assert not result.samples[12_000:18_000].any()
    assert result.samples[18_100:].any()


def test_one_segment_passes_unchanged() -> None:
    clip = speech_like(0.5)
    assert np.array_equal(joined([clip], 1234).samples, clip.samples)


def test_the_outer_edges_and_the_middle_of_segments_are_unchanged() -> None:
    first, second = tone(0.5), tone(0.5, hz=333)
    result = joined([first, second], 500, pause_seconds=0.1, fade_seconds=0.01)
    assert np.array_equal(result.samples[:11_760], first.samples[:11_760])
    assert np.array_equal(result.samples[-11_760:], second.samples[-11_760:])


def test_segments_shorter_than_the_fade() -> None:
    tiny = [Clip(np.full(n, 0.5, np.float32), 24_000) for n in (3, 1, 100, 2)]
    result = joined(tiny, 1, pause_seconds=0.01, fade_seconds=0.01)
    assert len(result.samples) == 106 + 3 * 240
    assert np.abs(result.samples).max() <= 0.5


def test_empty_segments_add_no_pause() -> None:
    joiner = Joiner(24_000, pause_seconds=0.1)
    clip = tone(0.1)
    empty = Clip(np.zeros(0, np.float32), 24_000)
    parts = [
        joiner.write(clip),
        joiner.next(),
        joiner.write(empty),
        joiner.next(),
        joiner.write(empty),
        joiner.finish(),
    ]
    assert sum(len(part.samples) for part in parts) == 2400


def test_all_but_milliseconds_leaves_at_once() -> None:
    assert Joiner(24_000).write(tone(0.1)).seconds >= 0.085


def test_another_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="24000 Hz, not 8000 Hz"):
        Joiner(24_000).write(tone(0.1, 8_000))
