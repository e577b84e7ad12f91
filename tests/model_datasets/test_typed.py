"""A class of rows that is made of the fields of a model."""

from __future__ import annotations

import copy
import pickle
import typing
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from django.db import models
from django.db.models import Count

from django_etcdaero import ModelDataset
from django_etcdaero.datasets.state.status import Outcome
from django_etcdaero.exceptions import ConfigurationError
from tests.datasets.hosting import FakeHost, follow
from tests.model_datasets.shop.models import Book, Product
from tests.model_datasets.test_model_dataset import declare

pytestmark = pytest.mark.usefixtures("registry")


def test_rows_are_instances_with_the_fields_of_the_model(host: FakeHost, shop: Any) -> None:
    products = declare(model=Product, key_field="sku", fields=("name", "price", "category__name"), typed=True)
    assert products.refresh().outcome is Outcome.REFRESHED
    following = follow(products, host)
    following.step()
    row = products["A1"]
    assert type(row) is products.row_type
    assert (row.name, row.price, row.category__name) == ("Teapot", Decimal("19.90"), "Kitchen")
    with pytest.raises(AttributeError):
        row.name = "Kettle"
    with pytest.raises((AttributeError, TypeError)):  # dataclasses with slots say it oddly
        row.other = 1
    assert copy.copy(row) == row
    following.close()


def test_types_are_those_that_the_query_gives() -> None:
    fields = ("pk", "sku", "price", "category", "category__slug", "tags", "tags__name", "photo", "details", "thumbnail")
    products = declare(model=Product, fields=fields, typed=True)
    assert typing.get_type_hints(products.row_type) == {
        "pk": int,
        "sku": str,
        "price": Decimal,
        "category": int,
        "category__slug": str,
        "tags": int | None,
        "tags__name": str | None,
        "photo": str,
        "details": Any,
        "thumbnail": bytes | None,
    }


def test_inherited_fields_and_annotations_have_types_too() -> None:
    queryset = Book.objects.annotate(count=Count("tags"))
    books = declare(name="books", queryset=queryset, fields=("pk", "name", "pages", "count"), typed=True)
    assert typing.get_type_hints(books.row_type) == {"pk": int, "name": str, "pages": int, "count": Any}


def test_what_a_database_gives_of_each_field_is_accepted(host: FakeHost, shop: Any) -> None:
    names = ("pk", "sku", "price", "category", "tags__name", "photo", "details", "thumbnail", "status")
    products = declare(model=Product, fields=names, typed=True)
    assert products.refresh().error is None


class Point(NamedTuple):
    x: int


class Reversed(models.CharField):  # type: ignore[type-arg]
    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return list(value)


def test_a_field_that_converts_what_it_reads_is_not_checked() -> None:
    field = Product._meta.get_field("name")
    assert typing.get_type_hints(declare(model=Product, fields=("name",), typed=True).row_type) == {"name": str}
    try:
        field.__class__ = Reversed
        again = declare(name="again", model=Product, fields=("name",), typed=True)
        assert typing.get_type_hints(again.row_type) == {"name": Any}
    finally:
        field.__class__ = models.CharField


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"fields": ("name",), "typed": 1}, "typed = 1, expected True or False"),
        ({"fields": ("name",), "typed": True, "row_type": Point}, "typed = True, which makes a class .*, and row_type"),
        (
            {"serialize": lambda self, row: {}, "typed": True},
            "typed = True makes a class of fields, and there are",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(options: Any, error: str) -> None:
    with pytest.raises(ConfigurationError, match=error):
        declare(model=Product, **options)


class Typed(ModelDataset[Any, Any]):
    name = "typed"
    model = Product
    fields = ("sku", "name")
    typed = True


def test_instances_can_be_pickled() -> None:
    assert Typed.row_type is not None
    row = Typed.row_type("A1", "Teapot")
    assert pickle.loads(pickle.dumps(row)) == row
