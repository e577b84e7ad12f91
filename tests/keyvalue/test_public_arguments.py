"""Whatever is passed to a public call is taken, or refused with one of the package's errors that names the argument.

The calls are found by walking over the public classes and their signatures, so a new one is tested as well.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import math
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from django_etcdaero.exceptions import EtcdAeroError, InvalidRequest, NotLeader
from django_etcdaero.keyvalue import KV, ops
from django_etcdaero.keyvalue.administration import Alarm, AlarmType, PermissionType
from django_etcdaero.keyvalue.arguments import (
    EndOptions,
    EventOptions,
    IterateOptions,
    PutOptions,
    RangeOptions,
    WatchOptions,
)
from django_etcdaero.keyvalue.embedded import EmbeddedEngine, drop_memory
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.objects.watch import FollowOptions
from django_etcdaero.keyvalue.queue.election import Leadership
from django_etcdaero.keyvalue.recipes.attempt import Attempt, Isolation
from django_etcdaero.keyvalue.recipes.contention import Contention
from django_etcdaero.keyvalue.recipes.stm import AsyncTransaction, Transaction

_numbers = itertools.count()


class KindOfBytes(bytes):
    """Bytes all the same."""


class KindOfText(str):
    """Text all the same."""

    __slots__ = ()


RUBBISH: dict[str, Any] = {
    "None": None,
    "object": object(),
    "text": "x",
    "empty": "",
    "surrogate": "\ud800",
    "negative": -1,
    "fraction": 1.5,
    "NaN": math.nan,
    "True": True,
    "bytes": b"\xff",
    "kind of bytes": KindOfBytes(b"x"),
    "kind of text": KindOfText("x"),
    "65 bits": 1 << 64,
    "huge": 10**30,
    "list": [1],
    "dict": {1: 2},
    "class": int,
    "function": lambda *_: None,
}
CALLED = {"function", "where", "callback", "decode", "predicate", "progress", "types"}
"""Arguments that are called: what a function that is given goes wrong with is its own error."""
WAITS = {"None", "fraction", "65 bits", "huge"}
"""What ``timeout`` may be, and would take its time."""


@dataclass
class Order:
    """What collections keep."""

    number: int = 0


VALID: dict[str, Callable[[KV], Any]] = {
    "alarm": lambda kv: Alarm(1, AlarmType.NOSPACE),
    "callback": lambda kv: lambda item: None,
    "collection": lambda kv: kv.objects(Order, "orders/"),
    "endpoint": lambda kv: "127.0.0.1:1",
    "expected": lambda kv: None,
    "function": lambda kv: lambda *_: Order(),
    "id": lambda kv: 7,
    "key": lambda kv: "k",
    "limit": lambda kv: 2,
    "member_id": lambda kv: 1,
    "name": lambda kv: f"name-{next(_numbers)}",
    "path": lambda kv: "/dev/null/none",
    "password": lambda kv: "secret",
    "peer_urls": lambda kv: ["http://127.0.0.1:1"],
    "permission": lambda kv: PermissionType.READ,
    "predicate": lambda kv: lambda contents: True,
    "prefix": lambda kv: "p/",
    "revision": lambda kv: 1,
    "role": lambda kv: "r",
    "start": lambda kv: "k",
    "timeout": lambda kv: 0.05,
    "token": lambda kv: 1,
    "ttl": lambda kv: 10,
    "types": lambda kv: Order,
    "user": lambda kv: "u",
    "value": lambda kv: "v",
}
"""A value for each argument that has no default, and for all that would wait."""

NAMES = {
    "start": "key|start",
    "types": "type|class",
    "name": "name|key",
    "compares": "condition",
    "operations": "transaction is made of",
}
"""Other words for an argument in errors."""


def of_a_collection(kv: KV) -> Any:
    return kv.objects(Order, "orders/")


OPTIONS: dict[str, dict[str, Any]] = {
    f"Unpack[{name}]": options.__annotations__
    for name, options in {
        "EndOptions": EndOptions,
        "FollowOptions[T]": FollowOptions,
        "IterateOptions": IterateOptions,
        "PutOptions": PutOptions,
        "RangeOptions": RangeOptions,
        "EventOptions": EventOptions,
        "WatchOptions": WatchOptions,
    }.items()
}
"""What ``**options`` may be, by their annotation."""

_NEVER = {"object", "NaN", "list", "dict", "class"}
_NUMBERS = {"negative", "fraction", "True", "65 bits", "huge"}
_TEXTS = {"text", "empty", "surrogate", "kind of text"}
_BYTES = {"bytes", "kind of bytes"}
REFUSED: dict[str, set[str]] = {
    "bool": _NEVER | _NUMBERS - {"True"} | _TEXTS | _BYTES | {"function"},
    "int": _NEVER | _TEXTS | _BYTES | {"function", "fraction", "True"},
    "LeaseRef": _NEVER | _TEXTS | _BYTES | {"function", "fraction", "True", "65 bits", "huge"},
    "float": _NEVER | _TEXTS | _BYTES | {"function", "True"},
    "Text": _NEVER | _NUMBERS | {"function", "surrogate"},
    "str": _NEVER | _NUMBERS | _BYTES | {"function", "surrogate"},
    "Callable": _NEVER - {"class"} | _NUMBERS | _TEXTS | _BYTES,
    "ToldOf": _NEVER - {"class"} | _NUMBERS | _TEXTS | _BYTES,
    "Mapping": _NEVER - {"dict"} | _NUMBERS | _TEXTS | _BYTES | {"function"},
}
"""What is never a value of a type, by how the annotation begins; and ``None``, unless the annotation has it."""


def must_be_refused(annotation: str) -> set[str]:
    """Return the kinds of rubbish that an argument with this annotation cannot be."""
    kinds = next((found for name, found in REFUSED.items() if re.match(rf"{name}\b(?! \| os)", annotation)), set[str]())
    return kinds if not kinds or annotation.endswith("None") else kinds | {"None"}


@dataclass(frozen=True)
class Surface:
    """A public class."""

    make: Callable[[KV], Any]
    internal: frozenset[str] = frozenset()
    """Methods for the other parts of the client."""
    valid: dict[str, Callable[[KV], Any]] = field(default_factory=dict)
    """Arguments that are others here."""


def leading(kv: KV) -> Leadership:
    election = kv.election(f"E-{next(_numbers)}")
    election.campaign(timeout=10)
    return Leadership(election, threading.Event())


SURFACES: dict[str, Surface] = {
    "KV": Surface(lambda kv: kv, frozenset({"start_watch", "txn_run", "atxn_run"})),
    "Txn": Surface(lambda kv: kv.txn()),
    "ops": Surface(lambda kv: ops, frozenset({"found", "deleted", "replaced"})),
    "Collection": Surface(of_a_collection, valid={"value": lambda kv: Order()}),
    "ObjectTxn": Surface(
        lambda kv: kv.object_txn().create(of_a_collection(kv), f"name-{next(_numbers)}", Order()),
        valid={"value": lambda kv: Order()},
    ),
    "LeasedObject": Surface(
        lambda kv: of_a_collection(kv).leased(f"leased-{next(_numbers)}", Order()),
        frozenset({"create", "subscribe", "unsubscribe"}),
    ),
    "ObjectWatch": Surface(lambda kv: of_a_collection(kv).watch(), frozenset({"take"})),
    "Lock": Surface(lambda kv: kv.lock(f"L-{next(_numbers)}")),
    "Semaphore": Surface(lambda kv: kv.semaphore(f"S-{next(_numbers)}", 2)),
    "ReadLock": Surface(lambda kv: kv.rwlock(f"R-{next(_numbers)}").read()),
    "WriteLock": Surface(lambda kv: kv.rwlock(f"W-{next(_numbers)}").write()),
    "RWLock": Surface(lambda kv: kv.rwlock(f"RW-{next(_numbers)}")),
    "Election": Surface(
        lambda kv: kv.election(f"E-{next(_numbers)}"),
        frozenset({"announce", "follow", "owns", "report_loss", "take_the_lead", "unfollow"}),
    ),
    "Leadership": Surface(leading),
    "Observation": Surface(
        lambda kv: kv.election(f"E-{next(_numbers)}").observe(), frozenset({"elected", "feed", "resigned", "take"})
    ),
    "Transaction": Surface(lambda kv: Transaction(kv, Attempt(Isolation.SERIALIZABLE), Contention("it", timeout=9))),
    "AsyncTransaction": Surface(
        lambda kv: AsyncTransaction(kv, Attempt(Isolation.SERIALIZABLE), Contention("it", timeout=9))
    ),
    "TemporaryKey": Surface(lambda kv: kv.temporary_key(f"T-{next(_numbers)}"), frozenset({"create"})),
    "Mirror": Surface(lambda kv: kv.mirror("m/"), frozenset({"begin", "get"})),
    "Lease": Surface(lambda kv: kv.lease(60), frozenset({"end", "subscribe", "take", "unsubscribe"})),
    "Session": Surface(lambda kv: kv.session(60), frozenset({"free", "reserve"})),
    "Watch": Surface(lambda kv: kv.watch("k"), frozenset({"begin", "take", "told"})),
    "Auth": Surface(lambda kv: kv.auth),
    "Cluster": Surface(lambda kv: kv.cluster),
    "Maintenance": Surface(lambda kv: kv.maintenance),
}
ON_SERVERS = {"Auth", "Cluster", "Maintenance"}


@pytest.fixture
def kv(surface: str) -> Iterator[KV]:
    name = f"surface-{next(_numbers)}"
    engine = EtcdEngine(["127.0.0.1:1"], timeout=0.001) if surface in ON_SERVERS else EmbeddedEngine.memory(name)
    client = KV(engine, prefix="app/")
    yield client
    client.close()
    engine.close()
    drop_memory(name)


def calls(thing: Any, internal: frozenset[str]) -> Iterator[tuple[str, inspect.Signature]]:
    for name in dir(thing):
        public = not name.startswith("_") and name not in internal
        if public and callable(inspect.getattr_static(thing, name)) and inspect.isroutine(getattr(thing, name)):
            call = getattr(thing, name)
            if not inspect.ismodule(thing) or call.__module__ == thing.__name__:
                yield name, inspect.signature(call)


def parameters(method: Any, signature: inspect.Signature) -> dict[str, inspect.Parameter]:
    """Return the parameters of a call, those of ``**options: Unpack[...]`` each by its name."""
    found = {}
    for name, each in signature.parameters.items():
        if each.kind is each.VAR_KEYWORD:
            for option, kind in OPTIONS[each.annotation].items():
                found[option] = inspect.Parameter(
                    option, each.KEYWORD_ONLY, default=None, annotation=kind.__forward_arg__
                )
        else:
            found[name] = each
    return found


def outcome(
    kv: KV,
    surface: Surface,
    name: str,
    given: dict[str, inspect.Parameter],
    wrong: str,
    value: Any,
    *,
    refused: bool,
) -> str:
    """Make a call with one argument that is rubbish; return what is wrong about the answer, if anything."""
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for each in given.values():
        required = each.default is each.empty and each.kind is not each.VAR_POSITIONAL
        if each.name == wrong:
            argument = value
        elif required or each.name == "timeout":
            argument = (surface.valid if each.name in surface.valid else VALID)[each.name](kv)
        else:
            continue
        if each.kind in (each.POSITIONAL_ONLY, each.VAR_POSITIONAL):
            positional.append(argument)
        else:
            named[each.name] = argument
    thing = surface.make(kv)
    try:
        answer = getattr(thing, name)(*positional, **named)
        if inspect.iscoroutine(answer):
            asyncio.run(asyncio.wait_for(answer, 10))
    except InvalidRequest as error:
        words = NAMES.get(wrong, wrong.removesuffix("s")).split("|")
        return "" if any(word in str(error) for word in words) else f"is not named: {error}"
    except NotLeader:  # which comes first of all
        return ""
    except EtcdAeroError as error:
        answer = error
    except OSError:
        return "" if name.endswith("snapshot") else "is an error of the system"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return f"is not refused: {answer!r}" if refused else ""


@pytest.mark.slow
@pytest.mark.parametrize("surface", SURFACES)
def test_rubbish_is_taken_or_refused_by_name(kv: KV, surface: str) -> None:
    described = SURFACES[surface]
    thing = described.make(kv)
    found = []
    for name, signature in calls(thing, described.internal):
        given = parameters(getattr(thing, name), signature)
        for argument, described_as in given.items():
            refused = must_be_refused(str(described_as.annotation))
            for kind, value in RUBBISH.items():
                if (argument in CALLED and callable(value)) or (argument == "timeout" and kind in WAITS):
                    continue
                wrong = outcome(kv, described, name, given, argument, value, refused=kind in refused)
                if wrong:
                    found.append(f"{surface}.{name}({argument}={kind}) {wrong}")
    assert found == []
