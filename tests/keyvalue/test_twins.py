"""Whatever blocks because it asks the store exists for event loops, too: the same name after ``a``, and parameters."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any
from unittest.mock import Mock

import pytest

from django_etcdaero import keyvalue
from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.keyvalue import (
    KV,
    AsyncTransaction,
    Election,
    Engine,
    Leadership,
    Lease,
    Lock,
    Mirror,
    MonotonicReads,
    Observation,
    ReadLock,
    RWLock,
    Semaphore,
    Session,
    TemporaryKey,
    Transaction,
    Txn,
    Watch,
    WriteLock,
    administration,
    objects,
)
from django_etcdaero.keyvalue.administration import Auth, Cluster, Maintenance
from django_etcdaero.keyvalue.objects import Collection, LeasedObject, ObjectTxn, ObjectWatch
from django_etcdaero.system.blocking import ALLOWED_BY

ASK_NOTHING = {
    KV: (
        "open_watches abandon election lock monotonic_reads namespace object_txn objects open_engine rwlock semaphore"
        " txn"
    ),
    MonotonicReads: "see",
    Lock: "cancel check compare on_lost",
    Semaphore: "cancel check compare on_lost",
    ReadLock: "cancel check compare on_lost",
    WriteLock: "cancel check compare on_lost",
    RWLock: "read write",
    Election: "cancel check compare drop follow guard on_lost owns report_loss unfollow",
    Lease: "end on_lost subscribe take unsubscribe",
    Session: "abandon free on_lost reserve",
    TemporaryKey: "abort",
    Collection: "holds key version_of",
    ObjectTxn: "clear compare create delete touch update",
    LeasedObject: "on_end subscribe unsubscribe",
    Leadership: "check compare",
    Observation: "begin cancel elected feed lost",
    Txn: "otherwise request then when",
    Watch: "cancel",
    ObjectWatch: "cancel",
    Mirror: "close copy get items keys on_change values",
    Auth: "",
    Cluster: "",
    Maintenance: "endpoints",
}
"""Methods that neither block nor ask the store."""

TWO_CLASSES = {Transaction: AsyncTransaction}
"""What exists as a class for either form."""

NO_CALLS = {Engine}
"""The waist, which is no part of the client."""

PROTOCOLS = {
    KV: "start_watch",
    Election: "announce give_up take_the_lead",
    TemporaryKey: "create",
    LeasedObject: "create",
    Observation: "take",
    Mirror: "begin",
    Watch: "begin take",
    ObjectWatch: "begin take",
}
"""Protocols over steps, that other parts carry out in either form."""

OTHER_NAMES = {(Leadership, "wait"): "asleep", (LeasedObject, "wait"): "asleep"}
"""Where the ``a`` would make a word of the language."""

BOTH_STYLES = {(KV, "watch"): Watch, (Collection, "watch"): ObjectWatch, (Election, "observe"): Observation}
"""What the answer is used with ``for`` or ``async for`` of, so that no other method is needed."""

NOT_REFUSED = {
    (KV, "close"),  # what ends something is let through: it would stay
    (KV, "iterate"),  # when its first key is asked for
    (Election, "observe"),  # asks nothing yet
    (Observation, "next"),
    (KV, "txn_run"),  # its caller is
}
"""Blocking calls that an event loop does not have refused at once."""


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


@pytest.mark.usefixtures("_blocking_calls_in_event_loops")
@pytest.mark.parametrize(("cls", "name"), [each for each in blocking() if each not in NOT_REFUSED])
def test_what_blocks_is_refused_in_an_event_loop(cls: type, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method = getattr(cls, name)
    required = [
        each
        for each in inspect.signature(method).parameters.values()
        if each.default is each.empty and each.kind is not each.VAR_KEYWORD
    ]
    arguments = [Mock() for each in required if each.kind is not each.KEYWORD_ONLY]
    options = {each.name: Mock() for each in required if each.kind is each.KEYWORD_ONLY}

    async def main() -> None:
        method(*arguments, **options)

    monkeypatch.delenv(ALLOWED_BY)
    with pytest.raises(InvalidRequest, match="would block the event loop"):
        asyncio.run(main())


@pytest.mark.parametrize("cls", TWO_CLASSES)
def test_what_has_a_class_for_either_form_has_the_same_methods_in_both(cls: type) -> None:
    def public(of: type) -> set[str]:
        return {name for name, _ in inspect.getmembers(of, callable) if not name.startswith("_")}

    assert public(TWO_CLASSES[cls]) == {"anext" if name == "next" else name for name in public(cls)}
    for name in public(cls) - {"next"}:
        assert parameters(getattr(TWO_CLASSES[cls], name)) == parameters(getattr(cls, name)), name


def test_every_public_class_that_has_methods_is_looked_at() -> None:
    known = {*ASK_NOTHING, *TWO_CLASSES, *TWO_CLASSES.values(), *NO_CALLS}
    for package in (keyvalue, objects, administration):
        for name in package.__all__:
            cls = getattr(package, name)
            if inspect.isclass(cls) and cls not in known:
                found = [name for name, _ in inspect.getmembers(cls, inspect.isfunction) if not name.startswith("_")]
                waits = [
                    name for name in found if f"a{name}" in found or inspect.iscoroutinefunction(vars(cls).get(name))
                ]
                assert not waits, f"{cls.__name__}: {waits}"
