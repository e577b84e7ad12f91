"""A deletion that takes more than one thinks of is refused, whichever way it is asked for."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.keyvalue import KV, ops
from django_etcdaero.keyvalue.embedded import EmbeddedEngine, drop_memory
from django_etcdaero.keyvalue.rooms import is_contender
from django_etcdaero.keyvalue.values import DeleteRequest, KeyValue
from tests.keyvalue.objects.samples import Order

_numbers = itertools.count()

DELETIONS: dict[str, Callable[..., Any]] = {
    "delete_range": lambda kv, *args, **options: kv.delete_range(*args, **options),
    "adelete_range": lambda kv, *args, **options: asyncio.run(kv.adelete_range(*args, **options)),
    "transaction": lambda kv, *args, **options: kv.txn().then(ops.delete(*args, **options)).commit(),
    "other branch": lambda kv, *args, **options: (
        kv.txn().when(ops.version("none") > 0).otherwise(ops.delete(*args, **options)).commit()
    ),
    "transaction in another": lambda kv, *args, **options: (
        kv.txn().then(kv.txn().then(ops.delete(*args, **options))).commit()
    ),
    "awaited transaction": lambda kv, *args, **options: asyncio.run(
        kv.txn().then(ops.delete(*args, **options)).acommit()
    ),
}


@pytest.fixture
def kv() -> Iterator[KV]:
    name = f"rooms-{next(_numbers)}"
    engine = EmbeddedEngine.memory(name)
    other = KV(engine, prefix="shopping/")
    other.put("a", "1")
    client = KV(engine, prefix="shop/", rooms=("datasets/", "loads/"))
    for key in ("a", "datasets/prices", "e", "loads/prices", "z"):
        client.put(key, "1")
    yield client
    assert other.get("a") is not None
    client.close()
    other.close()
    engine.close()
    drop_memory(name)


def keys(kv: KV) -> list[bytes]:
    return [each.key for each in kv.range("", prefix=True)]


ALL: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "empty prefix": (("",), {"prefix": True}),
    "from the start": (("", "\0"), {}),
    "from the first possible key": (("\0", "\0"), {}),
    "to behind the last": (("", "\xff\xff"), {}),
}
ACROSS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "over a room": (("b", "e"), {}),
    "over both": (("b", "z"), {}),
    "into a room": (("b", "datasets/x"), {}),
    "out of a room": (("datasets/p", "e"), {}),
    "from one to another": (("datasets/p", "loads/x"), {}),
    "without an end": (("loads/p", "\0"), {}),
    "beginning of a room": (("data",), {"prefix": True}),
}
WITHIN: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "before the rooms": (("", "b"), {}),
    "between them": (("e", "l"), {}),
    "behind them": (("z", "\0"), {}),
    "a room": (("datasets/",), {"prefix": True}),
    "in a room": (("datasets/p", "datasets/q"), {}),
    "one key": (("loads/prices",), {}),
}


@pytest.mark.parametrize("case", [*ALL, *ACROSS])
@pytest.mark.parametrize("way", DELETIONS)
def test_a_deletion_of_all_keys_or_of_several_rooms_says_that_it_means_it(kv: KV, way: str, case: str) -> None:
    arguments, options = (ALL | ACROSS)[case]
    before = keys(kv)
    with pytest.raises(InvalidRequest, match="everything=True"):
        DELETIONS[way](kv, *arguments, **options)
    assert keys(kv) == before
    DELETIONS[way](kv, *arguments, **options, everything=True)
    assert len(keys(kv)) < len(before)
    assert case not in ALL or keys(kv) == []


@pytest.mark.parametrize("case", WITHIN)
def test_a_deletion_on_one_side_of_all_borders_just_works(kv: KV, case: str) -> None:
    arguments, options = WITHIN[case]
    assert kv.delete_range(*arguments, **options).deleted == 1


def test_a_namespace_may_be_emptied_and_does_not_shift_borders(kv: KV) -> None:
    part = kv.namespace("cart/")
    part.put("datasets/x", "1")
    assert part.delete_range("", prefix=True).deleted == 1
    with pytest.raises(InvalidRequest, match="everything=True"):
        kv.namespace("").delete_range("", prefix=True)
    with pytest.raises(InvalidRequest, match="everything=True"):
        kv.namespace("d").delete_range("", prefix=True)


@pytest.mark.parametrize("prefix", ["datasets", "datasets/", "loads/mine"])
def test_a_collection_does_not_stand_among_the_keys_of_the_package(kv: KV, prefix: str) -> None:
    with pytest.raises(InvalidRequest, match="the package's own keys"):
        kv.objects(Order, prefix)
    with pytest.raises(InvalidRequest, match="the package's own keys"):
        kv.namespace("datasets/").objects(Order, prefix)
    for name in ("dataset", "datasets2", "my/datasets"):
        assert kv.objects(Order, name).delete_all() == 0
    assert kv.namespace("cart/").objects(Order, prefix).delete_all() == 0


def test_a_request_made_by_hand_is_no_way_around_it(kv: KV) -> None:
    with pytest.raises(InvalidRequest, match="everything=True"):
        kv.txn().then(DeleteRequest(b"", b"\0")).commit()


def test_a_client_of_a_whole_store_has_a_border_as_well(kv: KV) -> None:
    whole = KV(kv.engine)
    with pytest.raises(InvalidRequest, match="everything=True"):
        whole.delete_range("", prefix=True)
    assert whole.delete_range("shop/a", "shop/b").deleted == 1
    whole.close()


@pytest.mark.parametrize("everything", [None, 1, "yes"])
def test_everything_is_true_or_false(kv: KV, everything: Any) -> None:
    with pytest.raises(InvalidRequest, match="everything"):
        kv.delete_range("a", "b", everything=everything)


@pytest.mark.parametrize(
    ("key", "lease", "expected"),
    [
        (b"orders/7b", 0x7B, True),
        (b"orders/7b-2", 0x7B, True),
        (b"orders/ffffffffffffff85", -0x7B, True),
        (b"orders/-7b", -0x7B, True),
        (b"orders/7c", 0x7B, False),
        (b"orders/7b", 0, False),
        (b"orders7b", 0x7B, False),
        (b"orders/7b/x", 0x7B, False),
    ],
)
def test_a_contender_is_called_like_its_lease(key: bytes, lease: int, expected: bool) -> None:
    assert is_contender(KeyValue(key, b"", 1, 1, 1, lease)) is expected
