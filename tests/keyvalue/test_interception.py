from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from django_etcdaero.keyvalue import KV, Engine
from django_etcdaero.keyvalue.interception import interpose
from django_etcdaero.system.interposing import Around


def noting(notes: list[str], who: str) -> Around:
    @contextmanager
    def around(call: str, argument: Any) -> Iterator[None]:
        notes.append(f"{who} before {call} {getattr(argument, 'key', argument)!r}")
        yield
        notes.append(f"{who} after {call}")

    return around


@pytest.fixture
def kv(engine: Engine, at: Callable[[str], bytes]) -> Iterator[KV]:
    client = KV(engine, prefix=at(""))
    yield client
    client.close()


def test_a_call_runs_inside_what_stands_before_it_and_an_awaited_one_once(
    kv: KV, engine: Engine, at: Callable[[str], bytes]
) -> None:
    key = at("a")
    notes: list[str] = []
    end = interpose(engine, noting(notes, "it"))
    kv.put("a", "1")
    kv.get("a")
    asyncio.run(kv.aget("a"))
    assert notes == [f"it before put {key!r}", "it after put", *[f"it before range {key!r}", "it after range"] * 2]
    end()
    kv.put("a", "2")
    assert len(notes) == 6


@pytest.mark.parametrize("first_ends_first", [True, False])
def test_several_end_in_any_order(kv: KV, engine: Engine, first_ends_first: bool) -> None:
    notes: list[str] = []
    plain = dict(vars(engine))
    ends = [interpose(engine, noting(notes, who)) for who in ("one", "two")]
    kv.leases()
    assert notes == [
        "two before lease_list None",
        "one before lease_list None",
        "one after lease_list",
        "two after lease_list",
    ]
    notes.clear()
    ends.pop(0 if first_ends_first else 1)()
    kv.leases()
    left = "two" if first_ends_first else "one"
    assert notes == [f"{left} before lease_list None", f"{left} after lease_list"]
    ends.pop()()
    notes.clear()
    kv.leases()
    assert notes == []
    if not first_ends_first:
        assert {name for name in vars(engine) if callable(vars(engine)[name])} <= set(plain)


def test_its_refusal_is_what_the_caller_gets(kv: KV, engine: Engine) -> None:
    @contextmanager
    def refuse(call: str, argument: Any) -> Iterator[None]:
        raise ConnectionError(call)
        yield

    end = interpose(engine, refuse)
    with pytest.raises(ConnectionError, match="txn"):
        kv.txn().commit()
    end()
    kv.txn().commit()
