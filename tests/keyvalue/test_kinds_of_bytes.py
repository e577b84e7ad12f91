"""A key or a value of a subclass of ``bytes`` or ``str`` is what it holds, on every engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from django_etcdaero.keyvalue import KV, Engine, ops
from django_etcdaero.keyvalue.objects import Collection
from django_etcdaero.keyvalue.values import Compare, CompareOp, CompareTarget, PutRequest, RangeRequest, TxnRequest
from tests.keyvalue.objects.samples import ADA, Order


class Bytes(bytes):
    """As libraries of keys or hashes have them."""


class Text(str):
    """As Django's SafeString is one."""

    __slots__ = ()


@pytest.mark.parametrize("kind", [Bytes, lambda data: Text(data.decode())], ids=["bytes", "str"])
def test_the_client_takes_them(kv: KV, kind: Callable[[bytes], bytes]) -> None:
    key, value = kind(b"k"), kind(b"v")
    kv.put(key, value)
    kv.put(key, value, prev_kv=True)
    found = kv.get(key)
    assert found is not None
    assert (found.key, found.value) == (b"k", b"v")
    assert type(found.value) is bytes
    assert [each.key for each in kv.range(key, kind(b"l"))] == [b"k"]
    assert kv.txn().when(ops.value(key) == value).then(ops.put(kind(b"k2"), value)).commit()
    assert kv.test_and_set(key, value, kind(b"w"))
    kv.stm(lambda tx: tx.put(kind(b"k3"), value + tx.get(kind(b"k2"))) if isinstance(value, bytes) else None)
    assert kv.delete_range(key, prefix=True).deleted >= 2
    with kv.lock(kind(b"L")), kv.temporary_key(kind(b"t"), value), kv.namespace(kind(b"n/")).lock(kind(b"L")):
        assert kv.election(kind(b"E"), value=value).leader() is None
    orders = Collection(kv, Order, kind(b"orders/"))
    orders.create("1", ADA)
    assert len(orders.list()) == 1


def test_the_engine_takes_them(engine: Engine, at: Callable[[str], bytes]) -> None:
    key, value = Bytes(at("a")), Bytes(b"v")
    engine.put(PutRequest(key, value))
    assert engine.range(RangeRequest(key)).kvs[0].value == b"v"
    holds = Compare(key, CompareTarget.VALUE, CompareOp.EQUAL, value)
    assert engine.txn(TxnRequest([holds], [PutRequest(Bytes(at("b")), value)])).succeeded
