from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from django_etcdaero.exceptions import Compacted, InvalidObject, InvalidRequest
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.objects import Collection, Invalid, Listing, ObjectTxn, changes_nothing
from django_etcdaero.keyvalue.objects.timed_steps import PAGE
from tests.keyvalue.objects.samples import ADA, BOB, Address, Cat, Counter, Dog, Order


def names(listing: Listing[Any]) -> list[str]:
    return [each.name for each in listing]


def test_a_list_has_all_objects_in_the_order_of_their_names(kv: KV, orders: Collection[Order]) -> None:
    stored = [orders.create(name, ADA) for name in ("b", "a", "c/1", "a/1")]
    kv.put("orders", "beside")
    kv.put("ordersx/1", "beside")
    revision = kv.put("beside", "").revision
    listing = orders.list()
    assert names(listing) == ["a", "a/1", "b", "c/1"]
    assert sorted(listing, key=lambda each: each.version) == stored
    assert tuple(listing) == listing.items
    assert listing.revision == revision
    assert len(listing) == 4
    assert listing[0] == stored[1]
    assert not listing.more


def test_an_empty_list_is_no_error(orders: Collection[Order]) -> None:
    listing = orders.list()
    assert listing.items == ()
    assert not listing.more
    assert listing.revision > 0


def test_under_stops_at_the_slash(orders: Collection[Order]) -> None:
    for name in ("abc", "abc/1", "abc/2/3", "abcd"):
        orders.create(name, ADA)
    assert names(orders.list(under="abc")) == names(orders.list(under="abc/")) == ["abc/1", "abc/2/3"]


def test_orders_and_pages(kv: KV, orders: Collection[Order]) -> None:
    for name in ("b", "a", "d", "c"):
        orders.create(name, ADA)
    ObjectTxn(kv).create(orders, "f", ADA).create(orders, "e", ADA).commit()
    orders.update("b", BOB)
    expected = {
        "name": "abcdef",
        "created": "badcef",
        "version": "adcefb",
        "modified": "adcefb",
    }
    for order, text in expected.items():
        for order_by, all_names in ((order, list(text)), (f"-{order}", list(reversed(text)))):
            assert names(orders.list(order_by=order_by)) == all_names  # type: ignore[arg-type]
            for offset in range(8):
                for limit in range(1, 8):
                    page = orders.list(order_by=order_by, offset=offset, limit=limit)  # type: ignore[arg-type]
                    assert names(page) == all_names[offset : offset + limit]
                    assert page.more == (offset + limit < 6)
            assert names(orders.list(order_by=order_by, offset=4)) == all_names[4:]  # type: ignore[arg-type]


def test_a_further_page_shows_the_same_state(orders: Collection[Order]) -> None:
    for name in "abcd":
        orders.create(name, ADA)
    first = orders.list(limit=2)
    orders.delete("a")
    orders.create("b1", ADA)
    second = orders.list(limit=2, offset=2, revision=first.revision)
    assert names(first) + names(second) == list("abcd")
    assert second.revision == first.revision
    assert names(orders.list(limit=2, offset=2)) == ["c", "d"]


def test_a_state_that_is_not_kept_any_more(kv: KV, orders: Collection[Order]) -> None:
    first = orders.create("a", ADA)
    last = orders.create("b", ADA)
    kv.compact(last.version)
    with pytest.raises(Compacted):
        orders.list(revision=first.version)


def test_a_list_longer_than_a_page_of_the_store(kv: KV) -> None:
    counters = Collection(kv, Counter, "counters")
    total = PAGE + 20
    for start in range(0, total, 100):
        staged = ObjectTxn(kv)
        for number in range(start, min(start + 100, total)):
            staged.create(counters, f"{number:04}", Counter(number))
        staged.commit()
    assert [each.object.count for each in counters.list()] == list(range(total))
    assert [each.object.count for each in counters.list(order_by="-name", limit=2)] == [total - 1, total - 2]
    late = counters.list(offset=PAGE - 1, limit=3)
    assert [each.object.count for each in late] == [PAGE - 1, PAGE, PAGE + 1]
    assert late.more


# --- selections ------------------------------------------------------------------------------------------------------


@pytest.fixture
def filled(orders: Collection[Order]) -> Collection[Order]:
    orders.create("1", ADA)
    orders.create("2", BOB)
    orders.create("3", replace(BOB, customer="Cleo", labels={"tier": "gold"}, address=Address("Wien", "Ring")))
    orders.create("4", replace(ADA, status="paid", total=Decimal("9.5")))
    return orders


SELECTIONS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "function": ({"where": lambda order: order.total > 10}, ["2", "3"]),
    "field": ({"fields": {"status": "paid"}}, ["4"]),
    "field by value": ({"fields": {"total": Decimal("9.500")}}, ["1", "4"]),
    "fields": ({"fields": {"status": "new", "customer": "Bob"}}, ["2"]),
    "nested": ({"fields": {"address.city": "Wien"}}, ["3"]),
    "nested in a dict": ({"fields": {"labels.env": "prod"}}, ["2"]),
    "none": ({"fields": {"address": None}}, ["1", "4"]),
    "of nothing": ({"fields": {"address.none.city": None}}, []),
    "label": ({"labels": {"tier": "gold"}}, ["2", "3"]),
    "labels": ({"labels": {"tier": "gold", "env": "prod"}}, ["2"]),
    "no such label": ({"labels": {"region": "eu"}}, []),
    "all together": (
        {"where": lambda order: order.customer != "Bob", "fields": {"status": "new"}, "labels": {"tier": "gold"}},
        ["3"],
    ),
    "empty": ({"fields": {}, "labels": {}}, ["1", "2", "3", "4"]),
}


@pytest.mark.parametrize("case", SELECTIONS)
def test_selections(filled: Collection[Order], case: str) -> None:
    options, expected = SELECTIONS[case]
    assert names(filled.list(**options)) == expected
    assert names(filled.list(**options, order_by="-created")) == expected[::-1]


def test_pages_are_of_what_is_selected(filled: Collection[Order]) -> None:
    gold = filled.list(labels={"tier": "gold"}, limit=1)
    assert (names(gold), gold.more) == (["2"], True)
    gold = filled.list(labels={"tier": "gold"}, limit=1, offset=1)
    assert (names(gold), gold.more) == (["3"], False)
    gold = filled.list(labels={"tier": "gold"}, limit=1, order_by="-name")
    assert (names(gold), gold.more) == (["3"], True)


def test_selections_among_several_kinds(kv: KV) -> None:
    pets = Collection(kv, (Cat, Dog), "pets")
    pets.create("1", Cat("Tom"))
    pets.create("2", Dog("Rex"))
    assert names(pets.list(fields={"lives": 9})) == ["1"]
    assert names(pets.list(fields={"name": "Rex"})) == ["2"]
    assert names(pets.list(where=lambda pet: isinstance(pet, Dog))) == ["2"]
    with pytest.raises(InvalidRequest, match="no class of the objects has a field 'labels'"):
        pets.list(labels={"a": "b"})


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "field": ({"fields": {"statsu": "paid"}}, "no class of the objects has a field 'statsu'"),
    "nested": ({"fields": {"adress.city": "Graz"}}, "no class of the objects has a field 'adress'"),
    "where": ({"where": "new"}, "where must be a function"),
    "order": ({"order_by": "total"}, "order_by must be one of name, version, modified, created"),
    "limit": ({"limit": -1}, "limit must be from 0 to"),
    "offset": ({"offset": -1}, "offset must be from 0 to"),
    "revision": ({"revision": -1}, "revision must be from 0 to"),
    "under": ({"under": ""}, "under must be a text that is not empty"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_asked_for(orders: Collection[Order], case: str) -> None:
    options, message = WRONG[case]
    with pytest.raises(InvalidRequest, match=message):
        orders.list(**options)


def test_errors_of_the_function_come_through(filled: Collection[Order]) -> None:
    with pytest.raises(ZeroDivisionError):
        filled.list(where=lambda order: 1 / 0)


# --- what cannot be read ---------------------------------------------------------------------------------------------


def test_what_cannot_be_read_is_an_error(kv: KV, filled: Collection[Order]) -> None:
    kv.put("orders/3", "{}")
    with pytest.raises(InvalidObject, match=r"orders/3: Order\.customer: it is missing"):
        filled.list()
    assert names(filled.list(limit=1)) == ["1"]


def test_what_cannot_be_read_is_skipped_logged_and_told_on_request(
    kv: KV, filled: Collection[Order], caplog: pytest.LogCaptureFixture
) -> None:
    revision = kv.put("orders/3", "{}").revision
    for order_by in ("name", "-name"):
        with caplog.at_level(logging.WARNING, "django_etcdaero.kv"):
            listing = filled.list(skip_invalid=True, order_by=order_by, limit=10)  # type: ignore[arg-type]
        assert sorted(names(listing)) == ["1", "2", "4"]
        (invalid,) = listing.invalid
        assert isinstance(invalid, Invalid)
        assert (invalid.name, invalid.version, invalid.value) == ("3", revision, b"{}")
        assert "orders/3" in caplog.text
        caplog.clear()


# --- updates that change nothing -------------------------------------------------------------------------------------

NO_OPS: dict[str, tuple[Callable[[], bool], bool]] = {
    "the same": (lambda: changes_nothing(BOB, replace(BOB)), True),
    "another value": (lambda: changes_nothing(BOB, replace(BOB, status="paid")), False),
    "ignored": (lambda: changes_nothing(BOB, replace(BOB, status="paid"), ignore=["status"]), True),
    "not given": (lambda: changes_nothing(BOB, Order("Bob")), True),
    "not given and forced": (lambda: changes_nothing(BOB, Order("Bob"), force=["labels"]), False),
    "forced and the same": (lambda: changes_nothing(BOB, replace(BOB), force=["labels"]), True),
    "without a default": (lambda: changes_nothing(BOB, replace(BOB, customer="")), False),
    "another class": (lambda: changes_nothing(BOB, Cat("Bob")), False),
}


@pytest.mark.parametrize("case", NO_OPS)
def test_whether_an_update_changes_anything(case: str) -> None:
    question, expected = NO_OPS[case]
    assert question() is expected


def test_what_changes_nothing_cannot_be_asked_of() -> None:
    with pytest.raises(InvalidRequest, match="update must be an instance of a dataclass"):
        changes_nothing(BOB, {"customer": "Bob"})
    with pytest.raises(InvalidRequest, match="has a field 'nothing'"):
        changes_nothing(BOB, BOB, ignore=["nothing"])
    with pytest.raises(InvalidRequest, match="several names"):
        changes_nothing(BOB, BOB, ignore="status")
