"""The domain: what may be asked of a clip of speech.

A recipe is a source (a clip or a voice, with the words spoken in it) and a list of steps. Everything a user can ask
for is one: cloning, a single edit, an edit repeated, clone-with-emotion, a chain of edits. All validation of steps is
here. Options and tags are those of spec 20 §4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import msgspec

from editx.errors import InvalidRequest, MissingTranscript

if TYPE_CHECKING:
    from editx.audio.clip import Clip

EMOTIONS = (
    "happy", "angry", "sad", "humour", "confusion", "disgusted", "empathy", "embarrass", "fear", "surprised",
    "excited", "depressed", "coldness", "admiration", "remove",
)  # fmt: skip
STYLES = (
    "serious", "arrogant", "child", "older", "girl", "pure", "sister", "sweet", "ethereal", "whisper", "gentle",
    "recite", "generous", "act_coy", "warm", "shy", "comfort", "authority", "chat", "radio", "soulful", "story",
    "vivid", "program", "news", "advertising", "roar", "murmur", "shout", "deeply", "loudly", "remove", "exaggerated",
)  # fmt: skip
SPEEDS = ("faster", "slower", "more faster", "more slower")
PARALINGUISTIC_TAGS = (
    "[Breathing]", "[Laughter]", "[Surprise-oh]", "[Confirmation-en]", "[Uhm]", "[Surprise-ah]", "[Surprise-wa]",
    "[Sigh]", "[Question-ei]", "[Dissatisfaction-hnn]", "[sigh]", "[inhale]", "[laugh]", "[chuckle]", "[exhale]",
    "[clears throat]", "[snort]", "[giggle]", "[cough]", "[breath]", "[uhm]", "[Surprise-yo]", "[Question-ah]",
    "[Question-en]",
)  # fmt: skip
MAX_STEPS = 32


class Step(msgspec.Struct, frozen=True, tag_field="type", forbid_unknown_fields=True):
    """One thing done to a clip. Subclasses name their option `name` and new words `text`."""

    kind: ClassVar[str] = ""
    options: ClassVar[tuple[str, ...]] = ()
    takes_text: ClassVar[bool] = False
    needs_transcript: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Raises InvalidRequest, naming what is allowed, when an option or a text does not fit."""
        if self.options and self.option not in self.options:
            raise InvalidRequest(
                f"{self.option!r} is no option of {self.kind}; use one of: {', '.join(self.options)}", param="info"
            )
        if not self.new_text.isascii() and any("\ud800" <= char <= "\udfff" for char in self.new_text):
            raise InvalidRequest(f"the text of {self.kind} holds half a character (a lone surrogate)", param="text")
        if self.takes_text and not self.new_text.strip():
            raise InvalidRequest(f"{self.kind} needs the text to be spoken, and it is empty", param="text")

    @property
    def option(self) -> str:
        return getattr(self, "name", "")

    @property
    def new_text(self) -> str:
        """The words the result speaks, where the step changes them; else empty."""
        return getattr(self, "text", "")


class Clone(Step, frozen=True, tag="clone"):
    """Speak `text` in the voice of the source."""

    kind: ClassVar[str] = "clone"
    takes_text: ClassVar[bool] = True
    needs_transcript: ClassVar[bool] = True

    text: str


class Emotion(Step, frozen=True, tag="emotion"):
    """Say the same with a feeling: one of `EMOTIONS`."""

    kind: ClassVar[str] = "emotion"
    options: ClassVar[tuple[str, ...]] = EMOTIONS
    needs_transcript: ClassVar[bool] = True

    name: str


class Style(Step, frozen=True, tag="style"):
    """Say the same in a manner: one of `STYLES`."""

    kind: ClassVar[str] = "style"
    options: ClassVar[tuple[str, ...]] = STYLES
    needs_transcript: ClassVar[bool] = True

    name: str


class Speed(Step, frozen=True, tag="speed"):
    """Say the same at another pace: one of `SPEEDS`."""

    kind: ClassVar[str] = "speed"
    options: ClassVar[tuple[str, ...]] = SPEEDS
    needs_transcript: ClassVar[bool] = True

    name: str


class Paralinguistic(Step, frozen=True, tag="paralinguistic"):
    """Add sounds that are no words: `text` is the source's words with tags such as `[Laughter]` where they belong."""

    kind: ClassVar[str] = "paralinguistic"
    takes_text: ClassVar[bool] = True
    needs_transcript: ClassVar[bool] = True

    text: str


class Denoise(Step, frozen=True, tag="denoise"):
    """Take the noise away and leave the voice."""

    kind: ClassVar[str] = "denoise"


class Vad(Step, frozen=True, tag="vad"):
    """Take the silences away and leave the speech."""

    kind: ClassVar[str] = "vad"


AnyStep = Clone | Emotion | Style | Speed | Paralinguistic | Denoise | Vad
STEP_TYPES: dict[str, type[AnyStep]] = {cls.kind: cls for cls in get_args(AnyStep)}


def parse_step(data: Mapping[str, Any], *, param: str = "steps") -> tuple[AnyStep, ...]:
    """The steps one JSON object stands for: `{"type", "info", "text", "n"}`, repeated `n` times.

    Raises InvalidRequest naming the field under `param` that does not fit.
    """
    if not isinstance(data, Mapping):
        raise InvalidRequest(
            f'a step is an object such as {{"type": "emotion", "info": "happy"}}, not {data!r}', param=param
        )
    unknown = sorted(set(data) - {"type", "info", "text", "n"})
    if unknown:
        raise InvalidRequest(
            f"a step has the fields type, info, text and n; unknown: {', '.join(map(str, unknown))}", param=param
        )
    cls = STEP_TYPES.get(kind) if isinstance(kind := data.get("type"), str) else None
    if cls is None:
        raise InvalidRequest(f"{kind!r} is no type of step; use one of: {', '.join(STEP_TYPES)}", param=f"{param}.type")
    n = data.get("n", 1)
    if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n <= MAX_STEPS:
        raise InvalidRequest(
            f"n, how often a step is repeated, is a number from 1 to {MAX_STEPS}, not {n!r}", param=f"{param}.n"
        )
    values = {}
    for field, key, wanted in (("info", "name", bool(cls.options)), ("text", "text", cls.takes_text)):
        value = data.get(field)
        if wanted:
            if not isinstance(value, str):
                allowed = f"one of: {', '.join(cls.options)}" if field == "info" else "the words to be spoken"
                raise InvalidRequest(f"{cls.kind} needs {field}, a string: {allowed}", param=f"{param}.{field}")
            values[key] = value
        elif value not in (None, ""):
            raise InvalidRequest(f"{cls.kind} takes no {field}, and {value!r} was given", param=f"{param}.{field}")
    try:
        step = cls(**values)
    except InvalidRequest as error:
        raise InvalidRequest(error.message, param=f"{param}.{error.param}") from None
    return (step,) * n


def step_record(step: Step) -> dict[str, Any]:
    """A step as JSON writes it and `parse_step` reads it."""
    record: dict[str, Any] = {"type": step.kind}
    if step.option:
        record["info"] = step.option
    if step.new_text:
        record["text"] = step.new_text
    return record


def parse_steps(items: Iterable[Mapping[str, Any]], *, param: str = "steps") -> tuple[AnyStep, ...]:
    """The steps a JSON list stands for. Raises InvalidRequest naming what does not fit, such as `steps[1].info`."""
    if isinstance(items, (str, bytes, Mapping)) or not isinstance(items, Iterable):
        raise InvalidRequest('steps is a list such as [{"type": "emotion", "info": "happy"}]', param=param)
    return tuple(step for i, item in enumerate(items) for step in parse_step(item, param=f"{param}[{i}]"))


@dataclass(frozen=True, slots=True)
class Source:
    """What a recipe starts from: a clip and the words spoken in it (empty when nobody knows them)."""

    clip: Clip
    transcript: str = ""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A source and what is done to it, in order. `Clone` can only come first."""

    source: Source
    steps: tuple[AnyStep, ...]

    def __post_init__(self) -> None:
        """Raises InvalidRequest or MissingTranscript when the steps do not fit the source or each other."""
        if not self.steps:
            raise InvalidRequest("a recipe needs at least one step", param="steps")
        if len(self.steps) > MAX_STEPS:
            raise InvalidRequest(
                f"a recipe has at most {MAX_STEPS} steps, and {len(self.steps)} were asked for", param="steps"
            )
        transcript = self.source.transcript.strip()
        for i, step in enumerate(self.steps):
            if isinstance(step, Clone) and i > 0:
                raise InvalidRequest("clone can only be the first step of a recipe", param=f"steps[{i}].type")
            if step.needs_transcript and not transcript:
                raise MissingTranscript(
                    f"{step.kind} needs the words spoken in the source recording; give its transcript",
                    param="transcript",
                )
            transcript = step.new_text.strip() or transcript
