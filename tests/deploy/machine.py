"""A machine as the start script sees it: only these programs, with stand-ins for the container engine and the GPU.

There is no container engine and no GPU where this is built and tested, so nothing here shows that an engine takes the
commands; what is shown is which commands the script gives in which case, and what it says.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pty
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from editx.engines import layout

ROOT = Path(__file__).parents[2]
STANDIN = Path(__file__).parent / "standin"
NAME = "step-audio-unified"
IMAGE_IDS = {"editx:latest": "sha256:aaaa", "editx:cpu": "sha256:bbbb"}
TOOLS = ("bash", "env", "awk", "cat", "cksum", "find", "grep", "readlink", "sh", "sleep", "sort", "uname")
"""All that the script may need besides the engine, nvidia-smi and nvidia-ctk."""
GPUS = """\
0, GPU-aaaa-00, NVIDIA GeForce RTX 4090, 24564, 24000, 580.65.06, 8.9
1, GPU-bbbb-11, NVIDIA GeForce RTX 3060, 12288, 12000, 580.65.06, 8.6
"""


def write_variant(models: Path, variant: str) -> Path:
    """Every file of a variant, none of them with sense in it. Returns the directory of its weights."""
    directory = models / layout.WEIGHT_DIRECTORIES[variant]
    tokenizer = models / layout.TOKENIZER_DIRECTORY
    for path in (
        *(directory / name for name in (*layout.MODEL_FILES, "model-00001.safetensors", "model-00002.safetensors")),
        *(directory / layout.DECODER_DIRECTORY / name for name in layout.DECODER_FILES),
        *(tokenizer / name for name in layout.TOKENIZER_FILES),
        *(tokenizer / layout.PARAFORMER_DIRECTORY / name for name in layout.PARAFORMER_FILES),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    shards = {"a.weight": "model-00001.safetensors", "b.weight": "model-00002.safetensors"}
    (directory / layout.WEIGHT_INDEX).write_text(json.dumps({"weight_map": shards}, indent=2))
    for path in (models, *models.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return directory


def shown_commands(shown: str) -> list[list[str]]:
    """The command lines that --dry-run printed, as a shell would take them."""
    return [shlex.split(line) for line in re.findall(r"^  ((?:docker|podman) .*)$", shown, re.MULTILINE)]


def arguments(command: list[str], flag: str) -> list[str]:
    return [value for name, value in itertools.pairwise(command) if name == flag]


class Machine:
    """One machine under `root`, at first with docker, its NVIDIA runtime, two GPUs, both images and variant `base`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.project = root / "project"
        self.models = self.project / "models"
        self.standin = root / "standin"
        self.bin = root / "bin"
        self.script = root / "deploy" / "start_unified_container.sh"
        for directory in (self.models, self.standin, self.bin):
            directory.mkdir(parents=True)
        shutil.copytree(ROOT / "deploy" / "start", root / "deploy" / "start")
        shutil.copy(ROOT / "deploy" / "start_unified_container.sh", self.script)
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found, tool
            (self.bin / tool).symlink_to(found)
        (self.bin / "python3").symlink_to(os.path.realpath(sys.executable))
        self.install("docker", "engine")
        self.install("nvidia-smi", "nvidia-smi")
        self.answer("gpus", GPUS)
        self.answer("gpu_users", "")
        self.answer("images.json", json.dumps(IMAGE_IDS))
        self.play("0")
        write_variant(self.models, "base")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def install(self, name: str, standin: str) -> None:
        (self.bin / name).symlink_to(STANDIN / standin)

    def remove(self, name: str) -> None:
        (self.bin / name).unlink()

    def answer(self, name: str, text: str) -> None:
        """Write a file that a stand-in answers from."""
        (self.standin / name).write_text(text)

    def play(self, how: str) -> None:
        """Let server.py play the container; see there."""
        self.answer(
            "program.json", json.dumps([os.path.realpath(sys.executable), "-I", str(STANDIN / "server.py"), how])
        )

    @property
    def calls(self) -> list[list[str]]:
        path = self.standin / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def commands(self) -> list[str]:
        """The changes the engine was asked for, in order."""
        return [call[0] for call in self.calls if call[0] in ("run", "start", "stop", "rm")]

    def command(self) -> list[str]:
        """The arguments of the one `run`."""
        (found,) = (call for call in self.calls if call[0] == "run")
        return found

    @property
    def containers(self) -> dict[str, dict[str, Any]]:
        path = self.standin / "containers.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def settings(self, **more: object) -> dict[str, str]:
        """The environment of the script. A setting that is None is not there."""
        given: dict[str, object] = {
            "PATH": str(self.bin), "STANDIN": str(self.standin), "HOME": str(self.root),
            "PROJECT_DIR": self.project, "PORT": self.port, "LC_ALL": "C.UTF-8",
        }  # fmt: skip
        return {name: str(value) for name, value in (given | more).items() if value is not None}

    def start(self, *flags: str, **settings: object) -> subprocess.CompletedProcess[str]:
        """Run the script without a terminal; stdout and stderr are one."""
        with self.starting(*flags, **settings) as process:
            shown, _ = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, shown)

    def starting(self, *flags: str, **settings: object) -> subprocess.Popen[str]:
        """The same, while it runs."""
        return subprocess.Popen(
            [str(self.script), *flags],
            env=self.settings(**settings),
            cwd=self.project,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def start_on_terminal(self, answer: str, *flags: str, **settings: object) -> tuple[int, str]:
        """Run the script on a terminal where `answer` is typed. The exit code, and what the terminal showed."""
        ours, theirs = pty.openpty()
        with os.fdopen(ours, "rb+", buffering=0) as terminal:
            process = subprocess.Popen(
                [str(self.script), *flags], env=self.settings(**settings), cwd=self.project,
                stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            )  # fmt: skip
            os.close(theirs)
            terminal.write(f"{answer}\n".encode())
            shown = b""
            with contextlib.suppress(OSError):  # how Linux tells that nobody is at the other end any more
                while more := terminal.read(4096):
                    shown += more
            return process.wait(60), shown.decode()

    def kill_container(self) -> None:
        """End what plays the container, and wait until it ended."""
        for container in self.containers.values():
            with contextlib.suppress(ProcessLookupError, KeyError):
                ended = os.pidfd_open(container["pid"])
                os.killpg(container["pid"], signal.SIGKILL)
                select.select([ended], [], [], 10)
                os.close(ended)

    def stop_container(self) -> None:
        """What `docker stop` leaves, without a call that is recorded."""
        self.kill_container()
        stopped = {name: container | {"status": "exited"} for name, container in self.containers.items()}
        self.answer("containers.json", json.dumps(stopped))


@contextlib.contextmanager
def machine_under(root: Path) -> Iterator[Machine]:
    machine = Machine(root)
    try:
        yield machine
    finally:
        machine.kill_container()
