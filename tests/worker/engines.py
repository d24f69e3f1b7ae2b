"""Engines that do on command what engines must never do.

The command is the text of a `Clone` step, or the option `load` for what happens while loading.
"""

import os
import signal
import socket
import stat
import sys
import threading
import time

import numpy as np

from editx.audio.clip import Clip
from editx.engines.base import DeviceLost, Memory, Progress
from editx.errors import InvalidRequest, LoadFailed, NotFound, OutOfMemory

RATE = 24_000


def open_faulty(variant, options, report):
    """Options: `load` (a name below), `journal` (a FIFO that is told what is freed), `gate` (a FIFO of go-aheads)."""
    report(Progress("loading", 0.0))
    print(f"loading {variant}", file=sys.stderr)
    match options.get("load"):
        case "exit":
            print("no disk in drive", file=sys.stderr)
            os._exit(9)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "sys.exit":
            sys.exit(4)
        case "hang":
            threading.Event().wait()
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
            threading.Event().wait()
        case "raise":
            raise RuntimeError("the weights are for another model")
        case "refuse":
            raise LoadFailed("the checksum of model.safetensors is wrong")
        case "missing":
            raise NotFound("no weights below models/")
        case "out of memory":
            raise OutOfMemory("12 GB are needed, 3 are free")
        case "allocate":
            bytearray(8 << 30)
        case "slowly":
            with fifo(options["gate"]) as gate:
                for step in range(1, 4):
                    gate.read(1)
                    report(Progress("loading", step / 4))
    return Faulty(options)


def fifo(path):
    """A named pipe, opened so that neither opening it nor its other end's closing blocks or fails."""
    return open(os.open(path, os.O_RDWR), "r+b", buffering=0)


class Faulty:
    sample_rate = RATE

    def __init__(self, options):
        self._options = options
        self._requests = 0

    def memory(self):
        return Memory(gpu_allocated=self._requests, gpu_reserved=2, gpu_peak=3)

    def close(self):
        if self._options.get("close") == "hang":
            threading.Event().wait()
        self._note("closed")

    def run(self, step, clip, context):
        self._requests += 1
        command, _, argument = step.new_text.partition(":")
        yield Progress("preprocessing")
        yield from getattr(self, f"_{command}")(argument, clip, context)

    def _note(self, line):
        if "journal" in self._options:
            with fifo(self._options["journal"]) as journal:
                journal.write(f"{line}\n".encode())

    def _echo(self, argument, clip, context):
        yield Progress("generation", 0.5, clip.seconds)
        yield clip

    def _pieces(self, argument, clip, context):
        """Many clips: the argument is how many samples each has."""
        size = int(argument)
        for start in range(0, len(clip.samples), size):
            yield Clip(clip.samples[start : start + size], clip.rate)

    def _context(self, argument, clip, context):
        """Everything the context says, as progress."""
        yield Progress(f"{context.transcript}|{context.seed}|{context.sampling.temperature}|{context.stream}")

    def _exit(self, argument, clip, context):
        yield clip
        print("leaving early", file=sys.stderr)
        os._exit(int(argument))

    def _relapse(self, argument, clip, context):
        """The clip; the first time in this directory, death after so many milliseconds of it."""
        beginning = clip.rate * int(argument) // 1000
        yield Clip(clip.samples[:beginning], clip.rate)
        try:
            open("relapsed", "x").close()
            os._exit(6)
        except FileExistsError:
            yield Clip(clip.samples[beginning:], clip.rate)

    def _hang(self, argument, clip, context):
        threading.Event().wait()
        yield

    def _stop(self, argument, clip, context):
        os.kill(os.getpid(), signal.SIGSTOP)
        threading.Event().wait()  # the signal need not stop this very thread first
        yield

    def _flood(self, argument, clip, context):
        for _ in range(int(argument)):
            os.write(2, b"noise " * 20 + b"\n")
        yield clip

    def _allocate(self, argument, clip, context):
        blocks = []
        while True:
            blocks.append(np.empty(16 << 20, np.uint8))
            yield Progress("generation")

    def _raise(self, argument, clip, context):
        yield clip
        raise ValueError("an axis is out of bounds")

    def _lost(self, argument, clip, context):
        yield clip
        raise DeviceLost("the device failed for good: an illegal memory access")

    def _sysexit(self, argument, clip, context):
        sys.exit(3)
        yield

    def _refuse(self, argument, clip, context):
        raise InvalidRequest("this clip is silent", param="input_audio", retry_after_s=7.0)
        yield

    def _nan(self, argument, clip, context):
        """Samples that are no numbers, after `argument` chunks that are."""
        for _ in range(int(argument)):
            yield clip
        yield Clip(np.array([0, np.nan, np.inf], np.float32), RATE)
        yield clip

    def _nonsense(self, argument, clip, context):
        yield "a string"

    def _endless(self, argument, clip, context):
        """Chunks of 0.1 s until told to stop; says in the journal that it began and that it freed what it held."""
        self._note(f"began {argument}")
        try:
            while True:
                yield Clip(np.zeros(RATE // 10, np.float32), RATE)
        finally:
            self._note(f"freed {argument}")

    def _obedient(self, argument, clip, context):
        """Waits for nothing but to be told to stop."""
        told = threading.Event()
        context.cancellation.on_cancel(told.set)
        self._note(f"began {argument}")
        try:
            told.wait()
            context.cancellation.raise_if_cancelled()
            yield clip
        finally:
            self._note(f"freed {argument}")

    def _gated(self, argument, clip, context):
        """One chunk for each byte in the gate, until the byte is a zero."""
        self._note(f"began {argument}")
        try:
            with fifo(self._options["gate"]) as gate:
                while (byte := gate.read(1)) and byte != b"0":
                    yield Clip(np.full(10, byte[0], np.float32), RATE)
        finally:
            self._note(f"freed {argument}")

    def _deaf(self, argument, clip, context):
        """Never looks at the cancellation."""
        self._note("began")
        threading.Event().wait()
        yield

    def _chatty(self, argument, clip, context):
        """Thousands of reports, and the wish that nobody keeps them all."""
        for number in range(int(argument)):
            yield Progress("generation", number / int(argument))
        yield clip

    def _timed(self, argument, clip, context):
        """Burns CPU for 50 ms in each of two stages."""
        for stage in ("generation", "decoding"):
            yield Progress(stage)
            until = time.perf_counter() + 0.05
            while time.perf_counter() < until:
                pass

    def _garbage(self, argument, clip, context):
        for fd in range(3, 64):
            try:
                if stat.S_ISSOCK(os.fstat(fd).st_mode):
                    os.write(fd, bytes.fromhex(argument))
            except OSError:
                pass
        threading.Event().wait()
        yield

    def _hangup(self, argument, clip, context):
        for fd in range(3, 64):
            try:
                if stat.S_ISSOCK(os.fstat(fd).st_mode):
                    ours = socket.socket(fileno=fd)
                    ours.shutdown(socket.SHUT_WR)
                    ours.detach()
            except OSError:
                pass
        threading.Event().wait()
        yield

    def _fork(self, argument, clip, context):
        """Leaves a grandchild that holds every descriptor, and dies."""
        pid = os.fork()
        if pid == 0:
            signal.pause()
        yield Progress(f"grandchild {pid}")
        self._note("forked")
        with fifo(self._options["gate"]) as gate:
            gate.read(1)
        os._exit(1)
