"""Each error of a store says the status that etcd gives for it, on every engine."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest

from django_etcdaero import exceptions
from django_etcdaero.exceptions import EtcdAeroError, StatusCode
from django_etcdaero.keyvalue import Engine
from django_etcdaero.keyvalue.values import DeleteRequest, PutRequest, RangeRequest, TxnRequest

FAR = 1 << 60


def compact_twice(engine: Engine) -> None:
    revision = engine.put(PutRequest(b"compacted", b"1")).revision
    engine.compact(revision)
    engine.compact(revision)


def grant_twice(engine: Engine) -> None:
    engine.lease_grant(60, lease_id=77)
    try:
        engine.lease_grant(60, lease_id=77)
    finally:
        engine.lease_revoke(77)


REFUSED: dict[str, tuple[StatusCode, Callable[[Engine], object]]] = {
    "no key": (StatusCode.INVALID_ARGUMENT, lambda engine: engine.put(PutRequest(b"none", ignore_value=True))),
    "no key, in a transaction": (
        StatusCode.INVALID_ARGUMENT,
        lambda engine: engine.txn(TxnRequest(success=[PutRequest(b"none", b"1", ignore_lease=True)])),
    ),
    "no lease": (StatusCode.NOT_FOUND, lambda engine: engine.put(PutRequest(b"a", b"1", lease=123456))),
    "no lease to revoke": (StatusCode.NOT_FOUND, lambda engine: engine.lease_revoke(123456)),
    "no lease to renew": (StatusCode.NOT_FOUND, lambda engine: engine.lease_keep_alive(123456)),
    "a lease of that id": (StatusCode.FAILED_PRECONDITION, grant_twice),
    "a future revision": (StatusCode.OUT_OF_RANGE, lambda engine: engine.range(RangeRequest(b"a", revision=FAR))),
    "a future compaction": (StatusCode.OUT_OF_RANGE, lambda engine: engine.compact(FAR)),
    "a compacted revision": (StatusCode.OUT_OF_RANGE, compact_twice),
    "an empty key": (StatusCode.INVALID_ARGUMENT, lambda engine: engine.range(RangeRequest(b""))),
    "a key twice": (
        StatusCode.INVALID_ARGUMENT,
        lambda engine: engine.txn(TxnRequest(success=[PutRequest(b"a", b"1"), DeleteRequest(b"a")])),
    ),
    "too many operations": (
        StatusCode.INVALID_ARGUMENT,
        lambda engine: engine.txn(TxnRequest(success=[RangeRequest(b"a")] * 129)),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_has_the_status_that_etcd_gives(engine: Engine, case: str) -> None:
    code, call = REFUSED[case]
    with pytest.raises(EtcdAeroError) as refused:
        call(engine)
    assert refused.value.code is code
    assert refused.value.code == code.name  # as text, too


def test_a_closed_engine_has_one_as_well(engine: Engine) -> None:
    engine.close()
    with pytest.raises(exceptions.Cancelled) as closed:
        engine.range(RangeRequest(b"a"))
    assert closed.value.code is StatusCode.CANCELLED


def test_what_no_store_says_has_none_and_a_status_is_kept_in_a_pickle() -> None:
    assert exceptions.DatasetStale("old").code is None
    assert exceptions.KeyExists("there").code is None
    error = exceptions.KeyNotFound("gone").with_code(StatusCode.NOT_FOUND)
    assert pickle.loads(pickle.dumps(error)).code is StatusCode.NOT_FOUND
    assert exceptions.KeyNotFound("gone").with_code(None).code is None


def test_there_is_one_for_each_of_grpc() -> None:
    grpc = pytest.importorskip("grpc")
    assert {code.name for code in StatusCode} == {code.name for code in grpc.StatusCode} - {"OK"}
