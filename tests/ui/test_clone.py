"""The tab that clones, as a visitor uses it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page, expect

from editx.audio.codec import Decoder
from tests.running import RunningServer, running_server
from tests.server.test_recordings import heavy
from tests.ui.visit import Visit

LONG = "This sentence is one of very many, and all of them are to be spoken. " * 60


def player(page: Page, state: str) -> None:
    """Wait until the player of the tab is in `state`."""
    page.wait_for_selector(f"#clone-player [data-state={state}]")


def say(page: Page, text: str) -> None:
    page.get_by_label("Text to speak").fill(text)
    page.get_by_role("button", name="Generate").click()


def watch(page: Page) -> None:
    """Keep every state and stage of the player in `window.seen`."""
    page.evaluate(
        """() => {
            window.seen = [];
            const box = document.querySelector('#clone-player .editx-player');
            new MutationObserver(() => window.seen.push(box.dataset.state + ' ' + box.dataset.stage))
                .observe(box, {attributes: true});
        }"""
    )


def sound_of(page: Page, server: RunningServer) -> bytes:
    """The file that the player plays."""
    source = page.locator("#clone-player audio").get_attribute("data-sound")
    return server.client.get(f"/{source}").read()


def test_a_voice_of_the_library_speaks_and_is_heard(page: Page, site: RunningServer) -> None:
    say(page, "One two three, this is a test of the page.")
    player(page, "done")
    clip = Decoder().decode(sound_of(page, site))
    assert 1.5 < clip.seconds < 10
    assert abs(clip.samples).max() > 0.05
    page.wait_for_function("document.querySelector('#clone-player audio').currentTime > 0.2")
    expect(page.locator("#clone-player")).to_contain_text("lite")
    assert page.locator("#clone-player a").get_attribute("href") is not None


def test_a_recording_is_cloned_with_an_emotion(page: Page, site: RunningServer, recording: Path) -> None:
    page.get_by_label("A recording of mine").check()
    page.locator("input[type=file]").first.set_input_files(recording)
    page.get_by_label("What is said in the recording").fill("The words of the recording.")
    page.get_by_label("Then an emotion").click()
    page.get_by_role("option", name="Happy").click()
    page.get_by_text("Advanced").click()
    page.get_by_label("Seed").fill("7")
    say(page, "This is said in the voice of the recording.")
    player(page, "done")
    expect(page.locator("#clone-player")).to_contain_text("Seed 7")
    first = sound_of(page, site)
    page.get_by_role("button", name="Generate").click()
    page.wait_for_selector("#clone-player [aria-busy=true]")
    player(page, "done")
    assert sound_of(page, site) == first, "the same seed gives the same samples"


def test_a_cold_load_shows_its_progress(page: Page, site: RunningServer) -> None:
    site.client.post("/api/v1/models/lite/unload")
    watch(page)
    say(page, "Wake up, please.")
    player(page, "done")
    seen = page.evaluate("window.seen")
    order = ["queued ", "waking ", "working preprocessing", "working generation", "done "]
    places = [next(i for i, now in enumerate(seen) if now.startswith(state)) for state in order]
    assert places == sorted(places), seen


def test_cancel_cancels(page: Page, site: RunningServer) -> None:
    before = _cancelled(site)
    say(page, LONG)
    page.wait_for_selector("#clone-player [data-state=working]")
    page.get_by_role("button", name="Cancel").click()
    player(page, "cancelled")
    assert _cancelled(site) == before + 1
    assert site.status()["leases"] == 0
    say(page, "And again.")
    player(page, "done")


def test_cancel_cancels_while_the_recording_is_read(page: Page, site: RunningServer, tmp_path: Path) -> None:
    long = tmp_path / "long.flac"
    long.write_bytes(heavy())
    page.get_by_label("A recording of mine").check()
    page.locator("input[type=file]").first.set_input_files(long)
    page.get_by_label("What is said in the recording").fill("Nothing.")
    site.client.post("/api/v1/models/lite/load").raise_for_status()  # so that all that stay are there
    before = set(site.descendants())
    say(page, "This is never said.")
    while not (decoders := set(site.descendants()) - before):
        pass
    page.get_by_role("button", name="Cancel").click()
    player(page, "cancelled")
    assert psutil.wait_procs(decoders, timeout=15)[1] == []


@pytest.mark.parametrize(
    ("text", "seed", "said"),
    [("", "", "Write the text to speak"), ("Hello.", "seven", "seed is a whole number"), ("Hello.", "-1", "from 0 to")],
)
def test_what_does_not_fit_is_said_in_a_sentence(page: Page, text: str, seed: str, said: str) -> None:
    page.get_by_text("Advanced").click()
    page.get_by_label("Seed").fill(seed)
    say(page, text)
    player(page, "failed")
    expect(page.locator("#clone-player")).to_contain_text(said)
    expect(page.locator("#clone-player")).not_to_contain_text("Traceback")


def test_who_speaks_is_said_as_it_is_now(visit: Callable[..., Visit], tmp_path: Path, native_root: Path) -> None:
    """The banner and the marks in the list of variants change with the weights, without a restart."""
    weights = tmp_path / "weights"
    weights.mkdir()
    with running_server(tmp_path, "--model-path", str(weights)) as server:
        visited = visit(server)
        page = visited.page
        expect(page.locator(".editx-banner")).to_be_visible()
        page.get_by_text("Advanced").first.click()
        page.get_by_label("Variant").first.click()
        expect(page.get_by_role("option", name="base (not available)")).to_be_visible()
        for path in native_root.iterdir():
            (weights / path.name).symlink_to(path)
        page.reload()
        page.get_by_text("Advanced").first.click()
        page.get_by_label("Variant").first.click()
        expect(page.get_by_role("option", name="base", exact=True)).to_be_visible()
        expect(page.locator(".editx-banner")).to_have_count(0)
        visited.close()


def test_two_tabs_share_one_worker(visit: Callable[..., Visit], site: RunningServer) -> None:
    first, second = visit(site).page, visit(site).page
    for page in (first, second):
        say(page, "We share one worker.")
    pids = set()
    for page in (first, second):
        player(page, "done")
        pids.add(site.status()["pid"])
    assert len(pids) == 1


def test_stages_of_the_native_engine_do_not_go_back(
    visit: Callable[..., Visit], tmp_path: Path, native_root: Path
) -> None:
    with running_server(tmp_path, "--model-path", str(native_root)) as server:
        visited = visit(server)
        page = visited.page
        expect(page.locator(".editx-banner")).to_have_count(0)
        watch(page)
        say(page, "Hello there.")
        player(page, "done")
        seen = page.evaluate("window.seen")
        stages = [now.split()[-1] for now in seen if now.startswith("working")]
        changes = [stage for stage, before in zip(stages, ["", *stages], strict=False) if stage != before]
        assert len(changes) == len(set(changes)), "sound is decoded while more is generated, and that is one stage"
        assert changes.index("preprocessing") < changes.index("generation")
        visited.close()


def _cancelled(server: RunningServer) -> float:
    lines = server.client.get("/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("editx_jobs_cancelled_total"))
