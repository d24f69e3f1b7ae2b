from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from tests.engines.lite.helpers import BUILTIN, builtin_voice, index, read_flac
from tests.engines.lite.measure import RATE, brightness, level_db, median_pitch

OPENAI_NAMES = {
    "alloy", "ash", "ballad", "coral", "echo", "fable", "nova", "onyx", "sage", "shimmer", "verse", "marin", "cedar",
}  # fmt: skip
NAMES = [entry["name"] for entry in index()]


def test_the_index_describes_every_file() -> None:
    assert len(NAMES) == len(set(NAMES)) >= 6
    assert not OPENAI_NAMES & set(NAMES)
    assert {entry["file"] for entry in index()} == {path.name for path in BUILTIN.glob("*.flac")}
    for entry in index():
        assert set(entry) == {"name", "title", "locale", "transcript", "file", "description"}
        assert all(entry.values())
    assert {entry["locale"] for entry in index()} == {"en-US", "zh-CN"}


@pytest.mark.parametrize("name", NAMES)
def test_voice_is_a_few_seconds_of_clean_speech(name: str) -> None:
    path = BUILTIN / f"{name}.flac"
    assert path.stat().st_size < 300_000
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert (stream.rate, stream.channels, stream.format.name) == (RATE, 1, "s16")
    x = builtin_voice(name).samples
    assert 5.0 <= len(x) / RATE <= 7.5
    assert np.abs(x).max() < 0.99
    assert -24 < level_db(x) < -18


def test_voices_differ_in_pitch_and_colour() -> None:
    voices = {name: builtin_voice(name).samples for name in NAMES}
    points = {name: (12 * np.log2(median_pitch(x)), 6 * brightness(x)) for name, x in voices.items()}
    for one, other in itertools.combinations(points.values(), 2):
        assert np.hypot(one[0] - other[0], one[1] - other[1]) > 0.8
    heights = sorted(median_pitch(x) for x in voices.values())
    assert heights[0] < 100
    assert heights[-1] > 240


def test_the_script_makes_them_again(tmp_path: Path) -> None:
    script = Path(__file__).parents[3] / "scripts" / "make_builtin_voices.py"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True, capture_output=True, timeout=120)
    assert (tmp_path / "index.json").read_bytes() == (BUILTIN / "index.json").read_bytes()
    for name in NAMES:
        made, kept = read_flac(tmp_path / f"{name}.flac"), builtin_voice(name).samples
        assert len(made) == len(kept)
        assert np.abs(made - kept).max() < 0.01  # other processors round differently
