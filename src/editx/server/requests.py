"""From what a client sent to a job: models, voices, recordings and steps are named here, once."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import BinaryIO

from editx.audio.clip import Clip
from editx.cancellation import Cancellation
from editx.engines.base import Sampling
from editx.errors import InvalidRequest, MissingTranscript, NotFound, TooLarge
from editx.fetch import fetch_audio
from editx.recipe import EMOTIONS, STYLES, AnyStep, Clone, Emotion, Recipe, Source, Style, parse_step, parse_steps
from editx.server.schemas import SpeechBody, StepAudio, keep_alive_seconds
from editx.server.service import Service
from editx.studio import Job
from editx.text import with_language

MODEL = "step-audio-editx"
MODEL_ALIASES = (MODEL, "tts-1", "tts-1-hd", "gpt-4o-mini-tts")
DEFAULT_VOICE = "alloy"
_PIECE_CHARS = 1 << 20
"""Of base64 decoded at once: all other threads wait meanwhile."""
_EDIT_TYPES = ("emotion", "style", "speed", "paralinguistic", "denoise", "vad")


@dataclass(frozen=True, slots=True)
class Uploads:
    """Files that came beside the JSON."""

    prompt: BinaryIO | None = None
    source: BinaryIO | None = None


@dataclass(frozen=True, slots=True)
class Recordings:
    """What a client sent to be cloned or edited, by field, the one that counts first: a file, base64 or a URL."""

    to_clone: dict[str, BinaryIO | str]
    to_edit: dict[str, BinaryIO | str]

    def __bool__(self) -> bool:
        return bool(self.to_clone or self.to_edit)


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


def recordings(body: SpeechBody, uploads: Uploads) -> Recordings:
    """The recordings that a speech request brings or names."""
    extra = body.step_audio or StepAudio()
    to_clone = {
        "prompt_audio_file": uploads.prompt,
        "step_audio.prompt_audio_base64": extra.prompt_audio_base64,
        "ref_audio": body.ref_audio,
    }
    to_edit = {"input_audio_file": uploads.source, "step_audio.input_audio_base64": extra.input_audio_base64}
    return Recordings(*({field: given for field, given in of.items() if given} for of in (to_clone, to_edit)))


def speech_job(body: SpeechBody, given: Recordings, service: Service, cancellation: Cancellation) -> Job:
    """The job a speech request stands for. Blocks while recordings are fetched and decoded. Raises EditXError."""
    extra = body.step_audio or StepAudio()
    _check_lengths(body, extra, service.settings.max_text_chars)
    mode, edit = _mode(extra, given)
    steps: tuple[AnyStep, ...] = ()
    if mode == "clone":
        if not body.input.strip():
            raise InvalidRequest("input, the text to speak, is empty", param="input")
        steps = (Clone(with_language(body.input, body.language)),)
    if edit is not None:
        steps += _edit_steps(edit, body, extra)
    steps += _instructed(body.instructions)
    steps += parse_steps([step.model_dump() for step in extra.edits], param="step_audio.edits")
    if not steps:
        message = f"mode edit needs an edit: step_audio.edit_type ({', '.join(_EDIT_TYPES)}) or step_audio.edits"
        raise InvalidRequest(message, param="step_audio.edit_type")
    variant = extra.model_variant or variant_of_model(body.model, service)
    open_ = _Opener(service, cancellation)
    source, transcript_field = (_reference if mode == "clone" else _recording)(body, given, open_)
    return Job(
        recipe=recipe(source, steps, transcript_field),
        variant=variant,
        seed=body.seed,
        keep_alive=keep_alive_seconds(body.keep_alive),
        sampling=Sampling(body.temperature, body.top_k, body.top_p),
        tempo=body.speed,
        stream=body.stream or body.stream_format == "sse",
    )


def speech_fields(body: SpeechBody, given: Recordings) -> dict[str, str]:
    """For `named`: the fields of a speech request."""
    extra = body.step_audio or StepAudio()
    edits = _mode(extra, given)[0] == "edit"
    recording = next(iter(given.to_edit if edits else given.to_clone), "voice")
    return {
        "text": "step_audio.edit_info" if edits and extra.edit_info else "input",
        "variant": "step_audio.model_variant" if extra.model_variant else "model",
        "steps": "step_audio.edits",
        "audio": recording,
        "transcript": _transcript(body, recording)[1],
    }


def recipe(source: Source, steps: tuple[AnyStep, ...], transcript_field: str) -> Recipe:
    """A recipe whose complaint about a missing transcript names the client's own field for it."""
    try:
        return Recipe(source, steps)
    except MissingTranscript as error:
        raise MissingTranscript(f"{error.message} as {transcript_field}", param=transcript_field) from None


def _check_lengths(body: SpeechBody, extra: StepAudio, most: int) -> None:
    texts = {"input": body.input, "step_audio.edit_info": extra.edit_info or ""}
    texts |= {f"step_audio.edits[{i}].text": step.text or "" for i, step in enumerate(extra.edits)}
    for field, text in texts.items():
        if len(text) > most:
            raise TooLarge(f"{field} has at most {most} characters here, and this one {len(text)}", param=field)


def _mode(extra: StepAudio, given: Recordings) -> tuple[str, str | None]:
    """Whether to clone or to edit, and the edit type asked for."""
    mode = extra.mode or ("edit" if given.to_edit else "clone")
    if mode not in ("clone", "edit", *_EDIT_TYPES):
        allowed = ", ".join(("clone", "edit", *_EDIT_TYPES))
        raise InvalidRequest(f"{mode!r} is no mode; use one of: {allowed}", param="step_audio.mode")
    for field in given.to_edit if mode == "clone" else given.to_clone:
        purpose = "edited, and mode clone edits none" if mode == "clone" else f"cloned, and mode {mode} clones none"
        raise InvalidRequest(f"{field} is a recording to be {purpose}; leave it out, or change the mode", param=field)
    if mode in _EDIT_TYPES:
        return "edit", mode
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


def _transcript(body: SpeechBody, recording: str) -> tuple[str, str]:
    """What is said in the recording of that field, and the field that says it, or should."""
    extra = body.step_audio or StepAudio()
    ref, prompt = (body.ref_text, "ref_text"), (extra.prompt_text, "step_audio.prompt_text")
    if recording in ("input_audio_file", "step_audio.input_audio_base64"):
        fields = [(extra.audio_text, "step_audio.audio_text")]
    else:
        fields = [ref, prompt] if recording == "ref_audio" else [prompt, ref]
    return next(((text, field) for text, field in fields if text), ("", fields[0][1]))


def _reference(body: SpeechBody, given: Recordings, open_: _Opener) -> tuple[Source, str]:
    """The voice to clone, and the field its transcript is given in."""
    for field, recording in given.to_clone.items():
        transcript, param = _transcript(body, field)
        return Source(open_.clip(recording, field), transcript), param
    return open_.voice(body.voice_name() or DEFAULT_VOICE), "voice"


def _recording(body: SpeechBody, given: Recordings, open_: _Opener) -> tuple[Source, str]:
    """The recording to edit, and the field its transcript is given in."""
    for field, recording in given.to_edit.items():
        transcript, param = _transcript(body, field)
        return Source(open_.clip(recording, field), transcript), param
    if voice := body.voice_name():
        return open_.voice(voice), "step_audio.audio_text"
    raise InvalidRequest(
        "editing needs a recording: send step_audio.input_audio_base64, the file input_audio_file, or a voice",
        param="step_audio.input_audio_base64",
    )


class _Opener:
    """Turns what a request names into sound, until it is cancelled."""

    def __init__(self, service: Service, cancellation: Cancellation) -> None:
        self._service = service
        self._cancellation = cancellation
        self._decoder = service.decoder_until(cancellation)

    def voice(self, name: str) -> Source:
        voice = self._service.voices.get(name)
        return Source(voice.clip(), voice.transcript)

    def clip(self, recording: BinaryIO | str, field: str) -> Clip:
        if not isinstance(recording, str):
            data = recording.read()
        elif field == "ref_audio" and recording.lower().startswith(("http://", "https://")):
            data = self._fetched(recording)
        else:
            data = from_base64(recording, field)
        return self._decoder.decode(data, param=field)

    def _fetched(self, url: str) -> bytes:
        settings = self._service.settings
        if not settings.allow_url_audio:
            raise InvalidRequest(
                "this server fetches no audio by URL (--allow-url-audio is off); send the file as base64",
                param="ref_audio",
            )
        return fetch_audio(url, max_bytes=settings.max_body, cancellation=self._cancellation)


def from_base64(text: str, param: str) -> bytes:
    """The bytes of base64 text, with or without a `data:` prefix. Raises InvalidRequest naming `param`."""
    payload = text.partition(",")[2] if text.startswith("data:") else text
    data, rest = bytearray(), b""
    try:
        for start in range(0, len(payload), _PIECE_CHARS):
            piece = rest + payload[start : start + _PIECE_CHARS].encode("ascii").translate(None, b" \t\r\n")
            whole = len(piece) // 4 * 4
            data += base64.b64decode(piece[:whole], validate=True)
            rest = piece[whole:]
        return bytes(data + base64.b64decode(rest, validate=True))
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"{param} is not base64 of an audio file", param=param) from None
