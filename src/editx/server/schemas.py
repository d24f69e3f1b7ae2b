"""The bodies that clients send, as pydantic models: the edge where JSON becomes recipes."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from editx.studio import MAX_SEED, FinishReason

Format = Literal["mp3", "wav", "flac", "opus", "aac", "pcm"]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
MAX_NAME_CHARS = 128
MAX_INSTRUCTIONS_CHARS = 20_000
MAX_KEEP_ALIVE_S = 1e9
"""Some thirty years: more is the same, and clocks can still count it."""
_KEEP_ALIVE_UNITS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_KEEP_ALIVE = r"^-?[0-9]+(\.[0-9]+)?(ms|s|m|h)?$"


def keep_alive_seconds(value: float | str | None) -> float | None:
    """Seconds from `0`, `"5m"`, `-1`, as Ollama's clients write them; None stays None."""
    if value is None:
        return None
    seconds = _seconds(value) if isinstance(value, str) else value
    return min(max(seconds, -1.0), MAX_KEEP_ALIVE_S)


def _seconds(value: str) -> float:
    match = re.fullmatch(r"(-?[0-9.]+)(ms|s|m|h)?", value)
    assert match, "the schema's pattern lets nothing else through"
    return float(match[1]) * _KEEP_ALIVE_UNITS[match[2] or ""]


Name = Annotated[str, Field(max_length=MAX_NAME_CHARS)]
KeepAlive = Annotated[float, Field(allow_inf_nan=False)] | Annotated[str, Field(pattern=_KEEP_ALIVE)]


class Body(BaseModel):
    """What a client sends. Text with half a character in it (a lone surrogate) is refused: nobody can speak it."""

    @field_validator("*", mode="after")
    @classmethod
    def _whole_characters(cls, value: object) -> object:
        if isinstance(value, str) and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise ValueError("holds half a character (a lone surrogate)") from None
        return value


class VoiceReference(Body):
    """A voice named by an object, as newer OpenAI clients do."""

    id: Name = Field(min_length=1, description="Name of the voice.")


def _as_list(value: object) -> object:
    return [value] if isinstance(value, (str, dict)) else value


class StepBody(Body):
    """One step, such as `{"type": "emotion", "info": "happy"}`."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["clone", "emotion", "style", "speed", "paralinguistic", "denoise", "vad"]
    info: Name | None = Field(None, description="The option, where the type has one; /v1/tags lists them.")
    text: str | None = Field(None, description="The words to be spoken, for clone and paralinguistic.")
    n: int = Field(1, ge=1, le=32, description="How often the step is repeated.")


class StepAudio(Body):
    """What goes beyond OpenAI's speech: editing, cloning from a recording, the choice of a variant."""

    model_config = ConfigDict(extra="forbid")

    mode: Name | None = Field(
        None, description="clone (default), edit, or an edit type: emotion, style, speed, paralinguistic, denoise, vad."
    )
    edit_type: Name | None = Field(None, description="The edit type, with mode edit.")
    edit_info: str | None = Field(None, description="The option of the edit; for paralinguistic, the text with tags.")
    n_edit_iter: int = Field(1, ge=1, le=32, description="How often the edit is repeated.")
    model_variant: Name | None = Field(None, description="base, awq, bnb or lite.")
    prompt_text: str | None = Field(None, description="What is said in prompt_audio_base64.")
    prompt_audio_base64: str | None = Field(None, description="The voice to clone, as base64 of an audio file.")
    input_audio_base64: str | None = Field(None, description="The recording to edit, as base64 of an audio file.")
    audio_text: str | None = Field(None, description="What is said in input_audio_base64.")
    edits: Annotated[list[StepBody], BeforeValidator(_as_list)] = Field(
        default_factory=list, max_length=32, description="Steps applied after cloning or editing, in order."
    )


class SpeechBody(Body):
    """OpenAI's speech request with EditX's additions."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"model": "tts-1", "voice": "alloy", "input": "Hello from EditX."}}
    )

    model: Name = Field("step-audio-editx", description="step-audio-editx, step-audio-editx:awq, a variant, or tts-1.")
    input: str = Field("", description="The text to speak, or for paralinguistic edits the text with its tags.")
    voice: Name | VoiceReference | None = Field(None, description="A voice of the library, or one of OpenAI's names.")
    response_format: Format = "mp3"
    stream_format: Literal["audio", "sse"] = "audio"
    stream: bool = Field(True, description="false answers with the whole file and its length, decoded in one piece.")
    speed: float = Field(1.0, ge=0.25, le=4.0, description="Plays the result faster or slower at the same pitch.")
    instructions: str | None = Field(
        None, max_length=MAX_INSTRUCTIONS_CHARS, description="An emotion or style named here is applied."
    )
    ref_audio: str | None = Field(None, description="The voice to clone: base64, a data: URI, or a URL if allowed.")
    ref_text: str | None = Field(None, description="What is said in ref_audio.")
    language: Name | None = Field(None, description="Language of the input, such as ja, yue or Sichuanese.")
    seed: Seed | None = Field(None, description="The same seed, input and variant give the same audio.")
    temperature: float | None = Field(None, gt=0, le=2)
    top_k: int | None = Field(None, ge=1)
    top_p: float | None = Field(None, gt=0, le=1)
    keep_alive: KeepAlive | None = Field(
        None, description='How long the model stays after this: seconds, "5m", 0 unloads it at once, -1 keeps it.'
    )
    step_audio: StepAudio | None = None

    def voice_name(self) -> str | None:
        return self.voice.id if isinstance(self.voice, VoiceReference) else self.voice


class VoiceObject(BaseModel):
    """A voice of the library."""

    id: str
    object: Literal["voice"] = "voice"
    name: str
    title: str
    locale: str | None
    transcript: str
    seconds: float
    builtin: bool
    created: int = Field(description="Unix time.")
    warnings: list[str] = Field(default_factory=list, description="What could make this voice clone badly.")


class RenameBody(Body):
    """What a voice is to be called."""

    name: Name = Field(description="Letters, digits, space, '-', '_' and '.', at most 64.")


class VoiceList(BaseModel):
    """The voice library."""

    object: Literal["list"] = "list"
    data: list[VoiceObject]


class ModelObject(BaseModel):
    """A model, as OpenAI lists it."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "editx"


class ModelList(BaseModel):
    """All models."""

    object: Literal["list"] = "list"
    data: list[ModelObject]


class UnloadBody(BaseModel):
    """The answer to a load or an unload."""

    status: Literal["loaded", "unloaded"]
    variant: str


class IterationBody(BaseModel):
    """What one step made."""

    index: int
    type: str
    info: str | None
    text: str | None
    transcript: str
    seconds: float
    format: Format
    audio: str = Field(description="The file, as base64.")


class EditsBody(BaseModel):
    """Every iteration of an edit, for return=all."""

    object: Literal["list"] = "list"
    variant: str
    seed: int
    finish_reason: FinishReason = Field(description="length: a result reached its limit and was cut there.")
    timings: dict[str, float] = Field(description="Seconds: queue, load, preprocessing, generation, decoding, total.")
    data: list[IterationBody]


StatusBody = dict[str, dict[str, Any]]
