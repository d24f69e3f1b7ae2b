"""The process in which espeak-ng speaks: reads requests from its standard input, writes sound to its standard output.

    python espeak_child.py LIBRARY DATA

A request is how many words a minute, then a voice and a text, each as a length and that many bytes of UTF-8. A reply is
a sample rate and a length, then samples in 16 bits; or 0 and a length, then what is wrong. Nothing but the standard
library is imported, so that it starts in a few hundredths of a second. It ends when its input does.
"""

import _ctypes
import array
import ctypes
import os
import queue
import signal
import struct
import sys
import threading
from typing import IO, Any

AUDIO_OUTPUT_SYNCHRONOUS = 2
INITIALIZE_DONT_EXIT = 0x8000
CHARS_UTF8 = 1
PARAMETER_RATE = 1
OK = 0

SynthCallback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)  # samples (NULL at the end), how many, events; 0 to go on


def speak(library_path: str, data_path: str, pace: int, voice: bytes, text: bytes) -> tuple[int, bytes]:
    """The sample rate and the samples of `text`; 0 and what is wrong.

    The library is loaded anew for each take, 6 ms with the voice data: part of its state, the phase of its flutter, can
    be neither read nor set, and would make every take differ from the last.
    """
    try:
        library = ctypes.CDLL(library_path)
    except OSError as error:
        return 0, f"the espeak-ng library cannot be loaded: {error}".encode()
    said = array.array("h")

    def collect(samples: Any, count: int, _events: int) -> int:
        if samples and count > 0:
            said.frombytes(ctypes.string_at(samples, 2 * count))
        return 0

    callback = SynthCallback(collect)
    try:
        rate: int = library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, data_path.encode(), INITIALIZE_DONT_EXIT)
        if rate <= 0:
            return 0, b"espeak-ng does not start: its voice data is missing"
        library.espeak_SetSynthCallback(callback)
        if library.espeak_SetVoiceByName(voice) != OK:
            return 0, f"espeak-ng has no voice {voice.decode()!r}".encode()
        library.espeak_SetParameter(PARAMETER_RATE, pace, 0)
        data = text + b"\0"
        library.espeak_Synth(data, len(data), 0, 0, 0, CHARS_UTF8, None, None)
        return rate, said.tobytes()
    finally:
        library.espeak_Terminate()
        if sys.platform == "win32":
            _ctypes.FreeLibrary(library._handle)
        else:
            _ctypes.dlclose(library._handle)


def read(source: IO[bytes], size: int) -> bytes:
    """`size` bytes. Raises EOFError where the source ends before."""
    data = source.read(size)
    if len(data) < size:
        raise EOFError
    return data


def answer(waiting: "queue.SimpleQueue[tuple[int, bytes, bytes]]", replies: IO[bytes]) -> None:
    """Speak what waits, for ever."""
    try:
        while True:
            rate, reply = speak(sys.argv[1], sys.argv[2], *waiting.get())
            replies.write(struct.pack("<II", rate, len(reply)) + reply)
            replies.flush()
    except BrokenPipeError:
        os._exit(0)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the library may print is no sound
    waiting: queue.SimpleQueue[tuple[int, bytes, bytes]] = queue.SimpleQueue()
    # In a thread, so that the end of the input, which is that of the process that asks, ends espeak in mid-word too.
    threading.Thread(target=answer, args=(waiting, replies), daemon=True).start()
    try:
        while True:
            pace, voice, text = struct.unpack("<III", read(requests, 12))
            waiting.put((pace, read(requests, voice), read(requests, text)))
    except EOFError:
        os._exit(0)


if __name__ == "__main__":
    main()
