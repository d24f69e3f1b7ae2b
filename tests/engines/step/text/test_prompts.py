"""Prompts against the ids of the reference, and what they refuse."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, cast, get_args

import pytest

from editx.engines.step.text import prompts
from editx.engines.step.text.prompts import Framing, Prompt, clone_prompt, edit_prompt, instruction
from editx.engines.step.text.tokenizer import TextTokenizer
from editx.errors import InvalidRequest, MissingTranscript
from editx.recipe import STEP_TYPES, Clone, Denoise, Emotion, Paralinguistic, Step, Style, Vad
from tests import golden
from tests.engines.step.text.stub_tokenizer import ByteTokenizer

CASES: list[dict[str, Any]] = golden.prompts("prompts")
AUDIO = [65536, 65537, 66560, 66561, 66562]


def name(case: dict[str, Any]) -> str:
    return f"{CASES.index(case)}-{case['kind']}-{case.get('edit_type') or case.get('speaker')}"


@dataclass(frozen=True)
class Unchecked:
    """An edit that the reference words and ours refuses: with an option that it is not for, or without a transcript."""

    kind: str
    option: str
    new_text: str
    needs_transcript: bool = False


def step_of(case: dict[str, Any]) -> Step:
    cls = STEP_TYPES[case["edit_type"]]
    option, text = (case.get(field) or "" for field in ("edit_info", "target_text"))
    values = {"name": option} if cls.options else {"text": text} if cls.takes_text else {}
    unchecked = cast(Step, Unchecked(cls.kind, option, text))
    try:
        step = cls(**values)
    except InvalidRequest:
        return unchecked
    return unchecked if step.needs_transcript and not transcript_of(case).strip() else step


def transcript_of(case: dict[str, Any]) -> str:
    return case.get("audio_text") or ""


def audio_ids(case: dict[str, Any]) -> list[int]:
    return [65536 + int(piece[7:]) for piece in case["audio_token_string"].split(">") if piece]


def build(tokenizer: TextTokenizer, case: dict[str, Any], framing: Framing) -> Prompt:
    if case["kind"] == "edit":
        return edit_prompt(tokenizer, step_of(case), transcript_of(case), audio_ids(case), framing=framing)
    text, prompt_text = (case.get(field) or "" for field in ("target_text", "prompt_text"))
    if not text.strip() or not prompt_text.strip():
        pytest.skip("a clone of nothing, or after a prompt without words, is refused")
    return clone_prompt(
        tokenizer,
        text,
        prompt_text,
        audio_ids(case),
        speaker=case["speaker"],
        framing=framing,
        strip=False,
    )


def test_system_texts_are_the_trained_ones() -> None:
    edit, clone = (hashlib.sha256(text.encode()).hexdigest() for text in (prompts.EDIT_SYSTEM, prompts.CLONE_SYSTEM))
    assert edit == "a0d0158175cfdb236a9815fa9a62fc715126fc74e34ca3dc534d20fe2896ef75"
    assert clone == "ad1cc8aba22d1570a8a815e39c28950137c577d15c5af8b7c99ba9a843e1dcef"


@pytest.mark.parametrize("case", [case for case in CASES if case["kind"] == "edit"], ids=name)
def test_instructions(case: dict[str, Any]) -> None:
    assert instruction(step_of(case), transcript_of(case)) == case["instruction"]


@pytest.mark.parametrize("framing", get_args(Framing))
@pytest.mark.parametrize("case", CASES, ids=name)
def test_ids_with_the_stub_tokenizer(case: dict[str, Any], framing: Framing) -> None:
    assert list(build(ByteTokenizer(), case, framing).ids) == case[f"{framing}_ids_stub"]


@pytest.mark.parametrize("framing", get_args(Framing))
def test_edits_share_a_constant_head(framing: Framing) -> None:
    edits = [build(ByteTokenizer(), case, framing) for case in CASES if case["kind"] == "edit"]
    heads = {prompt.ids[: prompt.constant] for prompt in edits}
    assert len(heads) == 1
    tail = [256 + byte for byte in b"human\n"]
    assert list(heads.pop()[-len(tail) :]) == tail


@pytest.mark.parametrize("framing", get_args(Framing))
def test_a_voice_is_constant_up_to_the_text(framing: Framing) -> None:
    one, two = (clone_prompt(ByteTokenizer(), text, "words", AUDIO, framing=framing) for text in ("hello", "goodbye"))
    assert one.constant == two.constant > 100
    assert one.ids[: one.constant] == two.ids[: two.constant]
    assert one.ids[one.constant] != two.ids[two.constant]


def test_clone_strips_by_default() -> None:
    plain = clone_prompt(ByteTokenizer(), "hello", "words", AUDIO)
    assert clone_prompt(ByteTokenizer(), " hello\n", "\twords \n", AUDIO) == plain
    assert clone_prompt(ByteTokenizer(), " hello\n", "words", AUDIO, strip=False) != plain


def test_placeholders_in_a_users_text_stay_text() -> None:
    prompt = clone_prompt(ByteTokenizer(), "hi", "{speaker} {prompt_wav_tokens} {prompt_text}", AUDIO)
    text = bytes(i - 256 for i in prompt.ids if 256 <= i < 512).decode()
    assert "speaker prompt text: \n{speaker} {prompt_wav_tokens} {prompt_text}\nspeaker audio tokens: \n" in text


@pytest.mark.parametrize("step", [Emotion("happy"), Style("remove"), Paralinguistic("a [sigh]")])
def test_edits_that_need_a_transcript_say_so(step: Step) -> None:
    with pytest.raises(MissingTranscript, match="transcript"):
        edit_prompt(ByteTokenizer(), step, "  ", AUDIO)


@pytest.mark.parametrize("step", [Denoise(), Vad()])
def test_edits_that_need_no_transcript(step: Step) -> None:
    assert instruction(step, "") == instruction(step, "words")


def test_clone_refuses_what_it_cannot_say() -> None:
    with pytest.raises(InvalidRequest, match="empty"):
        clone_prompt(ByteTokenizer(), " \n", "words", AUDIO)
    with pytest.raises(MissingTranscript):
        clone_prompt(ByteTokenizer(), "hi", "", AUDIO)
    with pytest.raises(InvalidRequest, match="no edit"):
        edit_prompt(ByteTokenizer(), Clone("hi"), "words", AUDIO)


def test_options_are_those_of_the_reference() -> None:
    assert {kind: list(cls.options) for kind, cls in STEP_TYPES.items()} == golden.prompts("edit_types")
