"""The registry is a dict of the live datasets, and helps with misspelled names."""

from __future__ import annotations

from typing import Any

import pytest

import django_etcdaero
from django_etcdaero import dataset, datasets
from django_etcdaero.exceptions import ConfigurationError, KeyNotFound

pytestmark = pytest.mark.usefixtures("registry")


def make(name: str) -> Any:
    def load() -> dict[str, int]:
        return {}

    load.__qualname__ = f"load_{name}"
    return dataset(name=name)(load)


def test_it_is_a_dict_of_live_datasets() -> None:
    prices, stock = make("prices"), make("stock")
    assert dict(datasets) == {"prices": prices, "stock": stock}
    assert "prices" in datasets
    assert datasets.get("nothing") is None
    assert type(datasets).__getitem__ is dict.__getitem__


def test_an_unknown_name_is_told_with_the_nearest_one() -> None:
    make("prices")
    with pytest.raises(KeyNotFound, match=r"there is no dataset 'price'; did you mean 'prices'\?"):
        datasets["price"]
    with pytest.raises(KeyError, match="known: prices"):
        datasets["zzz"]
    datasets.clear()
    with pytest.raises(KeyNotFound, match="known: none"):
        datasets["prices"]


def test_two_declarations_of_one_name_are_refused_naming_both() -> None:
    def one() -> dict[str, int]:
        return {}

    def other() -> dict[str, int]:
        return {}

    first = dataset(name="prices")(one)
    with pytest.raises(ConfigurationError, match=r"'prices' is declared twice: in .*one and in .*other"):
        dataset(name="prices")(other)
    assert datasets["prices"] is first


def test_who_follows_sees_each_dataset_before_it_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "_followers", ())
    prices, seen = make("prices"), []

    def follow(dataset: Any) -> None:
        seen.append((dataset.name, dataset.name in datasets))
        if dataset.name == "wrong":
            raise ConfigurationError("wrong")

    datasets.follow(follow)
    stock = make("stock")
    with pytest.raises(ConfigurationError, match="wrong"):
        make("wrong")
    assert seen == [("prices", True), ("stock", False), ("wrong", False)]
    assert dict(datasets) == {"prices": prices, "stock": stock}


def test_a_module_that_is_imported_again_replaces_its_datasets() -> None:
    first = make("prices")
    second = make("prices")
    assert datasets["prices"] is second is not first


def test_the_submodules_are_reached_through_the_registry() -> None:
    import django_etcdaero.datasets.state.status as module

    assert django_etcdaero.datasets is datasets
    assert module.Outcome.FRESH == "fresh"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        datasets.nothing  # noqa: B018
    prices = make("prices")
    with pytest.raises(AttributeError, match=r"write datasets\['prices'\]"):
        datasets.prices  # noqa: B018
    assert datasets["prices"] is prices
    assert not hasattr(datasets, "__wrapped__")
