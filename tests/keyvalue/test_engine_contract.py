"""What every engine does with keys, ranges, transactions and compaction."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from django_etcdaero.exceptions import Compacted, FutureRevision, InvalidRequest, KeyNotFound, LeaseNotFound
from django_etcdaero.keyvalue.engine import Engine
from django_etcdaero.keyvalue.values import (
    Compare,
    CompareOp,
    CompareTarget,
    DeleteRequest,
    KeyValue,
    PutRequest,
    RangeRequest,
    RangeResult,
    SortOrder,
    SortTarget,
    TxnRequest,
    TxnResult,
)

pytestmark = pytest.mark.engine_contract

At = Callable[[str], bytes]
UNUSED_LEASE = 987654321987


def now(engine: Engine) -> int:
    return engine.range(RangeRequest(b"contract")).revision


def put(engine: Engine, key: bytes, value: bytes = b"v") -> int:
    return engine.put(PutRequest(key, value)).revision


def get(engine: Engine, key: bytes, *, revision: int = 0) -> KeyValue | None:
    kvs = engine.range(RangeRequest(key, revision=revision)).kvs
    return kvs[0] if kvs else None


def names(result: RangeResult) -> str:
    return "".join(kv.key.decode().rpartition("/")[2] for kv in result.kvs)


# revisions and versions ----------------------------------------------------------------------------------------------


def test_each_put_is_one_revision_even_with_the_same_value(engine: Engine, at: At) -> None:
    start = now(engine)
    assert put(engine, at("a")) == start + 1
    assert put(engine, at("a")) == start + 2
    assert get(engine, at("a")) == KeyValue(at("a"), b"v", start + 1, start + 2, 2, 0)


def test_a_key_put_again_after_deletion_begins_at_version_one(engine: Engine, at: At) -> None:
    put(engine, at("a"))
    put(engine, at("a"))
    engine.delete_range(DeleteRequest(at("a")))
    revision = put(engine, at("a"))
    assert get(engine, at("a")) == KeyValue(at("a"), b"v", revision, revision, 1, 0)


def test_deleting_nothing_is_no_revision_and_deleting_many_is_one(engine: Engine, at: At) -> None:
    start = now(engine)
    assert engine.delete_range(DeleteRequest(at("a"), at("z"))) == (0, (), start)
    for name in "abc":
        put(engine, at(name))
    result = engine.delete_range(DeleteRequest(at("a"), at("c"), prev_kv=True))
    assert (result.deleted, result.revision) == (2, start + 4)
    assert [kv.key for kv in result.prev_kvs] == [at("a"), at("b")]
    assert names(engine.range(RangeRequest(at(""), at("~")))) == "c"


def test_put_gives_the_previous_value_when_asked(engine: Engine, at: At) -> None:
    assert engine.put(PutRequest(at("a"), b"1", prev_kv=True)).prev_kv is None
    before = engine.put(PutRequest(at("a"), b"2", prev_kv=True)).prev_kv
    assert before is not None
    assert before.value == b"1"
    assert engine.put(PutRequest(at("a"), b"3")).prev_kv is None


def test_ignore_value_keeps_the_value_and_ignore_lease_the_lease(engine: Engine, at: At) -> None:
    lease = engine.lease_grant(60).id
    engine.put(PutRequest(at("a"), b"1", lease=lease))
    engine.put(PutRequest(at("a"), b"2", ignore_lease=True))
    engine.put(PutRequest(at("a"), ignore_value=True, lease=lease))
    kv = get(engine, at("a"))
    assert kv is not None
    assert (kv.value, kv.lease, kv.version) == (b"2", lease, 3)
    engine.put(PutRequest(at("a"), b"3"))
    assert engine.lease_time_to_live(lease, keys=True).keys == ()
    engine.lease_revoke(lease)
    assert get(engine, at("a")) is not None


@pytest.mark.parametrize(
    ("request_", "error", "text"),
    [
        (PutRequest(b""), InvalidRequest, "key is not provided"),
        (PutRequest(b"contract-none", ignore_value=True), KeyNotFound, "key not found"),
        (PutRequest(b"contract-none", ignore_lease=True), KeyNotFound, "key not found"),
        (PutRequest(b"contract-none", b"v", ignore_value=True), InvalidRequest, "value is provided"),
        (PutRequest(b"contract-none", lease=7, ignore_lease=True), InvalidRequest, "lease is provided"),
        (PutRequest(b"contract-none", lease=UNUSED_LEASE), LeaseNotFound, "requested lease not found"),
        (PutRequest(b"contract-none", lease=UNUSED_LEASE, ignore_value=True), LeaseNotFound, "lease not found"),
        (PutRequest(b"contract-none", b"x" * (3 << 19)), InvalidRequest, "request is too large"),
    ],
)
def test_a_bad_put_is_refused_and_changes_nothing(
    engine: Engine, request_: PutRequest, error: type[Exception], text: str
) -> None:
    start = now(engine)
    with pytest.raises(error, match=text):
        engine.put(request_)
    assert now(engine) == start


def test_a_value_of_almost_the_largest_request_is_kept(engine: Engine, at: At) -> None:
    value = bytes(range(256)) * 6100
    put(engine, at("a"), value)
    kv = get(engine, at("a"))
    assert kv is not None
    assert kv.value == value


# ranges --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def letters(engine: Engine, at: At) -> dict[str, int]:
    """Keys a to e, put in the order c a e b d with falling values; a twice. Gives the revision of each put."""
    revisions = {name: put(engine, at(name), b"%d" % (5 - n)) for n, name in enumerate("caebd")}
    revisions["a2"] = put(engine, at("a"), b"4")
    return revisions


@pytest.mark.usefixtures("letters")
def test_range_is_sorted_by_key_and_half_open(engine: Engine, at: At) -> None:
    assert names(engine.range(RangeRequest(at("a"), at("e")))) == "abcd"
    assert names(engine.range(RangeRequest(at("b"), at("b")))) == ""
    assert names(engine.range(RangeRequest(at("c"), at("b")))) == ""
    assert names(engine.range(RangeRequest(at("c"), b"\0", limit=3))) == "cde"


@pytest.mark.parametrize(
    ("target", "ascending"),
    [
        (SortTarget.KEY, "abcde"),
        (SortTarget.CREATE, "caebd"),
        (SortTarget.MOD, "cebda"),
        (SortTarget.VALUE, "dbeac"),
    ],
)
@pytest.mark.usefixtures("letters")
def test_sorting_comes_before_the_limit(engine: Engine, at: At, target: SortTarget, ascending: str) -> None:
    def order(sort: SortOrder, limit: int = 0) -> str:
        return names(
            engine.range(
                RangeRequest(at("a"), at("z"), sort_order=sort, sort_target=target, limit=limit, keys_only=True)
            )
        )

    assert order(SortOrder.ASCEND) == order(SortOrder.NONE) == ascending
    assert order(SortOrder.DESCEND) == ascending[::-1]
    assert order(SortOrder.DESCEND, 2) == ascending[::-1][:2]
    assert order(SortOrder.NONE, 2) == ascending[:2]


@pytest.mark.usefixtures("letters")
def test_count_ignores_the_limit_and_more_tells_of_it(engine: Engine, at: At) -> None:
    result = engine.range(RangeRequest(at("a"), at("z"), limit=2))
    assert (names(result), result.more, result.count) == ("ab", True, 5)
    result = engine.range(RangeRequest(at("a"), at("z"), limit=5))
    assert (names(result), result.more, result.count) == ("abcde", False, 5)
    result = engine.range(RangeRequest(at("a"), at("z"), count_only=True, limit=2))
    assert (result.kvs, result.more, result.count) == ((), False, 5)


def test_revision_bounds_filter_keys_but_not_the_count(engine: Engine, at: At, letters: dict[str, int]) -> None:
    def within(**limits: int) -> tuple[str, int]:
        result = engine.range(RangeRequest(at("a"), at("z"), **limits))  # type: ignore[arg-type]
        return names(result), result.count

    assert within(min_mod_revision=letters["b"]) == ("abd", 5)
    assert within(max_mod_revision=letters["e"]) == ("ce", 5)
    assert within(min_create_revision=letters["b"]) == ("bd", 5)
    assert within(max_create_revision=letters["a"]) == ("ac", 5)
    assert engine.range(RangeRequest(at("a"), max_mod_revision=letters["a"])).kvs == ()
    assert engine.range(RangeRequest(at("a"), at("z"), min_mod_revision=letters["b"], limit=2)).more


@pytest.mark.usefixtures("letters")
def test_keys_only_leaves_out_values(engine: Engine, at: At) -> None:
    assert {kv.value for kv in engine.range(RangeRequest(at("a"), at("z"), keys_only=True)).kvs} == {b""}
    assert engine.range(RangeRequest(at("a"), keys_only=True)).kvs[0].value == b""


def test_the_past_can_be_read(engine: Engine, at: At, letters: dict[str, int]) -> None:
    engine.delete_range(DeleteRequest(at("a"), at("d")))
    put(engine, at("c"), b"new")
    old = engine.range(RangeRequest(at("a"), at("z"), revision=letters["b"]))
    assert (names(old), old.count, old.revision) == ("abce", 4, now(engine))
    assert engine.range(RangeRequest(at("a"), at("z"), revision=letters["c"], count_only=True)).count == 1
    assert names(engine.range(RangeRequest(at("a"), at("z"), revision=letters["a2"], limit=2))) == "ab"
    first, second = get(engine, at("a"), revision=letters["a"]), get(engine, at("a"), revision=letters["a2"])
    assert first is not None
    assert second is not None
    assert (first.version, second.version) == (1, 2)
    assert get(engine, at("a"), revision=letters["c"]) is None
    assert names(engine.range(RangeRequest(at("a"), at("z"), revision=-1))) == "cde"


def test_the_future_cannot_be_read(engine: Engine, at: At) -> None:
    with pytest.raises(FutureRevision):
        engine.range(RangeRequest(at("a"), revision=now(engine) + 1))


@pytest.mark.parametrize(
    "changes",
    [{"key": b""}, {"sort_target": 9}, {"sort_order": 7}, {"key": "text"}, {"limit": 1 << 64}, {"revision": "1"}],
)
def test_a_bad_range_is_refused(engine: Engine, changes: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest, match="|".join(changes)):
        engine.range(RangeRequest(**{"key": b"a", **changes}))  # type: ignore[arg-type]


# transactions --------------------------------------------------------------------------------------------------------


def version_is(key: bytes, version: int, range_end: bytes = b"") -> Compare:
    return Compare(key, CompareTarget.VERSION, CompareOp.EQUAL, version, range_end)


def test_a_transaction_is_one_revision_and_reads_its_own_writes(engine: Engine, at: At) -> None:
    start = put(engine, at("c"))
    result = engine.txn(
        TxnRequest(
            success=[
                RangeRequest(at("a")),
                PutRequest(at("a"), b"1"),
                PutRequest(at("b"), b"2"),
                RangeRequest(at("a"), at("z")),
                DeleteRequest(at("c"), prev_kv=True),
                RangeRequest(at("a"), at("z"), revision=start),
            ]
        )
    )
    before, *_, during, deleted, past = result.responses
    assert isinstance(before, RangeResult)
    assert isinstance(during, RangeResult)
    assert isinstance(past, RangeResult)
    assert (result.succeeded, result.revision) == (True, start + 1)
    assert (names(before), names(during), names(past)) == ("", "abc", "c")
    assert deleted.revision == start + 1
    assert {kv.mod_revision for kv in during.kvs} == {start, start + 1}
    assert now(engine) == start + 1


def test_a_transaction_that_changes_nothing_is_no_revision(engine: Engine, at: At) -> None:
    start = now(engine)
    assert engine.txn(TxnRequest()) == (True, (), start)
    assert engine.txn(TxnRequest(success=[RangeRequest(at("a")), DeleteRequest(at("a"))])).revision == start


def test_the_failure_branch_runs_when_a_comparison_fails(engine: Engine, at: At) -> None:
    request = TxnRequest([version_is(at("a"), 0)], [PutRequest(at("a"), b"1")], [RangeRequest(at("a"))])
    assert engine.txn(request).succeeded
    again = engine.txn(request)
    assert not again.succeeded
    assert isinstance(again.responses[0], RangeResult)
    assert names(again.responses[0]) == "a"


@pytest.mark.parametrize(
    ("target", "operand"),
    [(CompareTarget.VERSION, 0), (CompareTarget.CREATE, 0), (CompareTarget.MOD, 0), (CompareTarget.LEASE, 0)],
)
def test_a_missing_key_compares_as_zero(engine: Engine, at: At, target: CompareTarget, operand: int) -> None:
    def holds(op: CompareOp, operand: int) -> bool:
        return engine.txn(TxnRequest([Compare(at("a"), target, op, operand)])).succeeded

    assert holds(CompareOp.EQUAL, 0)
    assert holds(CompareOp.LESS, 1)
    assert holds(CompareOp.GREATER, -1)
    assert not holds(CompareOp.NOT_EQUAL, 0)


@pytest.mark.parametrize("op", list(CompareOp))
def test_the_value_of_a_missing_key_never_compares(engine: Engine, at: At, op: CompareOp) -> None:
    assert not engine.txn(TxnRequest([Compare(at("a"), CompareTarget.VALUE, op, b"")])).succeeded


def test_comparisons_look_at_every_key_of_a_range(engine: Engine, at: At) -> None:
    put(engine, at("a"))
    put(engine, at("b"))
    assert engine.txn(TxnRequest([version_is(at("a"), 1, at("z"))])).succeeded
    put(engine, at("b"), b"w")
    assert not engine.txn(TxnRequest([version_is(at("a"), 1, at("z"))])).succeeded
    greater = Compare(at("a"), CompareTarget.VALUE, CompareOp.GREATER, b"u", at("z"))
    assert engine.txn(TxnRequest([greater])).succeeded
    assert engine.txn(TxnRequest([version_is(at("x"), 0, at("z"))])).succeeded


def test_nested_comparisons_look_at_the_store_before_the_transaction(engine: Engine, at: At) -> None:
    nested = TxnRequest([version_is(at("a"), 1)], [PutRequest(at("then"))], [RangeRequest(at("a"))])
    result = engine.txn(TxnRequest(success=[PutRequest(at("a")), nested]))
    inner = result.responses[1]
    assert isinstance(inner, TxnResult)
    assert not inner.succeeded
    assert isinstance(inner.responses[0], RangeResult)
    assert inner.responses[0].count == 1


@pytest.mark.parametrize(
    "failing",
    [
        PutRequest(b"contract-none", lease=UNUSED_LEASE),
        PutRequest(b"contract-none", ignore_value=True),
        RangeRequest(b"contract-none", revision=1 << 40),
        TxnRequest(success=[RangeRequest(b"contract-none", revision=1 << 40)]),
    ],
)
def test_an_operation_that_fails_undoes_the_whole_transaction(
    engine: Engine, at: At, failing: PutRequest | RangeRequest | TxnRequest
) -> None:
    put(engine, at("b"))
    start = now(engine)
    with pytest.raises((LeaseNotFound, KeyNotFound, FutureRevision)):
        engine.txn(TxnRequest(success=[PutRequest(at("a")), DeleteRequest(at("b")), failing]))
    assert now(engine) == start
    assert names(engine.range(RangeRequest(at("a"), at("z")))) == "b"


@pytest.mark.parametrize(
    ("operations", "error"),
    [
        ([PutRequest(b"contract-none", lease=UNUSED_LEASE, ignore_value=True)], KeyNotFound),
        ([RangeRequest(b"contract-a", revision=1 << 40), PutRequest(b"contract-a", lease=UNUSED_LEASE)], LeaseNotFound),
        ([RangeRequest(b"contract-a", revision=1 << 40), PutRequest(b"contract-none", ignore_lease=True)], KeyNotFound),
    ],
)
def test_of_several_faults_of_a_transaction_the_first_put_is_told(
    engine: Engine, operations: list[PutRequest | RangeRequest], error: type[Exception]
) -> None:
    with pytest.raises(error):
        engine.txn(TxnRequest(success=operations))


def test_the_answers_to_nested_transactions_bear_the_revision_of_the_whole(engine: Engine, at: At) -> None:
    innermost = TxnRequest(success=[RangeRequest(at("a"))])
    result = engine.txn(TxnRequest(success=[TxnRequest(success=[innermost]), PutRequest(at("a"))]))
    nested = result.responses[0]
    assert isinstance(nested, TxnResult)
    assert nested.revision == nested.responses[0].revision == result.revision == now(engine)


def test_a_negative_revision_is_now_in_a_transaction_as_well(engine: Engine, at: At) -> None:
    put(engine, at("a"))
    engine.compact(put(engine, at("a")))
    found = engine.txn(TxnRequest(success=[RangeRequest(at("a"), revision=-1), PutRequest(at("b"))])).responses[0]
    assert isinstance(found, RangeResult)
    assert names(found) == "a"


def _nested(*operations: PutRequest | DeleteRequest) -> TxnRequest:
    return TxnRequest(success=operations)


PUT, DELETE, SPAN = PutRequest(b"contract-x"), DeleteRequest(b"contract-x"), DeleteRequest(b"contract-", b"contract0")
OPEN = DeleteRequest(b"contract-", b"\0")


@pytest.mark.parametrize(
    "operations",
    [
        [PUT, PUT],
        [PUT, DELETE],
        [DELETE, PUT],
        [SPAN, PUT],
        [PUT, _nested(PUT)],
        [_nested(PUT), PUT],
        [_nested(PUT), _nested(PUT)],
        [DELETE, _nested(PUT)],
        [_nested(DELETE), _nested(PUT)],
        [OPEN, PUT],
        [PUT, _nested(OPEN)],
        [_nested(OPEN), _nested(PutRequest(b"contract-x", ignore_value=True))],
    ],
)
def test_a_key_cannot_be_written_twice(engine: Engine, operations: list[PutRequest | DeleteRequest]) -> None:
    with pytest.raises(InvalidRequest, match="duplicate key given in txn request"):
        engine.txn(TxnRequest(success=operations))


@pytest.mark.parametrize(
    "request_",
    [
        TxnRequest(success=[DELETE, DELETE, SPAN]),
        TxnRequest(success=[PUT], failure=[PUT]),
        TxnRequest(success=[TxnRequest(success=[PUT], failure=[PUT, _nested()])]),
        TxnRequest(success=[TxnRequest(success=[PUT], failure=[DELETE])]),
        TxnRequest(success=[_nested(PUT), _nested(DELETE)]),
    ],
)
def test_deleting_twice_and_either_branch_are_no_duplicates(engine: Engine, request_: TxnRequest) -> None:
    assert engine.txn(request_).succeeded


@pytest.mark.parametrize("part", ["compares", "success", "failure", "nested"])
def test_a_transaction_has_at_most_128_operations(engine: Engine, part: str) -> None:
    def request(count: int) -> TxnRequest:
        reads = [RangeRequest(b"contract-x")] * count
        if part == "compares":
            return TxnRequest(compares=[version_is(b"contract-y", 0)] * count)
        if part == "nested":
            return TxnRequest(success=[TxnRequest(success=reads[1:])])
        return TxnRequest(success=reads) if part == "success" else TxnRequest(failure=reads)

    assert engine.txn(request(128)).succeeded
    with pytest.raises(InvalidRequest, match="too many operations in txn request"):
        engine.txn(request(129))


# compaction ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("physical", [False, True])
def test_compaction_forgets_the_past_and_keeps_the_rest(engine: Engine, at: At, physical: bool) -> None:
    put(engine, at("a"), b"1")
    put(engine, at("gone"))
    middle = put(engine, at("a"), b"2")
    engine.delete_range(DeleteRequest(at("gone")))
    last = put(engine, at("a"), b"3")
    engine.compact(middle, physical=physical)
    with pytest.raises(Compacted) as caught:
        get(engine, at("a"), revision=middle - 1)
    assert caught.value.compact_revision == middle
    assert names(engine.range(RangeRequest(at("a"), at("z"), revision=middle))) == "agone"
    engine.compact(last, physical=physical)
    kv = get(engine, at("a"), revision=last)
    assert kv is not None
    assert (kv.value, kv.version) == (b"3", 3)
    assert get(engine, at("gone")) is None


def test_compaction_refuses_the_future_and_what_is_compacted(engine: Engine, at: At) -> None:
    revision = put(engine, at("a"))
    with pytest.raises(FutureRevision):
        engine.compact(revision + 1)
    engine.compact(revision)
    for done in (revision, revision - 1, 0):
        with pytest.raises(Compacted) as caught:
            engine.compact(done)
        assert caught.value.compact_revision == revision


def test_reading_the_compacted_past_fails_the_whole_transaction(engine: Engine, at: At) -> None:
    old = put(engine, at("a"))
    oldest = put(engine, at("a"))
    engine.compact(oldest)
    for operation in (PutRequest(at("b")), RangeRequest(at("b"))):
        with pytest.raises(Compacted) as caught:
            engine.txn(TxnRequest(success=[operation, RangeRequest(at("a"), revision=old)]))
        assert caught.value.compact_revision == oldest
    assert get(engine, at("b")) is None
