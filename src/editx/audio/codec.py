"""Files to clips and clips to files: the public door of decoding and encoding."""

from __future__ import annotations

from editx.audio.child import ChildFailed, ChildTimedOut, RunChild, run_child
from editx.audio.decode import Decoder
from editx.audio.encode import FORMATS, MIME_TYPES, PCM_RATE_HZ, StreamEncoder, encode
from editx.audio.limits import AudioLimits

__all__ = [
    "FORMATS", "MIME_TYPES", "PCM_RATE_HZ", "AudioLimits", "ChildFailed", "ChildTimedOut", "Decoder", "RunChild",
    "StreamEncoder", "encode", "run_child",
]  # fmt: skip
