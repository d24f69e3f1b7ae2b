"""The tab that shows how to do what the page does from a program."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gradio as gr

from editx.engines.base import Sampling
from editx.errors import EditXError
from editx.ui import controls, snippets
from editx.ui.archive import file_name
from editx.ui.clone import LIBRARY, CloneForm, CloneTab
from editx.ui.desks import Card, Desk
from editx.ui.edit import EditForm, EditTab
from editx.ui.parts import Parts
from editx.ui.snippets import Call, Server
from editx.ui.words import Words

CLONE, EDIT = "clone", "edit"


@dataclass(frozen=True, slots=True)
class ApiTab:
    """What other tabs need of this one."""

    item: gr.Tab
    calls: gr.HTML


def tab(parts: Parts, words: Words, clone: CloneTab, edit: EditTab) -> ApiTab:
    """Build the tab."""
    with gr.Tab(words["page.api"], id="api") as item:
        shown = gr.Radio(
            [(words["page.clone"], CLONE), (words["page.edit"], EDIT)],
            value=CLONE,
            label=words["api.shown"],
            info=words["api.shown_hint"],
        )
        calls = gr.HTML(
            {"calls": []},
            elem_id="api-calls",
            apply_default_css=False,
            html_template='<div class="editx-calls"></div>',
            js_on_load="EditX.calls(element.querySelector('.editx-calls'), () => props.value, watch)",
        )

    def show(request: gr.Request, what: str, id: str | None, chosen: int, *values: Any) -> dict[str, Any]:
        given = [controls.typed(value) for value in values]
        own = len(clone.inputs)
        server = Server(address(request), bool(parts.settings.api_key))
        try:
            if what == CLONE:
                wanted = [of_clone(CloneForm(*given[:own]), words)]
            else:
                desk = parts.desks.get(id) if id else Desk()
                wanted = of_desk(desk, chosen, EditForm(*given[own:]), words)
        except EditXError as error:
            return {"calls": [], "problem": words.error(error)}
        sampled = any(call.sampling != Sampling() for call in wanted)
        return {
            "keyed": server.keyed,
            "calls": [
                {"name": "curl", "text": snippets.curl(wanted, server)},
                {"name": "python", "text": snippets.python(wanted, server)},
                {"name": "cli", "text": snippets.cli(wanted, server), "partial": sampled},
            ],
        }

    everything = [shown, edit.desk, edit.chosen, *clone.inputs, *edit.inputs]
    quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
    clone.item.select(lambda: CLONE, None, shown, **quiet)
    edit.item.select(lambda: EDIT, None, shown, **quiet)
    item.select(show, everything, calls, **quiet)
    shown.input(show, everything, calls, **quiet)
    return ApiTab(item, calls)


def address(request: gr.Request) -> str:
    """Where the visitor's browser found the page, without a slash at the end: a proxy may have another name for us."""
    page = urlsplit(request.headers.get("referer", ""))
    if page.scheme and page.netloc:
        return f"{page.scheme}://{page.netloc}{page.path}".rstrip("/")
    return f"http://{request.headers['host']}"


def of_clone(form: CloneForm, words: Words) -> Call:
    """What the Clone tab's button would ask for; where nothing is filled in yet, an example. Raises InvalidRequest."""
    library = form.source == LIBRARY
    return Call(
        steps=replace(form, text=form.text if form.text.strip() else words["api.text"]).steps(),
        voice=form.voice if library else "",
        file="" if library else Path(form.reference).name or words["api.file"],
        transcript="" if library else form.transcript or words["api.transcript"],
        variant=form.variant,
        seed=controls.seed(form.seed),
        sampling=controls.sampling(form.temperature, form.top_k, form.top_p),
    )


def of_desk(desk: Desk, chosen: int, form: EditForm, words: Words) -> list[Call]:
    """How the chosen card came about; where it has no edits yet, what the Edit tab's button would do to it.

    Raises InvalidRequest.
    """
    chain = desk.chain(chosen) if 0 <= chosen < len(desk.cards) else ()
    if len(chain) < 2:
        if form.kind == "paralinguistic" and not form.text.strip():
            form = replace(form, text=words["api.tagged"])
        return [
            Call(
                steps=form.steps(),
                file=file_name(chain[0]) if chain else words["api.file"],
                transcript=form.transcript or words["api.transcript"],
                variant=form.variant,
                seed=controls.seed(form.seed),
                sampling=controls.sampling(form.temperature, form.top_k, form.top_p),
            )
        ]
    return snippets.chained([_made(chain[0], source, card) for source, card in pairwise(chain)])


def _made(first: Card, source: Card, card: Card) -> Call:
    """The step that made `card` from `source`, in a chain that begins with `first`."""
    made = card.made
    assert made is not None, "only the first card of a chain was not made"
    return Call((made.step,), "", file_name(first), source.transcript, made.variant, made.seed, made.sampling)
