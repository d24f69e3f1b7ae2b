"""Form elements that several tabs have, and what is typed into them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gradio as gr
from gradio.components import Component
from gradio_client.utils import is_http_url_like

from editx.engines.base import Sampling
from editx.errors import InvalidRequest
from editx.ui.parts import Parts
from editx.ui.words import Words


def recording(words: Words, label: str, hint: str) -> gr.Audio:
    """A recording by file or microphone; handlers get the path of the file."""
    silent = f'<p class="editx-hint editx-no-microphone" hidden>{words["page.no_microphone"]}</p>'
    gr.HTML(f'<p class="editx-hint">{hint}</p>{silent}', js_on_load=None)
    given = gr.Audio(label=label, type="filepath", sources=["upload", "microphone"], buttons=[])
    keep_file = given.async_move_resource_to_block_cache

    async def keep_no_url(url_or_file_path: str | Path | None) -> str | None:
        """Gradio would fetch an address it is handed as a recording; what the server fetches is not for the page."""
        if url_or_file_path is not None and is_http_url_like(str(url_or_file_path)):
            raise gr.Error(words["error.no_recording"], print_exception=False)
        return await keep_file(url_or_file_path)

    given.async_move_resource_to_block_cache = keep_no_url  # type: ignore[method-assign]
    return given


def option(words: Words, kind: str, names: Sequence[str], label: str) -> gr.Dropdown:
    """One of a step's options, or none."""
    choices = [(words["clone.none"], ""), *((words[f"{kind}.{name}"], name) for name in names)]
    return gr.Dropdown(choices, value="", label=label, min_width=140)


def advanced(parts: Parts, words: Words) -> list[Component]:
    """Variant, seed, temperature, top k and top p, folded away; empty means the default."""
    with gr.Accordion(words["clone.advanced"], open=False):
        with gr.Row():
            variant = gr.Dropdown(
                variants(parts, words), value="", label=words["clone.variant"], filterable=False, min_width=140
            )
            seed = gr.Textbox(label=words["clone.seed"], info=words["clone.seed_hint"], max_lines=1, min_width=140)
        with gr.Row():
            numbers = [
                gr.Textbox(label=words[f"clone.{name}"], max_lines=1, min_width=100)
                for name in ("temperature", "top_k", "top_p")
            ]
        gr.HTML(f'<p class="editx-hint">{words["clone.sampling_hint"]}</p>', js_on_load=None)
    return [variant, seed, *numbers]


def variants(parts: Parts, words: Words) -> list[tuple[str, str]]:
    """What can be chosen as a variant, those that cannot be loaded now marked as such."""
    named = [
        (spec.name if spec.available else words("clone.unavailable", name=spec.name), spec.name)
        for spec in parts.studio.backend.catalog()
    ]
    return [(words["clone.variant_auto"], ""), *named]


def keep(tab: str, inputs: list[Component], button: gr.Button, beside: Sequence[Component] = ()) -> None:
    """Let the visitor's browser keep what is filled in, after the values of `beside`, at every change and when `button`
    is pressed; see keep.js."""
    gr.on(
        [*(each.change for each in inputs), button.click],  # type: ignore[attr-defined]
        None,
        [*beside, *inputs],
        None,
        js=f"(...values) => {{ EditX.keep({tab!r}, values); return []; }}",
        queue=False,
        show_progress="hidden",
        trigger_mode="always_last",
    )


def player(words: Words, elem_id: str) -> gr.HTML:
    """Progress while a take is made, and its sound."""
    return gr.HTML(
        {"state": "empty"},
        elem_id=elem_id,
        html_template='<div class="editx-player"></div>',
        apply_default_css=False,
        js_on_load="EditX.player(element.querySelector('.editx-player'), () => props.value, watch)",
    )


def typed(value: str | None) -> str:
    """What a field holds; Gradio says None for one that was never touched."""
    return value or ""


def seed(text: str) -> int | None:
    """A seed as typed; None when empty. Raises InvalidRequest."""
    if not text.strip():
        return None
    try:
        return int(text)
    except ValueError:
        raise InvalidRequest(f"a seed is a whole number, not {text.strip()!r}", param="seed") from None


def sampling(temperature: str, top_k: str, top_p: str) -> Sampling:
    """How to draw tokens, as typed. Raises InvalidRequest naming the field and its range."""
    return Sampling(
        temperature=_number("temperature", temperature, 0.0, 2.0),
        top_k=_whole("top k", top_k, 1, 100_000),
        top_p=_number("top p", top_p, 0.0, 1.0),
    )


def _number(name: str, text: str, low: float, high: float) -> float | None:
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = low
    if not low < value <= high:
        raise InvalidRequest(f"{name} is a number above {low:g} and up to {high:g}, not {text.strip()!r}", param=name)
    return value


def _whole(name: str, text: str, low: int, high: int) -> int | None:
    if not text.strip():
        return None
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise InvalidRequest(f"{name} is a whole number from {low} to {high}, not {text.strip()!r}", param=name)
    return value
