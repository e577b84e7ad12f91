"""Changes of models ask for loads of the datasets that depend on them, once they are committed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core import serializers
from django.core.management import call_command
from django.db import connection, transaction

from django_etcdaero import dataset, datasets, model_changed
from django_etcdaero.exceptions import ConfigurationError
from tests.datasets.hosting import FakeHost, away, publish
from tests.model_datasets.shop.models import Book, Brand, Category, CheapProduct, Named, Product, Tag
from tests.model_datasets.test_model_dataset import declare

pytestmark = pytest.mark.django_db


@pytest.fixture
def depends(host: FakeHost) -> Callable[..., Any]:
    """Declare a published dataset that depends on models."""

    def make(*models: Any, name: str = "products") -> Any:
        made = declare(name=name, model=Product, fields=("name",), refresh_on=models)
        assert publish(made).ok
        return made

    return make


@pytest.fixture
def asked(host: FakeHost, django_capture_on_commit_callbacks: Any) -> Callable[..., list[str]]:
    """Do something, commit, and return the names of the datasets of which it asked for a load."""

    def of(change: Callable[[], object]) -> list[str]:
        with django_capture_on_commit_callbacks(execute=True):
            change()
        found = sorted(name for name, each in datasets.items() if host.state(each).pending is not None)
        for name in found:
            assert datasets[name].refresh().ok
        return found

    return of


def test_creating_changing_and_deleting_objects_asks(depends: Any, asked: Any, shop: Any) -> None:
    depends(Product)
    cup = shop["Cup"]
    assert asked(lambda: Product.objects.create(sku="D4", name="Sofa", category=cup.category)) == ["products"]
    assert asked(cup.save) == ["products"]
    assert asked(cup.delete) == ["products"]
    assert asked(Product.objects.all().delete) == ["products"]


def test_only_datasets_that_depend_on_the_model_are_asked_for(depends: Any, asked: Any, shop: Any) -> None:
    depends(Product, "shop.Category", name="both")
    depends(Category, name="categories")
    depends(name="neither")
    assert asked(shop["Cup"].save) == ["both"]
    assert asked(shop["Cup"].category.save) == ["both", "categories"]
    assert asked(lambda: Tag.objects.create(name="new")) == []


def test_any_dataset_may_depend_on_models(asked: Any, shop: Any) -> None:
    @dataset(refresh_on=[Category])
    def slugs() -> list[tuple[str, int]]:
        return [(category.slug, category.pk) for category in Category.objects.all()]

    assert slugs.refresh().ok
    assert asked(shop["Cup"].category.save) == ["slugs"]


def test_objects_that_go_with_another_ask_too(depends: Any, asked: Any, shop: Any) -> None:
    depends(Product)
    assert asked(Category.objects.get(slug="light").delete) == ["products"]


@pytest.mark.parametrize("model", [Product, Tag])
def test_relations_ask_from_either_side(depends: Any, asked: Any, shop: Any, model: Any) -> None:
    depends(model)
    tag, cup = Tag.objects.create(name="new"), shop["Cup"]
    assert asked(lambda: cup.tags.add(tag)) == ["products"]
    assert asked(lambda: cup.tags.add(tag)) == []  # nothing has changed
    assert asked(lambda: tag.products.remove(cup)) == ["products"]
    assert asked(lambda: tag.products.set([cup])) == ["products"]
    assert asked(cup.tags.clear) == ["products"]


def test_proxies_parents_and_children_are_the_same_objects(depends: Any, asked: Any, shop: Any) -> None:
    depends(Product, name="products")
    depends(Book, name="books")
    depends(CheapProduct, name="cheap")
    depends(Named, name="named")
    cup = shop["Cup"]
    assert asked(lambda: Book.objects.create(sku="E", name="Tea", pages=9, category=cup.category)) == [
        "books", "cheap", "products",
    ]  # fmt: skip
    assert asked(Product.objects.get(sku="E").save) == ["books", "cheap", "products"]
    assert asked(CheapProduct.objects.get(pk=cup.pk).save) == ["books", "cheap", "products"]
    assert asked(lambda: Brand.objects.create(name="b")) == ["named"]


def test_fixtures_ask(depends: Any, asked: Any, shop: Any, tmp_path: Any) -> None:
    depends(Category)
    fixture = tmp_path / "fixture.json"
    fixture.write_text(serializers.serialize("json", Category.objects.all()))
    assert asked(lambda: call_command("loaddata", str(fixture), verbosity=0)) == ["products"]


def test_bulk_operations_are_told_by_a_call(depends: Any, asked: Any, shop: Any) -> None:
    depends(Product)
    assert asked(lambda: Product.objects.update(price=1)) == []
    assert asked(lambda: model_changed(Product)) == ["products"]
    assert asked(lambda: model_changed("shop.Category", "shop.Book", using="default")) == ["products"]
    assert asked(lambda: model_changed(Category)) == []
    with pytest.raises(ConfigurationError, match=r"no model 'shop\.Produkt'"):
        model_changed("shop.Produkt")
    for wrong in (Product(name="Cup"), Product.objects, None):
        with pytest.raises(ConfigurationError, match=r"an object of .* is not a model: expected the class"):
            model_changed(wrong)  # type: ignore[arg-type]


def test_nothing_is_asked_before_the_commit_nor_for_what_is_rolled_back(
    depends: Any, host: FakeHost, shop: Any, django_capture_on_commit_callbacks: Any
) -> None:
    products = depends(Product)
    with django_capture_on_commit_callbacks(execute=True):
        with transaction.atomic():
            shop["Cup"].save()
            transaction.set_rollback(True)
        assert host.state(products).pending is None
    assert host.state(products).pending is None
    with django_capture_on_commit_callbacks(execute=True):
        with transaction.atomic():
            shop["Cup"].save()
        assert host.state(products).pending is None
    assert host.state(products).pending is not None


@pytest.mark.django_db(transaction=True)
def test_outside_transactions_it_is_asked_at_once(depends: Any, host: FakeHost) -> None:
    products = depends(Category)
    Category.objects.create(slug="x", name="x")
    assert host.state(products).pending is not None


@pytest.mark.django_db(transaction=True)
def test_where_commits_are_made_by_hand_a_save_goes_through(depends: Any, host: FakeHost) -> None:
    products = depends(Category)
    connection.set_autocommit(False)
    try:
        Category.objects.create(slug="x", name="x")
        connection.commit()
    finally:
        connection.set_autocommit(True)
    assert host.state(products).pending is not None


def test_a_store_that_is_away_breaks_no_save(
    depends: Any, host: FakeHost, shop: Any, caplog: pytest.LogCaptureFixture, django_capture_on_commit_callbacks: Any
) -> None:
    depends(Product)
    away(host)
    shop["Cup"].name = "Mug"
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        shop["Cup"].save()
    assert len(callbacks) == 1
    assert Product.objects.get(sku="B2").name == "Mug"
    assert "dataset products: models changed, and no load could be asked for" in caplog.text


def test_a_dataset_that_is_not_registered_any_more_is_left_alone(depends: Any, asked: Any, shop: Any) -> None:
    depends(Product)
    datasets.clear()
    assert asked(shop["Cup"].save) == []


@pytest.mark.parametrize(
    ("named", "said"),
    [("shop.Produkt", r"there is no model 'shop\.Produkt'"), (dict, "builtins.dict is not a model")],
)
def test_what_is_no_model_is_refused(registry: Any, named: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"dataset .*Products: refresh_on: {said}"):
        declare(model=Product, fields=("name",), refresh_on=[named])
    assert not datasets
