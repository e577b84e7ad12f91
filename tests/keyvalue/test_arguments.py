"""What users pass is checked before anything is sent, and the error names the argument, on every engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.keyvalue import KV, Engine, SortOrder, SortTarget, ops
from django_etcdaero.keyvalue.values import Compare, CompareOp, CompareTarget, RangeRequest, TxnRequest


@pytest.fixture
def kv(engine: Engine, at: Callable[[str], bytes]) -> Iterator[KV]:
    client = KV(engine, prefix=at("app/"))
    yield client
    client.close()


RANGE_MISTAKES = [
    ("limit", -1),
    ("limit", "1"),
    ("limit", None),
    ("limit", 1.0),
    ("limit", True),
    ("limit", 1 << 63),
    ("revision", -1),
    ("revision", "1"),
    ("revision", 1 << 63),
    ("sort_order", "ASCEND"),
    ("sort_order", 3),
    ("sort_order", -1),
    ("sort_order", None),
    ("sort_order", True),
    ("sort_target", "KEY"),
    ("sort_target", 5),
    ("sort_target", -1),
    ("sort_target", 1.0),
    ("sort_target", SortOrder.ASCEND.name),
    ("serializable", 1),
    ("keys_only", "yes"),
    ("count_only", None),
    ("min_mod_revision", -1),
    ("max_mod_revision", "7"),
    ("min_create_revision", 1.5),
    ("max_create_revision", 1 << 64),
]


@pytest.mark.parametrize(("name", "value"), RANGE_MISTAKES)
def test_options_of_a_range_that_mean_nothing_are_named(kv: KV, name: str, value: object) -> None:
    kv.put("a", "1")
    options = {"sort_target": SortTarget.MOD} if name == "sort_order" else {}
    with pytest.raises(InvalidRequest, match=name):
        kv.range("", prefix=True, **{**options, name: value})  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match=name):
        ops.get("a", **{name: value})  # type: ignore[arg-type]
    assert kv.get("a") is not None  # the store is as well as before


@pytest.mark.parametrize("name", ["sort_order", "sort_target"])
@pytest.mark.parametrize("value", [9, -1, "KEY", None])
def test_the_engine_itself_survives_an_order_that_does_not_exist(engine: Engine, name: str, value: object) -> None:
    request = RangeRequest(b"a", b"b", **{name: value})  # type: ignore[arg-type]
    for call in (lambda: engine.range(request), lambda: engine.txn(TxnRequest(success=[request]))):
        with pytest.raises(InvalidRequest, match=name):
            call()
    engine.range(RangeRequest(b"a"))


@pytest.mark.parametrize(("target", "op", "named"), [(9, CompareOp.EQUAL, "target"), (CompareTarget.MOD, 9, "op")])
def test_the_engine_itself_survives_a_comparison_that_does_not_exist(
    engine: Engine, target: CompareTarget, op: CompareOp, named: str
) -> None:
    with pytest.raises(InvalidRequest, match=named):
        engine.txn(TxnRequest([Compare(b"a", target, op, 1)]))


def test_orders_may_be_given_by_their_numbers(kv: KV) -> None:
    for key in "abc":
        kv.put(key, key)
    found = kv.range("", prefix=True, sort_order=2, sort_target=1)  # type: ignore[arg-type]
    assert len(found.kvs) == 3
    newest = kv.range("", prefix=True, sort_order=SortOrder.DESCEND, sort_target=3)  # type: ignore[arg-type]
    assert [each.key for each in newest.kvs] == [b"c", b"b", b"a"]


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda kv: kv.get("a", revision=-1), "revision"),
        (lambda kv: kv.get("a", revision=None), "revision"),
        (lambda kv: kv.get("a", serializable="yes"), "serializable"),
        (lambda kv: kv.get(None), "key"),
        (lambda kv: kv.put("a", 7), "value"),
        (lambda kv: kv.put("a", None), "value"),
        (lambda kv: kv.put("a", lease="7"), "lease"),
        (lambda kv: kv.put("a", lease=1 << 63), "lease"),
        (lambda kv: kv.put("a", lease=None), "lease"),
        (lambda kv: kv.put("a", prev_kv=1), "prev_kv"),
        (lambda kv: kv.put("a", ignore_value="no"), "ignore_value"),
        (lambda kv: kv.put("a", ignore_lease=None), "ignore_lease"),
        (lambda kv: kv.delete("a", prev_kv="yes"), "prev_kv"),
        (lambda kv: kv.delete_range("a", prefix=True, prev_kv=0), "prev_kv"),
        (lambda kv: kv.compact(-1), "revision"),
        (lambda kv: kv.compact("7"), "revision"),
        (lambda kv: kv.compact(1, physical="yes"), "physical"),
        (lambda kv: kv.lease(0), "ttl"),
        (lambda kv: kv.lease("9"), "ttl"),
        (lambda kv: kv.lease(9, id=1 << 63), "id"),
        (lambda kv: kv.lease(9, id="x"), "id"),
        (lambda kv: kv.lease_status("7"), "id"),
        (lambda kv: kv.lease_status(7, keys=1), "keys"),
        (lambda kv: kv.revoke_lease(None), "id"),
    ],
)
def test_arguments_of_other_calls_are_named(kv: KV, call: Callable[[KV], object], named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        call(kv)


@pytest.mark.parametrize("op", ["==", "!=", "<", ">"])
@pytest.mark.parametrize("subject", ["value", "version", "create_revision", "mod_revision", "lease_of"])
def test_every_operator_on_every_subject(kv: KV, subject: str, op: str) -> None:
    lease = kv.lease(60)
    kv.put("a", "m")
    found = kv.get("a") if kv.put("a", "m", lease=lease) else None
    assert found is not None
    actual: int | bytes
    if subject == "value":
        below, actual, above = b"l", found.value, b"n"
    else:
        actual = {
            "version": found.version,
            "create_revision": found.create_revision,
            "mod_revision": found.mod_revision,
            "lease_of": found.lease,
        }[subject]
        below, above = actual - 1, actual + 1  # type: ignore[assignment]
    left = getattr(ops, subject)("a")
    make = {"==": left.__eq__, "!=": left.__ne__, "<": left.__lt__, ">": left.__gt__}[op]
    outcome = [kv.txn().when(make(operand)).commit().succeeded for operand in (below, actual, above)]
    expected = {"==": [0, 1, 0], "!=": [1, 0, 1], "<": [0, 0, 1], ">": [1, 0, 0]}[op]
    assert outcome == [bool(each) for each in expected]
    lease.revoke()
