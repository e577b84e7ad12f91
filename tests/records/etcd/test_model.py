"""Whatever is done, the store in etcd answers as the one in memory does."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.keyvalue.embedded import EmbeddedEngine
from django_etcdaero.keyvalue.embedded import drop_memory as drop_engine
from django_etcdaero.records.etcd import EtcdStore
from django_etcdaero.records.memory.store import MemoryStore, drop_memory
from django_etcdaero.records.store import RecordStore

KEYS = [b"a", b"a\0", b"b", b"\xff"]
keys = st.sampled_from(KEYS)
values = st.one_of(st.binary(max_size=4), st.integers(-(2**63), 2**63 - 1), st.integers(0, 3))
ttls = st.one_of(st.none(), st.integers(1, 4))
generations = st.one_of(st.none(), st.integers(1, 3))


class Twins(RuleBasedStateMachine):
    """Two stores, and one clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_800_000_000.0
        self.name = uuid.uuid4().hex
        self.one: RecordStore = EtcdStore(EmbeddedEngine.memory(self.name), "room/", clock=lambda: self.now)
        self.other: RecordStore = MemoryStore(self.name, clock=lambda: self.now)

    def teardown(self) -> None:
        self.one.close()
        self.other.close()
        drop_engine(self.name)
        drop_memory(self.name)

    def both(self, call: Callable[[RecordStore], Any]) -> None:
        assert _answer(call, self.one) == _answer(call, self.other)

    @rule(key=keys, value=values, ttl=ttls, create=st.booleans())
    def put(self, key: bytes, value: bytes | int, ttl: int | None, create: bool) -> None:
        self.both(lambda store: store.put(key, value, ttl=ttl, create_only=create))

    @rule(key=keys, value=values, ttl=ttls, generation=generations)
    def put_over(self, key: bytes, value: bytes | int, ttl: int | None, generation: int | None) -> None:
        self.both(lambda store: store.put(key, value, ttl=ttl, generation=generation))

    @rule(items=st.dictionaries(keys, values), ttl=ttls)
    def put_many(self, items: dict[bytes, bytes | int], ttl: int | None) -> None:
        self.both(lambda store: store.put_many(items, ttl=ttl))

    @rule(key=keys, generation=generations)
    def delete(self, key: bytes, generation: int | None) -> None:
        self.both(lambda store: store.delete(key, generation=generation))

    @rule(some=st.lists(keys))
    def delete_many(self, some: list[bytes]) -> None:
        self.both(lambda store: store.delete_many(some))

    @rule(key=keys, ttl=ttls, generation=generations)
    def touch(self, key: bytes, ttl: int | None, generation: int | None) -> None:
        self.both(lambda store: store.touch(key, ttl, generation=generation))

    @rule(items=st.dictionaries(keys, generations), ttl=ttls)
    def touch_many(self, items: dict[bytes, int | None], ttl: int | None) -> None:
        self.both(lambda store: store.touch_many(items, ttl))

    @rule(key=keys, delta=st.integers(-3, 2**63 - 1))
    def increment(self, key: bytes, delta: int) -> None:
        self.both(lambda store: store.increment(key, delta))

    @rule(prefix=st.one_of(st.just(b""), keys))
    def scan(self, prefix: bytes) -> None:
        self.both(lambda store: sorted(store.scan(prefix)))

    @rule()
    def truncate(self) -> None:
        self.both(lambda store: store.truncate())

    @rule(seconds=st.sampled_from([0.25, 1.0, 1.5]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def same(self) -> None:
        self.both(lambda store: store.get_many(KEYS))
        self.both(lambda store: store.exists_many(KEYS))
        self.both(lambda store: [(store.get(key), store.exists(key)) for key in KEYS])


def _answer(call: Callable[[RecordStore], Any], store: RecordStore) -> Any:
    try:
        return call(store)
    except (EtcdAeroError, TypeError, OverflowError) as error:
        return type(error)


TestTwins = Twins.TestCase
TestTwins.settings = settings(max_examples=50, stateful_step_count=30)
