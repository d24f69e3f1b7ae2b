"""From what a client sent to a job: models, voices, recordings and steps are named here, once."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from editx.engines.base import Sampling
from editx.errors import InvalidRequest, MissingTranscript, NotFound
from editx.fetch import fetch_audio
from editx.recipe import EMOTIONS, STYLES, AnyStep, Clone, Emotion, Recipe, Source, Style, parse_step, parse_steps
from editx.server.schemas import SpeechBody, StepAudio, keep_alive_seconds
from editx.server.service import Service
from editx.studio import Job
from editx.text import with_language

MODEL = "step-audio-editx"
MODEL_ALIASES = (MODEL, "tts-1", "tts-1-hd", "gpt-4o-mini-tts")
DEFAULT_VOICE = "alloy"
_EDIT_TYPES = ("emotion", "style", "speed", "paralinguistic", "denoise", "vad")


@dataclass(frozen=True, slots=True)
class Uploads:
    """Files that came beside the JSON."""

    prompt: bytes | None = None
    source: bytes | None = None


def variant_of_model(model: str, service: Service) -> str | None:
    """The variant a model id means; None for the default one. Raises NotFound naming the ids there are."""
    if model in MODEL_ALIASES:
        return None
    name = model.removeprefix(f"{MODEL}:")
    names = [spec.name for spec in service.studio.backend.catalog()]
    if name not in names:
        known = ", ".join([*MODEL_ALIASES, *names])
        raise NotFound(f"there is no model {model!r}; known: {known}", param="model")
    return name


def speech_job(body: SpeechBody, uploads: Uploads, service: Service) -> Job:
    """The job a speech request stands for. Blocks while recordings are decoded. Raises EditXError."""
    extra = body.step_audio or StepAudio()
    mode, edit = _mode(extra)
    if mode == "clone":
        source, transcript_field = _reference(body, extra, uploads, service)
        if not body.input.strip():
            raise InvalidRequest("input, the text to speak, is empty", param="input")
        steps: tuple[AnyStep, ...] = (Clone(with_language(body.input, body.language)),)
    else:
        source, transcript_field = _recording(body, extra, uploads, service)
        steps = ()
    if edit is not None:
        steps += _edit_steps(edit, body, extra)
    steps += _instructed(body.instructions)
    steps += parse_steps([step.model_dump() for step in extra.edits], param="step_audio.edits")
    variant = extra.model_variant or variant_of_model(body.model, service)
    return Job(
        recipe=recipe(source, steps, transcript_field),
        variant=variant,
        seed=body.seed,
        keep_alive=keep_alive_seconds(body.keep_alive),
        sampling=Sampling(body.temperature, body.top_k, body.top_p),
        tempo=body.speed,
    )


def recipe(source: Source, steps: tuple[AnyStep, ...], transcript_field: str) -> Recipe:
    """A recipe whose complaint about a missing transcript names the client's own field for it."""
    try:
        return Recipe(source, steps)
    except MissingTranscript as error:
        raise MissingTranscript(f"{error.message} as {transcript_field}", param=transcript_field) from None


def _mode(extra: StepAudio) -> tuple[str, str | None]:
    """Whether to clone or to edit, and the edit type asked for."""
    mode = extra.mode or ("edit" if extra.edit_type and extra.input_audio_base64 else "clone")
    if mode in _EDIT_TYPES:
        return "edit", mode
    if mode not in ("clone", "edit"):
        allowed = ", ".join(("clone", "edit", *_EDIT_TYPES))
        raise InvalidRequest(f"{mode!r} is no mode; use one of: {allowed}", param="step_audio.mode")
    if extra.edit_type is not None and extra.edit_type not in _EDIT_TYPES:
        message = f"{extra.edit_type!r} is no edit type; use one of: {', '.join(_EDIT_TYPES)}"
        raise InvalidRequest(message, param="step_audio.edit_type")
    return mode, extra.edit_type


def _edit_steps(kind: str, body: SpeechBody, extra: StepAudio) -> tuple[AnyStep, ...]:
    data: dict[str, object] = {"type": kind, "n": extra.n_edit_iter}
    if kind == "paralinguistic":
        data["text"] = extra.edit_info or body.input
    elif kind in ("emotion", "style", "speed"):
        data["info"] = extra.edit_info
    try:
        return parse_step(data, param="step_audio")
    except InvalidRequest as error:
        param = {"step_audio.info": "step_audio.edit_info", "step_audio.text": "input"}.get(
            error.param or "", error.param
        )
        raise InvalidRequest(error.message.replace("info,", "edit_info,"), param=param) from None


def _instructed(instructions: str | None) -> tuple[AnyStep, ...]:
    """The emotion and the style that free-form instructions name first, if any."""
    words = re.findall(r"[a-z_]+", (instructions or "").lower().replace("act coy", "act_coy"))
    found: list[AnyStep] = []
    for options, cls in ((EMOTIONS, Emotion), (STYLES, Style)):
        name = next((word for word in words if word in options and word != "remove"), None)
        if name is not None:
            found.append(cls(name))
    return tuple(found)


def _reference(body: SpeechBody, extra: StepAudio, uploads: Uploads, service: Service) -> tuple[Source, str]:
    """The voice to clone, and the field its transcript is given in."""
    if uploads.prompt is not None:
        clip = service.decoder.decode(uploads.prompt, param="prompt_audio_file")
        return Source(clip, extra.prompt_text or body.ref_text or ""), "step_audio.prompt_text"
    if extra.prompt_audio_base64:
        param = "step_audio.prompt_audio_base64"
        clip = service.decoder.decode(from_base64(extra.prompt_audio_base64, param), param=param)
        return Source(clip, extra.prompt_text or body.ref_text or ""), "step_audio.prompt_text"
    if body.ref_audio:
        clip = service.decoder.decode(_audio_named(body.ref_audio, service), param="ref_audio")
        return Source(clip, body.ref_text or extra.prompt_text or ""), "ref_text"
    return _voice(body.voice_name() or DEFAULT_VOICE, service), "voice"


def _recording(body: SpeechBody, extra: StepAudio, uploads: Uploads, service: Service) -> tuple[Source, str]:
    """The recording to edit, and the field its transcript is given in."""
    param = "step_audio.audio_text"
    if uploads.source is not None:
        clip = service.decoder.decode(uploads.source, param="input_audio_file")
    elif extra.input_audio_base64:
        field = "step_audio.input_audio_base64"
        clip = service.decoder.decode(from_base64(extra.input_audio_base64, field), param=field)
    elif voice := body.voice_name():
        return _voice(voice, service), param
    else:
        raise InvalidRequest(
            "editing needs a recording: send step_audio.input_audio_base64, the file input_audio_file, or a voice",
            param="step_audio.input_audio_base64",
        )
    return Source(clip, extra.audio_text or ""), param


def _voice(name: str, service: Service) -> Source:
    voice = service.voices.get(name)
    return Source(voice.clip(), voice.transcript)


def from_base64(text: str, param: str) -> bytes:
    """The bytes of base64 text, with or without a `data:` prefix. Raises InvalidRequest naming `param`."""
    payload = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode("".join(payload.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"{param} is not base64 of an audio file", param=param) from None


def _audio_named(text: str, service: Service) -> bytes:
    if not text.lower().startswith(("http://", "https://")):
        return from_base64(text, "ref_audio")
    if not service.settings.allow_url_audio:
        raise InvalidRequest(
            "this server fetches no audio by URL (--allow-url-audio is off); send the file as base64", param="ref_audio"
        )
    return fetch_audio(text, max_bytes=service.settings.max_body)
