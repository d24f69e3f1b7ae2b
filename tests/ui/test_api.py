"""The tab that shows calls: each is run as it stands, and makes what the page made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from editx.audio.clip import Clip
from editx.audio.codec import Decoder
from tests.running import RunningServer, running_server
from tests.ui.visit import Visit

NASTY = 'It\'s "quoted", costs $HOME or `uname`: 100% \\n & more!\nSecond line; 你好。'
NAMES = ("curl", "python", "cli")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("guarded"), env={"EDITX_API_KEY": "the-key"}) as server:
        yield server


def calls(page: Page) -> dict[str, str]:
    """Open the tab, and the text of every call."""
    page.get_by_role("tab", name="API").click()
    expect(page.locator("#api-calls .editx-calls")).to_have_attribute("data-shown", "3")
    return dict(zip(NAMES, page.locator("#api-calls code").all_inner_texts(), strict=True))


def run(name: str, text: str, folder: Path) -> Clip:
    """Run a call as it stands in a folder of its own, with the key in its variable."""
    command = [sys.executable, "-W", "error", "-c", text] if name == "python" else ["bash", "-euc", text]
    clean = {variable: value for variable, value in os.environ.items() if not variable.startswith("EDITX_")}
    path = f"{Path(sys.executable).parent}:{clean['PATH']}"
    env = {**clean, "PATH": path, "EDITX_API_KEY": "the-key"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return Decoder().decode_path(folder / "editx.wav")


def same(one: Clip, other: Clip) -> None:
    assert one.rate == other.rate
    assert len(one.samples) == len(other.samples)
    np.testing.assert_allclose(one.samples, other.samples, atol=2 / 32768)


def sound(page: Page, player: str, server: RunningServer) -> Clip:
    page.wait_for_selector(f"{player} [data-state=done]")
    source = page.locator(f"{player} audio").get_attribute("data-sound")
    headers = {"Authorization": "Bearer the-key"}
    return Decoder().decode(server.client.get(f"/{source}", headers=headers).read())


def test_a_clone_by_every_call_is_the_clone_of_the_page(page: Page, site: RunningServer, tmp_path: Path) -> None:
    page.get_by_label("Text to speak").fill(NASTY)
    page.get_by_label("Then an emotion").click()
    page.get_by_role("option", name="Happy").click()
    page.get_by_text("Advanced").first.click()
    page.get_by_label("Seed").first.fill("7")
    page.get_by_role("button", name="Generate").click()
    made = sound(page, "#clone-player", site)
    for name, text in calls(page).items():
        (tmp_path / name).mkdir()
        same(run(name, text, tmp_path / name), made)


def test_a_recording_is_named_by_its_file_and_a_key_by_its_variable(
    visit: Callable[..., Visit], guarded: RunningServer, recording: Path, tmp_path: Path
) -> None:
    visited = visit(guarded)
    visited.expected += ["401"]
    page = visited.page
    page.get_by_label("API key").fill("the-key")
    page.keyboard.press("Enter")
    page.get_by_label("A recording of mine").check()
    mine = shutil.copy(recording, tmp_path / "my voice.wav")
    page.locator("input[type=file]").first.set_input_files(mine)
    page.get_by_label("What is said in the recording").first.fill("The words of the recording.")
    page.get_by_label("Text to speak").fill("-5 degrees, she said.")
    page.get_by_text("Advanced").first.click()
    page.get_by_label("Seed").first.fill("7")
    page.get_by_role("button", name="Generate").click()
    made = sound(page, "#clone-player", guarded)
    shown = calls(page)
    expect(page.locator("#api-calls")).to_contain_text("export EDITX_API_KEY")
    for name, text in shown.items():
        assert "the-key" not in text
        (tmp_path / name).mkdir()
        shutil.copy(mine, tmp_path / name)
        same(run(name, text, tmp_path / name), made)


def test_a_chain_of_edits_is_one_call(page: Page, site: RunningServer, recording: Path, tmp_path: Path) -> None:
    page.get_by_role("tab", name="Edit", exact=True).click()
    panel = page.locator("[role=tabpanel]:visible")
    panel.locator("input[type=file]").set_input_files(recording)
    card = page.locator("#edit-cards [data-chosen]")
    expect(card).to_have_attribute("data-card", "0")
    panel.get_by_label("What is said in it").fill("These are the words.")
    panel.get_by_text("Advanced").click()
    panel.get_by_label("Seed").fill("7")
    panel.locator("#edit-apply").click()
    expect(card).to_have_attribute("data-card", "1")
    panel.locator("#edit-kind").get_by_label("Speed", exact=True).check()
    panel.locator("#edit-apply").click()
    expect(card).to_have_attribute("data-card", "2")
    made = sound(page, "#edit-player", site)
    for name, text in calls(page).items():
        assert text.count("emotion") == text.count("faster") == 1
        (tmp_path / name).mkdir()
        shutil.copy(recording, tmp_path / name / "00-recording.wav")
        assert run(name, text, tmp_path / name).seconds == pytest.approx(made.seconds, abs=0.05)


def test_examples_stand_where_nothing_is_filled_in(page: Page) -> None:
    shown = calls(page)
    assert "Hello from EditX." in shown["curl"]
    page.get_by_label("Edit", exact=True).check()
    expect(page.locator("#api-calls code").last).to_contain_text("editx edit recording.wav")
    page.get_by_role("tab", name="Edit", exact=True).click()
    page.locator("#edit-kind").get_by_label("Laughs and sighs").check()
    page.get_by_role("tab", name="API").click()
    expect(page.locator("#api-calls code").first).to_contain_text("Hello from EditX. [Laughter]")


def test_sampling_is_left_out_where_there_is_no_flag_and_a_wrong_number_is_said(page: Page) -> None:
    page.get_by_text("Advanced").first.click()
    page.get_by_label("Temperature").first.fill("0.5")
    shown = calls(page)
    assert '"temperature": 0.5' in shown["curl"]
    assert "temperature" not in shown["cli"]
    expect(page.locator("#api-calls")).to_contain_text("no flags for temperature")
    page.get_by_role("tab", name="Clone").click()
    page.get_by_label("Temperature").first.fill("hot")
    page.get_by_role("tab", name="API").click()
    expect(page.locator("#api-calls [role=alert]")).to_contain_text("Temperature is a number")
    assert page.locator("#api-calls code").filter(visible=True).count() == 0


@pytest.mark.parametrize("clipboard", ["secure", "none"])
def test_a_call_is_copied_and_the_button_says_so(
    visit: Callable[..., Visit], site: RunningServer, clipboard: str
) -> None:
    page = visit(site).page
    if clipboard == "none":  # as browsers have it for a page that came without https
        page.add_init_script("Object.defineProperty(navigator, 'clipboard', {get: () => undefined})")
        page.reload()
    shown = calls(page)
    page.get_by_role("button", name="Copy Python").click()
    expect(page.get_by_role("button", name="Copied Python")).to_be_focused()
    expect(page.locator("#api-calls [role=status]", has_text="Copied")).to_be_attached()
    page.get_by_role("tab", name="Clone").click()
    page.get_by_label("Text to speak").focus()
    page.keyboard.press("Control+V")
    assert page.get_by_label("Text to speak").input_value() == shown["python"]
