"""What would work on this machine, what would not, and one remedy for each thing that would not."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import json
import platform
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from editx.audio.codec import Decoder
from editx.engines.catalog import VariantSpec, catalog, find, first_available
from editx.engines.layout import TOKENIZER_DIRECTORY, WEIGHT_DIRECTORIES
from editx.errors import EditXError
from editx.lifecycle.gpu import read_gpus
from editx.processes.failures import ChildFailed
from editx.processes.launcher import Launcher, zygote_available
from editx.settings import Settings

Status = Literal["ok", "warn", "fail"]

PYTHON_NEEDED = (3, 11)
PREVIEW_PACKAGES = ("espeakng_loader", "pyworld", "soxr", "av", "numpy")
NATIVE_PACKAGES = ("torch", "sentencepiece", "safetensors")
LOW_DISK_BYTES = 2 * 10**9
NO_DISK_BYTES = 50 * 10**6
CHILD_TIMEOUT_S = 60.0
_POINTER = b"version https://git-lfs.github.com/spec/"
_POINTER_MAX_BYTES = 1024
_SPEAK = """
from editx.engines.lite.espeak import speaker
for voice, text in (("en-us", "hello"), ("cmn", "你好"), ("yue", "你好"), ("ja", "こんにちは"), ("ko", "안녕")):
    assert speaker().speak(text, voice).any(), f"no sound with the voice {voice}"
"""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `warn`: something would not work, but EditX would serve; `fail`: it would not."""

    name: str
    status: Status
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All checks, and the variant that a request without one would get; None when none could answer."""

    checks: tuple[Check, ...]
    variant: str | None

    @property
    def could_serve(self) -> bool:
        return self.variant is not None and all(check.status != "fail" for check in self.checks)


def diagnose(settings: Settings, report: Callable[[Check], None] = lambda check: None) -> Diagnosis:
    """Look at everything; `report` hears of each check as it is done. Loads no model and changes nothing."""
    checks = []
    variant = serving_variant(settings)
    for check in _checks(settings, variant):
        report(check)
        checks.append(check)
    return Diagnosis(tuple(checks), variant.name if variant else None)


def _checks(settings: Settings, variant: VariantSpec | None) -> Iterator[Check]:
    yield check_python()
    yield check_preview_engine()
    yield check_native_engine()
    for directory in (*WEIGHT_DIRECTORIES.values(), TOKENIZER_DIRECTORY):
        yield check_weights(settings.model_path / directory)
    yield check_gpu()
    yield check_data_dir(settings.data_dir)
    yield check_port(settings.host, settings.port)
    yield check_zygote(settings.zygote)
    yield check_decoder()
    yield _serving(settings, variant)


def serving_variant(settings: Settings) -> VariantSpec | None:
    """The variant a request that names none would get, None when that cannot be loaded."""
    specs = tuple(spec for spec in catalog(settings.model_path) if _weights_are_real(spec.name, settings.model_path))
    if settings.default_variant == "auto":
        return first_available(specs)
    found = find(specs, settings.default_variant)
    return found if found is not None and found.available else None


def _serving(settings: Settings, variant: VariantSpec | None) -> Check:
    if variant is not None:
        return Check("would serve", "ok", f"{variant.name}: {variant.title}")
    spec = find(catalog(settings.model_path), settings.default_variant)
    reason = spec.reason if spec and spec.reason else "its weights are git-LFS pointers"
    return Check(
        "would serve", "fail", f"the default variant is {settings.default_variant}: {reason}",
        "make it work, or choose another with --default-variant",
    )  # fmt: skip


def check_python() -> Check:
    version = f"{platform.python_implementation()} {platform.python_version()}"
    if sys.version_info < PYTHON_NEEDED:
        return Check("python", "fail", version, f"install Python {'.'.join(map(str, PYTHON_NEEDED))} or newer")
    return Check("python", "ok", version)


def check_preview_engine() -> Check:
    """Its packages are there and it speaks; tried in a process of its own, as engines are never loaded in this one."""
    name = "preview engine"
    missing = _missing(PREVIEW_PACKAGES)
    if missing:
        return Check(name, "fail", f"missing packages: {', '.join(missing)}", "run `make install`")
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _SPEAK], capture_output=True, text=True, timeout=CHILD_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Check(name, "fail", f"espeak-ng gave no sound within {CHILD_TIMEOUT_S:g} s", "run `make install` again")
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        return Check(name, "fail", f"espeak-ng does not speak: {said}", "run `make install` again")
    return Check(name, "ok", f"espeak-ng speaks; pyworld {_version('pyworld', 'pyworld-prebuilt')}")


def check_native_engine() -> Check:
    """Its packages; they are looked for, not imported."""
    name = "native engine"
    if importlib.util.find_spec("editx.engines.step") is None:
        return Check(name, "warn", "this release holds the preview engine only", "use a release with the native engine")
    missing = _missing(NATIVE_PACKAGES)
    if missing:
        return Check(name, "warn", f"missing packages: {', '.join(missing)}", "run `make install EXTRAS=step`")
    return Check(name, "ok", f"torch {_version('torch')}")


def _missing(modules: tuple[str, ...]) -> list[str]:
    return [module for module in modules if importlib.util.find_spec(module) is None]


def _version(*distributions: str) -> str:
    for name in distributions:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "of an unknown version"


def check_weights(directory: Path) -> Check:
    name = directory.name
    if not directory.is_dir():
        return Check(
            name, "warn", f"no weights at {directory}", "put the published directory there, or set --model-path"
        )
    files = [path for path in directory.rglob("*") if path.is_file()]
    if not files:
        return Check(name, "warn", f"{directory} is empty", "put the published files there")
    pointers = pointer_files(directory)
    if pointers:
        return Check(
            name, "warn", f"{len(pointers)} of {len(files)} files are git-LFS pointers, such as {pointers[0].name}",
            f"run `git lfs pull` in {directory}",
        )  # fmt: skip
    return Check(name, "ok", f"{len(files)} files, {_gb(sum(path.stat().st_size for path in files))}")


def pointer_files(directory: Path) -> list[Path]:
    """Files below `directory` that stand for the real ones, left by a git clone without git-LFS."""
    found = []
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.stat().st_size <= _POINTER_MAX_BYTES:
            with path.open("rb") as file:
                if file.read(len(_POINTER)) == _POINTER:
                    found.append(path)
    return found


def _weights_are_real(variant: str, model_path: Path) -> bool:
    if variant not in WEIGHT_DIRECTORIES:
        return True
    directories = (model_path / WEIGHT_DIRECTORIES[variant], model_path / TOKENIZER_DIRECTORY)
    return not any(pointer_files(directory) for directory in directories if directory.is_dir())


def check_gpu() -> Check:
    gpus = read_gpus()
    if not gpus:
        return Check("gpu", "ok", "none; the preview engine needs none")
    return Check(
        "gpu", "ok", "; ".join(f"{gpu.name}, {_gb(gpu.free_bytes)} of {_gb(gpu.total_bytes)} free" for gpu in gpus)
    )


def check_data_dir(directory: Path) -> Check:
    """It can be written, and there is room."""
    name = "data directory"
    there = next(path for path in (directory.absolute(), *directory.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
        free = shutil.disk_usage(there).free
    except OSError as error:
        return Check(
            name, "fail", f"{directory} cannot be written: {error.strerror}", "make it writable, or set --data-dir"
        )
    if free < LOW_DISK_BYTES:
        status: Status = "fail" if free < NO_DISK_BYTES else "warn"
        return Check(name, status, f"{directory}: {_gb(free)} free", "free some space, or set --data-dir")
    return Check(name, "ok", f"{directory}, {_gb(free)} free")


def check_port(host: str, port: int) -> Check:
    """It is free, or an EditX has it already."""
    name = "port"
    if port == 0:
        return Check(name, "ok", "0: a free one is taken at the start")
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
        return Check(name, "ok", f"{port} on {host} is free")
    except OSError as error:
        url = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::', '') else host}:{port}"
        if _is_editx(url):
            return Check(name, "ok", f"an EditX is running at {url} already")
        return Check(
            name, "fail", f"cannot listen on {host} port {port}: {error.strerror}", "choose another with --port"
        )


def _is_editx(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/openapi.json", timeout=5) as response:
            title = json.load(response)["info"]["title"]
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return bool(title == "EditX")


def check_zygote(wanted: bool) -> Check:
    """Workers can be forked from a zygote; that is tried with a child that does nothing."""
    name = "zygote"
    if not wanted:
        return Check(name, "ok", "off by --no-zygote; workers start as fresh interpreters")
    if not zygote_available():
        return Check(name, "ok", "this system has none; workers start as fresh interpreters")
    try:
        with Launcher() as launcher:
            answer = launcher.call("editx.doctor:echo", b"", label="editx-doctor", timeout=CHILD_TIMEOUT_S)
    except ChildFailed as error:
        return Check(name, "warn", str(error), "use --no-zygote if workers do not start")
    return Check(name, "ok", "forks workers") if answer == b"ok" else Check(name, "warn", f"answered {answer!r}")


def echo(sock: socket.socket, args: dict[str, object]) -> None:
    """What the child of `check_zygote` does."""
    from editx.processes.child import read_payload, write_answer

    read_payload(sock)
    write_answer(sock, b"ok")


def check_decoder() -> Check:
    """A tiny recording is decoded the way uploads are."""
    frames = 2400
    header = io.BytesIO()
    header.write(b"RIFF" + struct.pack("<I", 36 + 2 * frames) + b"WAVEfmt ")
    header.write(struct.pack("<IHHIIHH", 16, 1, 1, 24_000, 48_000, 2, 16) + b"data" + struct.pack("<I", 2 * frames))
    try:
        clip = Decoder().decode(header.getvalue() + bytes(2 * frames))
    except EditXError as error:
        return Check("decoder", "fail", error.message, "run `make install` again")
    if (len(clip.samples), clip.rate) != (frames, 24_000):
        found = f"{len(clip.samples)} samples at {clip.rate} Hz came of {frames} at 24000 Hz"
        return Check("decoder", "fail", found, "run `make install` again")
    return Check("decoder", "ok", "decodes recordings in a process of its own")


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
