from __future__ import annotations

import struct
import tracemalloc

import numpy as np
import pytest

from editx.audio import decode_child
from editx.audio.clip import Clip
from editx.audio.codec import FORMATS, MIME_TYPES, AudioLimits, Decoder, StreamEncoder, encode
from editx.audio.encode import to_int16
from editx.audio.resample import resample
from editx.errors import InvalidRequest
from tests.audio.sounds import snr_db, speech_like, tone


def in_process(entry: str, payload: bytes, *, limits: AudioLimits, timeout: float) -> bytes:
    return decode_child.decode(payload)


DECODER = Decoder(in_process)
LOSSLESS = ("wav", "flac", "pcm")


def decoded(data: bytes, format: str) -> Clip:
    if format == "pcm":
        return Clip((np.frombuffer(data, "<i2") / 32768).astype(np.float32), 24_000)
    return DECODER.decode(data)


def streamed(clip: Clip, format: str, chunk: int) -> list[bytes]:
    with StreamEncoder(format, clip.rate) as encoder:
        parts = [
            encoder.write(Clip(clip.samples[i : i + chunk], clip.rate)) for i in range(0, len(clip.samples), chunk)
        ]
        return [*parts, encoder.finish()]


def expect_same(clip: Clip, other: Clip, format: str, *, padding: float) -> None:
    assert clip.seconds - 0.001 <= other.seconds <= clip.seconds + padding
    reference = resample(clip, other.rate)
    threshold = 60 if format in LOSSLESS else 15
    if format in LOSSLESS and other.rate == clip.rate:
        assert np.allclose(other.samples[: len(clip.samples)], clip.samples, atol=0.51 / 32768)
    else:
        assert snr_db(reference.samples, other.samples, 4000) > min(threshold, 40)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("format", FORMATS)
def test_a_whole_file_decodes_to_what_went_in(format: str, rate: int) -> None:
    clip = speech_like(2.0, rate)
    data = encode(clip, format)
    expect_same(clip, decoded(data, format), format, padding=0.2 if format == "aac" else 0.01)


@pytest.mark.parametrize("rate", [8_000, 24_000, 44_100])
@pytest.mark.parametrize("format", FORMATS)
def test_a_stream_decodes_to_what_went_in(format: str, rate: int) -> None:
    clip = speech_like(2.0, rate)
    data = b"".join(streamed(clip, format, rate // 7))
    expect_same(clip, decoded(data, format), format, padding=0.3)


@pytest.mark.parametrize("format", FORMATS)
def test_bytes_leave_early_and_steadily(format: str) -> None:
    clip = speech_like(10.0)
    parts = streamed(clip, format, 4800)
    sizes = np.cumsum([len(part) for part in parts])
    # Of the first half second something has left that decodes, and nothing waits for more than another half second.
    assert len(decoded(b"".join(parts[:3]), format).samples) > 0
    shares = sizes / sizes[-1]
    assert all(shares[i] >= (i + 1 - 3) / 50 * 0.7 for i in range(50))
    assert len(parts[-1]) < sizes[-1] / 10


@pytest.mark.parametrize("format", FORMATS)
def test_the_beginning_of_a_stream_plays_by_itself(format: str) -> None:
    clip = speech_like(4.0)
    parts = streamed(clip, format, 2400)
    half = decoded(b"".join(parts[:20]), format)
    assert 1.3 <= half.seconds <= 2.1


def test_the_size_of_chunks_changes_nothing_in_lossless_files() -> None:
    clip = speech_like(1.0)
    for format in LOSSLESS:
        one, many = (decoded(b"".join(streamed(clip, format, size)), format) for size in (24_000, 37))
        assert np.array_equal(one.samples, many.samples)


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_makes_a_valid_empty_file(format: str) -> None:
    with StreamEncoder(format, 24_000) as encoder:
        data = encoder.finish()
    assert data == b"" if format in ("pcm", "aac", "mp3") else data
    assert isinstance(encode(Clip(np.zeros(0, np.float32), 24_000), format), bytes)


def test_a_wav_stream_says_that_its_length_is_unknown() -> None:
    data = b"".join(streamed(tone(0.5), "wav", 1000))
    assert data[:4] == b"RIFF"
    assert struct.unpack("<I", data[4:8]) == (0xFFFFFFFF,)
    assert struct.unpack("<IHHIIHH", data[16:36]) == (16, 1, 1, 24_000, 48_000, 2, 16)
    assert data[36:44] == b"data\xff\xff\xff\xff"
    assert len(data) == 44 + 24_000


def test_a_whole_wav_says_its_length() -> None:
    import io
    import wave

    with wave.open(io.BytesIO(encode(tone(0.5), "wav"))) as file:
        assert (file.getnframes(), file.getframerate(), file.getnchannels()) == (12_000, 24_000, 1)


def test_a_whole_flac_knows_its_samples_and_a_stream_does_not() -> None:
    clip = tone(0.5)
    total = int.from_bytes(encode(clip, "flac")[18:26], "big") & (1 << 36) - 1
    assert total == 12_000
    assert int.from_bytes(b"".join(streamed(clip, "flac", 1000))[18:26], "big") & (1 << 36) - 1 == 0


def test_containers_are_what_clients_expect() -> None:
    clip = tone(0.5)
    assert encode(clip, "opus")[:4] == b"OggS"
    assert b"OpusHead" in encode(clip, "opus")[:64]
    assert encode(clip, "aac")[:2] in (b"\xff\xf1", b"\xff\xf9")
    assert encode(clip, "flac")[:4] == b"fLaC"
    assert encode(clip, "mp3")[0] == 0xFF
    assert b"".join(streamed(clip, "mp3", 1000))[0] == 0xFF
    assert len(encode(clip, "pcm")) == 24_000
    assert set(MIME_TYPES) == set(FORMATS)


def test_flac_of_24_bits_is_exact_to_24_bits() -> None:
    clip = speech_like(1.0, 44_100)
    assert np.allclose(decoded(encode(clip, "flac", bits=24), "flac").samples, clip.samples, atol=0.51 / 2**23)


def test_samples_are_rounded_and_clipped() -> None:
    samples = np.array([0, 0.4 / 32768, 0.6 / 32768, -0.6 / 32768, 1, 1.5, -1, -2], np.float32)
    assert to_int16(samples).tolist() == [0, 0, 1, -1, 32767, 32767, -32768, -32768]
    loud = Clip(np.full(24_000, 3.0, np.float32), 24_000)
    for format in FORMATS:
        assert np.abs(decoded(encode(loud, format), format).samples).max() <= 1.0


@pytest.mark.parametrize("rate", [24_000, 44_100])
@pytest.mark.parametrize("format", FORMATS)
def test_what_is_no_number_is_silent(format: str, rate: int) -> None:
    samples = tone(0.5, rate).samples.copy()
    samples[:12_000:2_400] = [np.nan, np.inf, -np.inf, 3e38, -3e38]
    with StreamEncoder(format, rate) as encoder:
        streamed = encoder.write(Clip(samples, rate)) + encoder.finish()
    for file in (streamed, encode(Clip(samples, rate), format)):
        sound = decoded(file, format).samples
        assert np.isfinite(sound).all()
        assert np.abs(sound).max() <= 1.0


def test_wrong_use_is_told() -> None:
    with pytest.raises(InvalidRequest, match="mp3, opus, aac, flac, wav, pcm") as caught:
        encode(tone(), "m4a")
    assert caught.value.param == "response_format"
    with pytest.raises(InvalidRequest, match="16 bits"):
        encode(tone(), "mp3", bits=24)
    with StreamEncoder("mp3", 24_000) as encoder, pytest.raises(ValueError, match="24000 Hz, not 16000 Hz"):
        encoder.write(tone(0.1, 16_000))


@pytest.mark.parametrize("format", FORMATS)
def test_giving_up_midway_leaves_nothing_behind(format: str) -> None:
    clip = speech_like(0.5)
    for _ in range(3):
        with StreamEncoder(format, clip.rate) as encoder:
            encoder.write(clip)
        encoder.close()


@pytest.mark.parametrize("format", FORMATS)
def test_a_long_stream_needs_little_memory(format: str) -> None:
    clip = speech_like(1.0)
    with StreamEncoder(format, clip.rate) as encoder:
        encoder.write(clip)
        tracemalloc.start()
        try:
            for _ in range(60):
                encoder.write(clip)
            held, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        encoder.finish()
    assert held < 300_000
    assert peak < 3_000_000
