"""The page put together: header, banner and the five tabs."""

from __future__ import annotations

import asyncio
import os
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported
import gradio as gr
from fastapi import FastAPI
from gradio.themes import Base, colors
from starlette.routing import Mount

from editx.ui import api, clone, controls, edit, models, voices
from editx.ui.header import header, preview_speaks
from editx.ui.parts import Parts
from editx.ui.uploads import UPLOADS
from editx.ui.words import Words

UPLOADS_KEPT_S = 6 * 3600
"""How long a recording stays on the server after it was uploaded; what was made of it stays as its card does."""

SANS = ["system-ui", "-apple-system", "Segoe UI", "Noto Sans", "Noto Sans CJK SC", "sans-serif"]
MONO = ["ui-monospace", "SF Mono", "Menlo", "Consolas", "monospace"]


def build(parts: Parts, words: Words, stopping: asyncio.Event) -> FastAPI:
    """The page in one language, as an application that answers at its root.

    Once `stopping` is set, its visitors' standing connections end, and what they have under way may finish.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(parts.sounds.directory / UPLOADS)
    with gr.Blocks(
        title="EditX", analytics_enabled=False, fill_width=True, delete_cache=(600, UPLOADS_KEPT_S)
    ) as blocks:
        banner = header(parts, words)
        with gr.Tabs(elem_id="tabs") as tabs:
            cloned = clone.tab(parts, words, blocks)
            edited = edit.tab(parts, words, blocks, tabs, cloned)
            voices.tab(parts, words, blocks, cloned)
            models.tab(words)
            api.tab(parts, words, cloned, edited)

        def arrived() -> tuple[Any, ...]:
            """What a model that came or went since the page was built changes."""
            choices = gr.update(choices=controls.variants(parts, words))
            return gr.update(visible=preview_speaks(parts)), choices, choices

        async def left(request: gr.Request) -> None:
            if not stopping.is_set():
                parts.running.cancel(str(request.session_hash), "the page was closed")

        blocks.load(
            arrived, None, [banner, cloned.variant, edited.variant], queue=False, show_progress="hidden",
            js="() => { EditX.reopen(); return []; }",
        )  # fmt: skip
        blocks.unload(left)
    blocks.queue(default_concurrency_limit=None, api_open=False)
    # Gradio takes any path on the server for an upload until it believes that `launch` was called.
    blocks.has_launched = True
    app: FastAPI = gr.mount_gradio_app(
        FastAPI(openapi_url=None),
        blocks,
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=parts.settings.max_body,
        enable_monitoring=False,
        ssr_mode=False,
        theme=theme(),
    )
    for route in app.routes:
        if isinstance(route, Mount) and isinstance(route.app, gr.routes.App):
            route.app.stop_event = stopping
    return app


def theme() -> Base:
    """Quiet colours with enough contrast, and fonts that are on the visitor's machine."""
    base = Base(
        primary_hue=colors.teal, neutral_hue=colors.slate, font=SANS, font_mono=MONO, radius_size="md", text_size="md"
    )
    return base.set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_800",
        body_text_color_subdued="*neutral_600",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
    )
