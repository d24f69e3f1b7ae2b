"""What every option of emotion, style and speed means here: one row of signal changes each.

The preview engine knows no feelings. It does what listeners are known to hear in them: how high and how lively the
pitch is, how fast and how loud the speech, how bright, breathy or rough the voice, and how phrases end.
"""

from __future__ import annotations

from dataclasses import dataclass

from editx.recipe import Emotion, Speed, Step, Style


@dataclass(frozen=True, slots=True)
class Change:
    """How a voice is changed; the defaults leave it as it is.

    `pitch_st`: the F0 median moves by this many semitones. `range`: factor on the pitch's distance from its median.
    `tempo`: factor on the speed of speech, `pause` on the length of pauses besides. `formant`: factor on resonance
    frequencies, above 1 for a smaller body. `energy_db`: level. `tilt_db`: dB an octave, above 0 is brighter.
    `breath`: 0 to 1, noise mixed into the voice. `voicing`: share of the voice kept, 0 is a whisper. `tremor_st` and
    `tremor_hz`: depth and rate of a trembling pitch. `rough_st`: depth of irregular pitch, a harsh voice. `emphasis`:
    dB a frame gains for every dB it lies above the mean level; below 0 levels loudness out. `ending_st`: semitones by
    which the pitch rises towards the end of each phrase.
    """

    pitch_st: float = 0.0
    range: float = 1.0
    tempo: float = 1.0
    pause: float = 1.0
    formant: float = 1.0
    energy_db: float = 0.0
    tilt_db: float = 0.0
    breath: float = 0.0
    voicing: float = 1.0
    tremor_st: float = 0.0
    tremor_hz: float = 6.0
    rough_st: float = 0.0
    emphasis: float = 0.0
    ending_st: float = 0.0


EMOTIONS: dict[str, Change] = {
    "happy": Change(pitch_st=2.5, range=1.4, tempo=1.07, pause=0.85, energy_db=1.5, tilt_db=1.2, ending_st=1),
    "angry": Change(pitch_st=1.5, range=1.35, tempo=1.1, pause=0.7, energy_db=4, tilt_db=2, rough_st=0.5, emphasis=0.2),
    "sad": Change(pitch_st=-2, range=0.6, tempo=0.86, pause=1.4, energy_db=-3, tilt_db=-1.5, breath=0.2, ending_st=-1),
    "humour": Change(pitch_st=1.5, range=1.6, tempo=1.05, energy_db=1, tilt_db=0.6, emphasis=0.15, ending_st=1.5),
    "confusion": Change(pitch_st=1.2, range=1.2, tempo=0.92, pause=1.5, energy_db=-1, ending_st=4),
    "disgusted": Change(
        pitch_st=-1.5, range=1.25, tempo=0.9, formant=0.96, energy_db=1, tilt_db=-1, rough_st=0.4, ending_st=-2
    ),
    "empathy": Change(pitch_st=-1, range=0.8, tempo=0.91, pause=1.25, energy_db=-2, tilt_db=-1.2, breath=0.2),
    "embarrass": Change(
        pitch_st=1, range=0.75, tempo=0.93, pause=1.5, energy_db=-3.5, tilt_db=-1, breath=0.3, tremor_st=0.2
    ),
    "fear": Change(
        pitch_st=3, range=0.8, tempo=1.12, energy_db=-1.5, breath=0.3, tremor_st=0.6, tremor_hz=7, rough_st=0.25
    ),
    "surprised": Change(pitch_st=4, range=1.6, tempo=1.06, pause=0.9, energy_db=2.5, tilt_db=1, ending_st=3),
    "excited": Change(pitch_st=3.2, range=1.5, tempo=1.16, pause=0.7, energy_db=3.5, tilt_db=1.8, emphasis=0.15),
    "depressed": Change(
        pitch_st=-3, range=0.45, tempo=0.78, pause=1.7, energy_db=-5, tilt_db=-2, breath=0.25, ending_st=-1
    ),
    "coldness": Change(pitch_st=-1, range=0.45, tempo=0.97, energy_db=-1.5, tilt_db=0.6, emphasis=-0.25),
    "admiration": Change(pitch_st=1.5, range=1.3, tempo=0.92, pause=1.15, energy_db=1, breath=0.15, ending_st=-1),
    "remove": Change(range=0.6, emphasis=-0.35),
}

STYLES: dict[str, Change] = {
    "serious": Change(pitch_st=-1.2, range=0.7, tempo=0.93, pause=1.15, energy_db=1, emphasis=-0.1),
    "arrogant": Change(pitch_st=-0.8, range=1.35, tempo=0.9, pause=1.25, energy_db=1.5, tilt_db=0.8, ending_st=-2),
    "child": Change(pitch_st=6, range=1.25, tempo=1.04, formant=1.22, tilt_db=0.8),
    "older": Change(
        pitch_st=-1.5, range=0.85, tempo=0.82, pause=1.4, formant=0.95, tilt_db=-1, breath=0.25, tremor_st=0.5,
        tremor_hz=5, rough_st=0.35,
    ),
    "girl": Change(pitch_st=4, range=1.3, tempo=1.03, formant=1.13, tilt_db=0.6, breath=0.1),
    "pure": Change(pitch_st=2, range=0.9, tempo=0.96, formant=1.07, tilt_db=0.8, energy_db=-1),
    "sister": Change(pitch_st=-1, range=1.2, tempo=0.94, formant=1.04, energy_db=1, breath=0.1),
    "sweet": Change(pitch_st=2.5, range=1.25, tempo=0.96, formant=1.08, energy_db=-1, breath=0.2, ending_st=1.5),
    "ethereal": Change(pitch_st=1.5, range=0.8, tempo=0.86, pause=1.3, energy_db=-2.5, tilt_db=0.8, breath=0.5),
    "whisper": Change(tempo=0.95, formant=1.04, energy_db=-9, tilt_db=1, voicing=0.0),
    "gentle": Change(pitch_st=-0.6, range=0.85, tempo=0.9, energy_db=-3, tilt_db=-1.2, breath=0.2),
    "recite": Change(range=1.45, tempo=0.85, pause=1.5, energy_db=2, emphasis=0.15, ending_st=-1),
    "generous": Change(pitch_st=-0.7, range=1.3, tempo=0.95, formant=0.97, energy_db=3, emphasis=0.1),
    "act_coy": Change(pitch_st=3, range=1.6, tempo=0.88, formant=1.1, breath=0.15, ending_st=3),
    "warm": Change(pitch_st=-1, range=1.15, tempo=0.93, formant=0.96, energy_db=-1, tilt_db=-1.5, breath=0.1),
    "shy": Change(pitch_st=1.2, range=0.7, tempo=0.92, pause=1.5, energy_db=-5, tilt_db=-1, breath=0.35),
    "comfort": Change(pitch_st=-1.2, range=0.8, tempo=0.84, pause=1.3, energy_db=-2.5, tilt_db=-1.5, breath=0.25),
    "authority": Change(pitch_st=-2, range=0.75, tempo=0.92, pause=1.2, formant=0.94, energy_db=3, ending_st=-2),
    "chat": Change(pitch_st=0.6, range=1.25, tempo=1.12, pause=0.75, energy_db=-1),
    "radio": Change(pitch_st=-1.5, range=1.15, tempo=0.97, formant=0.95, energy_db=2, emphasis=-0.3),
    "soulful": Change(pitch_st=-1, range=1.4, tempo=0.82, pause=1.4, energy_db=-1, breath=0.3, tremor_st=0.35),
    "story": Change(range=1.4, tempo=0.9, pause=1.4, energy_db=1, emphasis=0.15),
    "vivid": Change(pitch_st=1.5, range=1.65, tempo=1.06, pause=0.9, energy_db=2, tilt_db=1, emphasis=0.2),
    "program": Change(pitch_st=0.8, range=1.3, tempo=1.05, pause=0.85, energy_db=2, tilt_db=0.8),
    "news": Change(pitch_st=-0.6, range=0.8, tempo=1.12, pause=0.8, energy_db=1.5, tilt_db=0.8, emphasis=-0.25),
    "advertising": Change(pitch_st=1.5, range=1.5, tempo=1.08, pause=0.8, energy_db=3.5, tilt_db=1.4, emphasis=0.1),
    "roar": Change(
        pitch_st=2, range=1.3, tempo=0.92, formant=0.92, energy_db=8, tilt_db=1.5, rough_st=1.6, emphasis=0.2
    ),
    "murmur": Change(pitch_st=-1.5, range=0.5, tempo=1.06, energy_db=-8, tilt_db=-3, breath=0.35, emphasis=-0.2),
    "shout": Change(pitch_st=5, range=1.2, tempo=0.94, formant=1.03, energy_db=7, tilt_db=2.5, rough_st=0.3),
    "deeply": Change(pitch_st=-4, range=0.85, tempo=0.88, formant=0.91, tilt_db=-0.8),
    "loudly": Change(pitch_st=1.5, range=1.15, energy_db=6, tilt_db=1.2),
    "remove": Change(range=0.65, emphasis=-0.35),
    "exaggerated": Change(pitch_st=1, range=2.0, tempo=0.95, pause=1.3, energy_db=3, emphasis=0.3, ending_st=2),
}  # fmt: skip

SPEEDS: dict[str, Change] = {
    "faster": Change(tempo=1.2),
    "slower": Change(tempo=1 / 1.2),
    "more faster": Change(tempo=1.5),
    "more slower": Change(tempo=1 / 1.5),
}


def change_for(step: Step) -> Change:
    """The row of a step's option. Raises KeyError for a step that is no emotion, style or speed."""
    return {Emotion.kind: EMOTIONS, Style.kind: STYLES, Speed.kind: SPEEDS}[step.kind][step.option]
