"""Turns a file of any kind into a clip, without this process ever parsing it."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np

from editx.audio.child import ChildFailed, ChildTimedOut, RunChild, run_child
from editx.audio.clip import Clip, Samples
from editx.audio.limits import KEPT_RATE_HZ, MAX_RATE_HZ, MIN_RATE_HZ, AudioLimits
from editx.errors import EditXError, EngineFault, InvalidRequest, NotFound, TooLarge, UndecodableAudio

ENTRY = "editx.audio.decode_child:decode"
_EXPECTED = "expected a recording such as wav, mp3, flac, m4a, ogg or webm"
_BAD_SAMPLES = 0.01
_KINDS: tuple[tuple[bytes, str], ...] = (
    (b"#EXTM3U", "an m3u playlist, which names other files"),
    (b"ffconcat", "an ffconcat script, which names other files"),
    (b"<?xml", "an XML document"),
    (b"<", "a text in a markup language"),
    (b"{", "a JSON document"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"RIFF", "a RIFF file (wav or avi)"),
    (b"OggS", "an Ogg file"),
    (b"fLaC", "a FLAC file"),
    (b"ID3", "an mp3 file"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM file"),
)


class Decoder:
    """Decodes uploads in short-lived child processes. Safe to use from several threads.

    `run_child` is how a child is started; `limits` is the most that one file may take.
    """

    def __init__(self, run_child: RunChild = run_child, limits: AudioLimits | None = None) -> None:
        self._run_child = run_child
        self.limits = limits or AudioLimits()

    def decode(self, data: bytes, *, param: str = "file") -> Clip:
        """The sound in `data`, mono float32 at its own sample rate, or 48 kHz if that is higher; of several audio
        streams the first.

        What a damaged or truncated file still holds is decoded. NaN and infinite samples become silence, unless more
        than 1 % are such. A file whose samples go beyond full scale is turned down as a whole until it fits.
        Raises UndecodableAudio or TooLarge, with `param` and with numbers; EngineFault when the decoder cannot start.
        """
        limits = self.limits
        if not data:
            raise UndecodableAudio(f"the file is empty; {_EXPECTED}", param=param)
        self._check_size(len(data), param)
        request = {
            "max_seconds": limits.max_seconds, "max_samples": limits.max_samples, "max_channels": limits.max_channels,
            "min_rate": MIN_RATE_HZ, "max_rate": MAX_RATE_HZ, "kept_rate": KEPT_RATE_HZ,
        }  # fmt: skip
        payload = b"\n".join((json.dumps(request).encode(), data))
        try:
            reply = self._run_child(ENTRY, payload, limits=limits, timeout=limits.wall_seconds)
        except ChildTimedOut:
            raise UndecodableAudio(
                f"decoding took longer than {limits.wall_seconds:g} s and was stopped; send a shorter or simpler file",
                param=param,
            ) from None
        except ChildFailed as failure:
            if failure.signal is None:
                raise EngineFault(f"the audio decoder failed: {failure}") from failure
            raise UndecodableAudio(
                f"the decoder broke down on this file (signal {failure.signal}); {_EXPECTED}", param=param
            ) from None
        except OSError as error:  # no room for the child's input, or no process to be had
            raise EngineFault(f"the audio decoder cannot be started: {error}") from error
        answer, samples = _parsed(reply)
        if "error" in answer:
            raise _refusal(answer, data, param)
        return Clip(_full_scale(samples, param), answer["rate"])

    def decode_path(self, path: str | Path, *, param: str = "file") -> Clip:
        """Like `decode`, for a file on disk. Also raises NotFound, and InvalidRequest for what is no regular file."""
        path = Path(path)
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise InvalidRequest(f"{path} is no regular file; {_EXPECTED}", param=param)
            self._check_size(status.st_size, param)
            data = path.read_bytes()
        except FileNotFoundError:
            raise NotFound(f"there is no file {path}", param=param) from None
        except OSError as error:
            raise InvalidRequest(f"{path} cannot be read: {error.strerror}", param=param) from None
        return self.decode(data, param=param)

    def _check_size(self, size: int, param: str) -> None:
        if size > self.limits.max_bytes:
            raise TooLarge(f"the file has {size} bytes, and at most {self.limits.max_bytes} are accepted", param=param)


def _parsed(reply: bytes | bytearray) -> tuple[dict[str, Any], Samples]:
    """The two parts of a reply, the samples without a copy where they can be written to.

    Raises EngineFault for one that no decoder of ours gives: a stranger's file may have taken the child over, and what
    it says is not believed.
    """
    end = reply.find(b"\n") if b"\n" in reply else len(reply)
    try:
        answer = json.loads(reply[:end])
        samples = np.require(np.frombuffer(memoryview(reply)[end + 1 :], np.float32), requirements=["A", "W"])
    except ValueError as error:
        raise EngineFault(f"the audio decoder gave no usable answer: {error}") from None
    rate = answer.get("rate") if isinstance(answer, dict) else None
    sound = isinstance(rate, int) and MIN_RATE_HZ <= rate <= KEPT_RATE_HZ and len(samples) > 0
    if not sound and not (isinstance(answer, dict) and "error" in answer):
        raise EngineFault("the audio decoder gave no usable answer: neither a sound nor an error")
    return answer, samples


def _refusal(answer: dict[str, Any], data: bytes, param: str) -> EditXError:
    message = str(answer.get("message", ""))[:500]
    if answer["error"] == "too_large":
        return TooLarge(f"the file is too large: {message}", param=param)
    return UndecodableAudio(f"the file is not audio we can read ({found(data)}): {message}; {_EXPECTED}", param=param)


def found(data: bytes) -> str:
    """What a file looks like from its first bytes, for messages."""
    head = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    for magic, name in _KINDS:
        if head.startswith(magic):
            return f"it looks like {name}"
    if head[4:8] == b"ftyp":
        return "it looks like an MP4 file"
    return f"{len(data)} bytes of an unknown kind"


def _full_scale(samples: Samples, param: str) -> Samples:
    """The same array, mended in place."""
    finite = np.isfinite(samples)
    bad = len(samples) - int(np.count_nonzero(finite))
    if bad > _BAD_SAMPLES * len(samples):
        raise UndecodableAudio(
            f"{bad} of its {len(samples)} samples are not finite numbers; expected samples between -1 and 1",
            param=param,
        )
    if bad:
        samples[~finite] = 0.0
    peak = max(float(np.max(samples)), -float(np.min(samples)))
    if peak > 1.0:
        samples /= np.float32(peak)
    return samples
