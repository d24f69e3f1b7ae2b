"""The pictures of the documents: every tab, width and theme in both languages, small, and as wide as they say."""

from __future__ import annotations

import pytest
from PIL import Image
from scripts.screenshots import IMAGES, MOST_BYTES, MOST_BYTES_WITH_SPECTROGRAMS, TABS, THEMES, WINDOWS

from tests.docs.pages import ROOT

IN_LANGUAGE = pytest.mark.parametrize(("language", "page"), [("en", "docs/page.md"), ("zh", "docs/zh/page.md")])


@IN_LANGUAGE
def test_every_tab_is_shown_in_every_way_and_nothing_else(language: str, page: str) -> None:
    wanted = {f"{tab}-{width}-{theme}.png" for tab in TABS for width in WINDOWS for theme in THEMES}
    assert {path.name for path in IMAGES[language].iterdir()} == wanted


@IN_LANGUAGE
def test_every_picture_is_used_in_its_language(language: str, page: str) -> None:
    text = (ROOT / page).read_text()
    assert [path.name for path in IMAGES[language].iterdir() if f"(images/{path.name})" not in text] == []


def test_pictures_are_small_and_as_wide_as_they_say() -> None:
    for path in (path for folder in IMAGES.values() for path in folder.iterdir()):
        tab, width, theme = path.stem.split("-")
        assert path.stat().st_size <= (MOST_BYTES_WITH_SPECTROGRAMS if tab == "edit" else MOST_BYTES)
        with Image.open(path) as picture:
            assert (picture.format, picture.width) == ("PNG", int(width))
            corner = picture.convert("L").getpixel((0, 0))
        assert isinstance(corner, int)
        assert (corner > 200) == (theme == "light")
