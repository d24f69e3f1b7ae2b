"""The tab that edits a recording step by step, and keeps every step as a card to go back to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from editx.cancellation import Cancellation
from editx.errors import EditXError, NotFound
from editx.recipe import (
    EMOTIONS,
    PARALINGUISTIC_TAGS,
    SPEEDS,
    STEP_TYPES,
    STYLES,
    AnyStep,
    Recipe,
    Source,
    parse_step,
    step_record,
)  # fmt: skip
from editx.studio import Job
from editx.text import strip_tags
from editx.ui import controls
from editx.ui.archive import file_name
from editx.ui.clone import CloneTab
from editx.ui.desks import CLONE, RECORDING, Card, Desk, Made
from editx.ui.parts import Parts
from editx.ui.takes import Take, failed, perform, read
from editx.ui.words import Words

KINDS = ("emotion", "style", "speed", "paralinguistic", "denoise", "vad")
TIMES = ("1", "2", "3", "4", "5")
PLACE = "edit"


@dataclass(frozen=True, slots=True)
class EditTab:
    """What other tabs need of this one: `inputs` in the order of `EditForm`, and the desk's id and chosen card."""

    item: gr.Tab
    inputs: list[Component]
    variant: Component
    desk: gr.Textbox
    chosen: gr.Number


@dataclass(frozen=True, slots=True)
class EditForm:
    """What the visitor filled in; `text` is for paralinguistic, and the options are those of every kind."""

    transcript: str
    kind: str
    emotion: str
    style: str
    speed: str
    text: str
    times: str
    variant: str
    seed: str
    temperature: str
    top_k: str
    top_p: str

    def record(self) -> dict[str, Any]:
        """The step as JSON writes it, repeated `n` times."""
        record: dict[str, Any] = {"type": self.kind}
        if STEP_TYPES[self.kind].options:
            record["info"] = {"emotion": self.emotion, "style": self.style, "speed": self.speed}[self.kind]
        if STEP_TYPES[self.kind].takes_text:
            record["text"] = self.text
        return record | ({"n": int(self.times)} if self.times != "1" else {})

    def steps(self) -> tuple[AnyStep, ...]:
        """Raises InvalidRequest."""
        return parse_step(self.record())


def tab(parts: Parts, words: Words, blocks: gr.Blocks, tabs: gr.Tabs, clone: CloneTab) -> EditTab:
    """Build the tab."""
    with gr.Tab(words["page.edit"], id="edit") as item:
        desk = gr.Textbox(visible=False)
        chosen = gr.Number(0, precision=0, visible=False)  # the browser's, so that what is edited is what it shows
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=320):
                recording = controls.recording(words, words["edit.recording"], words["edit.recording_hint"])
                transcript = gr.Textbox(
                    label=words["edit.transcript"], info=words["edit.transcript_hint"], lines=2, max_lines=6
                )
                kind = gr.Radio(
                    [(words[f"edit.{name}"], name) for name in KINDS],
                    value=KINDS[0],
                    label=words["edit.kind"],
                    elem_id="edit-kind",
                    elem_classes="editx-segments",
                )
                groups, options = _options(words)
            with gr.Column(scale=4, min_width=320):
                times = gr.Radio(
                    TIMES,
                    value=TIMES[0],
                    label=words["edit.times"],
                    info=words["edit.times_hint"],
                    elem_id="edit-times",
                    elem_classes="editx-segments",
                )
                advanced = controls.advanced(parts, words)
                with gr.Row():
                    apply = gr.Button(
                        words["edit.apply"], variant="primary", elem_id="edit-apply", min_width=120, scale=2
                    )
                    cancel = gr.Button(words["clone.cancel"], elem_id="edit-cancel", min_width=120)
                player = controls.player(words, "edit-player")
        cards = gr.HTML(
            {"desk": "", "cards": [], "chosen": 0},
            elem_id="edit-cards",
            apply_default_css=False,
            html_template='<div class="editx-desk"></div>',
            js_on_load="EditX.cards(element.querySelector('.editx-desk'), () => props.value, watch, trigger)",
        )
    inputs: list[Component] = [transcript, kind, *options, times, *advanced]
    text = options[-1]
    laid: list[Component] = [cards, chosen, transcript, text, apply]

    def lay_out(id: str, now: Desk) -> tuple[Any, ...]:
        """Values of `laid`."""
        said = now.card.transcript if now.card else ""
        label = words("edit.apply_to", number=now.chosen) if now.cards else words["edit.apply"]
        return shown(id, now), now.chosen, said, said, label

    def restore(id: str) -> tuple[Any, ...]:
        return id, *lay_out(id, parts.desks.get(id))

    async def take_in(id: str, path: str | None, said: str | None) -> tuple[Any, ...]:
        if not path:
            return (gr.skip(),) * (2 + len(laid))
        try:
            now = await parts.runner.read(lambda stop: _record(parts, id, path, controls.typed(said), stop))
        except EditXError as error:
            return failed(words, error), None, *(gr.skip() for _ in laid)
        return {"state": "empty"}, gr.skip(), *lay_out(id, now)

    def take_over(id: str, take: Take | None) -> tuple[Any, ...]:
        untouched = (gr.skip(),) * len(laid)
        if take is None or take.sound is None or take.result is None:  # made before the server was restarted
            return gr.Tabs(selected="edit"), {"state": "failed", "message": words["error.no_result"]}, *untouched
        try:
            parts.desks.check_room(id)
            now = parts.desks.lay(id, take.sound, take.result.transcript, CLONE)
        except EditXError as error:
            return gr.Tabs(selected="edit"), failed(words, error), *untouched
        return gr.Tabs(selected="edit"), {"state": "empty"}, *lay_out(id, now)

    def transcribe(id: str, number: int, said: str | None, written: str | None) -> tuple[Any, Any]:
        before = parts.desks.get(id)
        now = parts.desks.transcribe(id, number, controls.typed(said))
        if now == before:
            return gr.skip(), gr.skip()
        untouched = controls.typed(written) in ("", before.cards[number].transcript)
        return shown(id, now), now.cards[number].transcript if untouched else gr.skip()

    def choose(id: str, event: gr.EventData) -> tuple[Any, ...]:
        try:
            return lay_out(id, parts.desks.choose(id, int(event._data["number"])))
        except NotFound:  # the desk expired while the page was open; the strip says so when it is empty
            return lay_out(id, parts.desks.get(id))

    def clear(id: str, request: gr.Request) -> tuple[Any, ...]:
        parts.running.cancel(str(request.session_hash), "its cards were cleared", PLACE)
        return {"state": "empty"}, None, *lay_out(id, parts.desks.clear(id))

    async def edit(request: gr.Request, id: str, number: int, *values: Any) -> AsyncIterator[tuple[Any, ...]]:
        form = EditForm(*(controls.typed(value) for value in values))
        as_it_was = (gr.skip(),) * len(laid)
        now = parts.desks.transcribe(id, number, form.transcript)
        if missing := _missing(now, number, form):
            yield {"state": "failed", "message": words[f"error.{missing}"]}, *as_it_was
            return
        source = now.cards[number]
        yield {"state": "queued", "position": 0}, *as_it_was
        try:
            parts.desks.check_room(id)
            made = await read(parts, str(request.session_hash), lambda stop: job(parts, source, form, stop), PLACE)
            last = Take({})
            async for take in perform(parts, words, str(request.session_hash), made, PLACE):
                last = take
                if take.result is None:
                    yield take.value, *as_it_was
            if last.result is None:
                return
            now = await parts.runner.chore(lambda: _keep(parts, id, source, made, last))
        except EditXError as error:
            yield failed(words, error), *as_it_was
            return
        yield last.value, *lay_out(id, now)

    def stop(request: gr.Request) -> None:
        parts.running.cancel(str(request.session_hash), "cancelled on the page", PLACE)

    def show(now: str) -> list[Any]:
        return [gr.update(visible=name == now) for name in KINDS]

    quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
    restored = blocks.load(restore, desk, [desk, *laid], js="() => [EditX.tab()]", **quiet)
    kept: list[Component] = [chosen, *inputs]
    texts = [kept.index(transcript), kept.index(text)]
    restored.then(None, kept, kept, js=f"(...values) => EditX.kept('edit', values, {texts})", queue=False)
    controls.keep("edit", inputs, apply, beside=[chosen])
    kind.change(show, kind, groups, **quiet)
    recording.change(take_in, [desk, recording, transcript], [player, recording, *laid], show_progress="hidden")
    transcript.blur(transcribe, [desk, chosen, transcript, text], [cards, text], **quiet)
    cards.select(choose, desk, laid, **quiet)
    cards.clear(clear, desk, [player, recording, *laid], **quiet)
    clone.edit.click(take_over, [desk, clone.take], [tabs, player, *laid], **quiet)
    apply.click(edit, [desk, chosen, *inputs], [player, *laid], show_progress="hidden")
    cancel.click(stop, **quiet)
    return EditTab(item, inputs, advanced[0], desk, chosen)


def job(parts: Parts, source: Card, form: EditForm, stop: Cancellation) -> Job:
    """The job that a form, applied to a card, stands for. Blocks while the sound is read. Raises EditXError."""
    steps = form.steps()
    clip = parts.decoder_until(stop).decode_path(str(source.sound.path), param="recording")
    return Job(
        recipe=Recipe(Source(clip, form.transcript), steps),
        variant=form.variant or None,
        seed=controls.seed(form.seed),
        sampling=controls.sampling(form.temperature, form.top_k, form.top_p),
        keep_iterations=True,
    )


def shown(id: str, desk: Desk) -> dict[str, Any]:
    """A desk as the strip of cards shows it."""
    return {"desk": id, "chosen": desk.chosen, "cards": [_card(card) for card in desk.cards]}


def _options(words: Words) -> tuple[list[gr.Column], list[Component]]:
    """What belongs to each kind of edit: a group that is shown for that kind only, and the inputs in them."""
    groups: list[gr.Column] = []
    inputs: list[Component] = []
    for name, choices, field in (
        ("emotion", EMOTIONS, gr.Dropdown),
        ("style", STYLES, gr.Dropdown),
        ("speed", SPEEDS, gr.Radio),
    ):
        with _group(name, groups):
            labelled = [(words[f"{name}.{choice}"], choice) for choice in choices]
            hint = words[f"edit.{name}_hint"]
            inputs.append(field(labelled, value=choices[0], label=words[f"edit.{name}"], info=hint))
    with _group("paralinguistic", groups):
        hint = words["edit.paralinguistic_hint"]
        inputs.append(gr.Textbox(label=words["edit.text"], info=hint, lines=3, max_lines=8, elem_id="edit-text"))
        gr.HTML(
            list(PARALINGUISTIC_TAGS),
            html_template='<div class="editx-tags"></div>',
            apply_default_css=False,
            js_on_load="EditX.tags(element.querySelector('.editx-tags'), props.value, '#edit-text textarea')",
        )
    for name in ("denoise", "vad"):
        with _group(name, groups):
            gr.HTML(f'<p class="editx-hint">{words[f"edit.{name}_hint"]}</p>', js_on_load=None)
    return groups, inputs


def _group(name: str, groups: list[gr.Column]) -> gr.Column:
    groups.append(gr.Column(visible=name == KINDS[0]))
    return groups[-1]


def _missing(desk: Desk, number: int, form: EditForm) -> str | None:
    """What has to be given before the form can be applied, as the key of an error."""
    if not 0 <= number < len(desk.cards):
        return "no_recording"
    if STEP_TYPES[form.kind].needs_transcript and not form.transcript.strip():
        return "no_transcript"
    if form.kind == "paralinguistic":
        if not any(tag in form.text for tag in PARALINGUISTIC_TAGS):
            return "no_tag"
        if not any(char.isalnum() for char in strip_tags(form.text)):
            return "no_words"
    return None


def _record(parts: Parts, id: str, path: str, transcript: str, stop: Cancellation) -> Desk:
    """Lay an uploaded recording on the desk. What was typed before the first one is its transcript."""
    parts.desks.check_room(id)
    clip = parts.decoder_until(stop).decode_path(path, param="recording")
    first = not parts.desks.get(id).cards
    return parts.desks.lay(id, parts.sounds.keep(clip), transcript if first else "", RECORDING)


def _keep(parts: Parts, id: str, source: Card, made: Job, take: Take) -> Desk:
    """Make a card of every iteration, each the source of the next."""
    assert take.result is not None
    assert take.sound is not None
    result, *between = take.result, *take.result.iterations[:-1]
    sounds = [*(parts.sounds.keep(iteration.clip) for iteration in between), take.sound]
    desk = parts.desks.get(id)
    for iteration, sound in zip(result.iterations, sounds, strict=True):
        how = Made(iteration.step, result.variant, result.seed, made.sampling)
        desk = parts.desks.add(id, source, sound, iteration.transcript, how)
        if desk.card is None or desk.card.made != how:
            break
        source = desk.card
    return desk


def _card(card: Card) -> dict[str, Any]:
    value: dict[str, Any] = {
        "number": card.number, "parent": card.parent, "origin": card.origin, "transcript": card.transcript,
        "sound": card.sound.url, "seconds": round(card.sound.seconds, 3), "file": file_name(card),
    }  # fmt: skip
    if card.made is not None:
        step = step_record(card.made.step)
        value |= {**step, "variant": card.made.variant, "seed": str(card.made.seed)}
    return value
