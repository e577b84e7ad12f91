"""Whatever blocks because it asks the store exists for event loops, too: the same name after ``a``, and parameters."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from django_etcdaero.keyvalue import KV, Election, Lease, Lock, MonotonicReads, Session, TemporaryKey, Watch
from django_etcdaero.keyvalue.objects import Collection, LeasedObject, ObjectTxn, ObjectWatch
from django_etcdaero.keyvalue.queue.election import Leadership
from django_etcdaero.keyvalue.queue.observation import Observation

ASK_NOTHING = {
    KV: "open_watches abandon election lock monotonic_reads namespace object_txn objects open_engine txn",
    MonotonicReads: "see",
    Lock: "cancel check compare on_lost",
    Election: "cancel check compare drop follow guard on_lost owns report_loss unfollow",
    Lease: "end on_lost subscribe take unsubscribe",
    Session: "abandon free on_lost reserve",
    TemporaryKey: "abort",
    Collection: "holds key version_of",
    ObjectTxn: "clear compare create delete touch update",
    LeasedObject: "on_end subscribe unsubscribe",
    Leadership: "check compare",
    Observation: "begin cancel elected feed lost",
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

BOTH_STYLES = {(KV, "watch"): Watch, (Collection, "watch"): ObjectWatch, (Election, "observe"): Observation}
"""What the answer is used with ``for`` or ``async for`` of, so that no other method is needed."""


def methods(cls: type) -> dict[str, Any]:
    found = inspect.getmembers(cls, inspect.isfunction)
    silent = f"{ASK_NOTHING[cls]} {PROTOCOLS.get(cls, '')}".split()
    return {name: method for name, method in found if not name.startswith("_") and name not in silent}


def blocking() -> list[tuple[type, str]]:
    return [
        (cls, name)
        for cls in ASK_NOTHING
        for name in methods(cls)
        if name not in OTHER_NAMES.values()
        and (cls, name) not in BOTH_STYLES
        and not (name[0] == "a" and name[1:] in methods(cls))
    ]


def parameters(method: Any) -> dict[str, tuple[Any, Any]]:
    return {each.name: (each.kind, each.default) for each in inspect.signature(method).parameters.values()}


@pytest.mark.parametrize(("cls", "name"), blocking())
def test_what_asks_the_store_has_a_twin_with_the_same_parameters(cls: type, name: str) -> None:
    method = getattr(cls, name)
    assert not inspect.iscoroutinefunction(method), "a twin of nothing"
    twin = getattr(cls, OTHER_NAMES.get((cls, name), f"a{name}"))
    assert parameters(twin) == parameters(method)
    assert inspect.iscoroutinefunction(twin) is (name != "iterate")


@pytest.mark.parametrize(("cls", "name"), BOTH_STYLES)
def test_what_is_followed_is_one_thing_for_both_styles(cls: type, name: str) -> None:
    assert not hasattr(cls, f"a{name}")
    followed = BOTH_STYLES[cls, name]
    for form in ("{0}", "a{0}"):
        for special in ("iter", "next", "enter", "exit"):
            assert hasattr(followed, f"__{form.format(special)}__")
        assert hasattr(followed, form.format("next"))


@pytest.mark.parametrize("cls", ASK_NOTHING)
def test_what_asks_nothing_exists(cls: type) -> None:
    for name in f"{ASK_NOTHING[cls]} {PROTOCOLS.get(cls, '')}".split():
        assert callable(getattr(cls, name))
        assert not hasattr(cls, f"a{name}"), name


@pytest.mark.parametrize("cls", PROTOCOLS)
def test_protocols_are_coroutine_functions(cls: type) -> None:
    assert all(inspect.iscoroutinefunction(getattr(cls, name)) for name in PROTOCOLS[cls].split())
