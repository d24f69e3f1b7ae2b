"""A real browser in front of a real server."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.running import RunningServer, running_server
from tests.ui.visit import TIMEOUT_MS, Visit


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium without a window, with sound that may play by itself."""
    path = shutil.which("chromium")
    assert path is not None, "the tests drive Debian's chromium; `make test` installs it"
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--use-fake-ui-for-media-stream",
                     "--use-fake-device-for-media-stream"]  # fmt: skip
        chromium = playwright.chromium.launch(executable_path=path, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of this module's own: nobody else loads or unloads its model."""
    with running_server(tmp_path_factory.mktemp("site")) as server:
        yield server


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Open the page of a server as a new visitor; at the end nothing may have been said on the console."""
    visits: list[Visit] = []

    def open_page(server: RunningServer, path: str = "/", **options: object) -> Visit:
        visits.append(Visit(browser, server, path, options))
        return visits[-1]

    yield open_page
    for each in visits:
        each.close()


@pytest.fixture
def page(visit: Callable[..., Visit], site: RunningServer) -> Page:
    """The page in English, in a window of 1440 by 1000."""
    return visit(site).page


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory, speech_wav: bytes) -> Path:
    """A file of somebody speaking."""
    path = tmp_path_factory.mktemp("recording") / "speech.wav"
    path.write_bytes(speech_wav)
    return path
