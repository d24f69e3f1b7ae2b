"""`/docs`: the page that shows the API's operations and lets one try them, without any other host."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Request, expect

from tests.running import RunningServer, running_server


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("guarded"), env={"EDITX_API_KEY": "a-key"}) as server:
        yield server


def test_every_operation_is_shown_and_one_is_tried(browser: Browser, guarded: RunningServer) -> None:
    asked: list[str] = []
    said: list[str] = []
    context = browser.new_context(base_url=guarded.url)
    page = context.new_page()

    def note(request: Request) -> None:
        asked.append(request.url)

    page.on("request", note)
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto("/docs")
    page.wait_for_selector(".opblock")
    summaries = page.locator(".opblock-summary").all()
    shown = {
        (each.locator("[data-path]").get_attribute("data-path"), each.locator(".opblock-summary-method").inner_text())
        for each in summaries
    }
    paths = httpx.get(f"{guarded.url}/openapi.json").json()["paths"]
    assert shown == {(path, method.upper()) for path, methods in paths.items() for method in methods}
    page.get_by_role("button", name="Authorize").first.click()
    page.get_by_label("Value").fill("a-key")
    page.locator(".auth-btn-wrapper .authorize").click()
    page.locator(".btn-done").click()
    page.locator(".opblock-summary-path", has_text="/v1/models").first.click()
    page.get_by_role("button", name="Execute").first.click()
    expect(page.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    context.close()
    assert said == []
    assert [url for url in asked if not url.startswith((guarded.url, "data:"))] == []


def test_nothing_in_it_names_another_host_and_the_browser_is_told_so(guarded: RunningServer) -> None:
    response = httpx.get(f"{guarded.url}/docs")
    assert "//" not in response.text.replace("window.location.protocol + '//'", "").replace("<!-- ", "")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    for path in ("/docs/swagger-ui.js", "/docs/swagger-ui.css", "/page/static/icon.svg"):
        assert httpx.get(guarded.url + path).status_code == 200
