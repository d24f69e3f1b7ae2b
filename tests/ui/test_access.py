"""Whether everybody can use the page: by ear, by keyboard, on a telephone, enlarged, in the dark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.docs.pages import ROOT
from tests.running import RunningServer, running_server
from tests.ui.visit import Visit

AXE = ROOT / "tests/clients/node_modules/axe-core/axe.min.js"
TABS = ("clone", "edit", "voices", "models", "api")
WIDTHS = {390: 844, 1440: 1000}


def opened(page: Page) -> Iterator[str]:
    """The tabs, each once it is open and drawn."""
    for name in TABS:
        page.locator(f"[role=tab][data-tab-id={name}]").click()
        expect(page.locator(f"[role=tab][data-tab-id={name}]")).to_have_attribute("aria-selected", "true")
        ready = {
            "voices": "#voices-library h2",
            "models": ".editx-panel h2",
            "api": "#api-calls code",
            "edit": "#edit-cards h2",
        }.get(name)
        page.locator(ready or "[role=tabpanel]:visible").first.wait_for()
        yield name


def violations(page: Page) -> list[str]:
    """What axe finds serious or worse."""
    page.evaluate(AXE.read_text())
    found: list[dict[str, Any]] = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        f"{violation['id']}: {node['target']} {node['html'][:200]}"
        for violation in found
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]


def sideways(page: Page) -> int:
    """By how many pixels the page is wider than its window."""
    wider: int = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    return wider


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_axe_finds_nothing_serious(
    visit: Callable[..., Visit], site: RunningServer, width: int, theme: str, language: str
) -> None:
    window = {"width": width, "height": WIDTHS[width]}
    page = visit(site, f"/?lang={language}", viewport=window, color_scheme=theme).page
    dark = (
        page.evaluate("getComputedStyle(document.querySelector('gradio-app')).backgroundColor") != "rgb(255, 255, 255)"
    )
    assert dark == (theme == "dark")
    for name in opened(page):
        assert violations(page) == [], name
        assert sideways(page) <= 0, name


def test_axe_finds_nothing_serious_in_a_tab_that_was_used(
    visit: Callable[..., Visit], site: RunningServer, recording: Path
) -> None:
    page = visit(site, color_scheme="dark").page
    page.get_by_text("Advanced").first.click()
    page.get_by_label("Text to speak").fill("Look at me from all sides.")
    page.get_by_role("button", name="Generate").click()
    page.wait_for_selector("#clone-player [data-state=done]")
    page.get_by_label("A recording of mine").check()
    assert violations(page) == []
    page.locator("input[type=file]").first.set_input_files(recording)
    page.locator("#clone-edit").click()
    page.wait_for_selector("#edit-cards [data-card='0']")
    assert violations(page) == []


def test_axe_finds_nothing_serious_in_the_login(visit: Callable[..., Visit], tmp_path: Path) -> None:
    with running_server(tmp_path, env={"EDITX_API_KEY": "a-key"}) as server:
        for theme in ("light", "dark"):
            visited = visit(server, color_scheme=theme, viewport={"width": 320, "height": 500})
            visited.expected += ["401"]
            visited.page.keyboard.type("wrong")
            visited.page.keyboard.press("Enter")
            visited.page.get_by_role("alert").wait_for()
            assert violations(visited.page) == []
            assert sideways(visited.page) <= 0


@pytest.mark.parametrize(("width", "height"), [(720, 500), (320, 256)], ids=["200 %", "400 %"])
def test_enlarged_the_page_needs_no_scrolling_sideways(
    visit: Callable[..., Visit], site: RunningServer, width: int, height: int
) -> None:
    page = visit(site, viewport={"width": width, "height": height}, device_scale_factor=2).page
    for name in opened(page):
        assert sideways(page) <= 0, name


def test_the_page_has_a_name_a_language_one_heading_and_one_main_part(page: Page) -> None:
    assert page.title() == "EditX"
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.get_by_role("heading", level=1).all_inner_texts() == ["EditX"]
    assert page.get_by_role("main").count() == 1
    for name in opened(page):
        levels = [
            int(heading.evaluate("heading => heading.tagName[1]"))
            for heading in page.locator(":is(h1,h2,h3,h4):visible").all()
        ]
        assert all(after <= before + 1 for before, after in pairwise(levels)), (name, levels)


def test_a_whole_clone_by_keyboard(page: Page, site: RunningServer) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the main content")).to_be_focused()
    page.keyboard.press("Enter")
    to(page, page.get_by_label("Text to speak"))
    page.keyboard.type("Nobody touched a mouse for this.")
    to(page, page.get_by_label("Then an emotion"))
    page.keyboard.type("Happy")
    expect(page.get_by_role("option", name="Happy")).to_be_visible()
    expect(page.get_by_role("option", name="Angry")).to_be_hidden()
    page.keyboard.press("Enter")
    to(page, page.get_by_role("button", name="Advanced"))
    page.keyboard.press("Enter")
    to(page, page.get_by_label("Seed").first)
    page.keyboard.type("7")
    to(page, page.locator("#clone-generate"))
    page.keyboard.press("Enter")
    page.wait_for_selector("#clone-player [data-state=done]")
    expect(page.locator("#clone-player")).to_contain_text("Seed 7")
    to(page, page.locator("#clone-player a"))
    page.keyboard.press("Shift+Tab")
    to(page, page.get_by_role("tab", name="API"), "Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#api-calls")).to_contain_text('{"type": "emotion", "info": "happy"}')


def test_what_has_the_focus_is_outlined_and_nothing_moves_for_those_who_asked(
    visit: Callable[..., Visit], site: RunningServer
) -> None:
    page = visit(site, reduced_motion="reduce").page
    seen = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        now = page.evaluate(
            """() => {
                const at = document.activeElement, look = getComputedStyle(at);
                const around = getComputedStyle(at.closest('label, .wrap-inner, .input-container') ?? at);
                const shown = [look, around].some((one) => one.outlineStyle !== 'none' || one.boxShadow !== 'none');
                return [at.outerHTML.slice(0, 200), at === document.body || shown];
            }"""
        )
        assert now[1], f"nobody sees that the focus is on {now[0]}"
        seen.add(now[0])
    assert len(seen) > 10
    assert page.evaluate("getComputedStyle(document.querySelector('#clone-generate')).transitionDuration") == "0s"


def to(page: Page, wanted: Locator, key: str = "Tab") -> None:
    """Press `key` until `wanted` has the focus."""
    for _ in range(40):
        if wanted.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press(key)
    raise AssertionError(f"{wanted} cannot be reached by keyboard")
