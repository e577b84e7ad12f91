"""The checks for django-health-check, through its own view."""

from __future__ import annotations

import asyncio
import json
import warnings
from typing import Any

import pytest
from django.test import RequestFactory

from django_etcdaero.contrib import health_check
from django_etcdaero.runtime import runtime
from tests.management.running import declare, kv_away

pytestmark = pytest.mark.usefixtures("registry", "closing")

HERE = "django_etcdaero.contrib.health_check"


def view(*checks: Any) -> tuple[int, dict[str, str]]:
    from health_check.views import HealthCheckView

    request = RequestFactory().get("/", {"format": "json"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of that package's own
        response = asyncio.run(HealthCheckView.as_view(checks=checks)(request))
    return response.status_code, json.loads(response.content)


def test_all_is_well() -> None:
    prices = declare("prices")
    prices.refresh()
    prices.wait_ready(20)
    names = ("Datasets", "KeyValue", "Records", "Doctor")
    code, told = view(*(f"{HERE}.{name}" for name in names))
    assert code == 200, told
    assert set(told.values()) == {"OK"}
    assert {name.partition("(")[0] for name in told} == set(names)


def test_a_dataset_that_is_missing() -> None:
    declare("prices")
    code, told = view(f"{HERE}.Datasets")
    assert code == 500
    assert list(told.values()) == ["Unavailable: prices: it is not loaded in this process"]
    assert view((f"{HERE}.Datasets", {"names": []}))[0] == 200


def test_a_store_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    kv_away(monkeypatch)
    code, told = view(f"{HERE}.KeyValue", f"{HERE}.Records")
    assert code == 500
    assert told["KeyValue(alias='default')"] == "Unavailable: kv.read: mem:: no endpoint answers"
    assert told["Records(alias='default')"] == "OK"


def test_checks_of_the_doctor_are_chosen() -> None:
    declare("prices")
    code, told = view((f"{HERE}.Doctor", {"only": ["datasets.published"]}))
    assert code == 500
    assert "datasets.published: nothing was published of prices" in next(iter(told.values()))
    assert view((f"{HERE}.Doctor", {"skip": ["datasets"]}))[0] == 200
    code, told = view((f"{HERE}.Doctor", {"only": ["nothing"]}))
    assert code == 500
    assert "no check is called 'nothing'" in next(iter(told.values()))


def test_an_alias_that_does_not_exist_is_not_ok() -> None:
    code, told = view((f"{HERE}.KeyValue", {"alias": "nowhere"}))
    assert code == 500
    assert list(told.values()) == ["Unavailable: there is nothing to check: nowhere"]


def test_their_names_tell_no_secrets() -> None:
    assert repr(health_check.KeyValue()) == "KeyValue(alias='default')"
    assert runtime.memory_only
