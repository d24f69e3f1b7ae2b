"""Every word of the page is in both languages, is used, and nothing else is said."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from editx.audio.clip import Clip
from editx.audio.codec import Decoder
from editx.errors import BY_CODE, EditXError
from editx.recipe import EMOTIONS, PARALINGUISTIC_TAGS, SPEEDS, STEP_TYPES, STYLES, Denoise, Recipe, Source
from editx.studio import Job
from editx.ui import controls
from editx.ui.desks import Bounds, Desks
from editx.ui.sounds import Sounds
from editx.ui.words import words
from editx.voices import BUILTIN_DIRECTORY, FINDINGS, refuse_silence
from editx.voices.builtin import read_builtin
from editx.voices.names import check_name
from tests.docs.pages import ROOT
from tests.running import RunningServer
from tests.ui.test_access import opened
from tests.ui.visit import Visit

ENGLISH, CHINESE = words("en"), words("zh")
PYTHON = [*(ROOT / "src/editx/ui").glob("*.py"), ROOT / "src/editx/server/login.py"]
SCRIPTS = [*(ROOT / "src/editx/ui/static").glob("*.js")]
OPTIONS = {
    "emotion": EMOTIONS, "style": STYLES, "speed": SPEEDS, "tag": [tag.strip("[]") for tag in PARALINGUISTIC_TAGS],
    "finding": FINDINGS, "builtin": [voice.name for voice in read_builtin(BUILTIN_DIRECTORY)],
}  # fmt: skip
"""Tables with a word for every option there is."""
ERRORS = {f"error.{code}" for code in BY_CODE}
"""What went wrong in other languages than English, whose word is the error's own message."""
WHOLE = ("login", "gradio")
"""Tables that are looked up by what is found on the page."""
HOLE = "\0"
"""Where a program fills something into a text."""

ELSEWHERE = ("unloading", "base", "awq", "bnb", "lite")
"""States and variants that the page looks up by what the server says."""
NAMES = r"EditX|Step-Audio|English|Python|curl|openai|EDITX_API_KEY|export|recording\.wav|bfloat16|lite|base|\S*/\S+"
"""Names are the same in every language, and so are those of files."""


def texts() -> Iterator[str]:
    """Every string in the page's programs."""
    for path in PYTHON:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else HOLE for part in node.values)
    for path in SCRIPTS:
        script = path.read_text()
        yield from (text.replace('\\"', '"') for text in re.findall(r'"((?:[^"\\\n]|\\.)*)"', script))
        yield from (re.sub(r"\$\{[^}]*\}", HOLE, text) for text in re.findall(r"`([^`\n]*)`", script))
        yield from (re.sub(r"\$\{[^}]*\}", HOLE, text) for text in re.findall(r"\bt\(`([^`]*)`\)", script))


def asked_for() -> set[str]:
    """Every key that a program looks up by its full name."""
    found = set()
    for path in PYTHON:
        found |= set(re.findall(r'\bwords[\[(]"([^"]+)"', path.read_text()))
    for path in SCRIPTS:
        found |= set(re.findall(r'\bt\("([^"]+)"', path.read_text()))
    return found


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_both_languages_say_the_same() -> None:
    assert set(ENGLISH) == {key for key in CHINESE if not key.startswith(("detail.", "reason."))} - ERRORS
    for key in ENGLISH:
        assert fields(ENGLISH[key]) == fields(CHINESE[key]), key
        assert ENGLISH[key].strip(), key
        assert CHINESE[key].strip(), key


def test_every_error_has_its_words() -> None:
    assert set(CHINESE) >= ERRORS - {"error.cancelled", "error.editx_error"}


@pytest.mark.parametrize("table", OPTIONS)
def test_every_option_has_its_words_and_nothing_else_does(table: str) -> None:
    assert set(ENGLISH.of(table)) == set(OPTIONS[table])


def test_every_word_asked_for_is_there() -> None:
    assert len(asked_for()) > 100
    assert asked_for() - set(ENGLISH) == set()


def test_every_word_is_used() -> None:
    said = set(texts())
    scripts = "".join(path.read_text() for path in SCRIPTS)
    names = {*said, *BY_CODE, *STEP_TYPES, *ELSEWHERE, *re.findall(r"\b(\w+):", scripts)}
    patterns = [text.split(HOLE) for text in said if text.count(HOLE) == 1 and re.match(r"[a-z]+\.", text)]

    def used(key: str) -> bool:
        table = key.partition(".")[0]
        filled = [
            key[len(head) : len(key) - len(tail)]
            for head, tail in patterns
            if key.startswith(head) and key.endswith(tail)
        ]
        return key in said or table in (*OPTIONS, *WHOLE) or any(name in names for name in filled)

    assert [key for key in ENGLISH if not used(key)] == []


def voice_name(name: str) -> Callable[[], object]:
    return lambda: check_name(name)


SILENCE = Clip(np.zeros(24000, np.float32), 24000)


@pytest.mark.parametrize(
    "fault",
    [
        lambda: controls.seed("seven"),
        lambda: Job(Recipe(Source(SILENCE), (Denoise(),)), seed=-1),
        lambda: controls.sampling("hot", "", ""),
        lambda: controls.sampling("", "0", ""),
        lambda: controls.sampling("", "", "2"),
        lambda: refuse_silence(SILENCE),
        voice_name(""),
        voice_name("a/b"),
        voice_name("con"),
        lambda: Decoder().decode(b"this is no sound"),
        lambda: Desks(Sounds(), Bounds(cards=0)).check_room("a" * 32),
    ],
)  # fmt: skip
def test_what_people_do_wrong_is_said_in_chinese_alone(fault: Callable[[], object]) -> None:
    with pytest.raises(EditXError) as raised:
        fault()
    said = CHINESE.error(raised.value)
    assert re.search("[\u4e00-\u9fff]", said)
    assert not re.search(r"[a-z]{2,} [a-z]{2,} [a-z]{2,}", said), said
    assert "{" not in said


def english(page: Page) -> list[str]:
    """What a visitor sees or hears that is neither Chinese nor a name nor a program's text."""
    heard: list[str] = page.evaluate(
        """() => {
            const heard = [];
            for (const element of document.querySelectorAll('body *')) {
                if (element.closest('code, pre, script, style, [lang=en]') || !element.checkVisibility()) continue;
                for (const name of ['aria-label', 'placeholder', 'title', 'alt'])
                    if (element.hasAttribute(name)) heard.push(element.getAttribute(name));
                for (const child of element.childNodes) if (child.nodeType === Node.TEXT_NODE) heard.push(child.data);
            }
            return heard;
        }"""
    )
    voices = page.evaluate(
        """() => fetch('v1/voices').then((reply) => reply.json())
            .then((list) => list.data.flatMap((voice) => [voice.title, voice.name]))"""
    )
    known = re.compile("|".join([NAMES, *map(re.escape, voices)]))
    return [text.strip() for text in heard if re.search(r"[A-Za-z]{4,}", known.sub("", text))]


def test_the_chinese_page_is_chinese(visit: Callable[..., Visit], site: RunningServer, recording: Path) -> None:
    page = visit(site, "/?lang=zh").page
    for name in opened(page):
        assert english(page) == [], name
    page.locator("[role=tab][data-tab-id=clone]").click()
    page.locator("#clone-generate").click()
    page.wait_for_selector("#clone-player [data-state=failed]")
    assert english(page) == [], "a complaint"
    page.get_by_text(CHINESE["clone.advanced"]).first.click()
    page.get_by_label(CHINESE["clone.variant"]).first.click()
    page.get_by_role("option", name=f"base{CHINESE['clone.unavailable'].format(name='')}").click()
    for text, said in {"。。。": "无法在这里加载", "word " * 5000: "最多 20000 个字符"}.items():
        page.get_by_label(CHINESE["clone.text"]).fill(text)
        page.locator("#clone-generate").click()
        expect(page.locator("#clone-player .editx-status")).to_contain_text(said)
        assert english(page) == [], said
    page.get_by_label(CHINESE["clone.variant"]).first.click()
    page.get_by_role("option").first.click()
    page.get_by_label(CHINESE["clone.text"]).fill("。。。")
    page.locator("#clone-generate").click()
    expect(page.locator("#clone-player .editx-status")).to_contain_text("没有可以读出的内容")
    page.get_by_label(CHINESE["clone.text"]).fill("说一句话。")
    page.locator("#clone-generate").click()
    page.wait_for_selector("#clone-player [data-state=done]")
    page.get_by_label(CHINESE["clone.recording"]).check()
    assert english(page) == [], "a clone"
    page.locator("#clone-edit").click()
    page.wait_for_selector("#edit-cards [data-card='0']")
    page.locator("#edit-apply").click()
    page.wait_for_selector("#edit-cards [data-card='1']")
    assert english(page) == [], "an edit"
