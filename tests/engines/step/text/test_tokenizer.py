"""The text tokenizer: no dummy prefix, no hidden ids, and the published ids where its file is there."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import get_args

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from editx.engines.step.text.pieces import user_defined
from editx.engines.step.text.prompts import Framing
from editx.engines.step.text.tokenizer import SentencePieceTokenizer
from editx.errors import InvalidRequest, LoadFailed
from tests import golden
from tests.engines.step.text.test_prompts import CASES, build

PUBLISHED = os.environ.get("EDITX_TOKENIZER_MODEL", "")


def test_text_behind_a_special_token_has_no_dummy_prefix(tokenizer: SentencePieceTokenizer, model_file: Path) -> None:
    plain = sentencepiece.SentencePieceProcessor(model_file=str(model_file))
    assert tokenizer.encode("human") != plain.EncodeAsIds("human")
    assert tokenizer.encode(" human\n") == plain.EncodeAsIds("human\n")
    assert tokenizer.encode("human") == plain.EncodeAsIds("\nhuman")[2:]
    assert tokenizer.encode_section("human") == [1, *plain.EncodeAsIds("human")]
    assert tokenizer.encode("") == []


@pytest.mark.parametrize("text", ["a  b   c", " lead", "trail ", "\r\n", "guo4guo1儿", "𠮷é\t…", "line\nline", "a\0b"])
def test_nothing_of_a_text_is_lost(tokenizer: SentencePieceTokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode("x" + text)) == "x" + text


@given(text=st.text())
def test_any_text_survives(tokenizer: SentencePieceTokenizer, text: str) -> None:
    text = text.replace("\u2581", " ")
    assert tokenizer.decode(tokenizer.encode("x" + text)) == "x" + text


def test_pieces_that_stand_for_something_else_are_found(model_file: Path) -> None:
    spelled = set(user_defined(model_file.read_bytes()).values())
    assert spelled == {"<user_defined_symbol_22>", *(f"<audio_{n}>" for n in range(20))}


HIDDEN = ["<audio_5>", "<user_defined_symbol_22>", "<|EOT|>", "<|BOT|>", "<s>", "</s>", "<0x0A>", "<unk>"]


@given(
    text=st.lists(st.one_of(st.sampled_from([*HIDDEN, "<", "<<", ">", " ", "audio_5>", "<aud"]), st.text(max_size=3)))
)
def test_no_text_turns_into_special_ids(tokenizer: SentencePieceTokenizer, model_file: Path, text: list[str]) -> None:
    said = "".join(text)
    special = {0, 1, 2, *user_defined(model_file.read_bytes())}
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model_file))
    special |= {i for i in range(pieces.GetPieceSize()) if pieces.IsControl(i)}
    for ids in (tokenizer.encode(said), tokenizer.encode_section(said)[1:]):
        assert not special & set(ids)
        assert pieces.DecodeIds(ids).strip() == said.replace("\u2581", " ").strip() or "\u2581" in said


def test_half_characters_are_refused(tokenizer: SentencePieceTokenizer) -> None:
    with pytest.raises(InvalidRequest, match="ud800"):
        tokenizer.encode("ab\ud800")


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "cut"])
def test_a_damaged_file_is_named(tmp_path: Path, model_file: Path, damage: str) -> None:
    path = tmp_path / "tokenizer.model"
    content = {"empty": b"", "text": b"not a model at all", "cut": model_file.read_bytes()[:1000]}.get(damage)
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LoadFailed, match=r"tokenizer\.model.*fetch"):
        SentencePieceTokenizer(path)


def test_another_kind_of_tokenizer_is_refused(tmp_path: Path) -> None:
    prefix = tmp_path / "other"
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(["some words of another model"] * 20),
        model_prefix=str(prefix),
        vocab_size=40,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    with pytest.raises(LoadFailed, match="not the model's tokenizer"):
        SentencePieceTokenizer(prefix.with_suffix(".model"))


if PUBLISHED:

    @pytest.fixture(scope="module")
    def published() -> SentencePieceTokenizer:
        return SentencePieceTokenizer(Path(PUBLISHED))

    def test_the_published_file() -> None:
        assert hashlib.sha256(Path(PUBLISHED).read_bytes()).hexdigest() == golden.prompts("tokenizer_model_sha256")

    @pytest.mark.parametrize("framing", get_args(Framing))
    def test_published_prompts(published: SentencePieceTokenizer, framing: Framing) -> None:
        for case in CASES:
            assert list(build(published, case, framing).ids) == case[f"{framing}_ids_real"]

    def test_published_probes(published: SentencePieceTokenizer) -> None:
        for probe in golden.prompts("tokenizer_probes"):
            assert published.encode_section(probe["text"])[1:] == probe["ids_with_prefix"]
            assert published.encode(probe["text"]) == probe["ids_after_special"]
