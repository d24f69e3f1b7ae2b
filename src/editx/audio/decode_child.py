"""The part of decoding that touches a stranger's bytes; runs in a short-lived process and nowhere else.

Only the first audio stream is read. The containers and codecs that may take part are listed: nothing that opens another
file or address (playlists, manifests, concat scripts, devices) is among them, and pictures, video and subtitles are not
even probed. Neither numpy nor the rest of EditX is imported, so that the process starts fast and stays small.

A request is one line of JSON (`max_seconds`, `max_samples`, `max_channels`, `min_rate`, `max_rate`, `kept_rate`) and
the file's bytes. A reply is one line of JSON and, for `{"rate": …}`, mono float32 samples in native byte order, at the
file's own rate or, where that is higher, at `kept_rate`; `{"error": "undecodable" | "too_large" | "memory",
"message": …}` comes alone.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.filter import Graph
from av.filter.context import FilterContext

CONTAINERS = (
    "aa", "aac", "ac3", "ac4", "acm", "act", "adx", "aea", "aiff", "amr", "amrnb", "amrwb", "ape", "aptx", "aptx_hd",
    "asf", "asf_o", "ast", "au", "avi", "bonk", "caf", "codec2", "daud", "dsf", "dss", "dts", "dtshd", "dv", "eac3",
    "flac", "flv", "g722", "g729", "gsm", "gxf", "hca", "hcom", "iff", "ircam", "kux", "latm", "lc3", "live_flv",
    "loas", "matroska", "mlp", "mmf", "mov", "mp3", "mpc", "mpc8", "mpeg", "mpegts", "msf", "mtaf", "mxf", "nistsphere",
    "nsv", "nut", "ogg", "oma", "osq", "paf", "pvf", "qcp", "qoa", "rka", "rm", "rso", "sbc", "sds", "shn", "sln",
    "smjpeg", "sol", "sox", "swf", "tak", "truehd", "tta", "vag", "voc", "vqf", "w64", "wav", "wavarc", "webm", "wtv",
    "wv", "wve", "xa", "xwma",
)  # fmt: skip
MAX_STREAMS = 256
_WEIGHTS = {"LFE": 0.0, "LFE2": 0.0, "FL": 0.7071, "FR": 0.7071, "FC": 1.0}
"""Of a surround mix: speech sits in the front, so the rest counts half."""


_RESAMPLING = "filter_size=128:phase_shift=10:cutoff=0.975:exact_rational=1"
"""Flat to 22 kHz where 48 kHz is kept, and what is above that rate's half is 100 dB down."""


class Refused(Exception):
    """This file ends here; `kind` and the message go into the reply."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def decode(request: bytes) -> bytes | bytearray:
    """Decode one file. See the module's docstring for the form of request and reply; never raises for a bad file."""
    line, _, data = request.partition(b"\n")
    limits = json.loads(line)
    try:
        rate, samples = _decode(data, limits)
    except Refused as refusal:
        return _refusal(refusal.kind, str(refusal))
    except MemoryError:
        return _refusal("memory", "decoding it needs more memory than is allowed")
    except av.FFmpegError as error:
        return _refusal("undecodable", _reason(error))
    except Exception as error:  # on bytes made to break it the library raises anything, IndexError for one
        print(f"decoding broke down: {error!r}", file=sys.stderr)
        return _refusal("undecodable", f"decoding it broke down ({error!r})")
    head = json.dumps({"rate": rate})
    samples[:0] = head.ljust(len(head) + -(len(head) + 1) % 4).encode() + b"\n"  # so that the samples stay aligned
    return samples


def _refusal(kind: str, message: str) -> bytes:
    return json.dumps({"error": kind, "message": message}).encode() + b"\n"


def _decode(data: bytes, limits: dict[str, Any]) -> tuple[int, bytearray]:
    with av.open(io.BytesIO(data), "r", metadata_errors="replace", options=_options()) as container:
        if len(container.streams) > MAX_STREAMS:
            raise Refused(
                "too_large", f"it holds {len(container.streams)} streams, and at most {MAX_STREAMS} are allowed"
            )
        if not container.streams.audio:
            kinds = sorted({stream.type for stream in container.streams if stream.type})
            raise Refused("undecodable", f"no audio stream in it, only {', '.join(kinds) or 'nothing'}")
        stream = container.streams.audio[0]
        if stream.codec_context is None:  # whatever the type stubs say, where nothing decodes its codec
            raise Refused("undecodable", "its audio is of a kind that nothing here decodes")
        stream.codec_context.thread_count = 1
        return _collect(container, stream, limits)


def _collect(container: InputContainer, stream: AudioStream, limits: dict[str, Any]) -> tuple[int, bytearray]:
    mixer: _Mixer | None = None
    samples = bytearray()
    rate = 0
    limit_bytes = 0
    for frame in _frames(container, stream):
        if not rate:
            if not limits["min_rate"] <= frame.sample_rate <= limits["max_rate"]:
                raise Refused(
                    "undecodable",
                    f"its sample rate is {frame.sample_rate} Hz, and rates from {limits['min_rate']} to "
                    f"{limits['max_rate']} Hz are accepted",
                )
            rate = min(frame.sample_rate, limits["kept_rate"])
            limit_bytes = 4 * min(limits["max_samples"], int(limits["max_seconds"] * rate))
        if mixer is None or not mixer.takes(frame):
            if mixer is not None:
                samples += mixer.rest()
            mixer = _Mixer(frame, rate, limits["max_channels"])
        samples += mixer.mix(frame)
        if len(samples) > limit_bytes:
            raise Refused(
                "too_large",
                f"it holds more than {limit_bytes / 4 / rate:g} s of audio at {rate} Hz, the most that is accepted",
            )
    if mixer is not None:
        samples += mixer.rest()
    if not samples:
        raise Refused("undecodable", "its audio stream holds no sound")
    return rate, samples


def _frames(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    """What decodes. A damaged packet is skipped, and where the file breaks off the sound ends; a file of which most
    packets are damaged is refused."""
    packets = container.demux(stream)
    good = bad = 0
    fault = ""
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            break
        except av.FFmpegError as error:
            fault = fault or _reason(error)
            break
        try:
            frames = packet.decode()
        except av.EOFError:
            break
        except av.FFmpegError as error:
            bad += 1
            fault = fault or _reason(error)
            continue
        good += bool(frames)
        yield from (frame for frame in frames if isinstance(frame, AudioFrame) and frame.samples)
    if bad > good or (fault and not good):
        raise Refused("undecodable", f"most of it is damaged ({fault})")


class _Mixer:
    """Turns frames of one format into mono float samples at one rate."""

    def __init__(self, frame: AudioFrame, rate: int, max_channels: int) -> None:
        layout = frame.layout
        if not 1 <= layout.nb_channels <= max_channels:
            raise Refused("too_large", f"it has {layout.nb_channels} channels, and at most {max_channels} are accepted")
        self._key = _key(frame)
        self._graph = Graph()
        self._graph.threads = 1
        node = self._graph.add_abuffer(
            sample_rate=frame.sample_rate, format=frame.format, layout=layout, time_base=Fraction(1, frame.sample_rate)
        )
        if layout.nb_channels > 1:
            node = self._add(node, "aformat", "sample_fmts=fltp")
            node = self._add(node, "pan", _pan(layout))
        if frame.sample_rate != rate:
            node = self._add(node, "aresample", f"{rate}:{_RESAMPLING}")
        node = self._add(node, "aformat", "sample_fmts=flt")
        self._add(node, "abuffersink", None)
        self._graph.configure()

    def takes(self, frame: AudioFrame) -> bool:
        return self._key == _key(frame)

    def mix(self, frame: AudioFrame) -> bytes:
        frame.pts = None
        self._graph.push(frame)
        return self._pull()

    def rest(self) -> bytes:
        self._graph.push(None)
        return self._pull()

    def _pull(self) -> bytes:
        out: list[bytes] = []
        while True:
            try:
                frame = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return b"".join(out)
            assert isinstance(frame, AudioFrame)
            out.append(bytes(frame.planes[0])[: 4 * frame.samples])

    def _add(self, after: FilterContext, name: str, args: str | None) -> FilterContext:
        node = self._graph.add(name, args)
        after.link_to(node)
        return node


def _key(frame: AudioFrame) -> tuple[str, str, int, int]:
    return frame.format.name, frame.layout.name, frame.layout.nb_channels, frame.sample_rate


def _pan(layout: AudioLayout) -> str:
    """The mean of the channels; of a surround layout the mean that favours the front."""
    names = [channel.name for channel in layout.channels]
    weights = [_WEIGHTS.get(name, 0.5) for name in names] if "FC" in names else [1.0] * len(names)
    total = sum(weights) or 1.0
    return "mono|c0=" + "+".join(f"{weight / total:.8f}*c{i}" for i, weight in enumerate(weights))


@cache
def _options() -> dict[str, str]:
    return {
        "format_whitelist": ",".join(CONTAINERS),
        "codec_whitelist": ",".join(_audio_decoders()),
        "protocol_whitelist": "none",
        "max_streams": str(MAX_STREAMS),
    }


def _audio_decoders() -> list[str]:
    names = []
    for name in sorted(av.codecs_available):
        try:
            codec = av.Codec(name, "r")
        except av.codec.codec.UnknownCodecError:
            continue
        if codec.type == "audio":
            names.append(name)
    return names


def _reason(error: av.FFmpegError) -> str:
    if isinstance(error, av.EOFError):
        return "it breaks off before any sound"
    return str(error.strerror or error).strip()


def main() -> None:
    """Read one request from stdin, write its reply to stdout."""
    sys.stdout.buffer.write(decode(sys.stdin.buffer.read()))


if __name__ == "__main__":
    main()
