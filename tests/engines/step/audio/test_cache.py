"""Results are kept within bounds, whoever asks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from editx.engines.step.audio.cache import ResultCache


def test_the_least_recently_used_goes_first() -> None:
    cache: ResultCache[str] = ResultCache(30)
    for key in "abc":
        cache.put(key, key.upper(), 10)
    assert cache.get("a") == "A"
    cache.put("d", "D", 10)
    assert [cache.get(key) for key in "abcd"] == ["A", None, "C", "D"]
    assert (len(cache), cache.bytes_held) == (3, 30)


def test_putting_again_replaces() -> None:
    cache: ResultCache[int] = ResultCache(30)
    cache.put("a", 1, 20)
    cache.put("a", 2, 25)
    assert (cache.get("a"), cache.bytes_held) == (2, 25)


def test_what_does_not_fit_is_not_kept_and_evicts_nothing() -> None:
    cache: ResultCache[int] = ResultCache(30)
    cache.put("a", 1, 30)
    cache.put("b", 2, 31)
    assert (cache.get("a"), cache.get("b")) == (1, None)


def test_off_keeps_nothing() -> None:
    cache: ResultCache[int] = ResultCache(0)
    cache.put("a", 1, 0)
    assert cache.get("a") is None
    assert len(cache) == 0


def test_clear() -> None:
    cache: ResultCache[int] = ResultCache()
    cache.put("a", 1, 10)
    cache.clear()
    assert (cache.get("a"), cache.bytes_held) == (None, 0)


def test_many_threads_keep_the_books_straight() -> None:
    cache: ResultCache[int] = ResultCache(100)

    def work(seed: int) -> None:
        for at in range(2000):
            key = (seed * 31 + at) % 40
            found = cache.get(str(key))
            assert found is None or found == key
            cache.put(str(key), key, 1 + key % 7)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    kept = [key for key in range(40) if cache.get(str(key)) is not None]
    assert cache.bytes_held == sum(1 + key % 7 for key in kept) <= 100
