"""espeak-ng through ctypes: text in one language to sound.

The library comes with the `espeakng_loader` wheel, is loaded at the first use and stays loaded: it keeps its state in
globals, so one lock serves the whole process. Speaking costs about a thousandth of real time and gives back the GIL
meanwhile, so the lock is no bottleneck.
"""

from __future__ import annotations

import ctypes
import threading
from dataclasses import dataclass

import espeakng_loader
import numpy as np
import soxr

from editx.engines.lite.sound import RATE, Floats
from editx.errors import LoadFailed

_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_PARAMETER_RATE, _PARAMETER_PITCH, _PARAMETER_RANGE = 1, 3, 4
_OK = 0
DEFAULT_RATE = 170
"""Words a minute at which espeak speaks when nobody asks for another pace."""
SLOWEST_RATE, FASTEST_RATE = 90, 400

_SynthCallback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)  # samples (NULL at the end), how many, events; 0 to go on


@dataclass(frozen=True, slots=True)
class Manner:
    """How espeak speaks: `variant` one of its speakers ("" is its male default, "f1" female), `rate` words a minute,
    `pitch_range` 0 to 100 where 50 is its usual liveliness."""

    variant: str = ""
    rate: int = DEFAULT_RATE
    pitch_range: int = 50


class Espeak:
    """The one espeak-ng of this process. Use `speaker()`; safe to call from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        try:
            self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        except OSError as error:
            raise LoadFailed(f"the espeak-ng library cannot be loaded: {error}; reinstall espeakng-loader") from error
        self._rate = self._library.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), _INITIALIZE_DONT_EXIT
        )
        if self._rate <= 0:
            raise LoadFailed("espeak-ng does not start: its voice data is missing; reinstall espeakng-loader")
        self._parts: list[np.ndarray] = []
        self._callback = _SynthCallback(self._collect)  # kept, or the library would call freed memory
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, voice: str, manner: Manner = Manner()) -> Floats:
        """Speak `text` with the voice of a language ("en-us", "cmn", ...); float64 at `RATE`, empty for no words.

        Markup and phoneme notation in the text are taken as text. Raises LoadFailed for a voice the data lacks.
        """
        data = text.replace("\0", " ").encode("utf-8", errors="ignore") + b"\0"
        name = f"{voice}+{manner.variant}" if manner.variant else voice
        with self._lock:
            if self._library.espeak_SetVoiceByName(name.encode()) != _OK:
                raise LoadFailed(f"espeak-ng has no voice {name!r}; reinstall espeakng-loader")
            rate = int(np.clip(manner.rate, SLOWEST_RATE, FASTEST_RATE))
            self._library.espeak_SetParameter(_PARAMETER_RATE, rate, 0)
            self._library.espeak_SetParameter(_PARAMETER_PITCH, 50, 0)
            self._library.espeak_SetParameter(_PARAMETER_RANGE, int(np.clip(manner.pitch_range, 0, 100)), 0)
            self._parts = []
            self._library.espeak_Synth(data, len(data), 0, 0, 0, _CHARS_UTF8, None, None)
            parts, self._parts = self._parts, []
        if not parts:
            return np.zeros(0)
        return np.asarray(soxr.resample(np.concatenate(parts) / 32768.0, self._rate, RATE, quality="HQ"))

    def _collect(self, samples: ctypes._Pointer[ctypes.c_short], count: int, _events: int) -> int:
        if samples and count > 0:
            self._parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0


_loading = threading.Lock()
_speaker: Espeak | None = None


def speaker() -> Espeak:
    """The process's espeak-ng, loaded at the first call. Raises LoadFailed when it cannot be."""
    global _speaker
    with _loading:
        if _speaker is None:
            _speaker = Espeak()
        return _speaker
