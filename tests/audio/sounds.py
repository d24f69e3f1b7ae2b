"""Sounds and files for the tests: what a friendly or a hostile stranger could send."""

from __future__ import annotations

import io
import struct

import av
import numpy as np

from editx.audio.clip import Clip


def tone(seconds: float = 1.0, rate: int = 24_000, hz: float = 440.0, level: float = 0.5) -> Clip:
    times = np.arange(round(seconds * rate)) / rate
    return Clip((level * np.sin(2 * np.pi * hz * times)).astype(np.float32), rate)


def speech_like(seconds: float = 2.0, rate: int = 24_000, f0: float = 140.0, seed: int = 0) -> Clip:
    """Harmonics of a wandering pitch, in syllables of about 200 ms, with a little noise."""
    rng = np.random.default_rng(seed)
    times = np.arange(round(seconds * rate)) / rate
    pitch = f0 * (1 + 0.08 * np.sin(2 * np.pi * 0.7 * times))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    voice = sum(np.sin(k * phase + k) / k for k in range(1, 12) if k * f0 * 1.1 < rate / 2)
    syllables = np.clip(np.sin(2 * np.pi * 2.5 * times) + 0.4, 0, 1)
    return Clip((0.2 * voice * syllables + 0.001 * rng.standard_normal(len(times))).astype(np.float32), rate)


def wav_file(
    samples: np.ndarray,
    rate: int = 24_000,
    *,
    declared_rate: int | None = None,
    declared_bytes: int | None = None,
) -> bytes:
    """A wav of `samples`, shape (n,) or (n, channels), in the sample format of their dtype; the header may lie."""
    samples = samples if samples.ndim == 2 else samples[:, np.newaxis]
    channels = samples.shape[1]
    data = samples.astype(samples.dtype.newbyteorder("<")).tobytes()
    width = samples.dtype.itemsize
    told = rate if declared_rate is None else declared_rate
    size = len(data) if declared_bytes is None else declared_bytes
    header = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", min(36 + size, 0xFFFFFFFF), b"WAVE"),
        *(b"fmt ", 16, 3 if samples.dtype.kind == "f" else 1, channels, told),
        *((told * width * channels) & 0xFFFFFFFF, width * channels, 8 * width),
        *(b"data", size),
    )
    return header + data


def muxed(
    clip: Clip,
    container: str,
    codec: str,
    *,
    layout: str = "mono",
    video: str | None = None,
    audio_streams: int = 1,
    options: dict[str, str] | None = None,
) -> bytes:
    """`clip` in any container and codec, the same in every channel, with an optional video stream before it."""
    out = io.BytesIO()
    with av.open(out, "w", format=container, options=options or {}) as file:
        if video:
            picture = file.add_stream(video, rate=10)
            picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        streams = [file.add_stream(codec, rate=clip.rate, layout=layout) for _ in range(audio_streams)]
        for stream in streams:
            if codec == "vorbis":
                stream.codec_context.options = {"strict": "experimental"}
            if codec == "wmav2":
                stream.codec_context.bit_rate = 96_000
        if video:
            for i in range(max(1, int(clip.seconds * 10))):
                image = av.VideoFrame.from_ndarray(np.full((48, 64, 3), i % 256, np.uint8), format="rgb24")
                image.pts = i
                file.mux(picture.encode(image))
            file.mux(picture.encode(None))
        channels = av.AudioLayout(layout).nb_channels
        frame = av.AudioFrame.from_ndarray(np.tile(clip.samples, (channels, 1)), "fltp", layout)
        frame.sample_rate = clip.rate
        for stream in streams:
            frame.pts = 0
            file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
    return out.getvalue()


def silence_bomb(container: str, codec: str, seconds: int, rate: int = 48_000) -> bytes:
    """Hours of nothing in a small file."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, layout="mono")
        if codec == "flac":
            stream.codec_context.options = {"frame_size": "65535"}
        block = np.zeros((1, 10 * rate), np.int16)
        for i in range(seconds // 10):
            frame = av.AudioFrame.from_ndarray(block, "s16", "mono")
            frame.sample_rate = rate
            frame.pts = i * 10 * rate
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return out.getvalue()


def snr_db(reference: np.ndarray, other: np.ndarray, max_delay: int = 3000) -> float:
    """Signal-to-noise ratio of `other` against `reference` after the best alignment and gain."""
    n = min(len(reference), len(other)) - max_delay
    best = max(_correlations(reference[:n], other, max_delay))
    return float(10 * np.log10(best**2 / max(1e-12, 1 - best**2)))


def _correlations(reference: np.ndarray, other: np.ndarray, max_delay: int) -> list[float]:
    from scipy.signal import correlate

    n = len(reference)
    dots = correlate(
        other[: n + max_delay].astype(np.float64), reference.astype(np.float64), mode="valid", method="fft"
    )
    squares = np.concatenate([[0.0], np.cumsum(other[: n + max_delay].astype(np.float64) ** 2)])
    norms = np.sqrt(squares[n : n + len(dots)] - squares[: len(dots)]) * np.linalg.norm(reference)
    return list(dots / np.maximum(norms, 1e-9))


def main_hz(clip: Clip) -> float:
    """The strongest frequency, by the peak of the spectrum with parabolic interpolation."""
    spectrum = np.log(np.abs(np.fft.rfft(clip.samples * np.hanning(len(clip.samples)))) + 1e-12)
    k = int(np.argmax(spectrum))
    a, b, c = spectrum[k - 1 : k + 2]
    return float((k + 0.5 * (a - c) / (a - 2 * b + c)) * clip.rate / len(clip.samples))
