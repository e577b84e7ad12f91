"""Tasks that refresh: in Celery, and without a queue."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from collections.abc import Iterator

import celery
import pytest
from celery.contrib.testing.worker import start_worker
from celery.signals import setup_logging
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from django_etcdaero.contrib import celery as ours
from django_etcdaero.contrib import refreshing
from django_etcdaero.exceptions import KeyNotFound, RefreshFailed, RefreshInTransaction
from tests.management.running import declare

pytestmark = pytest.mark.usefixtures("registry", "closing")


# --- what tasks do ---------------------------------------------------------------------------------------------------


def test_a_dataset_is_refreshed_when_it_is_due_or_forced_to() -> None:
    prices = declare()
    first = refreshing.refresh("prices")
    assert (first["name"], first["outcome"], first["version"], first["rows"]) == ("prices", "refreshed", 1, 1)
    assert json.loads(json.dumps(first)) == first
    prices.source["b"] = 2
    assert refreshing.refresh("prices")["outcome"] == "fresh"
    assert refreshing.refresh("prices", force=True)["version"] == 2


def test_all_that_are_due_are_refreshed_and_failures_told_at_the_end() -> None:
    for name in ("one", "two", "three"):
        declare(name)
    refreshing.refresh("two")
    assert {each["name"]: each["outcome"] for each in refreshing.refresh_due()} == {
        "one": "refreshed",
        "three": "refreshed",
        "two": "fresh",
    }
    bad, good = declare("bad"), declare("good")
    bad.errors.append(ValueError("no rows"))
    with pytest.raises(RefreshFailed, match=r"bad: failed: ValueError: no rows$"):
        refreshing.refresh_due()
    assert good.wait_version(1, timeout=10)


def test_an_unknown_name_is_told() -> None:
    declare()
    with pytest.raises(KeyNotFound, match="did you mean 'prices'"):
        refreshing.refresh("price")


@pytest.mark.django_db(transaction=True)
def test_in_a_transaction_nothing_is_loaded() -> None:
    declare()
    for call in (lambda: refreshing.refresh("prices"), refreshing.refresh_due):
        with transaction.atomic(), pytest.raises(RefreshInTransaction):
            call()


# --- Celery ----------------------------------------------------------------------------------------------------------


def leave_logging_alone(**options: object) -> None:
    """Where somebody sets logging up for it a worker does not: it would set the level of the root logger, for good."""


@pytest.fixture
def app() -> Iterator[celery.Celery]:
    setup_logging.connect(leave_logging_alone)
    made = celery.Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=True)
    made.conf.update(imports=["django_etcdaero.contrib.celery"], broker_connection_retry_on_startup=True)
    yield made
    made.close()
    setup_logging.disconnect(leave_logging_alone)


def test_celery_runs_it_at_once_where_it_is_told_to(app: celery.Celery) -> None:
    app.conf.task_always_eager = True
    prices = declare()
    assert ours.refresh.delay("prices").get()["outcome"] == "refreshed"
    assert ours.refresh_due.delay().get()[0]["outcome"] == "fresh"
    prices.errors.append(ValueError("no rows"))
    failed = ours.refresh.delay("prices", force=True)
    assert (failed.state, str(failed.result)) == ("FAILURE", "prices: failed: ValueError: no rows")


@pytest.mark.slow
def test_a_worker_of_celery_knows_the_tasks_by_their_names(app: celery.Celery) -> None:
    declare()
    before = logging.root.level, [*logging.root.handlers]
    with start_worker(app, perform_ping_check=False, pool="solo"):
        result = app.send_task("django_etcdaero.refresh", ["prices"]).get(timeout=30)
        assert (result["outcome"], result["version"]) == ("refreshed", 1)
        assert app.send_task("django_etcdaero.refresh_due").get(timeout=30)[0]["outcome"] == "fresh"
    assert (logging.root.level, logging.root.handlers) == before


def test_without_celery_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "celery", None)
    monkeypatch.delitem(sys.modules, "django_etcdaero.contrib.celery")
    with pytest.raises(ImproperlyConfigured, match=r"celery: .*django-etcdaero\[celery\]"):
        importlib.import_module("django_etcdaero.contrib.celery")
