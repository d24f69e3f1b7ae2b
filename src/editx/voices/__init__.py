"""The voice library: reference recordings with the words spoken in them, under one name each."""

from editx.voices.aliases import OPENAI_NAMES
from editx.voices.builtin import BUILTIN_DIRECTORY
from editx.voices.library import VoiceLibrary
from editx.voices.names import MAX_NAME_CHARS, check_name
from editx.voices.quality import FINDINGS, Finding, findings, inspect, refuse_silence
from editx.voices.voice import Voice

__all__ = [
    "BUILTIN_DIRECTORY", "FINDINGS", "MAX_NAME_CHARS", "OPENAI_NAMES", "Finding", "Voice", "VoiceLibrary", "check_name",
    "findings", "inspect", "refuse_silence",
]  # fmt: skip
