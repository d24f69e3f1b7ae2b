"""Who is granted, loaded, evicted and refused: snapshots in, decisions out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from editx.lifecycle.policy import Decision, Snapshot, VariantView, backoff_delay, decide, fits, retry_after, victims
from editx.lifecycle.states import State

OUT, LOADING, READY, GOING = State.UNLOADED, State.LOADING, State.READY, State.UNLOADING


def look(queue: str, budget: int | None = None, max_loaded: int | None = None, **variants: VariantView) -> Decision:
    return decide(Snapshot(variants, list(queue), budget, max_loaded))


def test_the_backoff_grows_as_agreed() -> None:
    assert [backoff_delay(crashes) for crashes in range(10)] == [0, 0, 1, 1, 2, 3, 5, 8, 13, 21]
    assert backoff_delay(14) == 233
    assert backoff_delay(15) == backoff_delay(10**6) == 300


def test_retry_after_is_the_time_the_queue_takes_within_bounds() -> None:
    assert retry_after(waiting=64, slots=2, hold_s=0.5) == 16
    assert retry_after(waiting=1, slots=4, hold_s=0.01) == 1
    assert retry_after(waiting=64, slots=1, hold_s=30) == 60


def test_an_empty_queue_asks_for_nothing() -> None:
    assert look("", a=VariantView(READY)) == Decision()


def test_a_ready_variant_is_granted_up_to_its_slots() -> None:
    assert look("aaa", a=VariantView(READY, slots=3, leases=1)).grants == [0, 1]


def test_waiting_for_a_slot_holds_up_the_same_variant_only() -> None:
    decision = look("abab", a=VariantView(READY, slots=1, leases=1), b=VariantView(READY, slots=2))
    assert decision.grants == [1, 3]


def test_several_variants_load_side_by_side_when_they_fit() -> None:
    assert look("aabb", 10, a=VariantView(OUT, need=5), b=VariantView(OUT, need=5)).loads == ["a", "b"]


def test_a_request_that_waits_for_memory_holds_up_everything_behind_it() -> None:
    decision = look(
        "bac",
        10,
        a=VariantView(READY, need=6, slots=4, leases=1),
        b=VariantView(OUT, need=6),
        c=VariantView(OUT, need=1),
    )
    assert decision == Decision()


def test_what_is_ahead_of_the_one_that_waits_for_memory_is_served() -> None:
    decision = look("ab", 10, a=VariantView(READY, need=6, slots=4, leases=1), b=VariantView(OUT, need=6))
    assert decision == Decision(grants=[0])


def test_the_least_recently_used_idle_variant_is_evicted() -> None:
    decision = look(
        "d",
        30,
        a=VariantView(READY, need=10, last_used=2),
        b=VariantView(READY, need=10, last_used=1),
        c=VariantView(READY, need=10, last_used=0, leases=1),
        d=VariantView(OUT, need=10),
    )
    assert decision == Decision(evictions=["b"])


def test_a_variant_granted_just_now_is_no_victim() -> None:
    decision = look("ab", 10, a=VariantView(READY, need=10), b=VariantView(OUT, need=10))
    assert decision == Decision(grants=[0])


def test_nothing_is_evicted_in_vain() -> None:
    decision = look(
        "c",
        20,
        a=VariantView(READY, need=5),
        b=VariantView(READY, need=15, leases=1),
        c=VariantView(OUT, need=10),
    )
    assert decision == Decision()


def test_a_small_variant_is_spared_when_a_big_one_has_to_go_anyway() -> None:
    decision = look(
        "c",
        20,
        a=VariantView(READY, need=2, last_used=1),
        b=VariantView(READY, need=15, last_used=2),
        c=VariantView(OUT, need=12),
    )
    assert decision.evictions == ["b"]


def test_what_is_leaving_already_is_waited_for() -> None:
    decision = look("c", 20, a=VariantView(GOING, need=10), b=VariantView(READY, need=10), c=VariantView(OUT, need=10))
    assert decision == Decision()


def test_the_number_of_loaded_models_is_a_budget_too() -> None:
    views = {"a": VariantView(READY, last_used=2), "b": VariantView(READY, last_used=1), "c": VariantView(OUT)}
    assert look("c", None, 2, **views) == Decision(evictions=["b"])
    assert look("c", None, 3, **views) == Decision(loads=["c"])


def test_what_fits_at_no_time_is_refused_and_holds_nobody_up() -> None:
    decision = look("aba", 10, a=VariantView(OUT, need=11), b=VariantView(OUT, need=10))
    assert decision == Decision(refusals=[0, 2], loads=["b"])


def test_a_backoff_holds_up_its_own_variant_only() -> None:
    decision = look("aab", 10, a=VariantView(OUT, need=10, backing_off=True), b=VariantView(OUT, need=10))
    assert decision == Decision(loads=["b"])


def test_after_running_out_of_memory_a_load_waits_until_nothing_idle_is_left() -> None:
    failed = VariantView(OUT, need=1, after_oom=True)
    assert look("cab", 100, a=VariantView(READY), b=VariantView(READY, leases=1), c=failed).evictions == ["a"]
    assert look("c", 100, a=VariantView(GOING), c=failed) == Decision()
    assert look("c", 100, b=VariantView(READY, leases=1), c=failed) == Decision(loads=["c"])


NAMES = "abcde"
views = st.builds(
    VariantView,
    state=st.sampled_from(State),
    need=st.integers(0, 12),
    slots=st.integers(1, 3),
    leases=st.integers(0, 3),
    last_used=st.integers(0, 3).map(float),
    backing_off=st.booleans(),
    after_oom=st.booleans(),
)
snapshots = st.builds(
    Snapshot,
    variants=st.fixed_dictionaries(dict.fromkeys(NAMES, views)),
    queue=st.lists(st.sampled_from(NAMES), max_size=8),
    budget=st.none() | st.integers(1, 30),
    max_loaded=st.none() | st.integers(1, 4),
)


@given(snapshots)
def test_no_decision_ever_breaks_a_limit(snapshot: Snapshot) -> None:
    decision = decide(snapshot)
    held = {name: view.need for name, view in snapshot.variants.items() if view.state is not OUT}
    for name in decision.loads:
        view = snapshot.variants[name]
        assert view.state is OUT
        assert not view.backing_off
        assert fits(snapshot, held, view.need)
        held[name] = view.need
    granted = [snapshot.queue[position] for position in decision.grants]
    for name in set(granted):
        view = snapshot.variants[name]
        assert view.state is READY
        assert view.leases + granted.count(name) <= view.slots
    for name in decision.evictions:
        view = snapshot.variants[name]
        assert view.state is READY
        assert view.leases == 0
        assert name not in granted
    assert len(set(decision.evictions)) == len(decision.evictions)


@given(snapshots)
def test_nobody_is_served_before_an_earlier_request_for_the_same_variant(snapshot: Snapshot) -> None:
    answered = {*(decision := decide(snapshot)).grants, *decision.refusals}
    for name in NAMES:
        places = [place for place, wanted in enumerate(snapshot.queue) if wanted == name]
        answers = [place in answered for place in places]
        assert answers == sorted(answers, reverse=True)


@given(snapshots)
def test_the_head_of_the_queue_waits_for_something_that_will_happen(snapshot: Snapshot) -> None:
    """If nothing at all is decided, the first request waits for a lease to end, a transition or a backoff."""
    decision = decide(snapshot)
    if not snapshot.queue or decision != Decision():
        return
    head = snapshot.variants[snapshot.queue[0]]
    others = snapshot.variants.values()
    assert (
        head.state in (LOADING, GOING)
        or head.backing_off
        or any(view.state in (READY, GOING, LOADING) and (view.leases or view.state is not READY) for view in others)
    )


@pytest.mark.parametrize("need", [0, 5, 30])
def test_victims_make_room_or_nobody_has_to_go(need: int) -> None:
    snapshot = Snapshot({}, [], budget=20)
    held = {"a": 8, "b": 8, "c": 4}
    gone = victims(snapshot, held, ["a", "b", "c"], need)
    assert gone == ([] if need in (0, 30) else ["a"])
