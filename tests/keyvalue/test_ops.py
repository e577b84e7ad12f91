from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.keyvalue import KV, Engine, ops
from django_etcdaero.keyvalue.values import PutResult, RangeResult, TxnResult


@pytest.fixture
def kv(engine: Engine, at: Callable[[str], bytes]) -> Iterator[KV]:
    client = KV(engine, prefix=at("app/"))
    yield client
    client.close()


def holds(kv: KV, *compares) -> bool:
    return kv.txn().when(*compares).commit().succeeded


def test_then_runs_if_all_conditions_hold_and_otherwise_if_not(kv: KV) -> None:
    create = kv.txn().when(ops.version("a") == 0, ops.version("b") == 0).then(ops.put("a", "1")).otherwise(ops.get("a"))
    assert create.commit().succeeded
    second = create.commit()
    assert not second.succeeded
    found = second.responses[0]
    assert isinstance(found, RangeResult)
    assert [(each.key, each.value) for each in found.kvs] == [(b"a", b"1")]


def test_the_four_operators(kv: KV) -> None:
    kv.put("k", "m")
    for smaller, same, greater in ((b"l", "m", "n"), ("a", b"m", b"z")):
        assert holds(kv, ops.value("k") == same)
        assert holds(kv, ops.value("k") != greater, ops.value("k") > smaller, ops.value("k") < greater)
        assert not holds(kv, ops.value("k") != same)
        assert not holds(kv, ops.value("k") > same)
        assert not holds(kv, ops.value("k") < same)
        assert not holds(kv, ops.value("k") == smaller)


def test_a_condition_is_neither_true_nor_false(kv: KV) -> None:
    kv.put("n", "1")
    with pytest.raises(TypeError, match="when"):
        kv.txn().when(5 < ops.version("n") < 10)
    with pytest.raises(TypeError, match="when"):
        kv.txn().when(ops.version("n") == 1 and ops.value("n") == "2")
    assert not kv.txn().when(ops.version("n") > 5, ops.version("n") < 10).commit().succeeded


def test_every_subject_looks_at_what_it_says(kv: KV) -> None:
    lease = kv.lease(60)
    created = kv.put("k", "1").revision
    changed = kv.put("k", "2", lease=lease).revision
    assert holds(
        kv,
        ops.value("k") == "2",
        ops.version("k") == 2,
        ops.create_revision("k") == created,
        ops.mod_revision("k") == changed,
        ops.lease_of("k") == lease,
        ops.lease_of("k") == lease.id,
    )
    assert not holds(kv, ops.create_revision("k") == changed)
    lease.revoke()


def test_a_missing_key_counts_as_zero_and_has_no_value(kv: KV) -> None:
    assert holds(kv, ops.version("k") == 0, ops.create_revision("k") == 0, ops.lease_of("k") == 0)
    assert not holds(kv, ops.value("k") != "x")


def test_a_condition_on_a_range_must_hold_for_every_key_of_the_namespace_in_it(
    kv: KV, engine: Engine, at: Callable[[str], bytes]
) -> None:
    KV(engine, prefix=at("apq")).put("other", "not ours")
    for key in ("a/1", "a/2", "b"):
        kv.put(key, "x")
    assert holds(kv, ops.value("a/", prefix=True) == "x", ops.value("", prefix=True) == "x")
    assert holds(kv, ops.value("a/1", "b") == "x", ops.version("a/", b"\0") == 1)
    kv.put("a/2", "y")
    assert not holds(kv, ops.value("a/", prefix=True) == "x")
    assert holds(kv, ops.create_revision("c/", prefix=True) == 0)


def test_a_transaction_inside_a_transaction_has_the_prefix_too(
    kv: KV, engine: Engine, at: Callable[[str], bytes]
) -> None:
    inner = kv.txn().when(ops.version("n") == 0).then(ops.put("n", "1"), ops.get("n"))
    result = kv.txn().then(ops.put("o", "1"), inner).commit()
    answer = result.responses[1]
    assert isinstance(answer, TxnResult)
    assert answer.succeeded
    found = answer.responses[1]
    assert isinstance(found, RangeResult)
    assert found.kvs[0].key == b"n"
    assert {each.key for each in KV(engine).range(at(""), prefix=True).kvs} == {at("app/o"), at("app/n")}


def test_answers_have_the_prefix_taken_off(kv: KV) -> None:
    kv.put("a", "1")
    kv.put("d/1", "1")
    put, deleted, found = (
        (kv.txn().then(ops.put("a", "2", prev_kv=True), ops.delete("d/", prefix=True, prev_kv=True), ops.get("a", "b")))
        .commit()
        .responses
    )
    assert isinstance(put, PutResult)
    assert put.prev_kv is not None
    assert put.prev_kv.key == b"a"
    assert deleted.prev_kvs[0].key == b"d/1"  # type: ignore[union-attr]
    assert [each.key for each in found.kvs] == [b"a"]  # type: ignore[union-attr]


def test_one_transaction_is_one_revision(kv: KV) -> None:
    before = kv.put("x", "").revision
    result = kv.txn().then(ops.put("a", "1"), ops.put("b", "2"), ops.delete("x")).commit()
    assert result.revision == before + 1
    assert {found.mod_revision for found in kv.range("", prefix=True).kvs} == {before + 1}


def test_conditions_and_operations_add_up(kv: KV) -> None:
    kv.put("a", "1")
    builder = kv.txn().when(ops.version("a") == 1).when(ops.value("a") == "2").then(ops.put("b")).then(ops.put("c"))
    assert not builder.commit().succeeded
    assert len(builder.request().success) == 2
    assert len(builder.request().compares) == 2


@pytest.mark.parametrize(
    "mistake",
    [
        lambda kv: ops.version("a") == "1",
        lambda kv: ops.value("a") == 1,
        lambda kv: ops.version("a") == True,  # noqa: E712
        lambda kv: ops.mod_revision("a") == None,  # noqa: E711
        lambda kv: ops.version("") == 0,
        lambda kv: kv.txn().when(True),
        lambda kv: kv.txn().then("a"),
        lambda kv: kv.txn().then(ops.version("a") == 0),
    ],
)
def test_mistakes_are_told_at_once(kv: KV, mistake) -> None:
    with pytest.raises(InvalidRequest):
        mistake(kv)
