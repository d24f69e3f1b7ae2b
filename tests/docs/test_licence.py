"""The licence page names what the installed packages bring along."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import pytest

from tests.docs.pages import ROOT

COPYLEFT = {"libx264": "x264", "libx265": "x265", "libmp3lame": "LAME"}
PAGES = ("NOTICE", "docs/licence.md", "docs/zh/licence.md")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="wheels for other systems hold other files")
@pytest.mark.parametrize("page", PAGES)
def test_what_av_bundles_is_named(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    bundled = [path.name for path in (Path(av.__file__).parents[1] / "av.libs").glob("*.so*")]
    for library, name in COPYLEFT.items():
        assert (name in text) == any(file.startswith(library) for file in bundled)


def test_what_ffmpeg_says_of_itself_is_quoted() -> None:
    ask = "import av._core as core; print({part['license'] for part in core.library_meta.values()})"
    said = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "{'LGPL version 3 or later'}"
