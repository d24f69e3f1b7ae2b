"""The pictures in docs/images: every tab, width and theme, small, and as wide as they say."""

from __future__ import annotations

from PIL import Image
from scripts.screenshots import IMAGES, MOST_BYTES, MOST_BYTES_WITH_SPECTROGRAMS, TABS, THEMES, WINDOWS

from tests.docs.pages import ROOT


def test_every_tab_is_shown_in_every_way_and_nothing_else() -> None:
    wanted = {f"{tab}-{width}-{theme}.png" for tab in TABS for width in WINDOWS for theme in THEMES}
    assert {path.name for path in IMAGES.iterdir()} == wanted


def test_every_picture_is_used_in_both_languages() -> None:
    for page in ("docs/page.md", "docs/zh/page.md"):
        text = (ROOT / page).read_text()
        assert [path.name for path in IMAGES.iterdir() if path.name not in text] == [], page


def test_pictures_are_small_and_as_wide_as_they_say() -> None:
    for path in IMAGES.iterdir():
        tab, width, theme = path.stem.split("-")
        assert path.stat().st_size <= (MOST_BYTES_WITH_SPECTROGRAMS if tab == "edit" else MOST_BYTES)
        with Image.open(path) as picture:
            assert (picture.format, picture.width) == ("PNG", int(width))
            corner = picture.convert("L").getpixel((0, 0))
        assert isinstance(corner, int)
        assert (corner > 200) == (theme == "light")
