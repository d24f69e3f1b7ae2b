"""What a session must do where the reference cannot (spec 70 §6)."""

from __future__ import annotations

import threading

import pytest
import torch

from editx.cancellation import Cancellation
from editx.errors import Cancelled, InvalidRequest
from tests.engines.step.decoder import small_decoder as small
from tests.engines.step.decoder.small_decoder import TOKENS, streamed, voice


@pytest.mark.parametrize("count", [0, 1, 2, 4, 5, 6, 29, 30, 31, 35, 283])
def test_the_first_push_may_be_the_last(count: int) -> None:
    """However few the tokens: a ragged group is filled up, and every dual frame is 960 samples."""
    chunks = streamed(small.shared(), TOKENS[:count])
    assert sum(map(len, chunks)) == 960 * 3 * -(-count // 5)
    assert all(chunk.isfinite().all() and chunk.std() > 0 for chunk in chunks)
    assert all(chunk.dtype == torch.float32 and chunk.device.type == "cpu" for chunk in chunks)


def test_a_big_push_is_the_tokens_one_by_one() -> None:
    whole = streamed(small.shared(), TOKENS)
    assert [len(chunk) for chunk in whole[:4]] == [10_560, 23_040, 46_080, 46_080]
    for push in (1, 7, 100):
        parts = streamed(small.shared(), TOKENS, push=push)
        assert [len(chunk) for chunk in parts] == [len(chunk) for chunk in whole]
        assert torch.equal(torch.cat(parts), torch.cat(whole)), push


def test_an_empty_last_push_renders_what_is_left() -> None:
    decoder = small.shared()
    with decoder.session(voice(decoder), 1) as session:
        chunks = session.push(TOKENS)
        assert not session.closed
        chunks += session.push([], last=True)
        assert session.closed
    assert torch.equal(torch.cat(chunks), torch.cat(streamed(decoder, TOKENS)))


def test_an_empty_last_push_cannot_join_what_was_returned() -> None:
    """Of 70 tokens, 25 are the first chunk, 40 the second and 5 its lookahead."""
    decoder = small.shared()
    with decoder.session(voice(decoder), 1) as session:
        chunks = session.push(TOKENS[:70])
        assert [len(chunk) for chunk in chunks] == [10_560, 23_040]
        chunks += session.push([], last=True)
    joined = streamed(decoder, TOKENS[:70])
    assert [len(chunk) for chunk in joined] == [10_560, 29_760]
    assert torch.equal(joined[0], chunks[0])
    assert sum(map(len, joined)) == sum(map(len, chunks))


def test_text_ids_are_decoded_as_code_zero() -> None:
    made = streamed(small.shared(), [-5, 3, 2000, -1, 4000])
    assert torch.equal(torch.cat(made), torch.cat(streamed(small.shared(), [0, 3, 2000, -70, 4000])))


def test_a_refused_push_consumes_nothing() -> None:
    decoder = small.shared()
    with decoder.session(voice(decoder), 1) as session:
        chunks = session.push(TOKENS[:50])
        with pytest.raises(InvalidRequest, match="5120 at position 1"):
            session.push([1, 5120])
        chunks += session.push(TOKENS[50:], last=True)
        with pytest.raises(InvalidRequest, match="has ended"):
            session.push([1])
    assert torch.equal(torch.cat(chunks), torch.cat(streamed(decoder, TOKENS)))


def test_sessions_do_not_see_each_other() -> None:
    """Side by side in one thread, and at once in several."""
    decoder = small.shared()
    other = TOKENS[::-1]
    alone = [torch.cat(streamed(decoder, tokens, seed)) for seed, tokens in enumerate((TOKENS, other))]
    with decoder.session(voice(decoder), 0) as one, decoder.session(voice(decoder), 1) as two:
        found: list[list[torch.Tensor]] = [[], []]
        for first in range(0, len(TOKENS), 20):
            part, last = slice(first, first + 20), first + 20 >= len(TOKENS)
            found[0] += one.push(TOKENS[part], last)
            found[1] += two.push(other[part], last)
    for mine, expected in zip(found, alone, strict=True):
        assert torch.equal(torch.cat(mine), expected)

    results: dict[int, torch.Tensor] = {}

    def run(index: int) -> None:
        results[index] = torch.cat(streamed(decoder, (TOKENS, other)[index], index, push=30))

    threads = [threading.Thread(target=run, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [torch.equal(results[index], alone[index]) for index in range(2)] == [True, True]


def test_closing_gives_everything_back() -> None:
    decoder = small.shared()
    session = decoder.session(voice(decoder), 1)
    assert session.push(TOKENS[:100])
    assert session.buffer_bytes > 0
    for _ in range(2):
        session.close()
        assert session.closed
        assert session.buffer_bytes == 0
    with pytest.raises(Cancelled, match="closed"):
        session.push(TOKENS[100:], last=True)


def test_closing_between_chunks_stops_the_rest() -> None:
    decoder = small.shared()
    session = decoder.session(voice(decoder), 1)
    chunks = session.stream(TOKENS, last=True)
    next(chunks)
    session.close()
    with pytest.raises(Cancelled, match="closed"):
        next(chunks)
    assert session.buffer_bytes == 0


def test_a_cancelled_session_ends_and_is_freed() -> None:
    decoder, cancellation = small.shared(), Cancellation()
    session = decoder.session(voice(decoder), 1, cancellation=cancellation)
    session.push(TOKENS[:100])
    cancellation.cancel("the client left")
    with pytest.raises(Cancelled, match="the client left"):
        session.push(TOKENS[100:], last=True)
    assert session.closed
    assert session.buffer_bytes == 0
    with pytest.raises(Cancelled):
        decoder.offline(TOKENS, voice(decoder), 1, cancellation=cancellation)


def test_nothing_said_offline_is_nothing() -> None:
    decoder = small.shared()
    assert decoder.offline([], voice(decoder)).shape == (0,)
    assert decoder.offline([1], voice(decoder)).shape == (3 * 960,)
