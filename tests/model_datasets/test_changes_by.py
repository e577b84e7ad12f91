"""A field that says when objects changed is enough for a model's changes to be loaded alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_etcdaero.datasets.state.status import Outcome, RefreshResult
from django_etcdaero.exceptions import ConfigurationError
from tests.datasets.hosting import FakeHost, follow
from tests.model_datasets.shop.models import DeletedItem, Item
from tests.model_datasets.test_model_dataset import declare

pytestmark = pytest.mark.usefixtures("registry", "db")

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
TOMBSTONES = (DeletedItem, "code", "deleted_at")


def item(number: int, *, minutes: float = 0, **fields: Any) -> None:
    Item.objects.update_or_create(
        code=f"i{number}", defaults={"name": f"item {number}", "updated_at": NOW + timedelta(minutes=minutes), **fields}
    )


def delete(number: int, *, minutes: float = 0, tombstone: bool = True) -> None:
    Item.objects.filter(code=f"i{number}").delete()
    if tombstone:
        DeletedItem.objects.create(code=f"i{number}", deleted_at=NOW + timedelta(minutes=minutes))


def declared(**attributes: Any) -> Any:
    options = {"model": Item, "key_field": "code", "fields": ("name", "active"), "ordered": False}
    return declare(**{**options, "changes_by": "updated_at", "tombstones": TOMBSTONES, **attributes})


def refresh(dataset: Any, **options: Any) -> RefreshResult:
    result: RefreshResult = dataset.refresh(force=True, **options)
    assert result.ok, result.error
    return result


@pytest.fixture
def items(host: FakeHost) -> Any:
    for number in range(30):
        item(number)
    dataset = declared()
    assert not refresh(dataset).changes
    return dataset


def rows(host: FakeHost, dataset: Any) -> dict[str, str]:
    following = follow(dataset, host)
    following.step()
    found = {key: row["name"] for key, row in dataset.items()}
    following.close()
    return found


def expected() -> dict[str, str]:
    return dict(Item.objects.values_list("code", "name"))


def test_objects_that_changed_came_and_went_are_loaded(
    host: FakeHost, items: Any, django_assert_max_num_queries: Any
) -> None:
    item(1, minutes=5, name="other")
    item(99, minutes=5)
    delete(2, minutes=5)
    with django_assert_max_num_queries(6):
        result = refresh(items)
    assert (result.outcome, result.changes, result.rows) == (Outcome.REFRESHED, True, 30)
    assert rows(host, items) == expected()
    assert refresh(items).outcome is Outcome.UNCHANGED
    assert refresh(items, full=True).drift == 0


def test_what_was_committed_late_is_found_within_the_overlap(host: FakeHost, items: Any) -> None:
    item(1, minutes=10, name="early")
    refresh(items)
    item(2, minutes=9.5, name="late")  # its transaction was open when the first one was committed
    delete(3, minutes=9.5)
    assert refresh(items).changes
    assert rows(host, items) == expected()
    item(4, minutes=5, name="much too late")
    assert refresh(items).outcome is Outcome.UNCHANGED
    assert refresh(items, full=True).drift == 1
    assert rows(host, items) == expected()


def test_a_longer_overlap_finds_more(host: FakeHost) -> None:
    item(1)
    dataset = declared(changes_overlap=timedelta(minutes=20))
    refresh(dataset)
    item(1, minutes=30)
    refresh(dataset)
    item(2, minutes=15)
    refresh(dataset)
    assert rows(host, dataset) == expected()


def test_objects_that_leave_the_queryset_are_deleted_and_come_back(host: FakeHost) -> None:
    for number in range(5):
        item(number)
    dataset = declared(model=None, queryset=Item.objects.filter(active=True), tombstones=())
    refresh(dataset)
    item(1, minutes=1, active=False)
    assert refresh(dataset).rows == 4
    item(1, minutes=2, active=True)
    assert refresh(dataset).rows == 5
    delete(2, tombstone=False)
    assert refresh(dataset).rows == 5  # nobody tells
    assert refresh(dataset, full=True).drift == 1


def test_what_was_deleted_and_made_anew_stays(host: FakeHost, items: Any) -> None:
    delete(1, minutes=5)
    item(1, minutes=4, name="anew, with an older time")
    delete(2, minutes=5)
    item(2, minutes=6, name="anew")
    assert refresh(items).changes
    assert rows(host, items) == {**expected(), "i1": rows(host, items)["i1"]}
    assert len(rows(host, items)) == 30


def test_some_keys_are_loaded_alone(host: FakeHost, items: Any) -> None:
    item(1, name="silently")
    delete(2, tombstone=False)
    assert refresh(items, keys=["i1", "i2", "i404"]).changes
    assert rows(host, items) == expected()


def test_an_empty_table_is_a_beginning(host: FakeHost) -> None:
    dataset = declared(serialize=lambda self, each: {"name": each.name}, fields=())
    refresh(dataset)
    item(1)
    assert refresh(dataset).changes
    assert rows(host, dataset) == expected()


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"ordered": True}, "ordered = True: a change does not say where its rows stand"),
        ({"changes_by": 5}, "changes_by = 5, expected the name of a field"),
        ({"changes_by": "changed"}, "changes_by: Cannot resolve keyword 'changed'"),
        ({"changes_by": ""}, "has tombstones and no changes_by"),
        ({"tombstones": "shop.DeletedItem"}, "expected a model, its field with the key, and its field with the time"),
        ({"tombstones": ("shop.Nothing", "code", "at")}, "tombstones: there is no model 'shop.Nothing'"),
        ({"tombstones": (DeletedItem, "code", "at")}, "tombstones: Cannot resolve keyword 'at'"),
        (
            {"changes_by": "", "tombstones": (), "changes_overlap": timedelta(1)},
            "has changes_overlap and no",
        ),
    ],
)
def test_a_wrong_declaration_is_refused(attributes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        declared(**attributes)


def test_a_slice_cannot_be_asked_for_changes(host: FakeHost) -> None:
    item(1)
    dataset = declared(model=None, queryset=Item.objects.order_by("code")[:5])
    result = dataset.refresh()
    assert "changes_by needs a queryset that can be filtered" in result.error
