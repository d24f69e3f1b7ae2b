"""The web page at `/`: Gradio forms, our own players and charts, English and Chinese."""

from editx.ui.mount import Page
from editx.ui.parts import Parts
from editx.ui.routes import page_router

__all__ = ["Page", "Parts", "page_router"]
