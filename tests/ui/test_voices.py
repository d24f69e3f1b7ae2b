"""The tab with the voice library."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from editx.audio.clip import Clip
from editx.audio.codec import encode
from tests.running import RunningServer
from tests.ui.test_access import violations
from tests.ui.visit import Visit


@pytest.fixture
def voices(page: Page) -> Page:
    """The page with the tab open, and the library in it."""
    return opened(page)


@pytest.fixture
def files(tmp_path: Path, speech: tuple[Clip, str]) -> Callable[[float, float, float], Path]:
    """Writes the recording with silence before and after it, at a level."""
    clip = speech[0]

    def write(before: float, after: float, level: float = 1.0, seconds: float | None = None) -> Path:
        samples = clip.samples[: round((seconds or clip.seconds) * clip.rate)] * np.float32(level)
        silence = [np.zeros(round(part * clip.rate), np.float32) for part in (before, after)]
        path = tmp_path / f"{before}-{after}-{level}-{seconds}.wav"
        path.write_bytes(encode(Clip(np.concatenate([silence[0], samples, silence[1]]), clip.rate), "wav"))
        return path

    return write


def opened(page: Page, tab: str = "Voices") -> Page:
    page.get_by_role("tab", name=tab, exact=True).click()
    panel(page, "maple").wait_for()
    return page


def panel(page: Page, name: str) -> Locator:
    return page.locator(f"[data-voice='{name}']")


def choose(page: Page, file: Path) -> None:
    """Give a recording, and wait for what the page says of it."""
    page.locator("[role=tabpanel]:visible input[type=file]").set_input_files(file)
    expect(page.locator("#voices-check")).to_contain_text("s of sound")


def save(page: Page, name: str) -> None:
    """Add the recording that was chosen, and wait for its panel."""
    page.locator("#voices-name input").fill(name)
    page.locator("#voices-transcript textarea").fill("The words of the recording.")
    page.get_by_role("button", name="Add to the library").click()
    panel(page, name).wait_for()
    expect(page.locator("#voices-said")).to_contain_text(f"{name} is in the library")


def visible(page: Page, label: str) -> Locator:
    return page.locator("[role=tabpanel]:visible").get_by_label(label, exact=True)


def added_over_http(server: RunningServer, name: str, recording: Path) -> None:
    form = {"name": name, "transcript": "The words of the recording."}
    answer = server.client.post("/v1/voices", files={"file": recording.read_bytes()}, data=form)
    answer.raise_for_status()


def test_a_voice_is_added_without_its_silence_heard_and_spoken(
    voices: Page, site: RunningServer, files: Callable[..., Path], speech: tuple[Clip, str]
) -> None:
    choose(voices, files(1.5, 2.0))
    cut = re.search(r"([\d.]+) s of silence", voices.locator("#voices-check").inner_text())
    assert cut
    assert float(cut[1]) == pytest.approx(3.5, abs=0.6)
    save(voices, "Uploaded")
    seconds = site.client.get("/v1/voices/Uploaded").json()["seconds"]
    assert seconds == pytest.approx(speech[0].seconds + 3.5 - float(cut[1]), abs=0.06)
    expect(panel(voices, "Uploaded")).to_contain_text("The words of the recording.")
    expect(voices.locator("#voices-check")).to_have_text("")
    voices.evaluate("document.querySelector('[data-voice=Uploaded] audio').play()")
    voices.wait_for_function("document.querySelector('[data-voice=Uploaded] audio').currentTime > 0.2")
    voices.evaluate("document.querySelector('[data-voice=Uploaded] audio').currentTime = 3")
    voices.wait_for_function("document.querySelector('[data-voice=Uploaded] audio').currentTime > 3.1")
    voices.get_by_role("tab", name="Clone").click()
    voices.get_by_label("Voice", exact=True).click()
    voices.get_by_role("option", name="Uploaded").click()
    voices.get_by_label("Text to speak").fill("Now I speak.")
    voices.get_by_role("button", name="Generate").click()
    voices.wait_for_selector("#clone-player [data-state=done]")


def test_warnings_come_before_and_after_saving(
    voices: Page, site: RunningServer, files: Callable[..., Path], speech: tuple[Clip, str]
) -> None:
    check = voices.locator("#voices-check")
    choose(voices, files(0, 0, 0.005))
    expect(check).to_contain_text("very quiet")
    visible(voices, "Clear").click()
    expect(check).to_have_text("")
    choose(voices, files(0, 0, 100.0))
    expect(check).to_contain_text("clipped")
    visible(voices, "Clear").click()
    expect(check).to_have_text("")
    choose(voices, files(2, 0, seconds=2.0))
    save(voices, "Short")
    for place in (voices.locator("#voices-said"), panel(voices, "Short")):
        expect(place.locator("li").first).to_contain_text("3 to 30 s of speech clone better")
    assert violations(voices) == []


def test_trimming_is_a_choice(voices: Page, site: RunningServer, files: Callable[..., Path]) -> None:
    check = voices.locator("#voices-check")
    choose(voices, files(2, 2))
    expect(check).to_contain_text("silence at the ends")
    voices.get_by_label("Trim silence at both ends").uncheck()
    expect(check).not_to_contain_text("silence at the ends")
    expect(check).to_contain_text("s of sound")


def test_what_is_missing_or_taken_is_said_beside_the_form(
    voices: Page, recording: Path, files: Callable[..., Path]
) -> None:
    said = voices.locator("#voices-said")
    save = voices.get_by_role("button", name="Add to the library")
    save.click()
    expect(said).to_contain_text("Give a recording first")
    choose(voices, recording)
    save.click()
    expect(said).to_contain_text("Give the voice a name first")
    voices.locator("#voices-name input").fill("a/b")
    save.click()
    expect(said).to_contain_text("Write what is said in the recording first")
    voices.locator("#voices-transcript textarea").fill("Words.")
    save.click()
    expect(said).to_contain_text("not allowed in 'a/b'")
    voices.locator("#voices-name input").fill("Maple")
    save.click()
    expect(said).to_contain_text("The name Maple is taken")
    visible(voices, "Clear").click()
    voices.locator("[role=tabpanel]:visible input[type=file]").set_input_files(files(1, 1, 0.0))
    expect(voices.locator("#voices-check")).to_contain_text("The recording is silent")
    expect(voices.locator("#voices-check")).not_to_contain_text("Traceback")


def test_rename_by_keyboard_and_delete(visit: Callable[..., Visit], site: RunningServer, recording: Path) -> None:
    added_over_http(site, "First", recording)
    added_over_http(site, "Second", recording)
    visited = visit(site)
    visited.expected.append("409")
    page = visited.page
    page.get_by_label("Voice", exact=True).click()
    page.get_by_role("option", name="First").click()
    opened(page)
    rename = panel(page, "First").get_by_role("button", name="Rename First")
    rename.focus()
    page.keyboard.press("Enter")
    field = page.get_by_label("New name of First")
    expect(field).to_be_focused()
    assert violations(page) == []
    page.keyboard.press("Escape")
    expect(rename).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.type("second")
    page.keyboard.press("Enter")
    expect(panel(page, "First").get_by_role("alert")).to_contain_text("There is a voice 'Second' already")
    expect(field).to_be_focused()
    field.fill("Zoe")
    page.keyboard.press("Enter")
    expect(panel(page, "Zoe").get_by_role("button", name="Rename Zoe")).to_be_focused()
    expect(panel(page, "First")).to_have_count(0)
    assert site.client.get("/v1/voices/Zoe").status_code == 200
    page.get_by_role("tab", name="Clone").click()
    expect(page.get_by_label("Voice", exact=True)).to_have_value("Zoe")

    opened(page)
    page.get_by_role("button", name="Delete Zoe").click()
    keep = panel(page, "Zoe").get_by_role("button", name="Keep it")
    expect(keep).to_be_focused()
    assert violations(page) == []
    keep.click()
    assert site.client.get("/v1/voices/Zoe").status_code == 200
    page.get_by_role("button", name="Delete Zoe").click()
    panel(page, "Zoe").get_by_role("button", name="Delete", exact=True).click()
    expect(panel(page, "Zoe")).to_have_count(0)
    expect(page.get_by_role("heading", name="Library")).to_be_focused()
    expect(page.locator("#voices-library")).to_contain_text("Zoe was deleted.")
    assert site.client.get("/v1/voices/Zoe").status_code == 404
    page.get_by_role("tab", name="Clone").click()
    expect(page.get_by_label("Voice", exact=True)).to_have_value("maple")


def test_built_in_voices_stay_as_they_are(voices: Page) -> None:
    expect(panel(voices, "maple")).to_contain_text("Built in")
    expect(panel(voices, "maple").get_by_role("button")).to_have_count(0)
    expect(panel(voices, "maple").get_by_label("The recording of maple")).to_be_visible()
    expect(voices.locator("[data-voice=alloy]")).to_have_count(0)


def test_what_others_added_is_there_when_the_tab_is_shown(voices: Page, site: RunningServer, recording: Path) -> None:
    added_over_http(site, "From elsewhere", recording)
    voices.get_by_role("tab", name="Clone").click()
    voices.get_by_label("Voice", exact=True).click()
    expect(voices.get_by_role("option", name="From elsewhere")).to_be_visible()
    voices.keyboard.press("Escape")
    opened(voices)
    panel(voices, "From elsewhere").wait_for()


def test_a_recording_by_microphone(visit: Callable[..., Visit], site: RunningServer) -> None:
    page = opened(visit(site, permissions=["microphone"]).page)
    shown = page.locator("[role=tabpanel]:visible")
    shown.get_by_test_id("source-select").get_by_role("button").nth(1).click()
    shown.locator(".record-button").click()
    shown.get_by_text("0:02", exact=True).wait_for()
    shown.locator(".stop-button").click()
    expect(page.locator("#voices-check")).to_contain_text("s of sound")
    expect(page.locator("#voices-check")).to_contain_text("3 to 30 s of speech clone better")


def test_chinese(visit: Callable[..., Visit], site: RunningServer, files: Callable[..., Path]) -> None:
    page = opened(visit(site, locale="zh-CN").page, "音色")
    expect(panel(page, "maple")).to_contain_text("内置")
    page.get_by_role("button", name="加入音色库").click()
    expect(page.locator("#voices-said")).to_contain_text("请先上传录音")
    page.locator("[role=tabpanel]:visible input[type=file]").set_input_files(files(1, 0, seconds=2.0))
    expect(page.locator("#voices-check")).to_contain_text("静音将被去掉")
    expect(page.locator("#voices-check li").first).to_contain_text("3 到 30 秒的语音克隆效果更好")
