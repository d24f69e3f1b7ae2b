"""Exit codes: one for every kind of error, the same here and through a server."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from editx.cli.app import run
from editx.cli.console import EXIT_CODES, exit_code_of
from editx.errors import BY_CODE
from tests.cli.conftest import KeyedServer
from tests.cli.running import CommandLine, Terminal, environment
from tests.running import RunningServer, running_server

LONG = "The quick brown fox jumps over the lazy dog, and then it sleeps. " * 120
CLONE = ("clone", "Hello.", "--voice", "alloy", "-o", "x.wav")


def test_every_kind_of_error_has_a_code():
    assert len(set(EXIT_CODES.values())) == len(EXIT_CODES)
    assert 0 not in EXIT_CODES.values()
    assert {code: exit_code_of(kind("why")) for code, kind in BY_CODE.items()} == {
        "editx_error": 1, "invalid_request": 2, "undecodable_audio": 2, "missing_transcript": 2, "not_found": 3,
        "conflict": 4, "too_large": 5, "queue_full": 7, "cancelled": 130, "model_unavailable": 6, "load_failed": 6,
        "out_of_memory": 6, "model_unloaded": 6, "model_crashed": 6, "backing_off": 6, "shutting_down": 6,
        "stalled": 8, "storage_failed": 9, "engine_fault": 70,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["clone", "Hello.", "-o", "x.wav"], "from --voice NAME or from --ref FILE"),
        (["clone", "Hello.", "--voice", "alloy", "--ref", "me.wav", "-o", "x.wav"], "give one of them"),
        (["clone", "Hello.", "--ref", "me.wav", "-o", "x.wav"], "--ref needs --ref-text"),
        (["clone", "Hello.", "--voice", "alloy", "--ref-text", "x", "-o", "x.wav"], "--ref-text belongs to --ref"),
        (["clone", "", "--voice", "alloy", "-o", "x.wav"], "it is empty (TEXT)"),
        (["clone", "Hello.", "--voice", "alloy"], "missing option '-o' / '--out'"),
        ([*CLONE, "--emotion", "hapy"], "'hapy' is no option of emotion"),
        ([*CLONE, "--speed", "9"], "from 0.25 to 4, not 9.0 (--speed)"),
        ([*CLONE, "--speed", "fast"], "invalid value for '--speed'"),
        ([*CLONE, "--seed", "-1"], "not -1 (--seed)"),
        ([*CLONE, "--language", "tlh"], "'tlh' is no language we speak"),
        ([*CLONE, "--stall-timeout", "0"], "stall_timeout: Input should be greater than 0"),
        ([*CLONE, "--data-dir", "me.wav"], "Not a directory (--data-dir)"),
        ([*CLONE, "--server", "localhost"], "a server is a URL such as"),
        ([*CLONE, "--server", "http://127.0.0.1:99999"], "a server is a URL such as"),
        ([*CLONE, "--server", "http://[::1"], "a server is a URL such as"),
        ([*CLONE, "--server", "http://127.0.0.1", "--api-key", "schlüssel"], "has ASCII characters only (--api-key)"),
        ([*CLONE, "--voic", "alloy"], "no such option: --voic"),
        (["clone", "Hello.", "--voice", "alloy", "-o", "x.ogx"], "names no audio format"),
        (["clone", os.fsdecode(b"\xff"), "--voice", "alloy", "-o", "x.wav"], "argument 2 is not UTF-8"),
        (["clone", "Hello.", "--voice", "alloy", "-o", "-"], "give --format"),
        (["clone", "Hello.", "--voice", "alloy", "-o", "x" * 300 + ".wav"], "cannot be used: File name too long"),
        (["serve", "--model-path", "x" * 300], "cannot be used: File name too long"),
        (["edit", "me.wav", "--step", "emotion:hapy", "-o", "x.wav"], "'hapy' is no option of emotion"),
        (["edit", "me.wav", "--step", "denoise:much", "-o", "x.wav"], "denoise takes no info"),
        (["edit", "me.wav", "--step", "sing", "-o", "x.wav"], "'sing' is no type of step"),
        (["edit", "me.wav", "--step", "clone:Hello", "-o", "x.wav"], "use `editx clone`"),
        (["edit", "me.wav", "--step", "denoise", "-n", "99", "-o", "x.wav"], "from 1 to 32, not 99 (--n)"),
        (["edit", "me.wav", "--step", "denoise"], "give -o OUT, or --all DIR"),
        (["edit", "me.wav", "--step", "denoise", "-o", "x.txt"], "names no audio format"),
        (["edit", "me.wav", "--step", "denoise", "-o", "nowhere/x.wav"], "there is no folder nowhere"),
        (["clones"], "no such command 'clones'"),
        (["models", "load", "lite"], "name it with --server URL"),
        (["serve", "--port", "70000"], "port: Input should be less than or equal to 65535"),
        (["serve", "--drain-timeout", "inf"], "drain_timeout: Input should be a finite number"),
        (["serve", "--data-dir", "me.wav"], "Not a directory"),
    ],
)
def test_usage_is_2(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    speech_wav: bytes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """In this process, because these are many and end before any work begins."""
    for name in [name for name in os.environ if name.startswith("EDITX_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("EDITX_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    Path("me.wav").write_bytes(speech_wav)
    assert run(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert not Path("x.wav").exists()


def test_interrupting_the_imports_is_130(tmp_path: Path):
    """With a package in it whose import does not end."""
    (tmp_path / "typer.py").write_text("import signal\nprint('importing', flush=True)\nsignal.pause()\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "editx", "voices", "list"]
    with Terminal(command, tmp_path, environment(tmp_path / "data", PYTHONPATH=path)) as running:
        running.wait_for("importing")
        running.interrupt()
        assert running.wait() == 130
        assert "error: interrupted" in running.shown
        assert "Traceback" not in running.shown


def test_commands_alone_show_their_help(editx: CommandLine):
    assert editx(code=2).stdout.startswith(b"Usage: editx [OPTIONS] COMMAND")
    assert editx("voices", code=2).stdout.startswith(b"Usage: editx voices")
    assert editx("--version").stdout.startswith(b"editx 0.")


def test_a_server_that_is_not_there_is_6(editx: CommandLine):
    message = editx.error(*CLONE, "--server", "http://127.0.0.1:1", code=6)
    assert "no EditX answers at http://127.0.0.1:1" in message
    assert "`editx serve`" in message


def test_a_key_that_does_not_fit_is_2(editx: CommandLine, keyed: KeyedServer):
    assert "--api-key" in editx.error(*CLONE, "--server", keyed.url, code=2)
    assert "--api-key" in editx.error(*CLONE, "--server", keyed.url, "--api-key", "wrong", code=2)


def test_errors_of_a_server_have_the_codes_of_errors_here(editx: CommandLine, keyed: KeyedServer):
    there = keyed.variables
    assert "nobody" in editx.error("clone", "Hi.", "--voice", "nobody", "-o", "x.wav", code=3, **there)
    assert "no weights" in editx.error(*CLONE, "--variant", "base", code=6, **there)
    assert "20000" in editx.error("clone", "a " * 10_001, "--voice", "alloy", "-o", "x.wav", code=5, **there)
    edit = ("edit", "me.wav", "--step", "emotion:happy", "-o", "x.wav")
    assert "--transcript" in editx.error(*edit, code=2, **there)
    assert editx.json(*edit, code=2, **there)["error"]["code"] == "missing_transcript"


def test_errors_name_the_flags_of_the_command(editx: CommandLine, keyed: KeyedServer):
    clone = ("clone", "Hi.", "--ref", "me.wav", "-o", "x.wav", "--ref-text")
    (editx.folder / "noise.wav").write_bytes(b"no sound")
    for there in ({}, keyed.variables):
        assert "(--ref-text)" in editx.error(*clone, "a " * 20_000, code=5, **there)
        assert "(--ref)" in editx.error(*clone, "Hi.", "--ref", "noise.wav", code=2, **there)
        assert "(--variant)" in editx.error(*clone, "Hi.", "--variant", "none", code=3, **there)


class _Broken(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_error(500)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def stranger() -> Iterator[str]:
    """A web server that is no EditX."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Broken) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_broken_server_is_70(editx: CommandLine, stranger: str):
    assert "answered 500, which is not EditX's" in editx.error(*CLONE, "--server", stranger, code=70)


@contextmanager
def speaking(running: RunningServer) -> Iterator[None]:
    """A request that keeps one slot of the engine busy."""
    body = {"input": LONG, "voice": "alloy", "response_format": "pcm"}
    with running.client.stream("POST", "/v1/audio/speech", json=body) as response:
        assert response.status_code == 200
        chunks = response.iter_raw()  # kept, because a generator that nobody holds is closed, and its connection too
        next(chunks)
        yield


def test_a_full_queue_is_7_and_a_stall_is_8(editx: CommandLine, tmp_path_factory: pytest.TempPathFactory):
    folder: Path = tmp_path_factory.mktemp("narrow")
    with running_server(folder, "--queue-size", "1", "--stall-timeout", "2") as running:
        there = {"EDITX_SERVER": running.url}
        editx("models", "load", "lite", **there)
        with ThreadPoolExecutor(2) as threads, ExitStack() as slots:
            for _ in range(2):
                slots.enter_context(speaking(running))
            # One of two waits in the queue, for whom there is room, and the other one is sent away.
            both = [threads.submit(editx.run, *CLONE, "--force", **there) for _ in range(2)]
            first = next(as_completed(both)).result()
            assert first.returncode == 7, first
            assert b"error: " in first.stderr
        assert sorted(one.result().returncode for one in both) == [0, 7]
        pid = running.status()["pid"]
        assert isinstance(pid, int)
        os.kill(pid, signal.SIGSTOP)
        editx.error(*CLONE, "--force", code=8, **there)
