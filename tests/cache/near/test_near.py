"""The layer by itself: what it takes, what it gives, and what it drops."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_etcdaero.cache.envelope import Envelope
from django_etcdaero.cache.near import MAX_REMEMBERED, OVERHEAD, Near, digest_of


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(clock: Clock) -> Callable[..., Near]:
    def make(**options: Any) -> Near:
        return Near(**{"max_entries": 100, "max_bytes": 1_000_000, "max_age": 30.0, "clock": clock, **options})

    return make


def entry(body: bytes = b"body") -> Envelope:
    return Envelope(1, 0, 0.0, body)


def put(near: Near, key: bytes, body: bytes = b"body", **options: Any) -> bool:
    given = {"token": near.token, "started": near.clock(), "lives": None, "ttl": None, **options}
    return near.put(key, entry(body), **given)


def body(near: Near, key: bytes) -> bytes | None:
    held = near.get(key)
    return None if held is None else held.envelope.body


def test_an_entry_is_held(make: Callable[..., Near]) -> None:
    near = make()
    assert body(near, b"a") is None
    assert put(near, b"a", b"1")
    assert put(near, b"a", b"2")
    assert body(near, b"a") == b"2"
    assert len(near) == 1
    assert near.size == len(b"a") + len(b"2") + OVERHEAD


def test_what_was_used_longest_ago_goes_first(make: Callable[..., Near]) -> None:
    near = make(max_entries=3)
    for key in (b"a", b"b", b"c"):
        put(near, key)
    near.get(b"a")
    put(near, b"d")
    assert [key for key in (b"a", b"b", b"c", b"d") if near.get(key)] == [b"a", b"c", b"d"]


def test_bytes_are_bounded_too(make: Callable[..., Near]) -> None:
    near = make(max_bytes=3 * (OVERHEAD + 101))
    for key in (b"a", b"b", b"c", b"d"):
        put(near, key, b"x" * 100)
    assert len(near) == 3
    assert near.get(b"a") is None


def test_an_entry_larger_than_all_is_not_taken(make: Callable[..., Near]) -> None:
    near = make(max_bytes=2000)
    put(near, b"a")
    assert not put(near, b"b", b"x" * 2000)
    assert body(near, b"a") == b"body"


def test_max_age_counts_from_the_question(make: Callable[..., Near], clock: Clock) -> None:
    near = make(max_age=30.0)
    put(near, b"a", started=clock.now - 10)
    clock.now += 19.9
    assert near.get(b"a") is not None
    clock.now += 0.1
    assert near.get(b"a") is None
    assert len(near) == 0
    assert near.size == 0


@pytest.mark.parametrize("lives", [0.0, -3.0])
def test_an_entry_without_time_left_is_not_taken(make: Callable[..., Near], lives: float) -> None:
    near = make()
    assert not put(near, b"a", lives=lives)


def test_an_entry_counts_no_longer_than_it_lives(make: Callable[..., Near], clock: Clock) -> None:
    near = make()
    put(near, b"a", lives=5.0, ttl=6.0)
    clock.now += 4.9
    held = near.get(b"a")
    assert held is not None
    assert held.ends == 1006.0
    clock.now += 0.2
    assert near.get(b"a") is None


def test_what_is_dropped_is_gone(make: Callable[..., Near]) -> None:
    near = make()
    put(near, b"a")
    put(near, b"b")
    near.drop([digest_of(b"a"), digest_of(b"not held")])
    assert near.get(b"a") is None
    assert body(near, b"b") == b"body"
    near.drop_all()
    assert len(near) == 0
    assert near.size == 0


def test_what_begins_so_is_dropped(make: Callable[..., Near]) -> None:
    near = make()
    put(near, b"one/a")
    put(near, b"one/b")
    put(near, b"two/a")
    near.drop_beginning(b"one/")
    assert len(near) == 1
    assert body(near, b"two/a") == b"body"


@pytest.mark.parametrize("drop", ["key", "all", "beginning", "fork"])
def test_a_fill_that_was_dropped_meanwhile_is_not_taken(make: Callable[..., Near], drop: str) -> None:
    near = make()
    token = near.token
    {
        "key": lambda: near.drop([digest_of(b"a")]),
        "all": near.drop_all,
        "beginning": lambda: near.drop_beginning(b"a"),
        "fork": near.after_fork_in_child,
    }[drop]()
    assert not put(near, b"a", token=token)
    assert put(near, b"a")


def test_a_fill_is_taken_when_another_key_was_dropped(make: Callable[..., Near]) -> None:
    near = make()
    token = near.token
    near.drop([digest_of(b"b")])
    assert put(near, b"a", token=token)


def test_a_fill_older_than_what_is_remembered_is_not_taken(make: Callable[..., Near]) -> None:
    near = make()
    token = near.token
    near.drop([digest_of(b"a")])
    for number in range(MAX_REMEMBERED):
        near.drop([digest_of(b"other %d" % number)])
    assert not put(near, b"a", token=token)
    assert put(near, b"a")


def test_a_child_begins_empty(make: Callable[..., Near]) -> None:
    near = make()
    put(near, b"a")
    near._lock.acquire()  # a thread of the parent, in the moment of the fork
    near.after_fork_in_child()
    assert len(near) == 0
    assert near.size == 0
    assert put(near, b"a")


KEYS = st.sampled_from([b"a", b"b", b"c", b"d"])


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), KEYS, st.integers(0, 400)),
            st.tuples(st.just("get"), KEYS, st.just(0)),
            st.tuples(st.just("drop"), KEYS, st.just(0)),
            st.tuples(st.just("beginning"), KEYS, st.just(0)),
            st.tuples(st.just("wait"), KEYS, st.integers(0, 20)),
        ),
        max_size=30,
    )
)
def test_bounds_hold_whatever_happens(steps: list[tuple[str, bytes, int]]) -> None:
    clock = Clock()
    near = Near(max_entries=3, max_bytes=3 * OVERHEAD, max_age=30.0, clock=clock)
    written: dict[bytes, bytes] = {}
    for kind, key, number in steps:
        if kind == "put":
            if put(near, key, b"x" * number):
                written[key] = b"x" * number
        elif kind == "get":
            assert body(near, key) in (None, written.get(key))
        elif kind == "drop":
            near.drop([digest_of(key)])
            written.pop(key, None)
        elif kind == "beginning":
            near.drop_beginning(key)
            written.pop(key, None)
        else:
            clock.now += number
        assert len(near) <= 3
        assert near.size <= 3 * OVERHEAD
        assert near.size == sum(held.size for held in near._held.values())
        assert {held.digest: key for key, held in near._held.items()} == near._keys


def test_threads_share_it(make: Callable[..., Near]) -> None:
    near = make(max_entries=20)
    together = threading.Barrier(8)

    def work(number: int) -> None:
        together.wait()
        for step in range(500):
            key = b"%d" % ((step * (number + 1)) % 40)
            put(near, key, key)
            assert body(near, key) in (None, key)
            if step % 50 == number:
                near.drop([digest_of(key)])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(near) <= 20
    assert near.size == sum(held.size for held in near._held.values())
    assert set(near._keys.values()) == set(near._held)
