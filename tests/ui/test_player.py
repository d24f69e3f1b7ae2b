"""The player of a take, as it is heard and seen, and the buttons around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.running import RunningServer
from tests.ui.test_clone import player
from tests.ui.visit import Visit

SENTENCE = "This sentence is one of very many, and all of them are to be spoken. "
AUDIO = "document.querySelector('#clone-player audio')"
PLAYING = f"!{AUDIO}.paused && {AUDIO}.currentTime > 0"


def say(page: Page, sentences: int) -> None:
    page.get_by_label("Text to speak").fill(SENTENCE * sentences)
    page.locator("#clone-generate").click()


def audio(page: Page, field: str) -> Any:
    return page.evaluate(f"{AUDIO}.{field}")


def test_it_plays_while_it_is_made(page: Page) -> None:
    page.evaluate(
        f"""() => {{
            window.heard = [];
            const box = document.querySelector('#clone-player .editx-player');
            {AUDIO}.addEventListener('timeupdate', (event) => window.heard.push(
                [box.dataset.state, event.target.getAttribute('src'), event.target.currentTime]));
        }}"""
    )
    say(page, 60)
    page.wait_for_function("window.heard.some(([state, , at]) => state === 'working' && at > 0.5)")
    heard = page.evaluate("window.heard.find(([state, , at]) => state === 'working' && at > 0.5)")
    assert heard[1].startswith("page/live/")
    page.locator("#clone-cancel").click()
    player(page, "cancelled")


def test_what_was_paused_stays_so_when_the_rest_is_made(page: Page) -> None:
    say(page, 12)
    page.wait_for_function(PLAYING)
    at = page.evaluate(f"({AUDIO}.pause(), {AUDIO}.currentTime)")
    player(page, "done")
    page.wait_for_selector("#clone-player canvas:visible")
    assert audio(page, "paused")
    assert audio(page, "currentTime") == at


def test_cancel_is_silence(page: Page) -> None:
    say(page, 120)
    page.wait_for_function(PLAYING)
    page.locator("#clone-cancel").click()
    player(page, "cancelled")
    assert audio(page, "paused")
    expect(page.locator("#clone-player audio")).to_be_hidden()


def test_the_sound_of_one_take_never_comes_back_in_the_next(page: Page) -> None:
    say(page, 6)
    page.wait_for_function(PLAYING)
    player(page, "done")
    first, live = audio(page, "dataset.sound"), audio(page, "getAttribute('src')")
    say(page, 4)
    page.wait_for_function(f"{PLAYING} && {AUDIO}.getAttribute('src') !== {live!r}")
    page.evaluate(f"{AUDIO}.pause()")
    player(page, "done")
    page.wait_for_function(f"{AUDIO}.dataset.sound !== {first!r}")
    page.evaluate(f"({AUDIO}.playbackRate = 8, {AUDIO}.play())")
    page.wait_for_function(f"{AUDIO}.getAttribute('src') === {AUDIO}.dataset.sound")
    assert audio(page, "dataset.sound") != first


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
def test_whoever_presses_generate_sees_what_comes_of_it(
    visit: Callable[..., Visit], site: RunningServer, width: int, height: int
) -> None:
    page = visit(site, viewport={"width": width, "height": height}).page
    page.get_by_label("A recording of mine").check()
    page.get_by_text("Advanced").first.click()
    page.get_by_label("Top p").first.wait_for()
    page.locator("#clone-generate").click()
    player(page, "failed")
    expect(page.locator("#clone-player .editx-status")).to_be_in_viewport(ratio=1)


def test_the_focus_stays_on_the_button_that_was_pressed(page: Page) -> None:
    generate, cancel = page.locator("#clone-generate"), page.locator("#clone-cancel")
    expect(cancel).to_have_attribute("aria-disabled", "true")
    page.get_by_label("Text to speak").fill(SENTENCE * 120)
    generate.focus()
    page.keyboard.press("Enter")
    player(page, "working")
    expect(generate).to_be_focused()
    expect(generate).to_have_attribute("aria-disabled", "true")
    page.keyboard.press("Enter")  # does nothing while it is at work
    cancel.focus()
    page.keyboard.press("Enter")
    player(page, "cancelled")
    expect(cancel).to_be_focused()
    expect(cancel).to_have_attribute("aria-disabled", "true")
    expect(generate).to_have_attribute("aria-disabled", "false")
