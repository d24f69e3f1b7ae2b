"""The tab that speaks a text in somebody's voice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.events import Dependency

from editx.cancellation import Cancellation
from editx.errors import EditXError, InvalidRequest, MissingTranscript
from editx.recipe import EMOTIONS, STYLES, AnyStep, Clone, Emotion, Recipe, Source, Style
from editx.studio import Job
from editx.text import with_language
from editx.ui import controls
from editx.ui.parts import Parts
from editx.ui.takes import failed, perform, read
from editx.ui.words import Words

LANGUAGES = ("auto", "mandarin", "english", "sichuanese", "cantonese", "japanese", "korean")
LIBRARY, RECORDING = "library", "recording"
PLACE = "clone"


@dataclass(frozen=True, slots=True)
class CloneTab:
    """What other tabs need of this one: its inputs in the order of `CloneForm`, its player, the last take, the button
    that edits it, and the event after which the form holds what it held before a reload."""

    item: gr.Tab
    inputs: list[Component]
    voice: gr.Dropdown
    variant: Component
    player: gr.HTML
    take: gr.State
    edit: gr.Button
    kept: Dependency


@dataclass(frozen=True, slots=True)
class CloneForm:
    """What the visitor filled in. `reference`: the path of the upload; numbers are as they were typed."""

    source: str
    voice: str
    reference: str
    transcript: str
    text: str
    language: str
    emotion: str
    style: str
    variant: str
    seed: str
    temperature: str
    top_k: str
    top_p: str

    def steps(self) -> tuple[AnyStep, ...]:
        """The recipe's steps. Raises InvalidRequest."""
        if not self.text.strip():
            raise InvalidRequest("the text to speak is empty", param="text")
        steps: list[AnyStep] = [Clone(with_language(self.text, self.language))]
        if self.emotion:
            steps.append(Emotion(self.emotion))
        if self.style:
            steps.append(Style(self.style))
        return tuple(steps)


def tab(parts: Parts, words: Words, blocks: gr.Blocks) -> CloneTab:
    """Build the tab."""
    with gr.Tab(words["page.clone"], id="clone") as item, gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            source = gr.Radio(
                [(words["clone.library"], LIBRARY), (words["clone.recording"], RECORDING)],
                value=LIBRARY,
                label=words["clone.source"],
            )
            voice = gr.Dropdown(voice_names(parts), value=first_voice(parts), label=words["clone.voice"])
            with gr.Column(visible=False) as recorded:
                reference = controls.recording(words, words["clone.reference"], words["clone.reference_hint"])
                transcript = gr.Textbox(
                    label=words["clone.transcript"], info=words["clone.transcript_hint"], lines=2, max_lines=6
                )
            text = gr.Textbox(
                label=words["clone.text"], placeholder=words["clone.text_placeholder"], lines=4, max_lines=12
            )
            with gr.Row():
                language = gr.Dropdown(
                    [(words[f"language.{name}"], name) for name in LANGUAGES],
                    value="auto",
                    label=words["clone.language"],
                    filterable=False,
                    min_width=140,
                )
                emotion = controls.option(words, "emotion", EMOTIONS, words["clone.then_emotion"])
                style = controls.option(words, "style", STYLES, words["clone.then_style"])
            advanced = controls.advanced(parts, words)
            with gr.Row():
                generate = gr.Button(
                    words["clone.generate"], variant="primary", elem_id="clone-generate", min_width=120
                )
                cancel = gr.Button(words["clone.cancel"], elem_id="clone-cancel", min_width=120)
        with gr.Column(scale=4, min_width=320, elem_classes="editx-beside"):
            player = controls.player(words, "clone-player")
            take = gr.State(None)
            edit = gr.Button(words["clone.edit"], elem_id="clone-edit", min_width=120)
    inputs: list[Component] = [
        source, voice, reference, transcript, text, language, emotion, style, *advanced
    ]  # fmt: skip

    async def speak(request: gr.Request, *values: Any) -> AsyncIterator[tuple[Any, ...]]:
        form = CloneForm(*(controls.typed(value) for value in values))
        if missing := _missing(form):
            yield {"state": "failed", "message": words[f"error.{missing}"]}, None
            return
        yield {"state": "queued", "position": 0}, None
        try:
            made = await read(parts, str(request.session_hash), lambda stop: job(parts, form, stop), PLACE)
        except EditXError as error:
            yield failed(words, error), None
            return
        async for now in perform(parts, words, str(request.session_hash), made, PLACE):
            yield now.value, now

    def stop(request: gr.Request) -> None:
        parts.running.cancel(str(request.session_hash), "cancelled on the page", PLACE)

    def show(chosen: str) -> tuple[Any, Any]:
        return gr.update(visible=chosen == LIBRARY), gr.update(visible=chosen == RECORDING)

    source.change(show, source, [voice, recorded], queue=False, show_progress="hidden")
    generate.click(speak, inputs, [player, take], show_progress="hidden")
    cancel.click(stop, queue=False, show_progress="hidden")
    controls.keep("clone", inputs, generate)
    kept = blocks.load(None, inputs, inputs, js="(...values) => EditX.kept('clone', values)", queue=False)
    return CloneTab(item, inputs, voice, advanced[0], player, take, edit, kept)


def job(parts: Parts, form: CloneForm, stop: Cancellation) -> Job:
    """The job a form stands for. Blocks while a recording is decoded. Raises EditXError."""
    steps = form.steps()
    return Job(
        recipe=Recipe(_source(parts, form, stop), steps),
        variant=form.variant or None,
        seed=controls.seed(form.seed),
        sampling=controls.sampling(form.temperature, form.top_k, form.top_p),
    )


def _missing(form: CloneForm) -> str | None:
    """What has to be given first, as the key of an error."""
    if not form.text.strip():
        return "no_text"
    if form.source == RECORDING and not form.reference:
        return "no_recording"
    if form.source == RECORDING and not form.transcript.strip():
        return "no_transcript"
    return None


def voice_names(parts: Parts) -> list[str]:
    """The names of the library's voices; OpenAI's aliases of built-in ones are left out."""
    return [voice.name for voice in parts.voices.list() if not voice.alias_of]


def first_voice(parts: Parts) -> str | None:
    return next(iter(voice_names(parts)), None)


def _source(parts: Parts, form: CloneForm, stop: Cancellation) -> Source:
    if form.source == LIBRARY:
        if not form.voice:
            raise InvalidRequest("choose a voice of the library", param="voice")
        voice = parts.voices.get(form.voice)
        return Source(voice.clip(), voice.transcript)
    if not form.reference:
        raise InvalidRequest("a recording of the voice is missing", param="reference")
    if not form.transcript.strip():
        raise MissingTranscript("cloning needs the words spoken in the recording", param="transcript")
    return Source(parts.decoder_until(stop).decode_path(form.reference, param="reference"), form.transcript)
