"""Continuous batching: who joins, leaves, cancels or fails changes nothing for the others."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from editx.cancellation import Cancellation
from editx.engines.base import DeviceLost
from editx.engines.step.lm.batcher import LanguageModel
from editx.engines.step.lm.decode import Decoding, StepShape
from editx.engines.step.lm.generation import Generation
from editx.engines.step.lm.graph import BatchRunner, RowRunner, keys_bucket, rounded, rows_bucket, together
from editx.engines.step.lm.model import CPU_CHUNK
from editx.engines.step.lm.sampling import SamplingOptions
from editx.engines.step.lm.switches import Switches
from editx.engines.step.text.prompts import Prompt
from editx.errors import Cancelled, EngineFault, InvalidRequest, LoadFailed, ShuttingDown, TooLarge
from tests.engines.step.lm import small
from tests.engines.step.lm.small import LAYOUT

PROMPTS = [[1, 4, *range(5 + 7 * n, 5 + 7 * n + length)] for n, length in enumerate([12, 60, 25, 150, 33])]
LENGTHS = [40, 25, 60, 33, 50]
WAIT_S = 60.0


@pytest.fixture(scope="module")
def served() -> Iterator[LanguageModel]:
    language_model = LanguageModel(small.model(), max_batch=3, layout=LAYOUT)
    yield language_model
    language_model.close()


def ids(generation: Generation) -> list[int]:
    return [token for block in generation for token in block]


def ask(served: LanguageModel, n: int, **changed: object) -> Generation:
    asked = {"seed": n, "max_new": LENGTHS[n]} | changed
    return served.generate(PROMPTS[n], **asked)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def alone(served: LanguageModel) -> list[list[int]]:
    """What each request gives when it is the only one."""
    return [ids(ask(served, n)) for n in range(len(PROMPTS))]


def test_results_are_audio_in_groups(alone: list[list[int]]) -> None:
    for result in alone:
        assert result
        assert all(LAYOUT.fits(token, slot) for slot, token in enumerate(result))


def test_the_same_seed_gives_the_same_tokens(served: LanguageModel, alone: list[list[int]]) -> None:
    assert ids(ask(served, 2)) == alone[2]
    assert ids(ask(served, 2, seed=99)) != alone[2]


def test_together_as_alone(served: LanguageModel, alone: list[list[int]]) -> None:
    generations = [ask(served, n) for n in range(len(PROMPTS))]
    assert [ids(generation) for generation in generations] == alone
    assert served.wait_idle(WAIT_S)
    assert (served.running, served.waiting) == (0, 0)


def test_from_many_threads_at_once(served: LanguageModel, alone: list[list[int]]) -> None:
    wanted = [n % len(PROMPTS) for n in range(20)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda n: ids(ask(served, n)), wanted)) == [alone[n] for n in wanted]


def test_joining_midway(served: LanguageModel, alone: list[list[int]]) -> None:
    first = ask(served, 2)
    blocks = iter(first)
    received = [token for _ in range(7) for token in next(blocks)]
    second = ask(served, 3)
    third = ask(served, 0)
    assert ids(third) == alone[0]
    assert ids(second) == alone[3]
    assert received + [token for block in blocks for token in block] == alone[2]


def test_leaving_early_frees_the_row(served: LanguageModel, alone: list[list[int]]) -> None:
    stays = ask(served, 4)
    leaves = ask(served, 2, max_new=400)
    for _ in leaves:
        break
    assert ids(stays) == alone[4]
    assert served.wait_idle(WAIT_S)
    assert leaves.finish_reason is None


def test_cancelling_frees_the_row_and_no_one_else_notices(served: LanguageModel, alone: list[list[int]]) -> None:
    cancellation = Cancellation()
    cancelled = ask(served, 0, max_new=400, cancellation=cancellation, options=SamplingOptions(structure=False))
    stays, last = ask(served, 1), ask(served, 3)
    waits = ask(served, 2)
    blocks = iter(cancelled)
    next(blocks)
    cancellation.cancel("enough")
    with pytest.raises(Cancelled, match="enough"):
        for _ in blocks:
            pass
    assert [ids(generation) for generation in (stays, last, waits)] == [alone[1], alone[3], alone[2]]
    assert served.wait_idle(WAIT_S)


def test_cancelling_before_and_while_waiting(served: LanguageModel, alone: list[list[int]]) -> None:
    running = [ask(served, n) for n in (0, 1, 2)]
    gone, later = Cancellation(), Cancellation()
    gone.cancel()
    for cancellation in (gone, later):
        waits = ask(served, 4, cancellation=cancellation)
        cancellation.cancel()
        with pytest.raises(Cancelled):
            ids(waits)
    assert [ids(generation) for generation in running] == alone[:3]
    assert served.wait_idle(WAIT_S)


def test_closing_a_generation_from_another_thread(served: LanguageModel) -> None:
    generation = ask(served, 2, max_new=400, options=SamplingOptions(structure=False))
    started = threading.Event()

    def consume() -> None:
        for _ in generation:
            started.set()

    with ThreadPoolExecutor(1) as threads:
        consumer = threads.submit(consume)
        assert started.wait(WAIT_S)
        generation.close()
        with pytest.raises(Cancelled):
            consumer.result(WAIT_S)
    assert served.wait_idle(WAIT_S)


def test_finish_reasons(served: LanguageModel) -> None:
    for seed in range(30):
        generation = served.generate(PROMPTS[0], seed=seed, max_new=400)
        result = ids(generation)
        if generation.finish_reason == "stop":
            break
        assert len(result) == 400
    assert generation.finish_reason == "stop"
    assert 0 < len(result) < 400
    assert len(result) % 5 == 0
    assert LAYOUT.eos not in result
    exact = served.generate(PROMPTS[0], seed=seed, max_new=len(result) + 1)
    assert (ids(exact), exact.finish_reason) == (result, "stop")
    short = served.generate(PROMPTS[0], seed=seed, max_new=len(result) - 1)
    assert (ids(short), short.finish_reason) == (result[:-1], "length")


def test_the_context_ends_a_generation(served: LanguageModel) -> None:
    prompt = [5 + n % 90 for n in range(served.max_tokens - 4)]
    generation = served.generate(prompt, seed=1)
    assert (len(ids(generation)), generation.finish_reason) == (4, "length")
    with pytest.raises(TooLarge, match=f"{served.max_tokens}"):
        served.generate(prompt[:1] * served.max_tokens)


def test_a_long_prompt_joins_in_chunks(served: LanguageModel, alone: list[list[int]]) -> None:
    prompt = [5 + n % 90 for n in range(3 * CPU_CHUNK + 10)]
    expected = ids(served.generate(prompt, seed=1, max_new=20))
    beside = ask(served, 2)
    joins = served.generate(prompt, seed=1, max_new=20)
    assert ids(beside) == alone[2]
    assert ids(joins) == expected


@pytest.mark.parametrize("block", [3, 25])
def test_blocks_change_nothing(alone: list[list[int]], block: int) -> None:
    served = LanguageModel(small.model(), max_batch=2, layout=LAYOUT, block=block)
    generations = [ask(served, n) for n in range(len(PROMPTS))]
    received = [list(generation) for generation in generations]
    assert [[token for part in parts for token in part] for parts in received] == alone
    assert max(len(part) for parts in received for part in parts) <= block
    served.close()


@pytest.mark.parametrize("switches", [Switches.none(), replace(Switches(), cut_head=False)])
def test_switches_change_nothing(alone: list[list[int]], switches: Switches) -> None:
    served = LanguageModel(small.model(switches=switches), max_batch=2, layout=LAYOUT)
    assert [ids(ask(served, n)) for n in range(len(PROMPTS))] == alone
    served.close()


class Noting(RowRunner):
    """Notes keys and values of every token computed, by the first number that the request draws with."""

    def __init__(self, decoding: Decoding) -> None:
        super().__init__(decoding)
        self.noted: dict[float, list[Tensor]] = {}

    def step(self, needs: Sequence[StepShape], keys: int) -> None:
        super().step(needs, keys)
        for row, need in enumerate(needs):
            request = float(self._decoding.rows.uniform_bt[row, 0])
            self.noted.setdefault(request, []).append(self._decoding.cache.kv[:, :, row, :, : need.keys].clone())


def test_neighbours_and_kept_beginnings_change_no_bit() -> None:
    runners: list[Noting] = []

    def noting(decoding: Decoding) -> Noting:
        runners.append(Noting(decoding))
        return runners[-1]

    head = [7 + n % 80 for n in range(2 * CPU_CHUNK + 9)]
    prompts = [Prompt((*head, *range(5, 5 + count)), len(head)) for count in (3, 70, 20, 45)]
    one_by_one = LanguageModel(small.model(), max_batch=3, layout=LAYOUT, run_with=noting, prefix_tokens=0)
    expected = [ids(one_by_one.generate(prompt, seed=n, max_new=30)) for n, prompt in enumerate(prompts)]
    one_by_one.close()
    at_once = LanguageModel(small.model(), max_batch=3, layout=LAYOUT, run_with=noting)
    under_way = [at_once.generate(prompt, seed=n, max_new=30) for n, prompt in enumerate(prompts)]
    assert [ids(generation) for generation in under_way] == expected
    assert any(generation.reused_tokens for generation in under_way)
    at_once.close()
    alone, together = (runner.noted for runner in runners)
    assert alone.keys() == together.keys()
    assert len(alone) == len(prompts)
    for request, noted in alone.items():
        assert all(torch.equal(one, other) for one, other in zip(noted, together[request], strict=True))


class AsForGraphs(BatchRunner):
    """Runs the shapes that graphs are captured for, without graphs."""

    def step(self, needs: Sequence[StepShape], keys: int) -> None:
        self._decoding.step(rounded(self._decoding, together(needs, keys)))


def test_rows_and_keys_beyond_need_change_nothing(alone: list[list[int]]) -> None:
    model = small.model()
    served = LanguageModel(model, max_batch=4, layout=LAYOUT, block=7, run_with=AsForGraphs)
    prompt = [5 + n % 90 for n in range(3 * CPU_CHUNK + 10)]
    expected = ids(served.generate(prompt, seed=1, max_new=20))
    abandoned = served.generate(prompt, max_new=90, options=SamplingOptions(structure=False))
    generations = [ask(served, n) for n in range(len(PROMPTS))]
    next(iter(abandoned))
    abandoned.close()
    joins = served.generate(prompt, seed=1, max_new=20)
    assert [ids(generation) for generation in generations] == alone
    assert ids(joins) == expected
    served.close()


def test_sizes_are_rounded_up_to_few() -> None:
    assert [rows_bucket(n, 6) for n in range(1, 7)] == [1, 2, 4, 4, 6, 6]
    buckets = sorted({keys_bucket(n, 8192) for n in range(1, 8193)})
    assert buckets == [256, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192]
    assert all(n <= keys_bucket(n, 5000) <= 5000 for n in range(1, 5001))


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_coming_and_going(served: LanguageModel, alone: list[list[int]], seed: int) -> None:
    """Requests that come, go and are cancelled at random moments all give what they give alone."""
    chance = random.Random(seed)
    under_way: list[tuple[int, Generation, Iterator[list[int]], list[int]]] = []
    for _ in range(25):
        n = chance.randrange(len(PROMPTS))
        generation = ask(served, n)
        under_way.append((n, generation, iter(generation), []))
        for n, generation, blocks, received in chance.sample(under_way, min(3, len(under_way))):
            if chance.random() < 0.25:
                generation.close()
                under_way = [entry for entry in under_way if entry[1] is not generation]
                assert received == alone[n][: len(received)]
            elif len(received) + 2 < len(alone[n]):
                received += next(blocks)
    for n, _, blocks, received in under_way:
        assert received + [token for block in blocks for token in block] == alone[n]
    assert served.wait_idle(WAIT_S)


def test_kept_beginnings_change_nothing(served: LanguageModel) -> None:
    head = tuple(range(10, 60))
    prompts = [Prompt((*head, *range(70, 70 + n)), len(head)) for n in (1, 9, 30)]
    plain = [ids(served.generate(prompt.ids, seed=3, max_new=30)) for prompt in prompts]
    keeping = [served.generate(prompt, seed=3, max_new=30) for prompt in prompts]
    assert [ids(generation) for generation in keeping] == plain
    assert [generation.reused_tokens for generation in keeping] == [0, len(head), len(head)]
    assert head in served.prefixes


def test_keeping_beginnings_can_be_off() -> None:
    served = LanguageModel(small.model(switches=replace(Switches(), prefix_reuse=False)), layout=LAYOUT)
    for _ in range(2):
        generation = served.generate(Prompt(tuple(range(10, 60)), 40), max_new=5)
        ids(generation)
        assert generation.reused_tokens == 0
    assert served.prefixes.tokens == 0
    served.close()


def test_options_of_neighbours_do_not_mix(served: LanguageModel, alone: list[list[int]]) -> None:
    free = served.generate(PROMPTS[1], seed=1, max_new=30, options=SamplingOptions(structure=False, top_k=0))
    beside = ask(served, 2)
    greedy = ask(served, 4, options=SamplingOptions(temperature=0))
    assert ids(beside) == alone[2]
    assert any(not LAYOUT.is_linguistic(token) and not LAYOUT.is_semantic(token) for token in ids(free))
    assert ids(greedy) == ids(ask(served, 4, seed=77, options=SamplingOptions(temperature=0)))


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        ([], {}, "no tokens"),
        ([5, 320], {}, "320 is no token"),
        ([-1], {}, "-1 is no token"),
        ([5], {"seed": -1}, "seed"),
        ([5], {"max_new": 0}, "0 tokens"),
    ],
)
def test_bad_requests(served: LanguageModel, prompt: list[int], options: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        served.generate(prompt, **options)  # type: ignore[arg-type]


def test_a_vocabulary_without_the_audio_ids_is_refused() -> None:
    with pytest.raises(LoadFailed, match="70655"):
        LanguageModel(small.model())


def test_closing_ends_everything() -> None:
    before = set(threading.enumerate())
    served = LanguageModel(small.model(), max_batch=1, layout=LAYOUT)
    free = SamplingOptions(structure=False)
    generations = [served.generate(PROMPTS[n], seed=n, max_new=300, options=free) for n in range(3)]
    next(iter(generations[0]))
    served.close()
    served.close()
    for generation in generations[1:]:
        with pytest.raises(ShuttingDown):
            ids(generation)
    with pytest.raises(ShuttingDown):
        served.generate([5])
    assert set(threading.enumerate()) == before


def test_a_failure_reaches_those_who_are_in_and_the_next_ones_are_served(alone: list[list[int]]) -> None:
    model = small.model()
    served = LanguageModel(model, max_batch=2, layout=LAYOUT)
    norm = model.model.layers[1].post_attention_layernorm
    whole = norm.weight
    first = ask(served, 2, max_new=400)
    blocks = iter(first)
    next(blocks)
    norm.weight = torch.nn.Parameter(torch.zeros(3), requires_grad=False)
    with pytest.raises(EngineFault, match="the language model failed"):
        for _ in blocks:
            pass
    norm.weight = whole
    assert served.wait_idle(WAIT_S)
    assert ids(ask(served, 1)) == alone[1]
    served.close()


def test_a_device_that_fails_for_good_is_told_from_a_failure(
    alone: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small.model()
    for text, kind in (("an illegal memory access was encountered", DeviceLost), ("out of memory", EngineFault)):
        served = LanguageModel(model, max_batch=1, layout=LAYOUT)

        def fails(*args: object, text: str = text) -> Tensor:
            raise torch.AcceleratorError(f"CUDA error: {text}\nCUDA kernel errors might be reported later")

        try:
            with monkeypatch.context() as patch:
                patch.setattr(model, "step", fails)
                with pytest.raises(kind, match=text) as caught:
                    ids(ask(served, 0))
            assert isinstance(caught.value, DeviceLost) == (kind is DeviceLost)
            assert ids(ask(served, 0)) == alone[0]
        finally:
            served.close()
