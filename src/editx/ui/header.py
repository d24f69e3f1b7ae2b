"""The top of the page: name, language, and what is speaking here."""

from __future__ import annotations

from html import escape

import gradio as gr

from editx.errors import EditXError
from editx.ui.parts import Parts
from editx.ui.words import LANGUAGES, NAMES, Words


def header(parts: Parts, words: Words) -> gr.HTML:
    """Name, language switch, the way out where a key is asked for. Returns the banner that says who speaks, to be shown
    to visitors who hear the preview engine."""
    links = "".join(
        f'<a href="?lang={language}" hreflang="{language}" lang="{language}"'
        + (' aria-current="true"' if language == words.language else "")
        + f">{NAMES[language]}</a>"
        for language in LANGUAGES
    )
    leave = ""
    if parts.settings.api_key:
        leave = f'<form method="post" action="logout"><button>{escape(words("page.leave"))}</button></form>'
    gr.HTML(
        f'<a class="editx-skip" href="#tabs">{escape(words("page.skip"))}</a>'
        f'<header class="editx-header"><h1>EditX</h1><p>{escape(words("page.tagline"))}</p>'
        f'<nav aria-label="{escape(words("page.language"))}">{links}</nav>{leave}</header>',
        apply_default_css=False,
        js_on_load=None,
    )
    return gr.HTML(
        f'<div class="editx-banner" role="note">{words("page.preview_banner")}</div>',
        apply_default_css=False,
        js_on_load=None,
        visible=preview_speaks(parts),
    )


def preview_speaks(parts: Parts) -> bool:
    """Whether a visitor who chooses nothing hears the preview engine."""
    try:
        return parts.studio.variant().name == "lite"
    except EditXError:
        return False
