"""The calls as text: whatever is in them arrives as it was, through shell, JSON and Python."""

from __future__ import annotations

import ast
import json
import shlex
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from editx.engines.base import Sampling
from editx.recipe import Clone, Denoise, Emotion, Paralinguistic, Speed
from editx.ui import snippets
from editx.ui.snippets import Call, Server

OPEN, KEYED = Server("http://127.0.0.1:7860", False), Server("https://voice.example/editx", True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(str.strip)
NAMES = TEXTS.filter(lambda name: "/" not in name)


def arguments(program: str) -> list[dict[str, Any]]:
    """The keyword arguments of every request in a program; the recording's variable is its name."""
    calls = [node for node in ast.walk(ast.parse(program)) if isinstance(node, ast.Call)]
    requests = [call for call in calls if ast.unparse(call.func) == "client.audio.speech.create"]
    return [{str(word.arg): _value(word.value) for word in call.keywords} for call in requests]


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Dict):
        return {ast.literal_eval(key): _value(value) for key, value in zip(node.keys, node.values, strict=True) if key}
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)


def flag(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


@given(TEXTS, TEXTS)
def test_any_text_reaches_a_clone_as_it_is(text: str, voice: str) -> None:
    call = Call((Clone(text), Emotion("happy")), voice=voice, seed=7, sampling=Sampling(temperature=0.5, top_k=9))
    body = json.loads(flag(shlex.split(snippets.curl([call], OPEN)), "-d"))
    assert (body["input"], body["voice"], body["seed"]) == (text, voice, 7)
    assert (body["temperature"], body["top_k"]) == (0.5, 9)
    assert body["step_audio"]["edits"] == [{"type": "emotion", "info": "happy"}]
    (asked,) = arguments(snippets.python([call], OPEN))
    assert asked.pop("extra_body") | asked == body
    words = shlex.split(snippets.cli([call], OPEN))
    assert (flag(words, "--voice"), flag(words, "--emotion"), flag(words, "--seed")) == (voice, "happy", "7")
    assert words[2] == text if not text.startswith("-") else words[-2:] == ["--", text]


@given(NAMES, TEXTS, TEXTS)
def test_any_file_and_words_reach_an_edit_as_they_are(file: str, transcript: str, tagged: str) -> None:
    call = Call((Paralinguistic(tagged), Speed("more faster")), file=file, transcript=transcript, variant="lite")
    words = shlex.split(snippets.curl([call], KEYED))
    body = json.loads(flag(words, "--form-string").removeprefix("payload="))
    assert body["model"] == "step-audio-editx:lite"
    assert body["step_audio"]["audio_text"] == transcript
    steps = [{"type": "paralinguistic", "text": tagged}, {"type": "speed", "info": "more faster"}]
    assert body["step_audio"]["edits"] == steps
    quoted = flag(words, "-F").removeprefix("input_audio_file=@")
    assert quoted[1:-1].replace('\\"', '"').replace("\\\\", "\\") == file
    (asked,) = arguments(snippets.python([call], KEYED))
    extra = asked["extra_body"]["step_audio"]
    assert extra.pop("input_audio_base64") == "recording"
    assert extra == body["step_audio"]
    words = shlex.split(snippets.cli([call], KEYED))
    assert words[2].removeprefix("./") == file.removeprefix("./")
    assert not words[2].startswith("-")
    assert flag(words, "--transcript") == transcript
    assert flag(words, "--step") == f"paralinguistic:{tagged}"


def test_a_key_is_named_and_never_written() -> None:
    call = Call((Denoise(),), file="a.wav")
    assert '-H "Authorization: Bearer $EDITX_API_KEY"' in snippets.curl([call], KEYED)
    assert 'api_key=os.environ["EDITX_API_KEY"]' in snippets.python([call], KEYED)
    assert "--server https://voice.example/editx" in snippets.cli([call], KEYED)
    assert "Authorization" not in snippets.curl([call], OPEN)
    assert "import os" not in snippets.python([call], OPEN)


def test_a_chain_reads_what_it_wrote_and_is_one_call_where_it_can_be() -> None:
    happy = Call((Emotion("happy"),), file="a.wav", transcript="One two.", variant="lite", seed=1)
    laughing = Call((Paralinguistic("One [Laughter] two."),), "", "a.wav", "One two.", "lite", 1)
    quick = Call((Speed("faster"),), "", "a.wav", "One [Laughter] two.", "lite", 1)
    (whole,) = snippets.chained([happy, laughing, quick])
    assert whole.steps == (*happy.steps, *laughing.steps, *quick.steps)
    assert (whole.file, whole.transcript, whole.out) == ("a.wav", "One two.", "editx.wav")
    corrected = Call((Speed("faster"),), "", "a.wav", "One to two.", "lite", 1)
    other = Call((Denoise(),), "", "a.wav", "One to two.", "lite", 2)
    files = [(call.file, call.out) for call in snippets.chained([happy, laughing, corrected, other])]
    assert files == [("a.wav", "editx-1.wav"), ("editx-1.wav", "editx-2.wav"), ("editx-2.wav", "editx.wav")]
