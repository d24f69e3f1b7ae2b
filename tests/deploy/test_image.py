"""deploy/Dockerfile and what goes with it. That it builds and runs is proved by scripts/fresh.sh."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from scripts.fresh.dockerfile import Stage, assigned, in_context, read, words

from editx.settings import Settings, load_settings
from tests.deploy.paths import DEPLOY, ROOT
from tests.running import RunningServer

TEXT = (DEPLOY / "Dockerfile").read_text("utf-8")


@pytest.fixture(scope="module")
def final() -> Stage:
    return read(TEXT, {}).stages[-1]


def value(stage: Stage, name: str) -> str:
    return next(instruction.value for instruction in stage.instructions if instruction.name == name)


def test_the_base_is_pinned_and_no_index_is_named() -> None:
    stages = read(TEXT, {}).stages
    assert {stage.base for stage in stages} - {stage.name for stage in stages} == {stages[0].base}
    assert re.fullmatch(r"debian:bookworm-\d{8}-slim", stages[0].base)
    assert not re.search(r"https?://", TEXT)


def test_versions_come_from_the_constraints() -> None:
    installs = [
        step for stage in read(TEXT, {}).stages for step in stage.instructions if re.search(r"pip install", step.value)
    ]
    assert len(installs) == 2
    assert all("-c constraints.txt" in step.value or "--no-deps" in step.value for step in installs)


def test_nobody_is_root_and_the_end_is_heard(final: Stage) -> None:
    assert value(final, "USER") == "10001:10001"
    assert "useradd --uid 10001 --user-group" in value(final, "RUN")
    assert value(final, "STOPSIGNAL") == "SIGTERM"
    assert [*words(value(final, "ENTRYPOINT")), *words(value(final, "CMD"))] == ["tini", "--", "editx", "serve"]


def test_the_environment_holds_settings(final: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    given = assigned(value(final, "ENV"), {})
    for name, text in given.items():
        if name.startswith("EDITX_"):
            assert name.removeprefix("EDITX_").lower() in Settings.model_fields
            monkeypatch.setenv(name, text)
    settings = load_settings()
    assert (settings.host, settings.port) == ("0.0.0.0", int(value(final, "EXPOSE")))
    assert (str(settings.model_path), str(settings.data_dir)) == ("/models", "/data")
    # Nothing is written outside the volume and /tmp.
    assert given["HOME"] == "/data"
    assert given["XDG_CACHE_HOME"].startswith("/data/")
    assert given["TRITON_CACHE_DIR"].startswith("/data/")


def test_the_builder_sees_what_is_copied_and_nothing_else() -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8")
    copied = [
        source
        for stage in read(TEXT, {}).stages
        for step in stage.instructions
        if step.name == "COPY" and not step.value.startswith("--from")
        for source in step.value.split()[:-1]
    ]
    assert {"src", "pyproject.toml", "constraints.txt", "deploy/health.py"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists()
        assert in_context(source, ignored)
    assert in_context("src/editx/server/app.py", ignored)
    for kept_out in (
        "models/Step-Audio-EditX/model.safetensors",
        ".venv/bin/python",
        ".git/config",
        "deploy/.env",
        "tests/conftest.py",
        "src/editx/__pycache__/app.cpython-311.pyc",
        "src/editx.egg-info/PKG-INFO",
    ):
        assert not in_context(kept_out, ignored), kept_out


def health(port: int) -> int:
    command = [sys.executable, str(DEPLOY / "health.py")]
    # A proxy for everything else is no way to this machine itself.
    environment = {"EDITX_PORT": str(port), "http_proxy": "http://127.0.0.1:9"}
    return subprocess.run(command, env=environment, capture_output=True, timeout=30).returncode


def test_health_passes_while_the_server_answers(server: RunningServer) -> None:
    port = urlsplit(server.url).port
    assert port
    assert health(port) == 0


def test_health_fails_without_a_server() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        assert health(taken.getsockname()[1]) == 1


def test_health_fails_when_the_answer_is_an_error() -> None:
    class Broken(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(500)

        def log_message(self, *_: object) -> None:
            """Nothing: the test's output is no log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Broken) as broken:
        answering = threading.Thread(target=broken.serve_forever)
        answering.start()
        try:
            assert health(broken.server_port) == 1
        finally:
            broken.shutdown()
            answering.join()
