"""The tab that shows what every model is doing; its script reads the status, and never wakes one."""

from __future__ import annotations

import gradio as gr

from editx.ui.words import Words


def tab(words: Words) -> None:
    """Build the tab."""
    with gr.Tab(words["page.models"], id="models") as item:
        gr.HTML(f'<p class="editx-hint">{words["models.hint"]}</p>', js_on_load=None)
        gr.HTML(
            "",
            elem_id="models-cards",
            apply_default_css=False,
            html_template='<div class="editx-models"></div>',
            js_on_load="EditX.models(element.querySelector('.editx-models'))",
        )
    item.select(None, js="() => { EditX.watching.ask(); return []; }", queue=False)
