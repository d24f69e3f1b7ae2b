"""espeak-ng through ctypes: text in one language to sound.

The library comes with the `espeakng_loader` wheel. It keeps its state in globals, so one lock serves the whole process;
it gives back the GIL while it speaks, at about a thousandth of real time, so the lock is no bottleneck. Part of that
state, the phase of its flutter, can be neither read nor set, and would make every take differ from the last: so the
library is loaded anew for each take, which costs 6 ms with the voice data.
"""

from __future__ import annotations

import _ctypes
import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import espeakng_loader
import numpy as np
import soxr
from numpy.typing import NDArray

from editx.engines.lite.sound import RATE, Floats
from editx.errors import LoadFailed

_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_PARAMETER_RATE = 1
_OK = 0
DEFAULT_RATE = 170
"""Words a minute at which espeak speaks when nobody asks for another pace."""
SLOWEST_RATE, FASTEST_RATE = 90, 400

_SynthCallback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)  # samples (NULL at the end), how many, events; 0 to go on


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
        self._parts: list[NDArray[np.int16]] = []
        self._callback = _SynthCallback(self._collect)  # kept, or the library would call freed memory
        with self._lock, self._fresh():
            pass

    def speak(self, text: str, voice: str, manner: Manner = Manner()) -> Floats:
        """Speak `text` with the voice of a language ("en-us", "cmn", ...); float64 at `RATE`, empty for no words.

        The same words give the same samples. Markup and phoneme notation in the text are taken as text. Raises
        LoadFailed for a voice the data lacks.
        """
        data = text.replace("\0", " ").encode("utf-8", errors="ignore") + b"\0"
        name = f"{voice}+{manner.variant}" if manner.variant else voice
        with self._lock, self._fresh() as (library, rate):
            if library.espeak_SetVoiceByName(name.encode()) != _OK:
                raise LoadFailed(f"espeak-ng has no voice {name!r}; reinstall espeakng-loader")
            pace = int(np.clip(manner.rate, SLOWEST_RATE, FASTEST_RATE))
            library.espeak_SetParameter(_PARAMETER_RATE, pace, 0)
            library.espeak_Synth(data, len(data), 0, 0, 0, _CHARS_UTF8, None, None)
            parts, self._parts = self._parts, []
        if not parts:
            return np.zeros(0)
        return np.asarray(soxr.resample(np.concatenate(parts) / 32768.0, rate, RATE, quality="HQ"))

    @contextmanager
    def _fresh(self) -> Iterator[tuple[ctypes.CDLL, int]]:
        """A newly loaded library and its sample rate, unloaded afterwards."""
        try:
            library = ctypes.CDLL(espeakng_loader.get_library_path())
        except OSError as error:
            raise LoadFailed(f"the espeak-ng library cannot be loaded: {error}; reinstall espeakng-loader") from error
        try:
            rate = library.espeak_Initialize(
                _AUDIO_OUTPUT_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), _INITIALIZE_DONT_EXIT
            )
            if rate <= 0:
                raise LoadFailed("espeak-ng does not start: its voice data is missing; reinstall espeakng-loader")
            library.espeak_SetSynthCallback(self._callback)
            self._parts = []
            yield library, rate
        finally:
            library.espeak_Terminate()
            _unload(library)

    def _collect(self, samples: ctypes._Pointer[ctypes.c_short], count: int, _events: int) -> int:
        if samples and count > 0:
            self._parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0


def _unload(library: ctypes.CDLL) -> None:
    if sys.platform == "win32":
        _ctypes.FreeLibrary(library._handle)
    else:
        _ctypes.dlclose(library._handle)


_loading = threading.Lock()
_speaker: Espeak | None = None


def speaker() -> Espeak:
    """The process's espeak-ng, tried at the first call. Raises LoadFailed when it cannot be loaded."""
    global _speaker
    with _loading:
        if _speaker is None:
            _speaker = Espeak()
        return _speaker
