"""The form that asks for the API key, and the cookie it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http.cookies import Morsel, SimpleCookie
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from tests.running import RunningServer, running_server
from tests.ui.visit import Visit

KEY = "it's a \u94a5\u5319 & caf\u00e9"  # what a keyboard can type: quotes, signs, several scripts
KEY_SETTING = KEY.replace(" ", "-")
BROWSER = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("guarded"), env={"EDITX_API_KEY": f"{KEY_SETTING},second"}) as server:
        yield server


def enter(server: RunningServer, key: str, **headers: str) -> httpx.Response:
    return httpx.post(f"{server.url}/login", data={"key": key}, headers=headers)


def cookie_of(response: httpx.Response) -> Morsel[str]:
    return SimpleCookie(response.headers["set-cookie"])["editx_key"]


def test_the_page_opens_with_the_key_and_everything_works(visit: Callable[..., Visit], guarded: RunningServer) -> None:
    visited = visit(guarded)
    visited.expected += ["401"]
    page = visited.page
    page.get_by_label("API key").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("not one of the server's")
    page.get_by_label("API key").fill(KEY_SETTING)
    page.get_by_role("button", name="Enter").click()
    page.get_by_label("Text to speak").fill("The door is open now.")
    page.get_by_role("button", name="Generate").click()
    page.wait_for_selector("#clone-player [data-state=done]")
    page.wait_for_function("document.querySelector('#clone-player audio').currentTime > 0.1")
    assert page.evaluate("fetch('api/v1/models/status').then(reply => reply.status)") == 200
    assert page.evaluate("document.cookie").find("editx_key") == -1, "scripts cannot read it"
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("API key")).to_be_focused()
    page.reload()
    expect(page.get_by_label("API key")).to_be_visible()


def test_the_form_speaks_the_language_asked_for(visit: Callable[..., Visit], guarded: RunningServer) -> None:
    visited = visit(guarded, "/?lang=zh")
    visited.expected += ["401"]
    page = visited.page
    page.get_by_label("API 密钥").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("密钥")
    page.get_by_label("API 密钥").fill("second")
    page.keyboard.press("Enter")
    expect(page.get_by_role("tab", name="克隆")).to_be_visible()
    assert page.locator("html").get_attribute("lang") == "zh-CN"


def test_the_form_can_be_switched_to_the_other_language(visit: Callable[..., Visit], guarded: RunningServer) -> None:
    visited = visit(guarded)
    visited.expected += ["401"]
    page = visited.page
    page.get_by_label("API key").fill("wrong")
    page.keyboard.press("Enter")
    page.get_by_role("alert").wait_for()
    page.get_by_role("link", name="中文").click()
    page.get_by_label("API 密钥").fill("second")
    page.keyboard.press("Enter")
    expect(page.get_by_role("tab", name="克隆")).to_be_visible()


def test_without_a_key_there_is_no_way_out(visit: Callable[..., Visit], site: RunningServer) -> None:
    assert visit(site).page.get_by_role("button", name="Log out").count() == 0


def test_the_cookie_is_for_this_site_only(guarded: RunningServer) -> None:
    response = enter(guarded, "second")
    assert response.status_code == 303
    cookie = cookie_of(response)
    assert cookie["httponly"]
    assert cookie["samesite"].lower() == "strict"
    assert cookie["path"] == "/"
    assert not cookie["secure"], "a browser would not send it back over http"
    assert "second" not in cookie.value
    behind_tls = cookie_of(enter(guarded, "second", **{"X-Forwarded-Proto": "https"}))
    assert behind_tls["secure"]


def test_the_api_takes_a_bearer_or_the_cookie(guarded: RunningServer) -> None:
    cookie = cookie_of(enter(guarded, KEY_SETTING)).value
    models = f"{guarded.url}/v1/models"
    assert httpx.get(models, headers={"Cookie": f"other=1; editx_key={cookie}"}).status_code == 200
    assert httpx.get(models, headers={b"Authorization": f"Bearer {KEY_SETTING}".encode()}).status_code == 200
    assert httpx.get(models).status_code == 401
    both = {"Cookie": f"editx_key={cookie}", "Authorization": "Bearer wrong"}
    assert httpx.get(models, headers=both).status_code == 401, "who names a key means that one"


@pytest.mark.parametrize(
    "cookie",
    [
        b"editx_key=",
        b"editx_key",
        b"editx_key=\xff\xfe",
        b'editx_key="\\377\\000"',
        b"a@b=1; =; ;editx_key=x",
        "密=钥".encode(),
    ],
)
def test_cookies_that_do_not_fit_are_refused_and_no_more(guarded: RunningServer, cookie: bytes) -> None:
    for path in ("/v1/models", "/"):
        response = httpx.get(guarded.url + path, headers={b"Cookie": cookie, b"Accept": b"text/html"})
        assert response.status_code == 401


def test_odd_cookies_do_not_close_an_open_page(site: RunningServer) -> None:
    response = httpx.get(site.url, headers={b"Cookie": b"a@b=1; editx_lang=zh", b"Accept": b"text/html"}, timeout=60)
    assert response.status_code == 200
    assert 'lang="zh-CN"' in response.text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"key=",
        b"key=wrong",
        b"key=%FF%FE",
        b"key=%E5%AF",
        "key=密钥".encode(),
        b"\xff" * 50,
        b"key=" + b"x" * 100_000,
    ],
)
def test_wrong_keys_get_the_form_again(guarded: RunningServer, body: bytes) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    response = httpx.post(f"{guarded.url}/login", content=body, headers=headers)
    assert response.status_code == 401
    assert "set-cookie" not in response.headers
    assert "<form" in response.text
    assert "default-src 'none'" in response.headers["content-security-policy"]


def test_other_sites_can_neither_log_in_nor_out_nor_use_the_cookie(guarded: RunningServer) -> None:
    elsewhere = {"Origin": "https://evil.example", "Cookie": f"editx_key={cookie_of(enter(guarded, 'second')).value}"}
    for path in ("/login", "/logout", "/api/v1/models/lite/unload", "/gradio_api/queue/join"):
        response = httpx.post(guarded.url + path, data={"key": "second"}, headers=elsewhere)
        assert response.status_code == 403, path
        assert "set-cookie" not in response.headers


def test_a_key_taken_away_takes_its_cookies_along(guarded: RunningServer, tmp_path: Path) -> None:
    kept, lost = (f"editx_key={cookie_of(enter(guarded, key)).value}" for key in (KEY_SETTING, "second"))
    with running_server(tmp_path, env={"EDITX_API_KEY": f"{KEY_SETTING},third"}) as server:
        assert httpx.get(f"{server.url}/v1/models", headers={"Cookie": kept}).status_code == 200
        assert httpx.get(f"{server.url}/v1/models", headers={"Cookie": lost}).status_code == 401
        assert "<form" in httpx.get(server.url, headers={"Cookie": lost, **BROWSER}).text


def test_logging_out_takes_the_cookie_back(guarded: RunningServer) -> None:
    for cookie in (cookie_of(enter(guarded, "second")).value, "no longer good"):
        response = httpx.post(f"{guarded.url}/logout", headers={"Cookie": f"editx_key={cookie}"})
        assert response.status_code == 303
        assert cookie_of(response).value == ""
        assert cookie_of(response)["max-age"] == "0"
