from __future__ import annotations

import numpy as np
import pytest

from editx.audio import decode_child
from editx.audio.codec import AudioLimits, Decoder
from editx.errors import InvalidRequest, NotFound, TooLarge, UndecodableAudio
from tests.audio.sounds import main_hz, muxed, snr_db, speech_like, tone, wav_file

DECODER = Decoder()


@pytest.mark.parametrize(
    ("container", "codec", "rate", "tail"),
    [
        ("mp3", "libmp3lame", 44_100, 0.1),
        ("flac", "flac", 48_000, 0.0),
        ("ogg", "libopus", 48_000, 0.05),
        ("ogg", "vorbis", 44_100, 0.05),
        ("mp4", "aac", 24_000, 0.1),
        ("adts", "aac", 16_000, 0.2),
        ("webm", "libopus", 48_000, 0.05),
        ("matroska", "pcm_s24le", 32_000, 0.0),
        ("avi", "mp2", 44_100, 0.1),
        ("mov", "alac", 44_100, 0.1),
        ("wav", "adpcm_ima_wav", 22_050, 0.1),
        ("aiff", "pcm_s16be", 8_000, 0.0),
        ("au", "pcm_mulaw", 8_000, 0.0),
        ("caf", "pcm_s16le", 48_000, 0.0),
        ("amr", "libopencore_amrnb", 8_000, 0.1),
        ("mpegts", "aac", 48_000, 0.1),
        ("asf", "wmav2", 44_100, 0.2),
        ("wv", "wavpack", 44_100, 0.0),
    ],
)
def test_decodes_what_people_record_with(container: str, codec: str, rate: int, tail: float) -> None:
    clip = speech_like(1.5, rate)
    layout = "stereo" if codec in ("vorbis", "wmav2") else "mono"
    decoded = DECODER.decode(muxed(clip, container, codec, layout=layout))
    assert decoded.rate == rate
    assert decoded.samples.dtype == np.float32
    assert clip.seconds - 0.02 <= decoded.seconds <= clip.seconds + tail + 0.02
    if codec == "libopencore_amrnb":  # a telephone codec keeps the sound, not the wave
        assert main_hz(decoded) == pytest.approx(main_hz(clip), rel=0.05)
    else:
        # Some codecs lose their first frame, and most add a delay.
        assert snr_db(clip.samples[2048:], decoded.samples, 6000) > 12


@pytest.mark.parametrize(("dtype", "scale"), [("u1", 128), ("i2", 2**15), ("i4", 2.0**31), ("f4", 1), ("f8", 1)])
def test_every_width_of_wav(dtype: str, scale: float) -> None:
    clip = tone(0.5)
    exact = clip.samples.astype(np.float64) * scale + (128 if dtype == "u1" else 0)
    decoded = DECODER.decode(wav_file(exact.astype(dtype)))
    assert np.allclose(decoded.samples, clip.samples, atol=1.5 / min(scale, 2**22) + 1e-6)


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 8, 13, 37, 64])
def test_channels_without_a_layout_are_averaged(channels: int) -> None:
    noise = np.random.default_rng(channels).uniform(-1, 1, (2400, channels)).astype(np.float32)
    decoded = DECODER.decode(wav_file(noise, 48_000))
    assert np.allclose(decoded.samples, noise.mean(axis=1), atol=1e-5)


def test_a_surround_mix_keeps_the_voice_in_front() -> None:
    clip = tone(0.5, 48_000)
    decoded = DECODER.decode(muxed(clip, "flac", "flac", layout="5.1"))
    assert np.sqrt(np.mean(decoded.samples**2)) == pytest.approx(np.sqrt(np.mean(clip.samples**2)), rel=0.01)
    assert main_hz(decoded) == pytest.approx(440, abs=1)


@pytest.mark.parametrize("rate", [1_000, 4_000, 11_025, 44_100, 48_000])
def test_the_rate_is_the_files_own(rate: int) -> None:
    decoded = DECODER.decode(wav_file(tone(0.1, rate, 100).samples, rate))
    assert decoded.rate == rate
    assert len(decoded.samples) == rate // 10


@pytest.mark.parametrize("rate", [88_200, 96_000, 192_000, 384_000])
def test_of_a_rate_above_48_khz_all_that_is_heard_is_kept(rate: int) -> None:
    times = np.arange(rate) / rate
    heard = [200 * k for k in range(1, 110)]  # to 21.8 kHz
    samples = sum(np.sin(2 * np.pi * hz * times + hz * hz) for hz in heard) / 60
    beyond = np.sin(2 * np.pi * 0.45 * rate * times) / 4
    decoded = DECODER.decode(wav_file((samples + beyond).astype(np.float32), rate))
    assert decoded.rate == 48_000
    assert len(decoded.samples) == 48_000
    times = np.arange(48_000) / 48_000
    expected = sum(np.sin(2 * np.pi * hz * times + hz * hz) for hz in heard) / 60
    middle = slice(2_400, -2_400)  # the ends ring
    error = decoded.samples[middle] - expected[middle]
    assert 10 * np.log10(np.mean(expected[middle] ** 2) / np.mean(error**2)) > 80


def test_sound_is_taken_out_of_a_video() -> None:
    clip = tone(1.0, 48_000)
    decoded = DECODER.decode(muxed(clip, "matroska", "pcm_s16le", video="mpeg4"))
    assert decoded.seconds == pytest.approx(1.0, abs=0.05)
    assert main_hz(decoded) == pytest.approx(440, abs=2)


def test_the_name_of_a_file_does_not_matter(tmp_path) -> None:
    path = tmp_path / "really-a-flac.mp3"
    path.write_bytes(muxed(tone(0.5), "flac", "flac"))
    assert DECODER.decode_path(path).seconds == pytest.approx(0.5)


def test_paths_that_are_no_recordings(tmp_path) -> None:
    with pytest.raises(NotFound, match="no file") as missing:
        DECODER.decode_path(tmp_path / "none.wav", param="ref_audio")
    assert missing.value.param == "ref_audio"
    with pytest.raises(InvalidRequest, match="no regular file"):
        DECODER.decode_path(tmp_path)
    with pytest.raises(InvalidRequest, match="no regular file"):
        DECODER.decode_path("/dev/zero")
    sparse = tmp_path / "sparse.wav"
    with sparse.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(TooLarge, match=str(1 << 40)):
        DECODER.decode_path(sparse)


def test_beyond_full_scale_is_turned_down_as_a_whole() -> None:
    clip = tone(0.2)
    decoded = DECODER.decode(wav_file(clip.samples * 8))
    assert np.abs(decoded.samples).max() == pytest.approx(1.0)
    assert snr_db(clip.samples, decoded.samples, 10) > 60


def test_a_few_samples_that_are_no_numbers_become_silence() -> None:
    samples = tone(0.5).samples.copy()
    samples[100:103] = [np.nan, np.inf, -np.inf]
    decoded = DECODER.decode(wav_file(samples))
    assert list(decoded.samples[100:103]) == [0, 0, 0]
    assert np.array_equal(decoded.samples[103:], samples[103:])


def test_many_samples_that_are_no_numbers_are_refused() -> None:
    samples = tone(0.5).samples.copy()
    samples[::10] = np.nan
    with pytest.raises(UndecodableAudio, match="1200 of its 12000 samples"):
        DECODER.decode(wav_file(samples))


def test_a_chained_ogg_that_changes_its_rate_keeps_the_first() -> None:
    first, second = (muxed(tone(1.0, rate), "ogg", "vorbis", layout="stereo") for rate in (48_000, 24_000))
    decoded = DECODER.decode(first + second)
    assert decoded.rate == 48_000
    assert 0.95 <= decoded.seconds <= 2.05
    assert main_hz(decoded) == pytest.approx(440, abs=2)


def test_errors_name_the_parameter_and_what_was_found() -> None:
    for data, found in (
        (b"", "empty"),
        (b"#EXTM3U\nhttp://example.org/a.ts\n", "playlist"),
        (b"<html><body>Not found</body></html>", "markup"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "PNG"),
        (b"%PDF-1.7\n" + bytes(100), "PDF"),
        (b'{"error": "no"}', "JSON"),
    ):
        with pytest.raises(UndecodableAudio, match=found) as caught:
            DECODER.decode(data, param="prompt_audio_file")
        assert caught.value.param == "prompt_audio_file"
        assert "expected a recording" in str(caught.value)


def test_limits_are_told_with_numbers() -> None:
    small = Decoder(limits=AudioLimits(max_bytes=200_000, max_seconds=2.0, max_channels=2))
    with pytest.raises(TooLarge, match="300000 bytes, and at most 200000"):
        small.decode(bytes(300_000))
    with pytest.raises(TooLarge, match="more than 2 s of audio at 24000 Hz"):
        small.decode(wav_file(tone(2.01).samples))
    assert small.decode(wav_file(tone(2.0).samples)).seconds == 2.0
    with pytest.raises(TooLarge, match="3 channels, and at most 2"):
        small.decode(wav_file(np.zeros((100, 3), np.float32)))


def test_the_calling_process_imports_no_decoder() -> None:
    import subprocess
    import sys

    script = (
        "import sys\n"
        "from editx.audio.codec import Decoder\n"
        "import struct\n"
        "data = struct.pack('<4sI4s4sIHHIIHH4sI', b'RIFF', 4036, b'WAVE', b'fmt ', 16, 1, 1, 8000, 16000, 2, 16,"
        " b'data', 4000) + bytes(range(200)) * 20\n"
        "assert len(Decoder().decode(data).samples) == 2000\n"
        "print([name for name in sys.modules if name.split('.')[0] == 'av'])\n"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_every_listed_container_is_known_to_ffmpeg() -> None:
    import av

    known = {name for group in av.formats_available for name in group.split(",")}
    assert set(decode_child.CONTAINERS) <= known
