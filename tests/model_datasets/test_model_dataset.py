"""What a dataset of a model loads, and which declarations are refused."""

from __future__ import annotations

import types
from decimal import Decimal
from typing import Any

import pytest
from django.apps import apps
from django.db.models import Count, QuerySet

from django_etcdaero import ModelDataset, datasets
from django_etcdaero.datasets.blocks.frozen import freeze
from django_etcdaero.datasets.publish.source import load_rows
from django_etcdaero.datasets.state.status import Outcome
from django_etcdaero.exceptions import ConfigurationError, DuplicateKey
from tests.datasets.hosting import FakeHost, follow
from tests.model_datasets.shop.models import CheapProduct, Named, Product, Tag


def declare(base: type[Any] = ModelDataset, /, **attributes: Any) -> Any:
    attributes = {"name": "products", **attributes}
    types.new_class("Products", (base,), exec_body=lambda body: body.update(attributes))
    return datasets[attributes["name"]]


def loaded(**attributes: Any) -> dict[Any, Any]:
    return load_rows(declare(**attributes))


pytestmark = pytest.mark.usefixtures("registry")


# --- what is loaded --------------------------------------------------------------------------------------------------


def test_it_is_published_and_read_in_the_order_of_the_model(host: FakeHost, shop: Any) -> None:
    products = declare(
        model=Product,
        key_field="sku",
        fields=("name", "price", "category__name"),
        indexes=("category__name",),
    )
    assert products.refresh().outcome is Outcome.REFRESHED
    following = follow(products, host)
    following.step()
    assert list(products.items()) == [
        ("B2", {"name": "Cup", "price": Decimal("4.50"), "category__name": "Kitchen"}),
        ("C3", {"name": "Lamp", "price": Decimal("35.00"), "category__name": "Light"}),
        ("A1", {"name": "Teapot", "price": Decimal("19.90"), "category__name": "Kitchen"}),
    ]
    assert products.by("category__name")["Kitchen"] == (products["B2"], products["A1"])
    assert products.sequence()[1] == products["C3"]
    assert products.refresh(force=True).outcome is Outcome.UNCHANGED
    following.close()


def test_fields_are_read_by_one_query_and_no_instance_is_made(
    shop: Any, django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Product, "from_db", None)
    with django_assert_num_queries(1):
        rows = loaded(model=Product, fields=("category", "category_id", "category__slug", "status"))
    first = shop["Cup"]
    expected = {"category": first.category_id, "category_id": first.category_id, "category__slug": "kitchen"}
    assert rows[first.pk] == {**expected, "status": "new"}


def test_the_key_is_part_of_a_row_that_asks_for_it(shop: Any) -> None:
    assert loaded(model=Product, key_field="sku", fields=("sku",))["A1"] == {"sku": "A1"}
    assert loaded(model=Product, fields=["pk", "sku"])[shop["Cup"].pk] == {"pk": shop["Cup"].pk, "sku": "B2"}
    assert set(loaded(model=Product, key_field="category__slug", fields=["sku"], queryset=Product.objects.filter(
        name__in=["Cup", "Lamp"]))) == {"kitchen", "light"}  # fmt: skip


def test_values_of_all_kinds_of_fields_can_be_stored(host: FakeHost, shop: Any) -> None:
    lamp = shop["Lamp"]
    lamp.photo, lamp.details, lamp.thumbnail = "lamp.png", {"w": [1, 2]}, memoryview(b"\x89PNG")
    lamp.status = Product.Status.SOLD
    lamp.save()
    fields = ("photo", "details", "thumbnail", "status", "tags__name", "details__w")
    products = declare(model="shop.Product", key_field="sku", fields=fields)
    assert products.refresh().error is None
    assert load_rows(products)["C3"] == {
        "photo": "lamp.png", "details": {"w": [1, 2]}, "thumbnail": b"\x89PNG", "status": "sold", "tags__name": None,
        "details__w": [1, 2],
    }  # fmt: skip


def test_what_rows_hold_goes_into_queries(shop: Any) -> None:
    row = freeze({"names": ["Cup", "Lamp"], "details": {"w": [1, 2]}, "none": []})
    Product.objects.filter(name="Cup").update(details=row["details"])
    found = Product.objects.filter(name__in=row["names"])
    assert sorted(product.name for product in found) == ["Cup", "Lamp"]
    assert Product.objects.get(details=row["details"]).name == "Cup"
    assert not Product.objects.filter(name__in=row["none"])
    assert row["names"] == ["Cup", "Lamp"]


@pytest.mark.parametrize("row", [{"fields": ["name"]}, {"serialize": lambda self, product: {"name": product.name}}])
def test_the_key_is_none_where_no_object_is_related(shop: Any, row: Any) -> None:
    rows = loaded(queryset=Product.objects.filter(name="Cup"), key_field="book__name", **row)
    assert rows == {None: {"name": "Cup"}}


def test_a_serializer_gets_instances_with_what_is_read_along(shop: Any, django_assert_num_queries: Any) -> None:
    shop["Cup"].tags.add(*(Tag.objects.create(name=name) for name in ("blue", "new")))

    def serialize(self: Any, product: Product) -> dict[str, Any]:
        return {"category": product.category.name, "tags": [tag.name for tag in product.tags.all()]}

    with django_assert_num_queries(2):
        rows = loaded(
            model=Product,
            key_field="category__slug",
            queryset=Product.objects.filter(name__in=["Cup", "Lamp"]),
            serialize=serialize,
            select_related=["category"],
            prefetch_related=["tags"],
        )
    assert rows == {
        "kitchen": {"category": "Kitchen", "tags": ["blue", "new"]},
        "light": {"category": "Light", "tags": []},
    }


def test_a_queryset_is_evaluated_anew_by_each_load(shop: Any) -> None:
    products = declare(queryset=Product.objects.filter(price__lt=10), fields=("name",))
    assert list(load_rows(products).values()) == [{"name": "Cup"}]
    Product.objects.filter(name="Lamp").update(price=1)
    assert list(load_rows(products).values()) == [{"name": "Cup"}, {"name": "Lamp"}]


def test_a_queryset_may_have_annotations_and_be_made_by_a_method(shop: Any) -> None:
    def get_queryset(self: Any) -> QuerySet[Product]:
        return Product.objects.values("category__slug").annotate(number=Count("pk")).order_by("-number")

    rows = loaded(get_queryset=get_queryset, key_field="category__slug", fields=("number",))
    assert list(rows.items()) == [("kitchen", {"number": 2}), ("light", {"number": 1})]
    annotated = loaded(queryset=Product.objects.annotate(n=Count("tags")).prefetch_related("tags"), fields=("n",))
    assert list(annotated.values()) == [{"n": 0}] * 3


def test_a_proxy_is_a_model_like_others(shop: Any) -> None:
    assert len(loaded(model=CheapProduct, fields=("name",))) == 3


# --- order -----------------------------------------------------------------------------------------------------------


ORDERED = {
    "as declared": ({"order_by": ("-price",)}, "CAB"),
    "the queryset's": ({"queryset": Product.objects.order_by("price")}, "BAC"),
    "the model's": ({}, "BCA"),
    "the key's": ({"queryset": Product.objects.order_by()}, "ABC"),
    "declared before the queryset's": ({"queryset": Product.objects.order_by("price"), "order_by": ["name"]}, "BCA"),
    "cut": ({"queryset": Product.objects.order_by("-price")[:2]}, "CA"),
}


@pytest.mark.parametrize(("attributes", "skus"), ORDERED.values(), ids=ORDERED)
def test_rows_come_in_the_order_that_is_said(shop: Any, attributes: dict[str, Any], skus: str) -> None:
    rows = loaded(**{"model": Product, "fields": ("sku",), **attributes})
    assert "".join(row["sku"][0] for row in rows.values()) == skus


def test_what_the_order_leaves_open_is_decided_by_the_key(shop: Any) -> None:
    Product.objects.update(name="same", price=1)
    for order_by in ((), ("price",), ("-price", "name")):
        rows = loaded(model=Product, key_field="sku", fields=("price",), order_by=order_by)
        assert list(rows) == ["A1", "B2", "C3"]
    assert list(loaded(model=Product, key_field="sku", fields=("price",), order_by=["-sku"])) == ["C3", "B2", "A1"]


def test_the_order_may_be_left_alone(shop: Any, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1) as queries:
        loaded(queryset=Product.objects.order_by(), fields=("name",), ordered=False)
    assert "ORDER BY" not in queries.captured_queries[0]["sql"]


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_key_that_comes_twice_is_told_with_its_field(shop: Any) -> None:
    products = declare(model=Product, key_field="category__slug", fields=("name",))
    with pytest.raises(DuplicateKey, match="gave the key 'kitchen', the value of 'category__slug', twice"):
        load_rows(products)


def test_something_else_than_a_queryset_is_refused_when_it_is_loaded(host: FakeHost) -> None:
    products = declare(get_queryset=lambda self: [1, 2], fields=("name",))
    assert products.refresh().error == (
        "ConfigurationError: get_queryset() of dataset 'products' returned builtins.list, expected a QuerySet; load() "
        "may return anything else"
    )


def serialize(self: Any, product: Product) -> Any:
    return product.name


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no source": ({"fields": ("name",)}, "has no model, no queryset and no get_queryset()"),
    "no rows": ({"model": Product}, r"has neither fields nor serialize\(instance\): set fields"),
    "an index of no field": (
        {"model": Product, "fields": ["name", "sku"], "indexes": ["slug"]},
        "indexes has 'slug', and no row will: fields has name, sku",
    ),
    "two forms of rows": ({"model": Product, "fields": ["name"], "serialize": serialize}, "has fields and serialize"),
    "no list": ({"model": Product, "fields": "name"}, "fields = 'name', expected a list or tuple"),
    "no names": ({"model": Product, "fields": [1]}, r"fields = \[1\], expected names"),
    "no key": ({"model": Product, "fields": ["name"], "key_field": ""}, "key_field = '', expected the name of a field"),
    "no model": ({"model": 5, "fields": ["name"]}, "model = 5, expected a model or 'app.Model'"),
    "another class": ({"model": dict, "fields": ["name"]}, "model: builtins.dict is not a model"),
    "an unknown model": ({"model": "shop.Produkt", "fields": ["name"]}, "model: there is no model 'shop.Produkt'"),
    "no label": ({"model": "Product", "fields": ["name"]}, "model: there is no model 'Product'"),
    "an abstract model": ({"model": Named, "fields": ["name"]}, "model: Named is abstract and has no objects"),
    "no queryset": ({"queryset": [1], "fields": ["name"]}, r"queryset = \[1\], expected a QuerySet"),
    "an unknown field": ({"model": Product, "fields": ["nam"]}, "fields: Cannot .*'nam' .* Choices are: .*name"),
    "an unknown key": ({"model": Product, "fields": ["name"], "key_field": "sk"}, "key_field: Cannot resolve .*'sk'"),
    "an unknown order": ({"model": Product, "fields": ["name"], "order_by": ["nam"]}, "order_by: Cannot .*'nam'"),
    "relations for fields": (
        {"model": Product, "fields": ["name"], "select_related": ["category"]},
        r"select_related and prefetch_related are for serialize\(\); fields takes names such as",
    ),
    "an unknown relation": (
        {"model": Product, "serialize": serialize, "select_related": ["categry"]},
        "select_related: Product has no field named 'categry'",
    ),
    "no relation": (
        {"model": Product, "serialize": serialize, "select_related": ["name"]},
        "select_related: 'name' of Product leads to no other model",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("attributes", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_declaration_is_refused_at_once(attributes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"dataset .*Products: {said}"):
        declare(**attributes)
    assert not datasets


def test_models_that_are_not_there_yet_are_looked_for_when_django_is_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apps, "models_ready", False)
    monkeypatch.setattr(datasets, "_followers", ())
    products = declare(model="shop.Produkt", fields=("name",))
    monkeypatch.setattr(apps, "models_ready", True)
    with pytest.raises(ConfigurationError, match=r"there is no model 'shop\.Produkt'"):
        products.check_models()


def test_a_base_class_for_others_is_not_checked(shop: Any) -> None:
    class ByCode(ModelDataset[str, dict[str, Any]]):
        key_field = "sku"

    assert set(load_rows(declare(ByCode, model=Product, fields=("name",)))) == {"A1", "B2", "C3"}


def test_a_load_of_its_own_needs_neither_model_nor_fields(shop: Any) -> None:
    assert loaded(load=lambda self: {"a": 1}) == {"a": 1}
