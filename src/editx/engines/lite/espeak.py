"""espeak-ng, text in one language to sound, in a process of its own.

The library comes with the `espeakng_loader` wheel. It loads another language for a sign it has no word for, and never
gives back the 60 to 360 KiB which that takes. So it lives in a child process, see `espeak_child`, which makes room for
a new one after some takes. One lock serves the whole process: espeak speaks at about a thousandth of real time.
"""

from __future__ import annotations

import atexit
import contextlib
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import espeakng_loader
import numpy as np
import soxr

from editx.engines.lite import espeak_child
from editx.engines.lite.sound import RATE, Floats
from editx.errors import EngineFault, LoadFailed

DEFAULT_RATE = 170
"""Words a minute at which espeak speaks when nobody asks for another pace."""
SLOWEST_RATE, FASTEST_RATE = 90, 400
_TAKES = 100  # of one child, which may lose 36 MiB over them


@dataclass(frozen=True, slots=True)
class Manner:
    """How espeak speaks: `variant` one of its speakers ("" is its male default, "f1" female), `rate` words a minute."""

    variant: str = ""
    rate: int = DEFAULT_RATE


class Espeak:
    """The one espeak-ng of this process. Use `speaker()`; safe to call from several threads."""

    def __init__(self) -> None:
        """Raises LoadFailed where the library or its data cannot be loaded."""
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._takes = 0
        atexit.register(self.close)
        self.speak("", "en-us")

    def speak(self, text: str, voice: str, manner: Manner = Manner()) -> Floats:
        """Speak `text` with the voice of a language ("en-us", "cmn", ...); float64 at `RATE`, empty for no words.

        The same words give the same samples. Markup and phoneme notation in the text are taken as text. Raises
        LoadFailed for a voice the data lacks, EngineFault where espeak-ng crashes over the text.
        """
        words = text.replace("\0", " ").encode("utf-8", errors="ignore")
        name = (f"{voice}+{manner.variant}" if manner.variant else voice).encode()
        pace = int(np.clip(manner.rate, SLOWEST_RATE, FASTEST_RATE))
        with self._lock:
            rate, said = self._take(struct.pack("<III", pace, len(name), len(words)) + name + words)
        if not rate:
            raise LoadFailed(f"{said.decode(errors='replace')}; reinstall espeakng-loader")
        samples = np.frombuffer(said, dtype=np.int16)
        if not len(samples):
            return np.zeros(0)
        return np.asarray(soxr.resample(samples / 32768.0, rate, RATE, quality="HQ"))

    def close(self) -> None:
        """End the child; the next take starts another."""
        with self._lock:
            self._end()

    def _take(self, request: bytes) -> tuple[int, bytes]:
        """The reply to a request. A child that has gone in the meantime is replaced once."""
        for _ in range(2):
            child = self._ready()
            assert child.stdin is not None
            assert child.stdout is not None
            try:
                child.stdin.write(request)
                child.stdin.flush()
                rate, size = struct.unpack("<II", espeak_child.read(child.stdout, 8))
                return rate, espeak_child.read(child.stdout, size)
            except (OSError, EOFError):
                self._end()
        raise EngineFault("espeak-ng ended twice while it spoke this text; change the text")

    def _ready(self) -> subprocess.Popen[bytes]:
        if self._takes >= _TAKES:
            self._end()
        if self._child is None:
            command = [
                sys.executable, "-I", "-S", str(Path(espeak_child.__file__)),
                espeakng_loader.get_library_path(), espeakng_loader.get_data_path(),
            ]  # fmt: skip
            self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._takes = 0
        self._takes += 1
        return self._child

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()  # it has nothing to lose
            with contextlib.suppress(BrokenPipeError), child:  # closes its pipes and waits for its end
                pass


_loading = threading.Lock()
_speaker: Espeak | None = None


def speaker() -> Espeak:
    """The process's espeak-ng, tried at the first call. Raises LoadFailed when it cannot be loaded."""
    global _speaker
    with _loading:
        if _speaker is None:
            _speaker = Espeak()
        return _speaker
