"""Make the built-in voices: a few seconds of speech each, spoken by espeak-ng and shaped by the lite engine.

    python scripts/make_builtin_voices.py [folder]

Nothing is recorded and nobody is copied. The same versions of espeak-ng, pyworld and FFmpeg give the same files.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from editx.engines.lite import world
from editx.engines.lite.clone import speak
from editx.engines.lite.espeak import Manner
from editx.engines.lite.options import Change
from editx.engines.lite.plan import plan_change
from editx.engines.lite.render import render
from editx.engines.lite.sound import RATE, Floats, active_level_db, limit

LEVEL_DB = -21.0
FOLDER = Path(__file__).resolve().parents[1] / "src" / "editx" / "builtin_voices"


@dataclass(frozen=True)
class Voice:
    """A voice to be made: what it says, at which median F0, and how espeak's speaker is bent to it."""

    name: str
    title: str
    locale: str
    description: str
    transcript: str
    median_hz: float
    manner: Manner
    change: Change = field(default_factory=Change)


ENGLISH = "The morning light came slowly over the hills, and the whole town was quiet. {}"
VOICES = (
    Voice(
        "maple", "Maple", "en-US", "A clear, friendly woman's voice; English.",
        ENGLISH.format("I made some tea and opened the window."),
        200.0, Manner("f1", 172), Change(range=1.35, formant=1.03, breath=0.08),
    ),
    Voice(
        "rowan", "Rowan", "en-US", "A calm man's voice of middle height; English.",
        ENGLISH.format("I walked down to the river before breakfast."),
        116.0, Manner("", 170), Change(range=1.3, formant=1.0, tilt_db=-0.5, breath=0.05),
    ),
    Voice(
        "granite", "Granite", "en-US", "A deep, slow man's voice; English.",
        "Far below the old bridge, the water moves without a sound. Nobody has crossed it for years.",
        89.0, Manner("m3", 158), Change(range=1.15, formant=0.9, tilt_db=-1.2),
    ),
    Voice(
        "pip", "Pip", "en-US", "A young, bright voice; English.",
        "Guess what we found behind the garden wall! A tiny kitten, with white paws and a very loud voice.",
        262.0, Manner("f1", 178), Change(range=1.45, formant=1.17, tilt_db=0.8, breath=0.05),
    ),
    Voice(
        "qinghe", "Qinghe 清荷", "zh-CN", "A gentle woman's voice; Mandarin.",
        "清晨的阳光洒在湖面上，微风轻轻吹过。我泡了一杯茶，坐在窗边，慢慢地看书。",
        212.0, Manner("f1", 215), Change(range=1.3, formant=1.05, breath=0.1),
    ),
    Voice(
        "songlin", "Songlin 松林", "zh-CN", "A steady man's voice; Mandarin.",
        "山里的路很安静，只听见鸟叫和水声。走了半天，我们终于看到了那座老房子。",
        122.0, Manner("", 210), Change(range=1.3, formant=0.98, tilt_db=-0.6, breath=0.05),
    ),
)  # fmt: skip


def make(voice: Voice) -> Floats:
    """The voice's speech at `RATE`, 5 to 7 s, at a level all voices share."""
    said = speak(voice.transcript, voice.manner)
    f0 = world.pitch(said)
    centre = world.median_f0(f0) or voice.median_hz
    change = replace(voice.change, pitch_st=12.0 * math.log2(voice.median_hz / centre))
    plan = plan_change(said, f0, change, np.random.default_rng(0))
    speech = np.concatenate([piece for piece, _ in render(said, plan)])
    return limit(speech * 10.0 ** ((LEVEL_DB - active_level_db(speech)) / 20.0))


def write_flac(path: Path, samples: Floats) -> None:
    """Write mono 16-bit FLAC."""
    pcm = np.rint(samples * 32767.0).astype(np.int16)[None, :]
    with av.open(str(path), "w", format="flac", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("flac", rate=RATE, layout="mono", options={"compression_level": "8"})
        frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    index = []
    for voice in VOICES:
        samples = make(voice)
        file = f"{voice.name}.flac"
        write_flac(folder / file, samples)
        index.append(
            {
                "name": voice.name,
                "title": voice.title,
                "locale": voice.locale,
                "transcript": voice.transcript,
                "file": file,
                "description": voice.description,
            }
        )
        print(f"{voice.name:8} {len(samples) / RATE:.1f} s {(folder / file).stat().st_size // 1024} KiB")
    (folder / "index.json").write_text(json.dumps(index, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
