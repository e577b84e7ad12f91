"""Refreshing, and asking for it, in transactions of the project's databases."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.base import BaseHandler
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.http import HttpRequest, HttpResponse

from django_etcdaero.datasets.state.reading import read_state
from django_etcdaero.exceptions import Cancelled, ClusterError, RefreshInTransaction
from django_etcdaero.runtime import Runtime
from django_etcdaero.transactions import on_commit, open_transaction
from tests.datasets.hosting import in_thread
from tests.records.database.serving import alias
from tests.runtime.hooking import declare

pytestmark = pytest.mark.usefixtures("registry")

OTHER = "orders"


@pytest.fixture
def databases(databases_allowed: None, tmp_path: Path) -> Iterator[None]:
    """Two databases: the default one, and another."""
    with alias(OTHER, {"ENGINE": "django.db.backends.sqlite3", "NAME": tmp_path / "orders.sqlite3"}):
        yield


@pytest.fixture
def prices(fresh: Runtime) -> Any:
    made = declare()
    fresh.arm()
    assert made.refresh().ok
    return made


def asked(fresh: Runtime, dataset: Any) -> bool:
    """Whether a request for a load is pending."""
    stores = fresh.stores(dataset.using)
    return read_state(stores.kv, dataset.layout(stores.prefix)).pending is not None


# --- refresh() -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [DEFAULT_DB_ALIAS, OTHER])
@pytest.mark.parametrize("savepoints", [0, 2])
def test_refreshing_in_a_block_is_refused(databases: None, prices: Any, name: str, savepoints: int) -> None:
    with ExitStack() as blocks:
        for _ in range(1 + savepoints):
            blocks.enter_context(transaction.atomic(using=name))
        with pytest.raises(RefreshInTransaction, match=f"transaction is open on the database '{name}'"):
            prices.refresh(force=True)
        with pytest.raises(RefreshInTransaction, match=r"etcdaero_refresh: .* request_refresh\(\) instead"):
            call_command("etcdaero_refresh")
        call_command("etcdaero_refresh", dry_run=True)
        assert prices.refresh(force=True, allow_in_atomic=True).ok
    assert prices.refresh(force=True).ok


def test_a_request_to_the_site_may_be_a_block(databases: None, prices: Any) -> None:
    connections.settings[OTHER]["ATOMIC_REQUESTS"] = True
    view = BaseHandler().make_view_atomic(lambda request: HttpResponse(prices.refresh().outcome))
    with pytest.raises(RefreshInTransaction):
        view(HttpRequest())
    view = BaseHandler().make_view_atomic(
        transaction.non_atomic_requests(OTHER)(lambda request: prices.refresh().outcome)
    )
    assert view(HttpRequest()) == "fresh"


def test_what_a_load_does_with_the_database_is_its_own_affair(databases: None, fresh: Runtime) -> None:
    found = []
    prices = declare()

    def load(self: Any) -> dict[str, int]:
        with transaction.atomic(), transaction.atomic(using=OTHER):
            found.append(open_transaction())
            return {"a": 1}

    type(prices).load = load
    assert prices.refresh().ok
    assert found == [DEFAULT_DB_ALIAS]


def test_another_thread_is_in_no_block(databases: None, prices: Any) -> None:
    with transaction.atomic():
        thread, answers = in_thread(lambda: prices.refresh(force=True).ok)
        thread.join(20)
    assert answers == [True]


def test_a_transaction_by_hand_is_one_as_well(databases: None, fresh: Runtime, prices: Any) -> None:
    connection = connections[OTHER]
    connection.cursor().execute("CREATE TABLE orders (number)")
    transaction.set_autocommit(False, using=OTHER)
    assert prices.refresh(force=True).ok
    connection.cursor().execute("INSERT INTO orders VALUES (1)")
    with pytest.raises(RefreshInTransaction, match=OTHER):
        prices.refresh(force=True)
    with pytest.raises(RefreshInTransaction, match=r"do this after your commit\(\)"):
        prices.request_refresh()
    transaction.commit(using=OTHER)
    prices.request_refresh()
    assert asked(fresh, prices)
    transaction.set_autocommit(True, using=OTHER)


class Driver:
    """A connection of a driver that says nothing about transactions, or what psycopg says."""

    def __init__(self, status: int | None = None) -> None:
        if status is not None:
            self.info = type("Info", (), {"transaction_status": status})


@pytest.mark.parametrize(("driver", "open_"), [(Driver(), True), (Driver(2), True), (Driver(0), False)])
def test_what_drivers_say(databases: None, monkeypatch: pytest.MonkeyPatch, driver: Driver, open_: bool) -> None:
    connection = connections[OTHER]
    with monkeypatch.context() as patch:
        patch.setattr(connection, "connection", driver)
        patch.setattr(connection, "autocommit", False)
        assert open_transaction() == (OTHER if open_ else None)


def test_databases_that_nobody_has_used_are_not_connected_to(fresh: Runtime, prices: Any) -> None:
    entry = {"ENGINE": "django.db.backends.sqlite3", "NAME": "/nowhere/at/all.sqlite3"}
    with alias(OTHER, entry):
        assert prices.refresh(force=True).ok
        prices.request_refresh()
        assert asked(fresh, prices)
        assert connections[OTHER].connection is None


def test_a_project_without_databases(fresh: Runtime, prices: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: object) -> None:
        raise ImproperlyConfigured("settings.DATABASES is not as it should be")

    monkeypatch.setattr(connections, "all", refuse)
    assert prices.refresh(force=True).ok
    prices.request_refresh()
    assert asked(fresh, prices)


# --- request_refresh() -----------------------------------------------------------------------------------------------


def test_a_request_is_sent_at_the_commit(databases: None, fresh: Runtime, prices: Any) -> None:
    with transaction.atomic():
        with transaction.atomic():
            made = prices.request_refresh()
        assert not asked(fresh, prices)
        with pytest.raises(RefreshInTransaction, match="wait for it after the block"):
            made.wait(20)
    assert asked(fresh, prices)
    prices.refresh()
    assert made.wait(20).version == 1


@pytest.mark.parametrize("savepoint", [False, True])
def test_a_request_that_is_rolled_back_was_never_made(
    databases: None, fresh: Runtime, prices: Any, savepoint: bool
) -> None:
    with ExitStack() as outer:
        if savepoint:
            outer.enter_context(transaction.atomic())
        with suppress(KeyError), transaction.atomic():
            made = prices.request_refresh()
            raise KeyError
        with pytest.raises(Cancelled, match="rolled back"):
            made.wait(20)
    assert not asked(fresh, prices)


def test_a_request_that_django_forgot_at_the_commit_says_so(databases: None, fresh: Runtime, prices: Any) -> None:
    with suppress(KeyError), transaction.atomic():
        transaction.on_commit({}.popitem)  # raises, and Django calls no further function
        made = prices.request_refresh()
    with pytest.raises(Cancelled, match="another function that was to be called after its commit failed"):
        made.wait(20)
    assert not asked(fresh, prices)


@pytest.mark.parametrize("committed", [[DEFAULT_DB_ALIAS, OTHER], [OTHER], [DEFAULT_DB_ALIAS], []])
def test_with_several_databases_every_commit_counts(
    databases: None, fresh: Runtime, prices: Any, committed: list[str]
) -> None:
    with suppress(KeyError), transaction.atomic():
        with suppress(KeyError), transaction.atomic(using=OTHER):
            made = prices.request_refresh()
            if OTHER not in committed:
                raise KeyError
        assert asked(fresh, prices) == (OTHER in committed)
        with pytest.raises(RefreshInTransaction):
            made.wait(20)
        prices.refresh(force=True, allow_in_atomic=True)
        assert not asked(fresh, prices)
        if DEFAULT_DB_ALIAS not in committed:
            raise KeyError
    assert asked(fresh, prices) == (DEFAULT_DB_ALIAS in committed)
    prices.refresh()
    if committed:
        assert made.wait(20).version == 1
    else:
        with pytest.raises(Cancelled):
            made.wait(20)


def test_what_goes_wrong_at_the_commit_is_logged_and_kept(
    databases: None, fresh: Runtime, prices: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> None:
        raise ClusterError("the store is away")

    with transaction.atomic():
        made = prices.request_refresh()
        monkeypatch.setattr(fresh, "stores", fail)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "RefreshRequest._send_at_commit in on_commit() during transaction (the store is away)" in record.message
    with pytest.raises(ClusterError, match="the store is away"):
        made.wait(20)


def test_asynchronous_code_asks_in_the_thread_that_uses_its_databases(
    databases: None, fresh: Runtime, prices: Any
) -> None:
    connections.settings[DEFAULT_DB_ALIAS].setdefault("ATOMIC_REQUESTS", False)

    async def view() -> Any:
        made = await prices.arequest_refresh()
        assert not await sync_to_async(asked)(fresh, prices)
        with pytest.raises(RefreshInTransaction):
            await made
        return made

    with transaction.atomic():
        made = async_to_sync(view)()
    assert asked(fresh, prices)

    async def later() -> Any:
        await sync_to_async(prices.refresh)()
        return (await made).version, (await (await prices.arequest_refresh()).await_(0)).version

    with pytest.raises(TimeoutError):  # the second one
        asyncio.run(later())


# --- tests of projects -----------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_block_of_a_test_case_does_not_count(fresh: Runtime, prices: Any) -> None:
    assert connections[DEFAULT_DB_ALIAS].in_atomic_block
    assert prices.refresh(force=True).ok
    made = prices.request_refresh()
    assert asked(fresh, prices)
    prices.refresh()
    assert made.wait(20).version == 1


@pytest.mark.django_db
def test_a_block_inside_a_test_case_counts(
    fresh: Runtime, prices: Any, django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        with transaction.atomic():
            with pytest.raises(RefreshInTransaction):
                prices.refresh(force=True)
            made = prices.request_refresh()
        assert not asked(fresh, prices)
    assert len(callbacks) == 1
    assert asked(fresh, prices)
    prices.refresh()
    assert made.wait(20).version == 1


def test_nothing_is_kept_of_what_was_called(databases: None) -> None:
    calls: list[int] = []
    assert on_commit(lambda: calls.append(1)) is None
    with transaction.atomic():
        open_ = on_commit(lambda: calls.append(2))
        assert open_ is not None
        assert open_()
    assert calls == [2]
    assert not open_()
