"""Whatever blocks because it asks the store exists for event loops, too: the same name after ``a``, and parameters."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from django_etcdaero.keyvalue import KV, Election, Lease, Lock, ReadLock, RWLock, Semaphore, Session, TemporaryKey
from django_etcdaero.keyvalue.objects import Collection, LeasedObject, ObjectTxn
from django_etcdaero.keyvalue.queue.election import Leadership
from django_etcdaero.keyvalue.queue.observation import Observation

ASK_NOTHING = {
    KV: "open_watches abandon election lock namespace object_txn objects open_engine rwlock semaphore txn",
    Lock: "check compare on_lost",
    Semaphore: "check compare on_lost",
    ReadLock: "check compare on_lost",
    RWLock: "read write",
    Election: "compare drop follow guard on_lost owns report_loss unfollow",
    Lease: "end on_lost subscribe take unsubscribe",
    Session: "abandon free on_lost reserve",
    TemporaryKey: "abort",
    Collection: "holds key version_of",
    ObjectTxn: "clear compare create delete touch update",
    LeasedObject: "on_end subscribe unsubscribe",
    Leadership: "check compare",
    Observation: "cancel elected feed lost",
}
"""Methods that neither block nor ask the store."""

PROTOCOLS = {
    KV: "start_watch",
    Election: "announce give_up take_the_lead",
    TemporaryKey: "create",
    LeasedObject: "create",
    Observation: "take",
}
"""Protocols over steps, that other parts carry out in either form."""

OTHER_NAMES = {(Leadership, "wait"): "asleep", (LeasedObject, "wait"): "asleep"}
"""Where the ``a`` would make a word of the language."""

LEFT_OUT = {(KV, "watch"): {"callback"}, (Election, "observe"): {"callback"}}
"""Parameters that make no sense where events are awaited."""


def methods(cls: type) -> dict[str, Any]:
    found = inspect.getmembers(cls, inspect.isfunction)
    silent = f"{ASK_NOTHING[cls]} {PROTOCOLS.get(cls, '')}".split()
    return {name: method for name, method in found if not name.startswith("_") and name not in silent}


def blocking() -> list[tuple[type, str]]:
    return [
        (cls, name)
        for cls in ASK_NOTHING
        for name in methods(cls)
        if name not in OTHER_NAMES.values() and not (name[0] == "a" and name[1:] in methods(cls))
    ]


def parameters(method: Any) -> dict[str, tuple[Any, Any]]:
    return {each.name: (each.kind, each.default) for each in inspect.signature(method).parameters.values()}


@pytest.mark.parametrize(("cls", "name"), blocking())
def test_what_asks_the_store_has_a_twin_with_the_same_parameters(cls: type, name: str) -> None:
    method = getattr(cls, name)
    assert not inspect.iscoroutinefunction(method), "a twin of nothing"
    twin = getattr(cls, OTHER_NAMES.get((cls, name), f"a{name}"))
    left_out = LEFT_OUT.get((cls, name), set())
    assert parameters(twin) == {key: each for key, each in parameters(method).items() if key not in left_out}
    gives_an_iterator = name in ("watch", "observe", "iterate")
    assert inspect.iscoroutinefunction(twin) is not gives_an_iterator


@pytest.mark.parametrize("cls", ASK_NOTHING)
def test_what_asks_nothing_exists(cls: type) -> None:
    for name in f"{ASK_NOTHING[cls]} {PROTOCOLS.get(cls, '')}".split():
        assert callable(getattr(cls, name))
        assert not hasattr(cls, f"a{name}"), name


@pytest.mark.parametrize("cls", PROTOCOLS)
def test_protocols_are_coroutine_functions(cls: type) -> None:
    assert all(inspect.iscoroutinefunction(getattr(cls, name)) for name in PROTOCOLS[cls].split())
