"""Engines, worker processes and decoders, each tried the way the server would use it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import socket
import sysconfig
from pathlib import Path

import numpy as np

from editx import remedies
from editx.audio.clip import Clip
from editx.audio.codec import Decoder, encode
from editx.audio.launched import launched
from editx.doctor.check import Check
from editx.doctor.child import CHILD_TIMEOUT_S, complaint
from editx.errors import EditXError
from editx.processes.child import read_payload, write_answer
from editx.processes.failures import ChildFailed
from editx.processes.launcher import Launcher, zygote_available

PREVIEW_PACKAGES = ("espeakng_loader", "pyworld", "soxr", "av", "numpy")
NATIVE_PACKAGES = ("torch", "sentencepiece", "safetensors", "yaml")
DECODED = ("mp3", "flac", "opus")
TONE_HZ, TONE_RATE_HZ, TONE_S = 440.0, 48_000, 0.5
LEAST_LIKENESS = 0.9
_SPEAK = """
from editx.engines.lite.espeak import speaker
for voice, text in (("en-us", "hello"), ("cmn", "你好"), ("yue", "你好"), ("ja", "こんにちは"), ("ko", "안녕")):
    assert speaker().speak(text, voice).any(), f"no sound with the voice {voice}"
"""


def check_preview_engine() -> Check:
    """Its packages are there and it speaks."""
    name = "preview engine"
    missing = _missing(PREVIEW_PACKAGES)
    if missing:
        return Check(name, "fail", f"missing packages: {', '.join(missing)}", remedies.install())
    said = complaint(_SPEAK)
    if said:
        return Check(name, "fail", f"espeak-ng does not speak: {said}", f"{remedies.install()} again")
    return Check(name, "ok", f"espeak-ng speaks; pyworld {_version('pyworld', 'pyworld-prebuilt')}")


def check_native_engine() -> Check:
    """Its packages are there and can be imported."""
    name = "native engine"
    missing = _missing(NATIVE_PACKAGES)
    if missing:
        return Check(name, "warn", f"missing packages: {', '.join(missing)}", remedies.install("step"))
    said = complaint(f"import {', '.join(NATIVE_PACKAGES)}")
    if said:
        return Check(name, "warn", f"its packages cannot be imported: {said}", f"{remedies.install('step')} again")
    return Check(name, "ok", f"its packages can be imported: {', '.join(NATIVE_PACKAGES)}")


def check_compiler() -> Check:
    """The kernel of `bnb` for GPUs is made where it runs, with a C compiler and Python's headers."""
    name = "compiler"
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    headers = Path(sysconfig.get_path("include"))
    wanted = [*([] if compiler else ["C compiler"]), *([] if (headers / "Python.h").exists() else ["Python.h"])]
    if wanted:
        detail = f"there is no {' and no '.join(wanted)}: `bnb` works without its kernel, much slower"
        return Check(name, "warn", detail, "install them (Debian, Ubuntu: gcc, libc6-dev and python3-dev)")
    return Check(name, "ok", f"{compiler} and {headers}, for the kernel of `bnb`")


def _missing(modules: tuple[str, ...]) -> list[str]:
    return [module for module in modules if importlib.util.find_spec(module) is None]


def _version(*distributions: str) -> str:
    for name in distributions:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "of an unknown version"


def check_zygote(wanted: bool) -> Check:
    """Workers can be forked from a zygote; that is tried with a child that does nothing."""
    name = "zygote"
    if not wanted:
        return Check(name, "ok", "off by --no-zygote; workers start as fresh interpreters")
    if not zygote_available():
        return Check(name, "ok", "this system has none; workers start as fresh interpreters")
    try:
        with Launcher() as launcher:
            answer = launcher.call("editx.doctor.engines:echo", b"", label="editx-doctor", timeout=CHILD_TIMEOUT_S)
    except ChildFailed as error:
        return Check(name, "warn", str(error), "use --no-zygote if workers do not start")
    if answer != b"ok":
        return Check(name, "warn", f"answered {answer!r}", "use --no-zygote if workers do not start")
    return Check(name, "ok", "forks workers")


def echo(sock: socket.socket, args: dict[str, object]) -> None:
    """What the child of `check_zygote` does."""
    read_payload(sock)
    write_answer(sock, b"ok")


def check_decoder(zygote: bool) -> Check:
    """A tone is encoded and decoded again the way uploads are: in a child process with limits."""
    name = "decoder"
    turns = 2 * np.pi * TONE_HZ * np.arange(round(TONE_S * TONE_RATE_HZ)) / TONE_RATE_HZ
    tone = Clip((0.5 * np.sin(turns)).astype(np.float32), TONE_RATE_HZ)
    with Launcher(zygote=zygote, preload=("editx.audio.launched", "editx.audio.decode_child")) as launcher:
        decoder = Decoder(launched(launcher))
        for kind in DECODED:
            try:
                heard = decoder.decode(encode(tone, kind))
            except EditXError as error:
                return Check(name, "fail", f"{kind}: {error.message}", f"{remedies.install()} again")
            likeness = _strongest(heard)
            if abs(likeness - TONE_HZ) > TONE_HZ * (1 - LEAST_LIKENESS):
                return Check(
                    name, "fail", f"{kind}: {TONE_HZ:g} Hz came back as {likeness:g} Hz", f"{remedies.install()} again"
                )
    return Check(name, "ok", f"decodes {', '.join(DECODED)} in a process of its own; no ffmpeg program is needed")


def _strongest(clip: Clip) -> float:
    """The frequency with the most energy, in Hz; 0 for a clip without sound."""
    if not clip.samples.any():
        return 0.0
    spectrum = np.abs(np.fft.rfft(clip.samples))
    return float(np.argmax(spectrum) * clip.rate / len(clip.samples))
