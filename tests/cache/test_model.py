"""The whole backend does what a dictionary with a clock does, step by step."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from django_etcdaero.cache import EtcdAeroCache

KEYS = st.sampled_from(["a", "a\0b", "ab", "\ud800", "ü", "k" * 300, "x" * 2000, "%*?[a]"])
NUMBERS = st.sampled_from([0, 1, -1, 7, 2**63 - 1, -(2**63), 2**63, -(2**70)])
VALUES = st.one_of(
    NUMBERS,
    st.sampled_from([None, True, False, 1.5, "text", b"\xebC\x01\0\x01\0\0\0", {"a": [1, (2, 3)]}, "z" * 3000]),
)
TIMEOUTS = st.sampled_from([None, 1000, 86400, 10**10])
TAGS = st.lists(st.sampled_from(["red", "green", "ü\0"]), max_size=2, unique=True)
ABSENT = object()


class Model(RuleBasedStateMachine):
    """Two caches of one location: their own prefixes keep them apart, but for that they do the same."""

    new: Callable[[str], EtcdAeroCache]

    @initialize()
    def begin(self) -> None:
        run = uuid.uuid4().hex
        self.caches = {prefix: self.new(prefix) for prefix in (f"{run}-1", f"{run}-2")}
        self.model: dict[str, dict[str, tuple[Any, float | None, frozenset[str]]]] = {each: {} for each in self.caches}

    def pick(self, number: int) -> tuple[EtcdAeroCache, dict[str, tuple[Any, float | None, frozenset[str]]]]:
        prefix = sorted(self.caches)[number]
        return self.caches[prefix], self.model[prefix]

    @rule(which=st.integers(0, 1), key=KEYS, value=VALUES, timeout=TIMEOUTS, tags=TAGS)
    def set(self, which: int, key: str, value: Any, timeout: float | None, tags: list[str]) -> None:
        cache, model = self.pick(which)
        assert cache.set(key, value, timeout, tags=tags) is None
        model[key] = (value, timeout, frozenset(tags))

    @rule(which=st.integers(0, 1), key=KEYS, value=VALUES, timeout=TIMEOUTS)
    def add(self, which: int, key: str, value: Any, timeout: float | None) -> None:
        cache, model = self.pick(which)
        assert cache.add(key, value, timeout) is (key not in model)
        model.setdefault(key, (value, timeout, frozenset()))

    @rule(which=st.integers(0, 1), key=KEYS, value=VALUES, timeout=TIMEOUTS)
    def replace(self, which: int, key: str, value: Any, timeout: float | None) -> None:
        cache, model = self.pick(which)
        assert cache.set(key, value, timeout, xx=True) is (key in model)
        if key in model:
            model[key] = (value, timeout, frozenset())

    @rule(which=st.integers(0, 1), key=KEYS, value=VALUES)
    def swap(self, which: int, key: str, value: Any) -> None:
        cache, model = self.pick(which)
        same(cache.set(key, value, None, get=True), model.get(key, (None,))[0])
        model[key] = (value, None, frozenset())

    @rule(which=st.integers(0, 1), key=KEYS)
    def delete(self, which: int, key: str) -> None:
        cache, model = self.pick(which)
        # What was invalidated is still there to be deleted.
        assert cache.delete(key) or model.pop(key, None) is None
        model.pop(key, None)

    @rule(which=st.integers(0, 1), keys=st.lists(KEYS, unique=True))
    def delete_many(self, which: int, keys: list[str]) -> None:
        cache, model = self.pick(which)
        present = len([key for key in keys if model.pop(key, None) is not None])
        assert present <= (cache.delete_many(keys) or 0) <= len(keys)

    @rule(which=st.integers(0, 1), data=st.dictionaries(KEYS, VALUES, max_size=5), timeout=TIMEOUTS, tags=TAGS)
    def set_many(self, which: int, data: dict[str, Any], timeout: float | None, tags: list[str]) -> None:
        cache, model = self.pick(which)
        assert cache.set_many(data, timeout, tags=tags) == []
        model.update({key: (value, timeout, frozenset(tags)) for key, value in data.items()})

    @rule(which=st.integers(0, 1), key=KEYS, delta=NUMBERS)
    def incr(self, which: int, key: str, delta: int) -> None:
        cache, model = self.pick(which)
        if key not in model:
            with pytest.raises(ValueError, match="not found"):
                cache.incr(key, delta)
        elif not isinstance(model[key][0], int | float):
            with pytest.raises(TypeError):
                cache.incr(key, delta)
        else:
            value, timeout, tags = model[key]
            same(cache.incr(key, delta), value + delta)
            model[key] = (value + delta, timeout, tags)

    @rule(which=st.integers(0, 1), key=KEYS, timeout=TIMEOUTS)
    def touch(self, which: int, key: str, timeout: float | None) -> None:
        cache, model = self.pick(which)
        assert cache.touch(key, timeout) is (key in model)
        if key in model:
            model[key] = (model[key][0], timeout, model[key][2])

    @rule(which=st.integers(0, 1), key=KEYS)
    def end(self, which: int, key: str) -> None:
        cache, model = self.pick(which)
        assert cache.touch(key, 0) or key not in model
        model.pop(key, None)

    @rule(which=st.integers(0, 1), key=KEYS, value=VALUES, timeout=TIMEOUTS, tags=TAGS)
    def get_or_set(self, which: int, key: str, value: Any, timeout: float | None, tags: list[str]) -> None:
        cache, model = self.pick(which)
        found = cache.get_or_set(key, lambda: value, timeout, tags=tags, stale=60)
        model.setdefault(key, (value, timeout, frozenset(tags)))
        same(found, model[key][0])

    @rule(which=st.integers(0, 1), key=KEYS)
    def incr_version(self, which: int, key: str) -> None:
        cache, model = self.pick(which)
        if key in model:
            assert cache.incr_version(key) == 2
            assert cache.decr_version(key, version=2) == 1
        else:
            with pytest.raises(ValueError, match="not found"):
                cache.incr_version(key)

    @rule(which=st.integers(0, 1), tags=TAGS)
    def invalidate(self, which: int, tags: list[str]) -> None:
        cache, model = self.pick(which)
        cache.invalidate_tags(*tags)
        for key in [key for key, entry in model.items() if entry[2] & set(tags)]:
            del model[key]

    @rule(which=st.integers(0, 1))
    def clear(self, which: int) -> None:
        cache, model = self.pick(which)
        cache.clear()
        model.clear()

    @rule(which=st.integers(0, 1))
    def sweep(self, which: int) -> None:
        self.pick(which)[0].sweep()

    @rule(which=st.integers(0, 1))
    def keys(self, which: int) -> None:
        cache, model = self.pick(which)
        assert sorted(cache.keys("*")) == sorted(model)

    @invariant()
    def the_same(self) -> None:
        for number in range(len(getattr(self, "caches", ()))):
            cache, model = self.pick(number)
            found = cache.get_many(["a", "a\0b", "ab", "\ud800", "ü", "k" * 300, "x" * 2000, "%*?[a]"])
            assert found.keys() == model.keys()
            for key, (value, timeout, _) in model.items():
                same(found[key], value)
                same(cache.get(key, ABSENT), value)
                left = cache.ttl(key)
                if timeout is None:
                    assert left is None
                else:
                    # Aerospike counts a part of a second as a whole one.
                    assert left is not None
                    assert min(timeout, 315_360_000) - 60 <= left <= timeout + 1


def same(one: Any, other: Any) -> None:
    """Equal, and of one type: ``True`` is not 1."""
    assert type(one) is type(other)
    assert one == other or (isinstance(one, float) and math.isnan(one))


@pytest.mark.filterwarnings("ignore::django.core.cache.CacheKeyWarning")
def test_the_backend_does_what_a_dictionary_does(location: str) -> None:
    class Machine(Model):
        @staticmethod
        def new(prefix: str) -> EtcdAeroCache:
            return EtcdAeroCache(location, {"KEY_PREFIX": prefix, "TIMEOUT": None})

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=40,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.explicit, Phase.generate),  # to make a failure shorter takes minutes
        ),
    )
