"""The trained-in prompts, byte for byte (spec 20 §2 and §3). Never reword, trim or reflow a string in this file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from editx.engines.step.text.speaker import DEFAULT_SPEAKER
from editx.engines.step.text.tokenizer import BOS, BOT, EOT, TextTokenizer
from editx.errors import InvalidRequest, MissingTranscript
from editx.recipe import Step

Framing = Literal["chat", "legacy"]
Part = str | Sequence[int]
"""A piece of a turn: text, or ids of audio tokens."""

EDIT_SYSTEM = (
    "As a highly skilled audio editing and tuning specialist, you excel in interpreting user instructions and applying "
    "precise adjustments to meet their needs. Your expertise spans a wide range of enhancement capabilities, including "
    "but not limited to:\n"
    "# Emotional Enhancement\n"
    "# Speaking Style Transfer\n"
    "# Non-linguistic Adjustments\n"
    "# Audio Tuning & Editing\n"
    "Note: You will receive instructions in natural language and are expected to accurately interpret and execute the "
    "most suitable audio edits and enhancements.\n"
)
CLONE_SYSTEM = (
    "Generate audio with the following timbre, prosody and speaking style\n"
    "\n"
    "[speaker_start]\n"
    "speaker name: {speaker}\n"
    "speaker prompt text: \n"
    "{prompt_text}\n"
    "speaker audio tokens: \n"
    "{prompt_wav_tokens}\n"
    "[speaker_end]\n"
)
DENOISE = (
    "Remove any noise from the given audio while preserving the voice content clearly. Ensure that the speech quality "
    "remains intact with minimal distortion, and eliminate all noise from the audio.\n"
)
VAD = (
    "Remove any silent portions from the given audio while preserving the voice content clearly. Ensure that the "
    "speech quality remains intact with minimal distortion, and eliminate all silence from the audio.\n"
)


@dataclass(frozen=True, slots=True)
class Prompt:
    """Ids to continue from. The first `constant` of them are the same for every request of the kind, so that what the
    model computes for them may be kept: the head of all edits, or everything about a voice."""

    ids: tuple[int, ...]
    constant: int = 0

    def __len__(self) -> int:
        return len(self.ids)


def instruction(step: Step, transcript: str) -> str:
    """What an edit asks of the model, ending with a newline (spec 20 §3.1).

    Raises MissingTranscript where the edit needs the words spoken in its source, InvalidRequest for clone.
    """
    words = transcript.strip()
    if step.needs_transcript and not words:
        raise MissingTranscript(
            f"{step.kind} needs the words spoken in the source recording; give its transcript", param="transcript"
        )
    option = step.option
    if step.kind in ("emotion", "speed"):
        if option == "remove":
            return f"Remove any emotion in the following audio and the reference text is: {words}\n"
        return f"Make the following audio more {option}. The text corresponding to the audio is: {words}\n"
    if step.kind == "style":
        if option == "remove":
            return f"Remove any speaking styles in the following audio and the reference text is: {words}\n"
        return f"Make the following audio more {option} style. The text corresponding to the audio is: {words}\n"
    if step.kind == "denoise":
        return DENOISE
    if step.kind == "vad":
        return VAD
    if step.kind == "paralinguistic":
        return (
            "Add some non-verbal sounds to make the audio more natural, the new text is : "
            f"{step.new_text}\n  The text corresponding to the audio is: {words}\n"
        )
    raise InvalidRequest(f"{step.kind} is no edit of a recording", param="steps")


def edit_prompt(
    tokenizer: TextTokenizer, step: Step, transcript: str, audio_ids: Sequence[int], *, framing: Framing = "chat"
) -> Prompt:
    """The prompt of an edit of a recording whose audio tokens are `audio_ids`. Raises as `instruction`."""
    asked: list[Part] = [instruction(step, transcript) + "\n", audio_ids, "\n"]
    if framing == "chat":
        return _chat(tokenizer, [EDIT_SYSTEM], asked)
    head = _legacy_head(tokenizer, [EDIT_SYSTEM])
    return _legacy(tokenizer, head, _section(tokenizer, asked))


def clone_prompt(
    tokenizer: TextTokenizer,
    text: str,
    prompt_text: str,
    audio_ids: Sequence[int],
    *,
    speaker: str = DEFAULT_SPEAKER,
    framing: Framing = "chat",
    strip: bool = True,
) -> Prompt:
    """The prompt that speaks `text` in the voice of a recording that says `prompt_text` in tokens `audio_ids`.

    `strip` takes white space off both ends of both texts, where a stray newline would change ids.
    Raises InvalidRequest for an empty text, MissingTranscript for an empty `prompt_text`.
    """
    if not text.strip():
        raise InvalidRequest("clone needs the text to be spoken, and it is empty", param="text")
    if not prompt_text.strip():
        raise MissingTranscript(
            "clone needs the words spoken in the reference recording; give its transcript", param="transcript"
        )
    if strip:
        text, prompt_text = text.strip(), prompt_text.strip()
    before, after = CLONE_SYSTEM.split("{prompt_wav_tokens}")
    # One replacement after the other could find a placeholder inside a user's text.
    named, rest = before.split("{prompt_text}")
    system: list[Part] = [named.replace("{speaker}", speaker) + prompt_text + rest, audio_ids, after]
    if framing == "chat":
        return _chat(tokenizer, system, [text])
    return _legacy(tokenizer, _legacy_head(tokenizer, system), tokenizer.encode(text))


def _chat(tokenizer: TextTokenizer, system: Sequence[Part], user: Sequence[Part]) -> Prompt:
    """Spec 20 §2.1: a role and its content are one section of text."""
    head = [BOS, BOT, *_encode(tokenizer, [" system\n", *system]), EOT, BOT]
    constant = [*head, *tokenizer.encode(" human\n")]
    ids = [*head, *_encode(tokenizer, [" human\n", *user]), EOT, BOT, *tokenizer.encode(" assistant\n")]
    return Prompt(tuple(ids), len(constant) if ids[: len(constant)] == constant else 0)


def _legacy_head(tokenizer: TextTokenizer, system: Sequence[Part]) -> list[int]:
    """Spec 20 §2.2: sections encoded one by one, each with its own beginning of a sequence."""
    first = _section(tokenizer, ["system\n", *system])
    return [BOS, BOT, *first, EOT, BOT, *tokenizer.encode_section("human\n")]


def _legacy(tokenizer: TextTokenizer, head: list[int], user: list[int]) -> Prompt:
    ids = [*head, *user, EOT, BOT, *tokenizer.encode_section("assistant\n")]
    return Prompt(tuple(ids), len(head))


def _section(tokenizer: TextTokenizer, parts: Sequence[Part]) -> list[int]:
    first, *rest = _joined(parts)
    if not isinstance(first, str):
        raise InvalidRequest("a section of a prompt begins with text")
    return [*tokenizer.encode_section(first), *_encode(tokenizer, rest)]


def _encode(tokenizer: TextTokenizer, parts: Sequence[Part]) -> list[int]:
    ids: list[int] = []
    for part in _joined(parts):
        ids += tokenizer.encode(part) if isinstance(part, str) else part
    return ids


def _joined(parts: Sequence[Part]) -> list[Part]:
    """`parts` with neighbouring texts made one, since pieces may reach across."""
    joined: list[Part] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    return joined
