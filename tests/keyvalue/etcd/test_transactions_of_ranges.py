"""Transactions that only read have the answers and errors of etcd's own, although they are sent in another form."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from django_etcdaero.exceptions import Compacted, FutureRevision, InvalidRequest, PermissionDenied
from django_etcdaero.keyvalue import Engine
from django_etcdaero.keyvalue.administration import PermissionType
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.etcd.messages import wire
from django_etcdaero.keyvalue.values import (
    Compare,
    CompareOp,
    CompareTarget,
    Operation,
    PutRequest,
    RangeRequest,
    SortOrder,
    SortTarget,
    TxnRequest,
    TxnResult,
)
from tests.keyvalue.etcd.servers import Cluster, Server

At = Callable[[str], bytes]
Connect = Callable[..., EtcdEngine]
Commit = Callable[[Engine, TxnRequest], TxnResult]


def as_etcd_answers(engine: EtcdEngine, request: TxnRequest) -> TxnResult:
    """Send ``request`` as it is: harmless as long as there is time enough."""
    return wire.txn_result(engine._call("Txn", wire.txn_message(request), 20, repeat=True))


def blocking(engine: Engine, request: TxnRequest) -> TxnResult:
    return engine.txn(request, timeout=20)


def awaited(engine: Engine, request: TxnRequest) -> TxnResult:
    return asyncio.run(engine.atxn(request, timeout=20))


@pytest.fixture(params=[blocking, awaited])
def commit(request: pytest.FixtureRequest) -> Commit:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def sent(engine: EtcdEngine, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Every message of the engine, with the name of its call."""
    found: list[tuple[str, Any]] = []
    _, member = engine._balancer.pick()

    class Noted:
        def __init__(self, method: str, call: Any) -> None:
            self._method = method
            self._call = call

        def __call__(self, message: Any, *arguments: Any, **options: Any) -> Any:
            found.append((self._method, message))
            return self._call(message, *arguments, **options)

        def future(self, message: Any, *arguments: Any, **options: Any) -> Any:
            found.append((self._method, message))
            return self._call.future(message, *arguments, **options)

    for method in ("Range", "Txn"):
        monkeypatch.setitem(member.calls, method, Noted(method, member.calls[method]))
    return found


def version_of(key: bytes, op: CompareOp, version: int) -> Compare:
    return Compare(key, CompareTarget.VERSION, op, version)


@pytest.fixture
def keys(engine: EtcdEngine, at: At) -> list[bytes]:
    names = [at(f"{number:03}") for number in range(128)]
    for each in names:
        engine.put(PutRequest(each, b"1"))
    engine.put(PutRequest(names[1], b"2"))
    return names


def requests_of(keys: Sequence[bytes], revision: int) -> dict[str, TxnRequest]:
    everything = RangeRequest(keys[0], keys[-1] + b"\0")
    holds = version_of(keys[0], CompareOp.EQUAL, 1)
    fails = version_of(keys[0], CompareOp.GREATER, 1)
    gets = [RangeRequest(key) for key in keys]
    past = RangeRequest(keys[1], revision=revision)
    sorted_ = RangeRequest(
        keys[0], keys[4], limit=2, sort_order=SortOrder.DESCEND, sort_target=SortTarget.MOD, keys_only=True
    )
    return {
        "nothing": TxnRequest(),
        "only comparisons": TxnRequest([holds]),
        "only comparisons, not met": TxnRequest([fails]),
        "one key": TxnRequest((), gets[:1]),
        "a key that is not there": TxnRequest((), [RangeRequest(keys[0] + b"!")]),
        "two keys": TxnRequest((), gets[:2]),
        "the past first": TxnRequest((), [past, gets[1], everything]),
        "the past last": TxnRequest((), [gets[1], past]),
        "options": TxnRequest((), [sorted_, RangeRequest(keys[0], keys[9], count_only=True)]),
        "five keys": TxnRequest((), gets[:5]),
        "as many as the server allows": TxnRequest((), gets),
        "from any member": TxnRequest((), [RangeRequest(key, serializable=True) for key in keys[:9]]),
        "only the other branch": TxnRequest((), (), gets[:2]),
        "both branches": TxnRequest((), gets[:1], gets[:2]),
        "met": TxnRequest([holds], gets[:2], gets[2:3]),
        "not met": TxnRequest([fails], gets[:2], gets[2:5]),
        "not met, nothing to do": TxnRequest([fails], gets[:2]),
        "met, nothing to do": TxnRequest([holds], (), gets[:2]),
        "many comparisons": TxnRequest([holds] * 128, gets[:2], gets[2:5]),
        "all there is room for": TxnRequest([holds] * 128, gets, gets[:127]),
        "nested": TxnRequest((), [TxnRequest([holds], gets[:2], gets[2:3]), gets[0]]),
        "everything": TxnRequest((), [everything] * 3),
    }


@pytest.mark.parametrize("case", requests_of([b""] * 128, 0))
def test_answers_are_those_of_the_transaction(engine: EtcdEngine, keys: list[bytes], commit: Commit, case: str) -> None:
    first = engine.range(RangeRequest(keys[1])).kvs[0].create_revision
    request = requests_of(keys, first)[case]
    assert commit(engine, request) == as_etcd_answers(engine, request)


@pytest.mark.parametrize("case", requests_of([b""] * 128, 0))
def test_no_transaction_of_ranges_only_is_sent(
    engine: EtcdEngine, keys: list[bytes], sent: list[tuple[str, Any]], commit: Commit, case: str
) -> None:
    commit(engine, requests_of(keys, 0)[case])
    assert sent
    for method, message in sent:
        if method == "Txn":
            kinds = {part.WhichOneof("request") for part in (*message.success, *message.failure)}
            assert kinds != {"request_range"}


def test_few_keys_leave_nothing_in_the_log_of_the_server(
    engine: EtcdEngine, keys: list[bytes], sent: list[tuple[str, Any]], commit: Commit
) -> None:
    commit(engine, TxnRequest((), [RangeRequest(key) for key in keys[:4]]))
    assert [method for method, _ in sent] == ["Range"] * 4


def refused(keys: Sequence[bytes]) -> dict[str, tuple[list[Operation], type[Exception]]]:
    good, bad = RangeRequest(keys[0]), RangeRequest(b"")
    future, past = RangeRequest(keys[0], revision=1 << 50), RangeRequest(keys[0], revision=1)
    return {
        "no key": ([good, bad], InvalidRequest),
        "no key among many": ([*[good] * 9, bad], InvalidRequest),
        "too many": ([good] * 129, InvalidRequest),
        "the future": ([good, future], FutureRevision),
        "the future among many": ([*[good] * 9, future], FutureRevision),
        "compacted": ([past], Compacted),
        "compacted, second": ([good, past], Compacted),
        "compacted, among many": ([*[good] * 9, past], Compacted),
    }


@pytest.mark.parametrize("case", refused([b""]))
def test_errors_are_those_of_the_transaction(engine: EtcdEngine, keys: list[bytes], commit: Commit, case: str) -> None:
    engine.compact(engine.range(RangeRequest(keys[1])).kvs[0].mod_revision)
    operations, error = refused(keys)[case]
    with pytest.raises(error) as expected:
        as_etcd_answers(engine, TxnRequest((), operations))
    with pytest.raises(error) as caught:
        commit(engine, TxnRequest((), operations))
    assert str(caught.value) == str(expected.value)


@pytest.mark.parametrize("wrong", [{"revision": "7"}, {"revision": 1 << 64}, {"key": "a"}, {"limit": "1"}], ids=str)
def test_what_cannot_be_sent_is_refused_before_anything_is(
    engine: EtcdEngine, keys: list[bytes], sent: list[tuple[str, Any]], commit: Commit, wrong: dict[str, Any]
) -> None:
    bad = RangeRequest(**{"key": keys[0], **wrong})
    for request in (TxnRequest((), [RangeRequest(keys[0]), bad]), TxnRequest((), [bad] * 9)):
        with pytest.raises(InvalidRequest, match=next(iter(wrong))):
            commit(engine, request)
    assert not sent


@pytest.mark.parametrize("compactions", [1, 2, 100])
def test_a_compaction_between_two_ranges_is_survived(
    engine: EtcdEngine,
    keys: list[bytes],
    commit: Commit,
    monkeypatch: pytest.MonkeyPatch,
    connect: Connect,
    compactions: int,
) -> None:
    operator = connect([engine.endpoint])
    left = compactions
    _, member = engine._balancer.pick()
    original = member.calls["Range"]

    def compact_first(message: Any) -> None:
        nonlocal left
        if message.key == keys[1] and left:
            left -= 1
            operator.compact(operator.put(PutRequest(keys[2], b"3")).revision)

    class Disturbed:
        def __call__(self, message: Any, *arguments: Any, **options: Any) -> Any:
            compact_first(message)
            return original(message, *arguments, **options)

        def future(self, message: Any, *arguments: Any, **options: Any) -> Any:
            compact_first(message)
            return original.future(message, *arguments, **options)

    monkeypatch.setitem(member.calls, "Range", Disturbed())
    result = commit(engine, TxnRequest((), [RangeRequest(keys[2]), RangeRequest(keys[1])]))
    monkeypatch.undo()
    assert result == as_etcd_answers(engine, TxnRequest((), [RangeRequest(keys[2]), RangeRequest(keys[1])]))
    assert left == max(0, compactions - 3)


def test_ranges_are_of_one_revision_however_much_is_written_between_them(
    engine: EtcdEngine, keys: list[bytes], commit: Commit, monkeypatch: pytest.MonkeyPatch, connect: Connect
) -> None:
    writer = connect([engine.endpoint])
    _, member = engine._balancer.pick()
    original = member.calls["Range"]

    class Disturbed:
        def __call__(self, *arguments: Any, **options: Any) -> Any:
            answer = original(*arguments, **options)
            writer.txn(TxnRequest((), [PutRequest(key, b"new") for key in keys[:4]]))
            return answer

        def future(self, *arguments: Any, **options: Any) -> Any:
            writer.txn(TxnRequest((), [PutRequest(key, b"new") for key in keys[:4]]))
            return original.future(*arguments, **options)

    monkeypatch.setitem(member.calls, "Range", Disturbed())
    result = commit(engine, TxnRequest((), [RangeRequest(key) for key in keys[:4]]))
    values = {each.kvs[0].value for each in result.responses}  # type: ignore[union-attr]
    assert len(values) == 1 or values == {b"1", b"2"}
    assert {each.revision for each in result.responses} == {result.revision}


def test_permissions_hold(tmp_path: Path, connect: Connect, commit: Commit) -> None:
    with Server("guarded", tmp_path / "guarded").running() as server:
        operator = connect([server.endpoint])
        operator.put(PutRequest(b"open", b"1"))
        operator.put(PutRequest(b"secret", b"1"))
        auth = operator.auth
        for name in ("root", "app"):
            auth.user_add(name, password=name)
            auth.role_add(name)
            auth.user_grant_role(name, name)
        auth.role_grant_permission("app", "open", permission=PermissionType.READ)
        auth.enable()
        app = connect([server.endpoint], user="app", password="app")
        allowed, secret = RangeRequest(b"open"), RangeRequest(b"secret")
        holds = version_of(b"open", CompareOp.GREATER, 0)
        for ranges in ([allowed], [allowed] * 3, [allowed] * 9):
            assert len(commit(app, TxnRequest((), ranges)).responses) == len(ranges)
            assert len(commit(app, TxnRequest([holds], ranges)).responses) == len(ranges)
        for request in (
            TxnRequest((), [secret]),
            TxnRequest((), [allowed, secret]),
            TxnRequest((), [*[allowed] * 9, secret]),
            TxnRequest([holds], [secret]),
            TxnRequest([holds], [allowed], [secret]),
            TxnRequest([version_of(b"secret", CompareOp.GREATER, 0)], [allowed]),
        ):
            with pytest.raises(PermissionDenied):
                commit(app, request)


@pytest.mark.slow
def test_what_any_member_may_answer_needs_no_majority(cluster: Cluster, connect: Connect, commit: Commit) -> None:
    survivor, *others = cluster.members
    engine = connect([survivor.endpoint])
    engine.put(PutRequest(b"a", b"1"))
    for member in others:
        member.kill()
    ranges = [RangeRequest(b"a", serializable=True)] * 9
    result = commit(engine, TxnRequest((), ranges))
    assert [each.kvs[0].value for each in result.responses] == [b"1"] * 9  # type: ignore[union-attr]
