"""What the page works with: the server's own studio, voices and threads, so that page and API share one model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from editx.audio.codec import Decoder
from editx.cancellation import Cancellation
from editx.runner import Runner
from editx.settings import Settings
from editx.studio import Studio
from editx.ui.desks import Desks
from editx.ui.running import Running
from editx.ui.sounds import Sounds
from editx.voices import VoiceLibrary


@dataclass(frozen=True, slots=True)
class Parts:
    """One page's parts; shared by every visitor."""

    settings: Settings
    studio: Studio
    voices: VoiceLibrary
    decoder_until: Callable[[Cancellation], Decoder]
    runner: Runner
    sounds: Sounds
    running: Running
    desks: Desks
