"""Take the pictures of the documents: every tab, in both languages, on a desk and on a telephone, in light and dark.

Run it after a change to the page. A server is started for it, with the preview engine and data of its own. What is
typed is always the same, and so are the sounds; process ids and times are not.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.running import RunningServer, running_server

from editx.ui.words import LOCALES, Words, words

DOCS = Path(__file__).parents[1] / "docs"
IMAGES = {"en": DOCS / "images", "zh": DOCS / "zh/images"}
MOST_BYTES, MOST_BYTES_WITH_SPECTROGRAMS = 60_000, 130_000
WINDOWS = {1440: 900, 390: 844}
THEMES = ("light", "dark")
SPOKEN = {
    "en": "The last train leaves at ten past nine. If we hurry, we can still have a cup of tea before it goes.",
    "zh": "最后一班火车九点十分开，我们还来得及喝一杯茶。",
}
SEED = "7"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="the folder to write to, with one folder for each language")
    parser.add_argument("--port", default="7860", help="what the server listens on, and the pictures show")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as root, running_server(Path(root), "--port", arguments.port) as server:
        add_a_voice(server)
        for language, folder in IMAGES.items():
            out = arguments.out / language if arguments.out else folder
            out.mkdir(parents=True, exist_ok=True)
            for name, png in pictures(server, words(language)):
                (out / name).write_bytes(png)
                print(f"{language} {name}  {len(png) / 1000:.0f} kB", flush=True)


def pictures(server: RunningServer, said: Words) -> Iterator[tuple[str, bytes]]:
    """Every picture of the page in one language, and its name."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("the pictures are taken with Debian's chromium; scripts/install_test_tools.sh installs it")
    expect.set_options(timeout=60_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--mute-audio"])
        for width, height in WINDOWS.items():
            for theme in THEMES:
                window = {"width": width, "height": height}
                context = browser.new_context(
                    base_url=server.url, viewport=window, color_scheme=theme, locale=LOCALES[said.language],
                    reduced_motion="reduce",
                )  # fmt: skip
                page = context.new_page()
                page.goto("/")
                for tab, use in TABS.items():
                    page.locator(f"[role=tab][data-tab-id={tab}]").click()
                    use(page, said)
                    page.mouse.move(0, 0)
                    page.evaluate("document.activeElement.blur()")
                    most = MOST_BYTES_WITH_SPECTROGRAMS if tab == "edit" else MOST_BYTES
                    yield f"{tab}-{width}-{theme}.png", small(whole(page), most)
                    page.set_viewport_size({"width": width, "height": height})
                context.close()
        browser.close()


def whole(page: Page) -> bytes:
    """All of the page, in a window as high as it is: a picture of more than the window moves what scrolls in it."""
    size = page.evaluate("({width: innerWidth, height: Math.max(innerHeight, document.documentElement.scrollHeight)})")
    page.set_viewport_size(size)
    page.evaluate(
        """() => {
            const card = document.querySelector('.editx-strip [data-chosen]');
            if (card?.checkVisibility()) card.scrollIntoView({ inline: 'start', block: 'nearest' });
            return new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
        }"""
    )
    return page.screenshot()


def add_a_voice(server: RunningServer) -> None:
    """A voice that is not built in, and can be renamed and deleted."""
    spoken = server.client.get("/v1/voices/granite/audio").raise_for_status().content
    words = server.client.get("/v1/voices/granite").json()["transcript"]
    given = {"name": "narrator", "transcript": words, "locale": "en-US"}
    server.client.post("/v1/voices", data=given, files={"file": spoken}).raise_for_status()


def clone(page: Page, said: Words) -> None:
    """Have a text spoken."""
    page.get_by_label(said["clone.text"]).fill(SPOKEN[said.language])
    page.get_by_role("button", name=said["clone.advanced"]).first.click()
    page.get_by_label(said["clone.seed"]).first.fill(SEED)
    page.locator("#clone-generate").click()
    done(page, "#clone-player")


def edit(page: Page, said: Words) -> None:
    """Edit what was spoken three times, and compare the first with the last."""
    page.locator("[role=tab][data-tab-id=clone]").click()
    page.locator("#clone-edit").click()
    page.locator("#edit-cards [data-card='0']").wait_for()
    panel = page.locator("[role=tabpanel]:visible")
    panel.get_by_role("button", name=said["clone.advanced"]).click()
    panel.get_by_label(said["clone.seed"]).fill(SEED)
    panel.get_by_role("button", name=said["clone.advanced"]).click()
    for number, kind in enumerate(("emotion", "style", "speed"), 1):
        page.locator("#edit-kind").get_by_label(said[f"edit.{kind}"], exact=True).check()
        page.locator("#edit-apply").click()
        expect(page.locator(f"#edit-cards [data-card='{number}']")).to_have_attribute("data-chosen", "")
        done(page, "#edit-player")
    for number in (0, 3):
        page.locator(f"#edit-cards [data-card='{number}']").get_by_label(said["edit.compare"]).check()
    page.locator("#edit-cards table").wait_for()
    page.wait_for_function(
        "document.querySelector('#edit-cards table').closest('[data-state]').dataset.state === 'done'"
    )


def voices(page: Page, said: Words) -> None:
    page.locator("#voices-library h3, #voices-library li").first.wait_for()


def models(page: Page, said: Words) -> None:
    """A line in the chart: what was asked for once is a point."""
    page.wait_for_function(
        "document.querySelector('[data-variant=lite] .editx-line-ram')?.getAttribute('d').includes('L')"
    )


def api(page: Page, said: Words) -> None:
    page.locator("#api-calls").wait_for()
    page.get_by_label(said["page.clone"], exact=True).check()
    expect(page.locator("#api-calls")).to_contain_text("--voice maple")


def done(page: Page, player: str) -> None:
    """Wait for a take, and show its player as it is once it has ended."""
    page.wait_for_selector(f"{player} [data-state=done]")
    page.wait_for_function(f"document.querySelector('{player} canvas').checkVisibility()")
    page.evaluate(
        """document.querySelectorAll('audio').forEach((audio) => {
            audio.pause();
            audio.currentTime = 0;
            if (audio.dataset.sound) audio.src = audio.dataset.sound;
        })"""
    )


TABS = {"clone": clone, "edit": edit, "voices": voices, "models": models, "api": api}


def small(png: bytes, most: int) -> bytes:
    """The picture with as many colours as fit into `most` bytes."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    for colours in (128, 64, 32, 24, 16):
        out = io.BytesIO()
        picture.quantize(palette=palette(picture, colours), dither=Image.Dither.NONE).save(out, "png", optimize=True)
        if out.tell() <= most:
            return out.getvalue()
    raise SystemExit(f"a picture has more than {most} bytes even with 16 colours: {out.tell()}")


def palette(picture: Image.Image, colours: int) -> Image.Image:
    """The colours of most surfaces as they are, and as many that stand for all the others, rare ones among them."""
    counted = sorted(picture.getcolors(picture.width * picture.height) or [], reverse=True)
    exact = [colour for _, colour in counted[: colours // 2]]
    others = [colour for _, colour in counted[colours // 2 :]] or exact
    rest = Image.new("RGB", (len(others), 1))
    rest.putdata(others)
    stand_ins = rest.quantize(colours - len(exact), Image.Quantize.MAXCOVERAGE).getpalette() or []
    chosen = Image.new("P", (1, 1))
    chosen.putpalette([*(value for colour in exact for value in colour), *stand_ins[: 3 * (colours - len(exact))]])
    return chosen


if __name__ == "__main__":
    main()
