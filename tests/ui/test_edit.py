"""The tab that edits, as a visitor uses it."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import pyworld
from playwright.sync_api import Locator, Page, expect

from editx.audio.clip import Clip
from editx.audio.codec import Decoder, encode
from tests.running import RunningServer
from tests.ui.visit import Visit


def edit_tab(page: Page, name: str = "Edit") -> None:
    page.get_by_role("tab", name=name, exact=True).click()
    page.wait_for_selector("#edit-cards .editx-desk h2")


def give(page: Page, file: Path) -> None:
    page.locator("[role=tabpanel]:visible input[type=file]").set_input_files(file)


def start(page: Page, file: Path, transcript: str) -> None:
    """Lay `file` on the desk as its first card."""
    edit_tab(page)
    give(page, file)
    expect(card(page, 0)).to_be_visible()
    page.get_by_label("What is said in it").fill(transcript)


def card(page: Page, number: int) -> Locator:
    return page.locator(f"#edit-cards [data-card='{number}']")


def kind(page: Page, name: str) -> None:
    page.locator("#edit-kind").get_by_label(name, exact=True).check()


def apply(page: Page, number: int) -> None:
    """Apply what is chosen, and wait for the card it becomes."""
    page.locator("#edit-apply").click()
    expect(card(page, number)).to_have_attribute("data-chosen", "")
    player(page, "done")


def player(page: Page, state: str) -> None:
    page.wait_for_selector(f"#edit-player [data-state={state}]")


def sound(page: Page, server: RunningServer, number: int) -> Clip:
    """What a card plays."""
    source = card(page, number).locator("audio").get_attribute("src")
    return Decoder().decode(server.client.get(f"/{source}").read())


def median_f0(clip: Clip) -> float:
    """Median of the voiced frames, in Hz, as WORLD hears them."""
    f0, _ = pyworld.harvest(clip.samples.astype(np.float64), clip.rate, f0_floor=55.0, f0_ceil=600.0)
    return float(np.median(f0[f0 > 0]))


def test_a_chain_of_three_edits_and_a_branch_outlive_a_reload(
    page: Page, site: RunningServer, recording: Path, speech: tuple[Clip, str]
) -> None:
    start(page, recording, speech[1])
    apply(page, 1)
    kind(page, "Speed")
    page.get_by_label("Much slower").check()
    apply(page, 2)
    kind(page, "Trim silence")
    apply(page, 3)
    for number, said in enumerate(["Recording", "Emotion: Happy", "Speed: Much slower", "Trim silence"]):
        expect(card(page, number).locator("h3")).to_have_text(f"{number} · {said}")
        expect(card(page, number)).to_contain_text(speech[1][:20])
    seconds = [sound(page, site, number).seconds for number in range(4)]
    assert seconds[0] == pytest.approx(speech[0].seconds, abs=0.01)
    assert seconds[2] > 1.2 * seconds[1] > seconds[3] * 0.5
    card(page, 1).get_by_role("button", name="Edit from here").click()
    expect(page.locator("#edit-apply")).to_have_text("Apply to card 1")
    kind(page, "Style")
    apply(page, 4)
    expect(card(page, 4)).to_contain_text("from 1")
    expect(card(page, 3)).to_contain_text("from 2")
    page.reload()
    edit_tab(page)
    expect(page.locator("#edit-cards li")).to_have_count(5)
    expect(card(page, 4)).to_have_attribute("data-chosen", "")
    expect(page.get_by_label("What is said in it")).to_have_value(speech[1])
    page.get_by_role("link", name="中文").click()
    edit_tab(page, "编辑")
    expect(card(page, 2).locator("h3")).to_have_text("2 · 语速：明显放慢")
    page.locator("#edit-apply").click()
    expect(card(page, 5)).to_contain_text("来自 4")


def test_what_is_edited_is_the_card_that_the_button_names(
    visit: Callable[..., Visit], site: RunningServer, recording: Path, speech: tuple[Clip, str]
) -> None:
    """Whatever language another tab of the browser is switched to meanwhile."""
    page = visit(site).page
    start(page, recording, speech[1])
    apply(page, 1)
    kind(page, "Trim silence")
    apply(page, 2)
    other = page.context.new_page()
    other.goto("/")
    other.get_by_role("link", name="中文").click()
    other.get_by_role("tab", name="克隆").wait_for()
    expect(page.locator("#edit-apply")).to_have_text("Apply to card 2")
    apply(page, 3)
    expect(card(page, 3)).to_contain_text("from 2")
    expect(page.locator("#edit-apply")).to_have_text("Apply to card 3")
    expect(page.locator("#edit-cards h2")).to_have_text("Cards")


def test_a_reload_while_an_edit_is_under_way_keeps_the_recording(
    page: Page, recording: Path, speech: tuple[Clip, str]
) -> None:
    start(page, recording, speech[1])
    page.locator("#edit-apply").click()
    page.wait_for_selector("#edit-player [data-state]")
    page.reload()
    edit_tab(page)
    expect(card(page, 0)).to_be_visible()
    page.locator("#edit-apply").click()
    player(page, "done")


def test_two_cards_are_compared_in_sight_and_in_words(
    page: Page, site: RunningServer, recording: Path, speech: tuple[Clip, str]
) -> None:
    start(page, recording, speech[1])
    apply(page, 1)
    for number in (0, 1):
        card(page, number).get_by_label("Compare").check()
    compared = page.get_by_role("region", name="Comparison of two cards")
    page.wait_for_selector(".editx-compare[data-state=done]")
    expect(compared.locator("canvas")).to_have_count(5)
    colours = compared.locator("canvas").evaluate_all(
        """(all) => all.map((canvas) => {
            const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            return new Set(new Uint32Array(data.buffer)).size;
        })"""
    )
    assert min(colours) > 10, colours
    for number in (0, 1):
        clip = sound(page, site, number)
        row = compared.get_by_role("row").nth(1 + number)
        name, length, median, _ = row.locator("th, td").all_inner_texts()[:4]
        assert name.strip().startswith(str(number))
        assert float(length.removesuffix(" s")) == pytest.approx(clip.seconds, abs=0.06)
        assert float(median.removesuffix(" Hz")) == pytest.approx(median_f0(clip), rel=0.1)
        said = compared.locator(".editx-plot-pitch").get_attribute("aria-label")
        assert said is not None
        assert median in said
    card(page, 1).get_by_label("Compare").uncheck()
    expect(compared).to_be_hidden()


def test_pitch_is_right_for_tones_and_absent_for_noise(page: Page) -> None:
    found = page.evaluate(
        """async () => {
            const rate = 24000, out = {};
            const sound = (make) => ({ rate, samples: Float32Array.from({ length: rate }, (_, i) => make(i / rate)) });
            for (const hz of [70, 130, 220, 310, 480]) {
                const part = (k, t) => Math.sin(2 * Math.PI * k * hz * t) / k / 4;
                const tone = (t) => [1, 2, 3, 4].reduce((sum, k) => sum + part(k, t), 0);
                out[hz] = EditX.analysis.summary(await EditX.analysis.pitch(sound(tone)));
            }
            let state = 1;
            const noise = () => (state = (state * 48271) % 2147483647) / 2147483647 - 0.5;
            out.noise = EditX.analysis.summary(await EditX.analysis.pitch(sound(noise)));
            out.silence = EditX.analysis.summary(await EditX.analysis.pitch(sound(() => 0)));
            return out;
        }"""
    )
    assert found.pop("noise") is None
    assert found.pop("silence") is None
    for hz, said in found.items():
        assert said["median"] == pytest.approx(float(hz), rel=0.01)


def test_one_card_and_all_are_downloaded_and_can_be_made_again(
    page: Page, site: RunningServer, recording: Path, speech: tuple[Clip, str]
) -> None:
    start(page, recording, speech[1])
    page.get_by_text("Advanced").last.click()
    page.get_by_label("Seed").last.fill("11")
    page.locator("#edit-times").get_by_label("2").check()
    apply(page, 2)
    page.locator("#edit-times").get_by_label("1").check()
    kind(page, "Speed")
    apply(page, 3)
    with page.expect_download() as one:
        card(page, 3).get_by_role("link", name="Download").click()
    assert one.value.suggested_filename == "03-speed-faster.wav"
    made = sound(page, site, 3)
    assert Decoder().decode(one.value.path().read_bytes()).digest() == made.digest()
    with page.expect_download() as all_of_them:
        page.get_by_role("link", name="Download all").click()
    zipped = zipfile.ZipFile(io.BytesIO(all_of_them.value.path().read_bytes()))
    recipe = json.loads(zipped.read("recipe.json"))
    assert sorted(zipped.namelist()) == sorted(["recipe.json", *(each["file"] for each in recipe["cards"])])
    for number, each in enumerate(recipe["cards"]):
        clip = Decoder().decode(zipped.read(each["file"]))
        assert clip.seconds == pytest.approx(each["seconds"], abs=0.001)
        assert clip.digest() == sound(page, site, number).digest()
        assert each["transcript"] == speech[1]
    last = recipe["cards"][3]
    assert (last["parent"], last["source"], last["seed"], last["variant"]) == (2, 0, 11, "lite")
    assert [step["info"] for step in last["steps"]] == ["happy", "happy", "faster"]
    assert (recipe["chosen"], recipe["steps"]) == (3, last["steps"])
    again = site.client.post(
        "/v1/audio/edits",
        files={"file": zipped.read(recipe["cards"][0]["file"])},
        data={"steps": json.dumps(last["steps"]), "transcript": speech[1], "seed": "11", "variant": "lite"},
    )
    assert again.status_code == 200, again.text
    assert Decoder().decode(again.content).seconds == pytest.approx(made.seconds, abs=0.1)


def test_options_appear_for_the_chosen_kind_and_tags_go_where_the_cursor_is(
    page: Page, recording: Path, speech: tuple[Clip, str]
) -> None:
    start(page, recording, speech[1])
    options = {
        "Emotion": "with this feeling",
        "Style": "in this manner",
        "Speed": "another pace",
        "Laughs and sighs": "Put the cursor",
        "Denoise": "noise and hum",
        "Trim silence": "silences away",
    }
    for name in options:
        kind(page, name)
        for other, hint in options.items():
            expect(page.get_by_text(hint)).to_be_visible(visible=other == name)
    kind(page, "Laughs and sighs")
    text = page.get_by_label("Words with sounds in them")
    expect(text).to_have_value(speech[1])
    text.fill("Well, that was fun.")
    text.evaluate("(field) => field.setSelectionRange(5, 5)")
    page.get_by_role("button", name="Chuckle").click()
    expect(text).to_have_value("Well,[chuckle] that was fun.")
    page.keyboard.type(" yes")
    expect(text).to_have_value("Well,[chuckle] yes that was fun.")
    page.get_by_role("button", name="Sigh", exact=True).focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Control+z")
    expect(text).to_have_value("Well,[chuckle] yes that was fun.")
    apply(page, 1)
    expect(card(page, 1).locator(".editx-take-text")).to_have_text("Well,[chuckle] yes that was fun.")
    expect(page.get_by_label("What is said in it")).to_have_value("Well,[chuckle] yes that was fun.")


def test_sounds_need_words_and_words_need_sounds(page: Page, recording: Path, speech: tuple[Clip, str]) -> None:
    start(page, recording, speech[1])
    kind(page, "Laughs and sighs")
    text = page.get_by_label("Words with sounds in them")
    expect(text).to_have_value(speech[1])
    for written, said in {
        speech[1]: "at least one sound",
        "Hello [Nonsense] there.": "at least one sound",
        "[Laughter] ...": "Write the words",
    }.items():
        text.fill(written)
        page.locator("#edit-apply").click()
        expect(page.locator("#edit-player .editx-status")).to_contain_text(said)
    expect(page.locator("#edit-cards li")).to_have_count(1)


@pytest.mark.parametrize("name", ["speech.webm", "speech.mp4"])
def test_what_recorders_call_a_video_is_taken_too(page: Page, recording: Path, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    codec = {"webm": "libopus", "mp4": "aac"}[file.suffix[1:]]
    with av.open(str(recording)) as source, av.open(str(file), "w") as target:
        sound = target.add_stream(codec, rate=48000)
        resampler = av.AudioResampler(format=sound.codec_context.format, layout="mono", rate=48000)
        sound.codec_context.layout = "mono"
        for frame in source.decode(audio=0):
            for piece in resampler.resample(frame):
                target.mux(sound.encode(piece))
        target.mux(sound.encode(None))
    edit_tab(page)
    give(page, file)
    expect(card(page, 0)).to_be_visible()


def test_a_page_without_microphone_says_so(page: Page) -> None:
    edit_tab(page)
    said = page.locator("[role=tabpanel]:visible").get_by_text("a browser gives it only")
    expect(said).to_be_hidden()
    page.add_init_script("Object.defineProperty(navigator, 'mediaDevices', {get: () => undefined})")
    page.reload()
    edit_tab(page)
    expect(said).to_be_visible()
    expect(page.locator("[role=tabpanel]:visible").get_by_role("button", name=re.compile("Record"))).to_have_count(0)


def test_cancel_keeps_the_chain_and_what_is_made_elsewhere(
    page: Page, site: RunningServer, tmp_path: Path, speech: tuple[Clip, str]
) -> None:
    page.get_by_label("Text to speak").fill("This is spoken while another tab of the page works. " * 350)
    page.get_by_role("button", name="Generate").click()
    page.wait_for_selector("#clone-player [data-state=working]")
    long = tmp_path / "long.wav"
    long.write_bytes(encode(Clip.join([speech[0]] * 15), "wav"))
    start(page, long, speech[1])
    kind(page, "Trim silence")
    apply(page, 1)
    kind(page, "Emotion")
    page.locator("#edit-times").get_by_label("5").check()
    page.locator("#edit-apply").click()
    player(page, "working")
    page.locator("#edit-cancel").click()
    player(page, "cancelled")
    expect(page.locator("#edit-cards li")).to_have_count(2)
    expect(page.locator("#edit-apply")).to_be_enabled()
    assert site.status()["leases"] == 1
    page.get_by_role("tab", name="Clone").click()
    page.wait_for_selector("#clone-player [data-state=working]")
    page.locator("#clone-cancel").click()
    page.wait_for_selector("#clone-player [data-state=cancelled]")
    assert site.status()["leases"] == 0


def test_the_microphone_gives_a_card(page: Page, site: RunningServer) -> None:
    edit_tab(page)
    panel = page.locator("[role=tabpanel]:visible")
    panel.get_by_role("button", name=re.compile("Record (audio|with)")).click()
    panel.get_by_role("button", name="Record", exact=True).click()
    expect(panel.get_by_text("0:01")).to_be_visible()
    panel.get_by_role("button", name="Stop").first.click()
    expect(card(page, 0)).to_contain_text("Recording")
    assert 0.5 < sound(page, site, 0).seconds < 30


def test_what_is_missing_or_broken_is_said_in_a_sentence(
    visit: Callable[..., Visit], site: RunningServer, recording: Path, tmp_path: Path
) -> None:
    visitor = visit(site)
    visitor.expected.append("MediaError")  # the browser itself tries to show the upload's waveform
    page = visitor.page
    edit_tab(page)
    page.locator("#edit-apply").click()
    shown = page.locator("#edit-player")
    expect(shown).to_contain_text("Give a recording first")
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"this is no sound at all" * 100)
    give(page, broken)
    expect(shown).to_contain_text(re.compile("no audio|not audio|cannot"))
    expect(page.locator("#edit-cards li")).to_have_count(0)
    give(page, recording)
    expect(card(page, 0)).to_contain_text("No transcript yet")
    page.locator("#edit-apply").click()
    expect(shown).to_contain_text("Write what is said")
    kind(page, "Denoise")
    apply(page, 1)


def test_the_last_clone_is_edited_and_cleared_cards_are_missed(page: Page) -> None:
    page.get_by_label("Text to speak").fill("This was cloned and is now edited.")
    expect(page.locator("#clone-edit")).to_be_disabled()
    page.get_by_role("button", name="Generate").click()
    page.wait_for_selector("#clone-player [data-state=done]")
    page.locator("#clone-edit").click()
    expect(card(page, 0).locator("h3")).to_have_text("0 · Cloned voice")
    expect(page.get_by_label("What is said in it")).to_have_value("This was cloned and is now edited.")
    apply(page, 1)
    twin = page.context.new_page()
    twin.goto("/")
    twin.evaluate("(id) => sessionStorage.setItem('editx-tab', id)", page.evaluate("EditX.tab()"))
    twin.reload()
    edit_tab(twin)
    expect(card(twin, 1)).to_be_visible()
    twin.on("dialog", lambda dialog: dialog.accept())
    twin.get_by_role("button", name="Start over").click()
    expect(twin.locator("#edit-cards")).to_contain_text("Give a recording, or clone a voice")
    page.reload()
    edit_tab(page)
    expect(page.locator("#edit-cards")).to_contain_text("The cards of this tab are no longer there")
