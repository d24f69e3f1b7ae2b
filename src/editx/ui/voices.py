"""The tab with the voice library: hear, add, rename and delete voices."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np
from gradio.components import Component

from editx.audio.clip import Clip
from editx.audio.trim import trim_silence
from editx.cancellation import Cancellation
from editx.errors import Conflict, EditXError
from editx.ui import controls
from editx.ui.clone import CloneTab, voice_names
from editx.ui.parts import Parts
from editx.ui.words import Words
from editx.voices import MAX_NAME_CHARS, Finding, Voice, findings, refuse_silence

LOCALES = {
    "mandarin": "zh-CN", "english": "en-US", "sichuanese": "zh-CN-sichuan", "cantonese": "zh-HK", "japanese": "ja-JP",
    "korean": "ko-KR",
}  # fmt: skip
"""The languages of the model, as locales."""

SILENT_NOTE: dict[str, Any] = {"text": "", "warnings": [], "failed": False}


@dataclass(frozen=True, slots=True)
class VoiceForm:
    """What the visitor filled in. `recording`: the path of the upload, empty for none."""

    recording: str
    trim: bool
    name: str
    transcript: str
    locale: str

    def missing(self, words: Words) -> str:
        """What has to be filled in first, as a sentence; empty when nothing."""
        if not self.recording:
            return words["error.no_recording"]
        if not self.name.strip():
            return words["voices.no_name"]
        return "" if self.transcript.strip() else words["error.no_transcript"]


def tab(parts: Parts, words: Words, blocks: gr.Blocks, clone: CloneTab) -> None:
    """Build the tab. `clone` has the list of voices that has to follow every change."""
    with gr.Tab(words["page.voices"], id="voices") as item, gr.Row(equal_height=False):
        with gr.Column(scale=6, min_width=320):
            library = gr.HTML(
                {"voices": []},
                elem_id="voices-library",
                apply_default_css=False,
                html_template='<div class="editx-voices"></div>',
                js_on_load="EditX.voices(element.querySelector('.editx-voices'), () => props.value, watch, trigger)",
            )
        with gr.Column(scale=4, min_width=320):
            gr.HTML(f'<h2 class="editx-heading">{words["voices.add"]}</h2>', apply_default_css=False, js_on_load=None)
            recording = controls.recording(words, words["voices.recording"], words["clone.reference_hint"])
            trim = gr.Checkbox(True, label=words["voices.trim"])
            check = _note("voices-check")
            name = gr.Textbox(
                label=words["voices.name"],
                info=words["voices.name_hint"],
                max_lines=1,
                max_length=MAX_NAME_CHARS,
                elem_id="voices-name",
            )
            transcript = gr.Textbox(
                label=words["clone.transcript"],
                info=words["clone.transcript_hint"],
                lines=2,
                max_lines=6,
                elem_id="voices-transcript",
            )
            locale = gr.Dropdown(
                [
                    (words["voices.locale_none"], ""),
                    *((f"{words[f'language.{language}']} ({code})", code) for language, code in LOCALES.items()),
                ],
                value="",
                label=words["voices.locale"],
                filterable=False,
            )
            save = gr.Button(words["voices.save"], variant="primary", elem_id="voices-save")
            said = _note("voices-said")

    def fresh(chosen: str | None, *, renamed: tuple[str, str] | None = None) -> tuple[Any, Any]:
        """What the library shows, and the choices of the Clone tab, where `chosen` stays chosen while it can."""
        names = voice_names(parts)
        altered: dict[str, Any] = {"choices": names}
        if renamed and chosen == renamed[0]:
            altered["value"] = renamed[1]
        elif chosen not in names:
            altered["value"] = names[0]
        return {"voices": _shown(parts, words)}, gr.update(**altered)

    async def refresh(chosen: str | None) -> tuple[Any, Any]:
        return await parts.runner.chore(lambda: fresh(chosen))

    async def follow(chosen: str | None, event: gr.EventData) -> tuple[Any, Any]:
        names = event._data
        renamed = (str(names["old"]), str(names["name"])) if "old" in names else None
        return await parts.runner.chore(lambda: fresh(chosen, renamed=renamed))

    async def listen(path: str | None, cut: bool) -> AsyncIterator[dict[str, Any]]:
        if not path:
            yield SILENT_NOTE
            return
        yield {**SILENT_NOTE, "text": words["voices.checking"]}
        try:
            yield await parts.runner.read(lambda stop: _heard(words, *_read(parts, path, cut, stop)))
        except EditXError as error:
            yield _failed(words.error(error))

    async def keep(chosen: str | None, *values: Any) -> AsyncIterator[tuple[Any, ...]]:
        path, cut, *texts = values
        form = VoiceForm(controls.typed(path), bool(cut), *(controls.typed(text) for text in texts))
        unchanged = (gr.skip(),) * 5
        if missing := form.missing(words):
            yield _failed(missing), *unchanged
            return
        yield {**SILENT_NOTE, "text": words["voices.saving"]}, *unchanged
        try:
            voice = await parts.runner.read(lambda stop: _add(parts, form, stop))
            shown, choices = await refresh(chosen)
        except Conflict:
            yield _failed(words("voices.taken", name=form.name.strip())), *unchanged
        except EditXError as error:
            yield _failed(words.error(error)), *unchanged
        else:
            text = words("voices.saved", name=voice.name, seconds=f"{voice.seconds:.1f}")
            note = {"text": text, "warnings": _warnings(words, voice.findings), "failed": False}
            yield note, shown, choices, None, "", ""

    form: list[Component] = [recording, trim, name, transcript, locale]
    controls.keep("voices", form, save)
    blocks.load(None, form, form, js="(...values) => EditX.kept('voices', values)", queue=False)
    for shown_again in (clone.kept.then, item.select, clone.item.select):
        shown_again(refresh, clone.voice, [library, clone.voice], show_progress="hidden")
    library.apply(follow, clone.voice, [library, clone.voice], show_progress="hidden")
    for altered in (recording.change, trim.change):
        altered(listen, [recording, trim], check, show_progress="hidden")
    save.click(
        keep,
        [clone.voice, *form],
        [said, library, clone.voice, recording, name, transcript],
        show_progress="hidden",
    )


def _note(elem_id: str) -> gr.HTML:
    return gr.HTML(
        SILENT_NOTE,
        elem_id=elem_id,
        apply_default_css=False,
        html_template='<div class="editx-note"></div>',
        js_on_load="EditX.note(element.querySelector('.editx-note'), () => props.value, watch)",
    )


def _failed(sentence: str) -> dict[str, Any]:
    return {"text": sentence, "warnings": [], "failed": True}


def _shown(parts: Parts, words: Words) -> list[dict[str, Any]]:
    """Every voice as its panel shows it: those that were added first."""
    voices = sorted((voice for voice in parts.voices.list() if not voice.alias_of), key=lambda voice: voice.builtin)
    return [
        {
            "name": voice.name, "title": voice.title, "locale": voice.locale, "seconds": voice.seconds,
            "transcript": voice.transcript, "builtin": voice.builtin, "version": voice.created,
            "description": words[f"builtin.{voice.name}"] if voice.builtin else voice.description,
            "warnings": _warnings(words, voice.findings),
        }
        for voice in voices
    ]  # fmt: skip


def _warnings(words: Words, found: Iterable[Finding]) -> list[str]:
    return [words(f"finding.{finding.kind}", value=finding.written) for finding in found]


def _read(parts: Parts, path: str, trim: bool, stop: Cancellation) -> tuple[Clip, float]:
    """The recording as it would be saved, and the seconds that were cut. Raises EditXError."""
    clip = parts.decoder_until(stop).decode_path(path, param="recording")
    refuse_silence(clip, param="recording")
    kept = trim_silence(clip) if trim else clip
    return kept, clip.seconds - kept.seconds


def _heard(words: Words, clip: Clip, cut: float) -> dict[str, Any]:
    """The note on a recording that was chosen."""
    peak = round(20 * float(np.log10(np.max(np.abs(clip.samples)))))
    sentences = [words("voices.measured", seconds=f"{clip.seconds:.1f}", peak=peak)]
    if round(cut, 1) > 0:
        sentences.append(words("voices.trimmed", seconds=f"{cut:.1f}"))
    warnings = _warnings(words, findings(clip))
    if not warnings:
        sentences.append(words["voices.fine"])
    return {"text": " ".join(sentences), "warnings": warnings, "failed": False}


def _add(parts: Parts, form: VoiceForm, stop: Cancellation) -> Voice:
    clip, _ = _read(parts, form.recording, form.trim, stop)
    return parts.voices.add(form.name.strip(), clip, form.transcript, form.locale or None)
