"""Two projects on one prefix are told, and processes of one project never are."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from django_etcdaero.datasets.state.overview import overview
from django_etcdaero.datasets.state.project import differ, other_project, project_of, tell_of_other_project
from tests.datasets.hosting import FakeHost, publish


@pytest.mark.parametrize(
    ("one", "other", "differs"),
    [
        ("", "", False),
        ("", "=shop", False),  # what older code published
        ("=shop", "=shop", False),
        ("=shop", "=staging", True),
        ("=shop", "shop shop.datasets.prices", False),  # the option was just added
        ("shop shop.datasets.prices", "shop shop.datasets.prices", False),
        ("shop shop.datasets.prices", "shop shop.catalog.prices", False),  # moved by a deployment
        ("web common.datasets.prices", "api common.datasets.prices", False),  # two services of one project
        ("shop shop.datasets.prices", "blog blog.data.prices", True),
    ],
)
def test_two_projects_are_told_apart_only_when_it_is_certain(one: str, other: str, differs: bool) -> None:
    assert differ(one, other) is differs
    assert differ(other, one) is differs


def as_project(host: FakeHost, **changes: str) -> None:
    alias = host.aliases["default"]
    alias.stores = dataclasses.replace(alias.stores, **changes)  # type: ignore[arg-type]


def test_what_another_project_published_is_told_once(
    host: FakeHost, declare: Any, caplog: pytest.LogCaptureFixture
) -> None:
    prices = declare(name="told-once")
    as_project(host, project="shop")
    publish(prices, {"a": 1})
    assert overview(prices, host.stores("default")).other_project is None
    other = host.other()
    as_project(other, project="staging")
    for number in (2, 3):
        publish(prices, {"a": number}, host=host)
        assert publish(prices, {"a": -number}, host=other).ok  # it is told, not refused
        announced = host.state(prices).current
        tell_of_other_project(prices, host.stores("default"), announced)
    seen = overview(prices, host.stores("default"))
    assert seen.other_project == "staging"
    assert seen.warnings == ["published by another project (staging) under the same PREFIX"]
    said = [each.getMessage() for each in caplog.records if "another project" in each.getMessage()]
    assert len(said) == 2  # once in each of the two
    assert "PREFIX" in said[0]
    assert "PROJECT" in said[0]


def test_a_project_without_a_name_goes_by_its_urls_and_the_declaration(host: FakeHost, declare: Any) -> None:
    prices = declare()
    publish(prices)
    announced = host.state(prices).current
    assert announced is not None
    assert announced.project == ""
    as_project(host, package="shop")
    assert project_of(prices, host.stores("default")) == f"shop {prices.origin}"
    publish(prices, {"a": 2})
    announced = host.state(prices).current
    assert announced is not None
    assert other_project(prices, host.stores("default"), announced) is None
    elsewhere = dataclasses.replace(announced, project="blog blog.data.prices")
    assert other_project(prices, host.stores("default"), elsewhere) == "blog blog.data.prices"
