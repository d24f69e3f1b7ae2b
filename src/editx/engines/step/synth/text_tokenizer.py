"""A text tokenizer with the published ids (spec 20 §1), trained on a page of text."""

from __future__ import annotations

import functools
import io
import json

import sentencepiece

from editx.engines.step.synth.protobuf import data, number, real

VOCABULARY = 74752
FIRST_BYTE, FIRST_PIECE, FIRST_AUDIO = 68, 324, 65536
PLACED = {2323: "▁system", 4623: "▁human", 15886: "▁assistant"}
"""Pieces that have their published ids."""

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)
_NAMED = {0: "<unk>", 1: "<s>", 2: "</s>", 3: "<|EOT|>", 4: "<|BOT|>", 5: "<|CALL_START|>", 38: "<|AQTA|>"}
_CONTROLS = frozenset([*range(1, 19), *range(21, 25), *range(31, 39)])
_TRAINED = 1200
_UNIGRAM = 1

_TEXT = """\
As a highly skilled audio editing and tuning specialist, you excel in interpreting user instructions and
applying precise
adjustments to meet their needs. Your expertise spans a wide range of enhancement capabilities, including but
not limited to:
Emotional Enhancement, Speaking Style Transfer, Non-linguistic Adjustments, Audio Tuning and Editing.
Note: You will receive instructions in natural language and are expected to accurately interpret and execute the
most suitable
audio edits and enhancements. Generate audio with the following timbre, prosody and speaking style.
Make the following audio more happy. The text corresponding to the audio is: I always feel that someone is
following me.
Make the following audio more whisper style. Remove any emotion in the following audio and the reference text
is: hello.
Remove any noise from the given audio while preserving the voice content clearly. Ensure that the speech quality
remains intact
with minimal distortion, and eliminate all noise from the audio. Remove any silent portions from the given
audio.
Add some non-verbal sounds to make the audio more natural, the new text is : well, that is funny.
speaker name: speaker prompt text: speaker audio tokens:
happy angry sad humour confusion disgusted empathy embarrass fear surprised excited depressed coldness
admiration remove
serious arrogant child older girl pure sister sweet ethereal whisper gentle recite generous warm shy comfort
authority chat
radio soulful story vivid program news advertising roar murmur shout deeply loudly exaggerated faster slower
The sun had just begun to rise over the hills when the first train left the station, and nobody on the platform
said a word.
She sells sea shells by the sea shore. The quick brown fox jumps over the lazy dog. How are you today? I am
fine, thank you.
There was a table set out under a tree in front of the house, and the hare and the hatter were having tea at it.
It is a truth universally known that people who read aloud are heard better when they breathe between the
sentences.
"""


@functools.cache
def text_tokenizer() -> bytes:
    """A serialized sentencepiece unigram model of 74 752 pieces: the special, byte and audio pieces at their ids.

    Text outside of the page it was trained on comes out as single letters and bytes. Always the same bytes.
    """
    ordinary = iter(_trained())
    out = []
    for i in range(VOCABULARY):
        if i >= FIRST_AUDIO:
            piece, score, kind = f"<audio_{i - FIRST_AUDIO}>", 0.0, _USER_DEFINED
        elif i == FIRST_PIECE:
            piece, score, kind = "▁", -3.0, _NORMAL
        elif i in PLACED:
            piece, score, kind = PLACED[i], -8.0, _NORMAL
        elif i > FIRST_PIECE:
            piece, score = next(ordinary, ("", 0.0))
            piece, kind = (piece, _NORMAL) if piece else (f"<unused_{i}>", _UNUSED)
        elif i >= FIRST_BYTE:
            piece, score, kind = f"<0x{i - FIRST_BYTE:02X}>", 0.0, _BYTE
        else:
            score, kind = 0.0, _UNKNOWN if i == 0 else _CONTROL if i in _CONTROLS else _USER_DEFINED
            piece = _NAMED.get(i, f"<|CONTROL_{i}|>" if kind == _CONTROL else f"<user_defined_symbol_{i}>")
        out.append(data(1, data(1, piece) + real(2, score) + number(3, kind)))
    trainer = b"".join([
        number(3, _UNIGRAM), number(4, VOCABULARY), number(25, 1), number(35, 1),
        number(40, 0), number(41, 1), number(42, 2), number(43, 0),
    ])  # fmt: skip
    normalizer = data(1, "identity") + number(3, 1) + number(4, 0) + number(5, 1)
    return b"".join(out) + data(2, trainer) + data(3, normalizer)


def tokenizer_config() -> str:
    """What stands in `tokenizer_config.json`: the chat template. EditX reads prompts' framing from no file."""
    return json.dumps({
        "add_prefix_space": True, "bos_token": "<s>", "eos_token": "<|EOT|>", "pad_token": "<unk>",
        "unk_token": "<unk>",
        "chat_template": "{{ bos_token }}{% for message in messages %}{{ '<|BOT|> ' }}{{ 'human' if message['role'] == "
        "'user' else message['role'] }}{{ '\\n' + message['content'] + '<|EOT|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|BOT|> assistant\\n' }}{% endif %}",
        "tokenizer_class": "LlamaTokenizer",
    }, indent=2)  # fmt: skip


def _trained() -> list[tuple[str, float]]:
    """Ordinary pieces and their log-probabilities, without those that have a place of their own."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter([*_TEXT.splitlines(), "".join(map(chr, range(33, 127)))] * 4), model_writer=model,
        model_type="unigram", vocab_size=_TRAINED, hard_vocab_limit=False, byte_fallback=True, split_digits=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=True,
        character_coverage=1.0, num_threads=1, minloglevel=2,
    )  # fmt: skip
    trained = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    taken = {*PLACED.values(), "▁"}
    return [
        (trained.IdToPiece(i), trained.GetScore(i))
        for i in range(trained.GetPieceSize())
        if not (trained.IsControl(i) or trained.IsByte(i) or trained.IsUnknown(i)) and trained.IdToPiece(i) not in taken
    ]
