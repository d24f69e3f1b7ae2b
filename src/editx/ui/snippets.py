"""The calls that do what the page does: with curl, Python's `openai` package and the command line."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from editx.engines.base import Sampling
from editx.recipe import AnyStep, Clone, step_record

MODEL = "step-audio-editx"
OUT = "editx.wav"
WIDTH = 80
KEY = "EDITX_API_KEY"
"""The variable that holds the visitor's key, so that no key gets into a shell's history or a program's text."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request: a voice of the library, or a recording and the words spoken in it, and what is done to it.

    `steps`: only the first may be a Clone. `out`: the file that is written.
    """

    steps: tuple[AnyStep, ...]
    voice: str = ""
    file: str = ""
    transcript: str = ""
    variant: str = ""
    seed: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    out: str = OUT

    @property
    def clones(self) -> bool:
        return isinstance(self.steps[0], Clone)

    @property
    def spoken(self) -> str:
        """The words in the result."""
        return next((step.new_text.strip() for step in reversed(self.steps) if step.new_text), self.transcript)


@dataclass(frozen=True, slots=True)
class Server:
    """Where requests go. `url` has no slash at its end; `keyed`: whether it asks for a key."""

    url: str
    keyed: bool


def chained(calls: Sequence[Call]) -> list[Call]:
    """`calls` one after the other, each reading what the one before wrote; those that differ in nothing but the step,
    and in no word that was corrected between, are one."""
    merged: list[Call] = []
    for call in calls:
        before = merged[-1] if merged else None
        if before is not None and replace(before, steps=call.steps, transcript=before.spoken) == call:
            merged[-1] = replace(before, steps=before.steps + call.steps)
        else:
            merged.append(call)
    linked: list[Call] = []
    for number, call in enumerate(merged, 1):
        out = OUT if number == len(merged) else f"editx-{number}.wav"
        linked.append(replace(call, out=out, file=linked[-1].out if linked else call.file))
    return linked


def curl(calls: Sequence[Call], server: Server) -> str:
    """Commands for a POSIX shell."""
    return "\n\n".join(_curl(call, server) for call in calls)


def python(calls: Sequence[Call], server: Server) -> str:
    """A program."""
    records = any(call.file for call in calls)
    imports = ["import base64"] * records + ["import os"] * server.keyed + ["from pathlib import Path"] * records
    key = f'os.environ["{KEY}"]' if server.keyed else '"none"'
    client = f"client = OpenAI(base_url={_text(server.url + '/v1')}, api_key={key})"
    head = "\n".join([*imports, *([""] if imports else []), "from openai import OpenAI", "", client])
    return "\n\n".join([head, *(_python(call) for call in calls)])


def cli(calls: Sequence[Call], server: Server) -> str:
    """Commands for a POSIX shell; the key is taken from its variable. Sampling is left out: there is no flag for it."""
    return "\n\n".join(_cli(call, server) for call in calls)


def _curl(call: Call, server: Server) -> str:
    route = "/v1/audio/speech/upload" if call.file else "/v1/audio/speech"
    words = [f"curl --fail-with-body -o {shlex.quote(call.out)} {shlex.quote(server.url + route)}"]
    if server.keyed:
        words.append(f'-H "Authorization: Bearer ${KEY}"')
    body = _laid_out(_body(call), json.dumps)
    if call.file:
        path = call.file.replace("\\", "\\\\").replace('"', '\\"')
        file = ("prompt_audio_file" if call.clones else "input_audio_file") + f'=@"{path}"'
        words += [f"-F {shlex.quote(file)}", f"--form-string {shlex.quote('payload=' + body)}"]
    else:
        words += ["-H 'Content-Type: application/json'", f"-d {shlex.quote(body)}"]
    return _command(words)


def _python(call: Call) -> str:
    body = _body(call)
    lines = []
    unused = ""
    if call.file:
        lines.append(f"recording = base64.b64encode(Path({_text(call.file)}).read_bytes()).decode()")
        body["step_audio"]["prompt_audio_base64" if call.clones else "input_audio_base64"] = _Name("recording")
        unused = "  # not used, and asked for by the package"
    own = {name: body.pop(name) for name in ("model", "input", "voice", "response_format") if name in body}
    lines += [
        "speech = client.audio.speech.create(",
        f"    model={_text(own['model'])},",
        f"    voice={_text(own.get('voice', 'none'))},{unused}",
        f"    input={_text(own.get('input', ''))},",
        f"    response_format={_text(own['response_format'])},",
        f"    extra_body={_laid_out(body, repr, 4)},",
        ")",
        f"speech.write_to_file({_text(call.out)})",
    ]
    return "\n".join(lines)


def _cli(call: Call, server: Server) -> str:
    words = ["editx clone" if call.clones else "editx edit"]
    last = ""
    first, *more = call.steps
    if call.clones:
        text = first.new_text
        last = f"-- {shlex.quote(text)}" if text.startswith("-") else ""
        words[0] += "" if last else f" {shlex.quote(text)}"
        words += [_flag("--ref", call.file), _flag("--ref-text", call.transcript)] if call.file else []
        words += [] if call.file else [_flag("--voice", call.voice)]
        words += [_flag(f"--{step.kind}", step.option) for step in more]
    else:
        words[0] += f" {shlex.quote(_path(call.file))}"
        words += [_flag("--transcript", call.transcript)] if call.transcript else []
        words += [_flag("--step", ":".join(filter(None, (s.kind, s.option or s.new_text)))) for s in call.steps]
    words += [_flag("--variant", call.variant)] if call.variant else []
    words += [_flag("--seed", str(call.seed))] if call.seed is not None else []
    words += [f"-o {shlex.quote(call.out)} --server {shlex.quote(server.url)}", *([last] if last else [])]
    return _command(words)


def _body(call: Call) -> dict[str, Any]:
    """The JSON of the request; a recording comes beside it."""
    extra: dict[str, Any] = {}
    body: dict[str, Any] = {"model": f"{MODEL}:{call.variant}" if call.variant else MODEL}
    steps = call.steps
    if call.clones:
        body["input"] = steps[0].new_text
        steps = steps[1:]
    else:
        extra["mode"] = "edit"
    if call.file:
        extra["prompt_text" if call.clones else "audio_text"] = call.transcript
    else:
        body["voice"] = call.voice
    if steps:
        extra["edits"] = [step_record(step) for step in steps]
    if call.seed is not None:
        body["seed"] = call.seed
    for name in ("temperature", "top_k", "top_p"):
        if (value := getattr(call.sampling, name)) is not None:
            body[name] = value
    body |= {"response_format": "wav", "stream": False}
    return body | ({"step_audio": extra} if extra else {})


class _Name(str):
    """A variable of the program, not a text."""


def _laid_out(value: Any, write: Callable[[Any], str], indent: int = 0) -> str:
    """`value` on one line where it fits, else an item a line. `write`: how the language writes what is no text."""
    if isinstance(value, str):
        return str(value) if isinstance(value, _Name) else _text(value)
    if not isinstance(value, (dict, list)):
        return write(value)
    inner = indent + 2
    items = (
        [f"{_text(name)}: {_laid_out(item, write, inner)}" for name, item in value.items()]
        if isinstance(value, dict)
        else [_laid_out(item, write, inner) for item in value]
    )
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    line = opening + ", ".join(items) + closing
    if len(line) + indent <= WIDTH and "\n" not in line:
        return line
    return f"{opening}\n" + ",\n".join(" " * inner + item for item in items) + f"\n{' ' * indent}{closing}"


def _text(text: str) -> str:
    """A string literal: whatever JSON's grammar allows in one, Python's does too."""
    return json.dumps(text, ensure_ascii=False)


def _flag(name: str, value: str) -> str:
    return f"{name} {shlex.quote(value)}"


def _path(name: str) -> str:
    """A file that cannot be taken for an option."""
    return f"./{name}" if name.startswith("-") else name


def _command(words: Sequence[str]) -> str:
    return " \\\n  ".join(words)
