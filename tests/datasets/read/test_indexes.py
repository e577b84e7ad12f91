"""Rows are found by their fields, in every process and of one version; a load that an index does not fit is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

from django_etcdaero.datasets.read import freeing
from django_etcdaero.datasets.state.status import Outcome
from django_etcdaero.exceptions import DuplicateKey, KeyNotFound
from django_etcdaero.testing import override_dataset
from tests.datasets.hosting import FakeHost, publish

ROWS = {
    "A1": {"slug": "teapot", "category": "kitchen", "price": 20},
    "C3": {"slug": "lamp", "category": "light", "price": 35},
    "B2": {"slug": "cup", "category": "kitchen", "price": None},
}


@dataclass(frozen=True)
class Product:
    slug: str
    category: str
    price: int | None


class Item(NamedTuple):
    slug: str
    category: str
    price: int | None


@pytest.fixture
def products(declare: Any, step: Any) -> Any:
    dataset = declare(ROWS, name="products", ordered=True, indexes=("slug", "category", "price"))
    publish(dataset)
    step(dataset)()
    return dataset


def test_rows_are_found_by_a_field_in_their_order(products: Any) -> None:
    for view in (products, products.snapshot()):
        assert view.by("category")["kitchen"] == (ROWS["A1"], ROWS["B2"])
        assert view.by("category")["garden"] == ()
        assert view.by("price")[None] == (ROWS["B2"],)


def test_an_index_is_a_mapping_of_the_values_that_there_are(products: Any) -> None:
    index = products.by("category")
    assert dict(index) == {"kitchen": (ROWS["A1"], ROWS["B2"]), "light": (ROWS["C3"],)}
    assert "garden" not in index
    assert index.get("garden") == ()
    assert index.get("garden", "none") == "none"
    assert list(index) == ["kitchen", "light"]
    assert len(index) == 2
    assert repr(index) == "<index 'category' of dataset 'products': 2 values>"


def test_one_row_is_found_by_a_value_of_its_own(products: Any) -> None:
    assert products.by("slug").one("lamp") is products["C3"]
    assert products.by("slug").one("sofa", None) is None
    with pytest.raises(KeyNotFound, match="index 'slug' of dataset 'products': no row has the value 'sofa'"):
        products.by("slug").one("sofa")
    with pytest.raises(DuplicateKey, match=r"index 'category' .* 2 rows have the value 'kitchen'"):
        products.by("category").one("kitchen")


def test_an_index_that_is_not_declared_is_told_with_those_that_are(products: Any) -> None:
    with pytest.raises(KeyNotFound, match="'products' has no index 'color'; its indexes: slug, category, price"):
        products.by("color")


@pytest.mark.parametrize("form", ["plain", "frozen", Product, Item])
def test_rows_of_every_form_have_indexes(declare: Any, step: Any, form: Any) -> None:
    products = declare(ROWS, name="products", indexes=["slug"])
    if isinstance(form, str):
        type(products).rows = form
    else:
        type(products).row_type = form
    publish(products)
    step(products)()
    assert products.by("slug")["cup"] == (products["B2"],)


def test_an_index_belongs_to_its_version(products: Any, step: Any) -> None:
    before = products.snapshot()
    publish(products, ROWS | {"D4": {"slug": "sofa", "category": "light", "price": 9}})
    step(products)()
    assert len(products.by("category")["light"]) == 2
    assert len(before.by("category")["light"]) == 1


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"slug": "x"}, "row 'D4' has no 'category'; it has slug"),
        (["x"], "row 'D4' has no 'category': it is a list"),
        ({"category": ["a"]}, "in row 'D4' it is a list, which cannot be looked up: index a field with a single value"),
    ],
    ids=["no such field", "no fields", "a list"],
)
def test_a_load_that_an_index_does_not_fit_is_refused(products: Any, row: Any, said: str) -> None:
    type(products).indexes = ("category",)
    result = publish(products, ROWS | {"D4": row})
    assert result.outcome is Outcome.FAILED
    assert result.error == f"ValidationFailed: index 'category' of dataset 'products': {said}" + (
        ", or build what you need in prepare()" if "list, which" in said else ""
    )
    assert products.by("category")["garden"] == ()


def test_rows_set_by_a_test_have_indexes(products: Any) -> None:
    with override_dataset(products, {"X": {"slug": "x", "category": "y", "price": 1}}):
        assert products.by("slug")["x"] == ({"slug": "x", "category": "y", "price": 1},)


def test_what_an_old_version_held_is_freed_but_for_what_somebody_holds(
    host: FakeHost, products: Any, step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freeing, "MOST_ENTRIES", 0)
    monkeypatch.setattr(freeing, "AFTER", 0.0)
    look = step(products)
    held, not_held = products.by("category"), products.snapshot().by("slug").found
    publish(products, {"A1": ROWS["A1"]})
    look()
    assert held["light"] == (ROWS["C3"],)
    assert len(not_held) == 3  # this test holds it
    assert products.by("category")["light"] == ()
