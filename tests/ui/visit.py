"""One visitor of the page: a browser context of its own, and what its console said."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Frame, Page, Request

from tests.running import RunningServer

TIMEOUT_MS = 30_000
LEAVES = "the visitor leaves this document"
CUT_OFF = ("AbortError: signal is aborted", "Connection errored out")
"""What Gradio says, to nobody, when a document is left while an answer is still on its way to it."""


class Visit:
    """The page of `server`, opened and ready. `expected`: parts of console errors that belong to the test."""

    def __init__(self, browser: Browser, server: RunningServer, path: str, options: dict[str, Any]) -> None:
        given = {"viewport": {"width": 1440, "height": 1000}, "locale": "en-US", **options}
        self.context = browser.new_context(base_url=server.url, **given)
        self.context.set_default_timeout(TIMEOUT_MS)
        self.said: list[str] = []
        self.elsewhere: list[str] = []
        self.expected: list[str] = []
        self._home = server.url
        self._leaving = False
        self.context.add_init_script(f"addEventListener('beforeunload', () => console.debug({LEAVES!r}))")
        self.page: Page = self.context.new_page()
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self._note(str(error)))
        self.page.on("framenavigated", self._arrived)
        self.page.on("request", self._asked)
        self.page.goto(path)
        self.page.wait_for_selector("#clone-generate, form[action^=login]")

    def close(self) -> None:
        """Leave; nothing may have gone wrong, and nothing may have been asked of another host."""
        self.context.close()
        said = [line for line in self.said if not any(part in line for part in self.expected)]
        assert said == [], f"the console said {said}"
        assert self.elsewhere == [], f"the page asked {self.elsewhere}"

    def _hear(self, message: ConsoleMessage) -> None:
        if message.text == LEAVES:
            self._leaving = True
        elif message.type == "error":
            self._note(message.text)

    def _note(self, line: str) -> None:
        if not (self._leaving and any(part in line for part in CUT_OFF)):
            self.said.append(line)

    def _arrived(self, frame: Frame) -> None:
        if frame == self.page.main_frame:
            self._leaving = False

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self._home, "data:", "blob:")):
            self.elsewhere.append(request.url)
