"""Turns clips into the bytes of a file, whole or as a growing stream."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from editx.audio.clip import Clip, Samples
from editx.audio.resample import Resampler
from editx.errors import InvalidRequest

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.packet import Packet

PCM_RATE_HZ = 24_000
_WAV_UNKNOWN = 0xFFFFFFFF
_WAV_MAX = _WAV_UNKNOWN - 36
_OGG_PAGE_US = "100000"


@dataclass(frozen=True, slots=True)
class _Format:
    """How one format is made. `rates` is what its codec takes, in Hz; empty: any."""

    mime: str
    codec: str = ""
    container: str = ""
    sample_format: str = "s16"
    rates: tuple[int, ...] = ()


_FORMATS: dict[str, _Format] = {
    "mp3": _Format(
        "audio/mpeg", "libmp3lame", "mp3", "fltp", (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
    ),
    "opus": _Format("audio/ogg", "libopus", "ogg", "flt", (8000, 12000, 16000, 24000, 48000)),
    "aac": _Format(
        "audio/aac", "aac", "adts", "fltp",
        (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000),
    ),
    "flac": _Format("audio/flac", "flac", "flac"),
    "wav": _Format("audio/wav"),
    "pcm": _Format("audio/pcm", rates=(PCM_RATE_HZ,)),
}  # fmt: skip
FORMATS = tuple(_FORMATS)
"""mp3, opus (in Ogg), aac (in ADTS), flac, wav (16 bit) and pcm (headerless 24 kHz 16-bit little-endian mono)."""
MIME_TYPES = {name: kind.mime for name, kind in _FORMATS.items()}


def encode(clip: Clip, format: str, *, bits: int = 16) -> bytes:
    """The whole file, with its length in the header where the format has one.

    `bits` is 16, or 24 for flac. Raises InvalidRequest for an unknown format.
    """
    with StreamEncoder(format, clip.rate, bits=bits, total_samples=len(clip.samples)) as encoder:
        return encoder.write(clip) + encoder.finish()


class StreamEncoder:
    """A file that grows: bytes leave as soon as the codec lets them go.

    `rate` is that of the clips to be written, in Hz; where the format does not take it the sound is resampled, to the
    next rate above. `total_samples` is their number where it is known before: then the file is held back until `finish`
    and its header is complete. Use it as a context manager, or call `close` when giving up. Not thread-safe.
    """

    def __init__(self, format: str, rate: int, *, bits: int = 16, total_samples: int | None = None) -> None:
        kind = _FORMATS.get(format)
        if kind is None:
            raise InvalidRequest(
                f"{format!r} is no audio format we write; use one of: {', '.join(FORMATS)}", param="response_format"
            )
        if bits != 16 and (bits, format) != (24, "flac"):
            raise InvalidRequest(f"{format} has 16 bits a sample (flac 16 or 24), not {bits}", param="bits")
        self.format = format
        self.mime_type = kind.mime
        self.rate = _out_rate(kind, rate)
        self._in_rate = rate
        self._resampler = Resampler(rate, self.rate)
        self._writer: _Writer
        if kind.codec:
            self._writer = _Muxer(format, kind, self.rate, bits, whole=total_samples is not None)
        else:
            self._writer = _Raw(self.rate, header=format == "wav", total_samples=total_samples)

    def write(self, clip: Clip) -> bytes:
        """Add `clip`; returns the bytes that are ready, maybe none. Raises ValueError when its rate is another."""
        if clip.rate != self._in_rate:
            raise ValueError(f"this encoder takes clips at {self._in_rate} Hz, not {clip.rate} Hz")
        return self._writer.write(_within_scale(self._resampler.write(clip.samples)))

    def finish(self) -> bytes:
        """The rest of the file. The encoder is used up afterwards."""
        return self._writer.write(_within_scale(self._resampler.finish())) + self._writer.finish()

    def close(self) -> None:
        """Give everything back; what was not finished is lost. Harmless after `finish`."""
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def to_int16(samples: Samples) -> NDArray[np.int16]:
    """Samples as 16-bit integers, rounded to the nearest, clipped at full scale; little-endian, shape (n,)."""
    scaled: Samples = np.clip(samples * np.float32(32768.0), -32768.0, 32767.0)
    return np.rint(scaled).astype("<i2")


def _within_scale(samples: Samples) -> Samples:
    """Clipped at full scale, and silent where a sample is no number: codecs abort the whole process on one of those."""
    clipped: Samples = np.clip(np.nan_to_num(samples), -1.0, 1.0)
    return clipped


class _Writer(Protocol):
    def write(self, samples: Samples) -> bytes: ...
    def finish(self) -> bytes: ...
    def close(self) -> None: ...


class _Raw:
    """16-bit samples, behind a wav header or bare. Without a total the header says what OpenAI's says: unknown."""

    def __init__(self, rate: int, *, header: bool, total_samples: int | None) -> None:
        self._header = _wav_header(rate, total_samples) if header else b""

    def write(self, samples: Samples) -> bytes:
        header, self._header = self._header, b""
        return header + to_int16(samples).tobytes()

    def finish(self) -> bytes:
        header, self._header = self._header, b""
        return header

    def close(self) -> None:
        pass


def _wav_header(rate: int, total_samples: int | None) -> bytes:
    known = total_samples is not None and 2 * total_samples <= _WAV_MAX
    size = 2 * total_samples if total_samples is not None and known else _WAV_UNKNOWN
    riff = size + 36 if known else _WAV_UNKNOWN
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", riff, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16, b"data", size
    )


class _Growing(io.RawIOBase):
    """Where a muxer writes that cannot go back; `take` empties it."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def write(self, data: object) -> int:
        part = bytes(data)  # type: ignore[call-overload]
        self._parts.append(part)
        return len(part)

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


class _Muxer:
    """A codec and its container. `whole`: nothing leaves before `finish`, so that the header can be completed."""

    def __init__(self, format: str, kind: _Format, rate: int, bits: int, *, whole: bool) -> None:
        import av

        self._growing = None if whole else _Growing()
        self._whole = io.BytesIO() if whole else None
        options = {"flush_packets": "1"}
        if format == "mp3":
            options |= {"id3v2_version": "0", "write_xing": "1" if whole else "0"}
        if format == "opus":
            options["page_duration"] = _OGG_PAGE_US
        self._output = av.open(
            self._growing or self._whole, "w", format=kind.container, container_options=options, buffer_size=4096
        )
        try:
            stream = self._output.add_stream(kind.codec, rate=rate, layout="mono")
            assert isinstance(stream, av.AudioStream)
            self._stream = stream
            self._sample_format = "s32" if bits == 24 else kind.sample_format
            stream.codec_context.format = self._sample_format
            stream.codec_context.thread_count = 1
            if bit_rate := _bit_rate(format, rate):
                stream.codec_context.bit_rate = bit_rate
            self._output.start_encoding()
        except BaseException:
            self._output.close()
            raise
        self._rate = rate
        self._written = 0

    def write(self, samples: Samples) -> bytes:
        import av

        if len(samples):
            frame = av.AudioFrame.from_ndarray(
                _as_format(samples, self._sample_format)[np.newaxis, :], self._sample_format, "mono"
            )
            frame.sample_rate = self._rate
            frame.pts = self._written
            self._written += len(samples)
            self._mux(self._stream.encode(frame))
        return self._growing.take() if self._growing else b""

    def finish(self) -> bytes:
        self._mux(self._stream.encode(None))
        self._output.close()
        if self._growing:
            return self._growing.take()
        assert self._whole is not None
        return self._whole.getvalue()

    def close(self) -> None:
        self._output.close()

    def _mux(self, packets: Iterable[Packet[AudioStream]]) -> None:
        for packet in packets:
            self._output.mux(packet)


def _as_format(samples: Samples, sample_format: str) -> NDArray[np.int16] | NDArray[np.int32] | Samples:
    if sample_format == "s16":
        return to_int16(samples)
    if sample_format == "s32":
        scaled = np.clip(samples.astype(np.float64) * 2.0**23, -(2.0**23), 2.0**23 - 1)
        return np.left_shift(np.rint(scaled).astype(np.int32), 8)
    return samples


def _out_rate(kind: _Format, rate: int) -> int:
    if not kind.rates or rate in kind.rates:
        return rate
    return min((known for known in kind.rates if known > rate), default=kind.rates[-1])


def _bit_rate(format: str, rate: int) -> int:
    """Bits a second: transparent for one voice, within what the codec allows at this rate; 0 for no choice."""
    if format == "mp3":
        return 64_000 if rate < 16_000 else 128_000
    if format == "aac":
        return min(128_000, 5 * rate)
    return 64_000 if format == "opus" else 0
