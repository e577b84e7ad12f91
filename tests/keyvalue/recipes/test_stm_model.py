"""Transactions in memory against a model, with other writers between any two of their steps."""

from __future__ import annotations

from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_etcdaero.keyvalue import KV, Isolation
from django_etcdaero.keyvalue.recipes.stm import Transaction

KEYS = ("a", "b", "c", "d")
Step: TypeAlias = tuple[str, ...]
State: TypeAlias = dict[str, str]

keys = st.sampled_from(KEYS)
reads = st.one_of(
    st.tuples(st.just("get"), keys),
    st.tuples(st.just("range"), st.sampled_from(("a", "b", "c")), st.sampled_from(("c", "d", "e"))),
)
writes = st.one_of(st.tuples(st.just("put"), keys), st.tuples(st.just("delete"), keys))
others = st.lists(st.tuples(st.integers(0, 5), writes), max_size=5)


def on_model(steps: list[Step], state: State) -> tuple[list[object], State]:
    """Run the steps on a dictionary: return what the reads saw, and the state afterwards."""
    state, seen = dict(state), []
    for number, (name, *arguments) in enumerate(steps):
        if name == "get":
            seen.append(state.get(arguments[0]))
        elif name == "range":
            seen.append({key: state[key] for key in sorted(state) if arguments[0] <= key < arguments[1]})
        elif name == "put":
            state[arguments[0]] = f"{number}: {seen}"
        else:
            state.pop(arguments[0], None)
    return seen, state


def on_transaction(tx: Transaction, number: int, step: Step, seen: list[object]) -> None:
    name, *arguments = step
    if name == "get":
        found = tx.get(arguments[0])
        seen.append(None if found is None else found.decode())
    elif name == "range":
        seen.append({key.decode(): value.decode() for key, value in tx.range(*arguments).items()})
    elif name == "put":
        tx.put(arguments[0], f"{number}: {seen}")
    else:
        tx.delete(arguments[0])


@pytest.mark.parametrize("isolation", [level for level in Isolation if level is not Isolation.READ_COMMITTED])
@given(
    initial=st.sets(keys),
    steps=st.lists(st.one_of(reads, reads, writes), min_size=1, max_size=6),
    interference=others,
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_committed_is_what_one_after_the_other_would_have_done(
    kv: KV, isolation: Isolation, initial: set[str], steps: list[Step], interference: list[tuple[int, Step]]
) -> None:
    kv.delete_range("", prefix=True, everything=True)
    for key in initial:
        kv.put(key, "initial")
    states: list[State] = [dict.fromkeys(initial, "initial")]  # after each change by others
    attempts = 0

    def change(number: int, step: Step) -> None:
        name, key = step
        state = dict(states[-1])
        if name == "put":
            state[key] = f"theirs, {number}"
            kv.put(key, state[key])
        else:
            state.pop(key, None)
            kv.delete(key)
        states.append(state)

    def function(tx: Transaction) -> list[object]:
        nonlocal attempts
        attempts += 1
        seen: list[object] = []
        for number, step in enumerate(steps):
            on_transaction(tx, number, step, seen)
            for count, (after, theirs) in enumerate(interference):
                if attempts == 1 and after == number:
                    change(count, theirs)
        return seen

    seen = kv.stm(function, isolation=isolation)
    stored = {found.key.decode(): found.value.decode() for found in kv.iterate("", prefix=True)}
    if any(name in ("put", "delete") for name, *_ in steps):
        assert (seen, stored) == on_model(steps, states[-1])
    else:
        assert stored == states[-1]
        assert seen in [on_model(steps, state)[0] for state in states]
