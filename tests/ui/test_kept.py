"""What a visitor has typed and chosen outlives what happens to the page meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from playwright.sync_api import Page, expect

from editx.audio.clip import Clip
from tests.running import RunningServer, running_server
from tests.ui.test_edit import card, kind, start
from tests.ui.visit import Visit
from tests.ui.wire import wire

LONG = "This sentence is one of very many, and all of them are to be spoken. " * 120


def fill(page: Page, text: str = LONG) -> None:
    page.get_by_label("Text to speak").fill(text)
    page.get_by_label("Voice", exact=True).click()
    page.get_by_role("option", name="granite").click()
    page.get_by_label("Then a style").click()
    page.get_by_role("option", name="Whisper").click()
    page.get_by_text("Advanced").first.click()
    page.get_by_label("Seed").first.fill("7")
    page.wait_for_function("sessionStorage['editx-kept-clone'].includes('\"7\"')")


def filled(page: Page, text: str = LONG) -> None:
    """Wait until the form holds what was filled in."""
    expect(page.locator("[role=tabpanel]:visible textarea").last).to_have_value(text)
    expect(page.get_by_label("Voice", exact=True)).to_have_value("granite")
    expect(page.get_by_label("Then a style")).to_have_value("Whisper")
    page.get_by_text("Advanced").first.click()
    expect(page.get_by_label("Seed").first).to_have_value("7")


def test_a_lost_connection_loses_nothing_and_says_what_was_cancelled(
    visit: Callable[..., Visit], site: RunningServer
) -> None:
    with wire(site.url) as way:
        visited = visit(SimpleNamespace(url=way.url))
        visited.expected += ["ERR_", "Connection errored out", "Failed to load resource", "network error"]
        page = visited.page
        fill(page)
        page.locator("#clone-generate").click()
        page.wait_for_selector("#clone-player [data-state=working]")
        with page.expect_navigation(timeout=60_000):
            way.cut()
            way.mend()
        page.wait_for_selector("#clone-player [data-state=cancelled]")
        expect(page.locator("#clone-player")).to_contain_text("connection was lost")
        filled(page)
        page.get_by_label("Text to speak").fill("Short now.")
        page.locator("#clone-generate").click()
        page.wait_for_selector("#clone-player [data-state=done]")
        page.reload()
        page.wait_for_selector("#clone-player [data-state=empty]")
        visited.close()
        assert site.status()["leases"] == 0


def test_the_other_language_has_the_same_form_and_tab(
    visit: Callable[..., Visit], site: RunningServer, recording: Path, speech: tuple[Clip, str]
) -> None:
    page = visit(site).page
    fill(page, "Not to be lost.")
    page.get_by_label("A recording of mine").check()
    page.locator("input[type=file]").first.set_input_files(recording)
    page.get_by_label("What is said in the recording").first.fill(speech[1])
    page.locator("[role=tabpanel]:visible audio, [role=tabpanel]:visible .waveform-container").first.wait_for(
        state="attached"
    )
    start(page, recording, speech[1])
    kind(page, "Laughs and sighs")
    page.get_by_label("Words with sounds in them").fill(f"{speech[1]} [Sigh]")
    page.wait_for_function("sessionStorage['editx-kept-edit'].includes('[Sigh]')")
    page.get_by_role("link", name="中文").click()
    expect(page.get_by_role("tab", name="编辑", exact=True)).to_have_attribute("aria-selected", "true")
    expect(card(page, 0)).to_be_visible()
    expect(page.get_by_label("带有声音标记的文字")).to_have_value(f"{speech[1]} [Sigh]")
    page.get_by_role("tab", name="克隆").click()
    expect(page.get_by_label("要说的文字")).to_have_value("Not to be lost.")
    expect(page.get_by_label("录音中说的话").first).to_have_value(speech[1])
    page.locator("#clone-generate").click()
    page.wait_for_selector("#clone-player [data-state=done]")


def test_texts_of_one_card_are_not_put_to_another(page: Page, recording: Path, speech: tuple[Clip, str]) -> None:
    start(page, recording, speech[1])
    kind(page, "Trim silence")
    page.locator("#edit-apply").click()
    expect(page.locator("#edit-apply")).to_have_text("Apply to card 1")  # the last of what is laid out
    page.get_by_label("What is said in it").fill("Other words in card one.")
    page.get_by_label("What is said in it").blur()
    expect(card(page, 1)).to_contain_text("Other words in card one.")
    card(page, 0).get_by_role("button", name="Edit from here").click()
    expect(page.locator("#edit-apply")).to_have_text("Apply to card 0")
    page.reload()
    expect(page.locator("#edit-apply")).to_have_text("Apply to card 0")
    expect(page.locator("#edit-kind").get_by_label("Trim silence")).to_be_checked()
    expect(page.get_by_label("What is said in it")).to_have_value(speech[1])


def test_a_key_taken_away_brings_its_form_and_then_what_was_typed(visit: Callable[..., Visit], tmp_path: Path) -> None:
    with running_server(tmp_path, env={"EDITX_API_KEY": "a-key"}) as server:
        visited = visit(server)
        visited.expected += ["401", "Connection errored out", "Could not"]
        page = visited.page
        page.get_by_label("API key").fill("a-key")
        page.keyboard.press("Enter")
        fill(page, "Typed before the key was taken away.")
        page.context.clear_cookies(name="editx_key")
        page.locator("#clone-generate").click()
        page.get_by_label("API key").fill("a-key")
        page.keyboard.press("Enter")
        filled(page, "Typed before the key was taken away.")
        page.locator("#clone-generate").click()
        page.wait_for_selector("#clone-player [data-state=done]")
        visited.close()
