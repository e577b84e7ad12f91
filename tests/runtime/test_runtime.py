"""What a process opens and closes: its stores, with changed settings, in forks and at its end."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings
from pytest_django import Settings

from django_etcdaero import conf
from django_etcdaero.datasets.read.live import live_state
from django_etcdaero.datasets.state.presence import processes
from django_etcdaero.exceptions import Cancelled, ClusterError, ConfigurationError, DatasetNotReady
from django_etcdaero.runtime import Runtime
from tests.runtime.hooking import Hooks, declare, readers, start
from tests.waiting import wait_until

TWO = {"default": {"KV": "mem:", "RECORDS": "mem:"}, "other": {"KV": "mem:", "RECORDS": "mem:"}}


pytestmark = pytest.mark.usefixtures("registry")


# --- stores ----------------------------------------------------------------------------------------------------------


def test_stores_are_opened_once_at_the_first_use(fresh: Runtime) -> None:
    assert fresh._stores._opened == {}
    stores = fresh.stores("default")
    assert fresh.stores("default") is stores
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(fresh.stores("default"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert set(map(id, found)) == {id(stores)}


def test_threads_that_open_at_once_open_once(fresh: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    real = conf.open_engine

    def slow(used: Any) -> Any:
        opened.append(1)
        barrier.wait(20)
        return real(used)

    barrier = threading.Barrier(2)
    monkeypatch.setattr(conf, "open_engine", slow)
    threads = [threading.Thread(target=fresh.stores, args=("default",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    barrier.wait(20)
    for thread in threads:
        thread.join(20)
    assert opened == [1]


def test_the_settings_reach_the_stores(fresh: Runtime, settings: Settings) -> None:
    settings.ETCDAERO = {
        "default": {"KV": "mem:", "RECORDS": "mem:", "PREFIX": "shop/staging", "OPTIONS": {"LOCK_TTL": 7}}
    }
    stores = fresh.stores("default")
    assert (stores.prefix, stores.kv.prefix, stores.lock_ttl) == ("shop/staging", b"shop/staging/", 7)


def test_an_alias_whose_stores_are_one_etcd_has_one_connection(fresh: Runtime, settings: Settings) -> None:
    fresh.memory_only = False
    url = "etcd://10.0.0.1:2379,10.0.0.2:2379"
    settings.ETCDAERO = {"default": {"KV": url, "RECORDS": f"{url}/blocks?entries=10", "PREFIX": "shop/staging"}}
    stores = fresh.stores("default")
    assert vars(stores.records)["_engine"] is stores.kv.engine
    assert stores.records.info.details == {"room": "/blocks/shop/staging/records/"}
    assert stores.missing == ""
    fresh.close()
    with pytest.raises(Cancelled):
        stores.records.get(b"k")


def test_stores_of_which_other_hosts_see_one_only_know_why_records_are_missing(
    fresh: Runtime, settings: Settings, tmp_path: Path
) -> None:
    fresh.memory_only = False
    alias = {"KV": "etcd://u:hunter2@10.0.0.1", "RECORDS": f"sqlite:///{tmp_path}/records.sqlite3", "PREFIX": "shop"}
    settings.ETCDAERO = {"default": alias, "local": alias | {"KV": "etcd://localhost"}}
    missing = fresh.stores("default").missing
    assert f"RECORDS is sqlite:///{tmp_path}/records.sqlite3, which only has what was published on this host" in missing
    assert "etcd://10.0.0.1:2379" in missing
    assert "hunter2" not in missing
    assert fresh.stores("local").missing == ""
    fresh.close()


def test_a_record_store_that_cannot_be_opened_closes_the_engine(
    fresh: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Any] = []
    real = conf.open_engine

    def watched(used: Any) -> Any:
        engine = real(used)
        close = engine.close
        engine.close = lambda: (closed.append(engine), close())  # type: ignore[method-assign, assignment]
        return engine

    def fail(used: Any, **options: Any) -> Any:
        raise ClusterError("away")

    monkeypatch.setattr(conf, "open_engine", watched)
    with monkeypatch.context() as patch:
        patch.setattr(conf, "open_store", fail)
        with pytest.raises(ClusterError):
            fresh.stores("default")
    assert len(closed) == 1
    fresh.stores("default")


def test_an_unknown_alias_is_a_named_error(fresh: Runtime) -> None:
    with pytest.raises(ConfigurationError, match="no alias 'nothing'"):
        fresh.stores("nothing")


def test_closing_closes_everything_and_the_next_use_opens_again(fresh: Runtime, hooks: Hooks) -> None:
    declare()
    fresh.arm()
    fresh.ensure_reader()
    old = fresh.stores("default")
    wait_until(lambda: processes(old.kv), what="the registration")
    fresh.close()
    assert readers() == 0
    with pytest.raises(Cancelled, match="closed"):
        old.kv.get("a")
    with pytest.raises(Cancelled, match="closed"):
        old.records.get(b"a")
    assert processes(fresh.stores("default").kv) == []
    fresh.close()
    fresh.close()


def test_a_store_that_fails_on_closing_does_not_keep_the_others_open(
    fresh: Runtime, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.ETCDAERO = TWO
    one, other = fresh.stores("default"), fresh.stores("other")

    def fail() -> None:
        raise ClusterError("cannot close")

    real = one.kv.close
    one.kv.close = fail  # type: ignore[method-assign]
    fresh.close()
    real()
    for stores in (one, other):
        with pytest.raises(Cancelled, match="closed"):
            stores.records.get(b"a")
    assert "closing the stores of alias 'default': cannot close" in caplog.text


# --- settings, forks, the end ----------------------------------------------------------------------------------------


def test_changed_settings_close_the_stores_and_forget_what_was_read(fresh: Runtime) -> None:
    prices = declare(first_read_timeout=60)
    fresh.arm()
    prices.refresh()
    assert prices["a"] == 1
    old = fresh.stores("default")
    with override_settings(ETCDAERO={"default": {"KV": "mem:", "RECORDS": "mem:", "PREFIX": "elsewhere"}}):
        assert readers() == 0
        assert fresh.stores("default") is not old
        assert fresh.stores("default").prefix == "elsewhere"
        prices.first_read_timeout = 0.05
        with pytest.raises(DatasetNotReady, match=r"no version has been published yet|not answered"):
            prices["a"]
        prices.first_read_timeout = 60
    assert prices["a"] == 1


def test_other_settings_change_nothing(fresh: Runtime) -> None:
    fresh.arm()
    stores = fresh.stores("default")
    with override_settings(LANGUAGE_CODE="de"):
        assert fresh.stores("default") is stores


def test_the_child_of_a_fork_closes_nothing_and_opens_its_own(
    fresh: Runtime, hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = declare(first_read_timeout=60)
    fresh.arm()
    prices.refresh()
    assert prices["a"] == 1
    inherited = fresh.stores("default")
    reader = fresh._reader
    assert reader is not None
    calls: list[str] = []
    for part in (inherited.kv, inherited.kv.engine, inherited.records):
        for name in ("close", "abandon"):
            monkeypatch.setattr(part, name, lambda name=name: calls.append(name))
    locks: list[Any] = [fresh._stores._lock, fresh._reader_lock, live_state(prices).guard]
    for lock in locks:  # held by threads that are not in the child
        thread = threading.Thread(target=lock.acquire)
        thread.start()
        thread.join(20)
    (after,) = hooks.after_in_child
    after()
    assert calls == ["abandon"] * 3
    assert prices["a"] == 1
    assert fresh.stores("default") is not inherited
    assert fresh._reader not in (None, reader)
    prices.refresh(force=True)
    assert prices.wait_version(1, timeout=20)["a"] == 1
    live_state(prices).forget()
    monkeypatch.undo()
    reader.stop(20)
    for close in (inherited.kv.close, inherited.kv.engine.close, inherited.records.close):
        close()


@pytest.mark.parametrize(
    ("argv", "option", "expected"),
    [
        (["gunicorn"], "auto", 1),
        (["celery"], "auto", 1),
        (["manage.py", "runserver"], "auto", 0),
        (["gunicorn"], "lazy", 0),
        (["gunicorn"], "off", 0),
    ],
)
def test_where_a_forked_child_reads_at_once(
    fresh: Runtime, hooks: Hooks, monkeypatch: pytest.MonkeyPatch, argv: list[str], option: str, expected: int
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    with start(option):
        fresh.arm()
        hooks.after_in_child[0]()
        assert readers() == expected


def test_at_the_end_of_the_process_everything_is_closed_and_stays_so(fresh: Runtime, hooks: Hooks) -> None:
    prices = declare(first_read_timeout=1e6)
    fresh.arm()
    fresh.ensure_reader()
    old = fresh.stores("default")
    (end,) = hooks.at_exit
    end()
    assert readers() == 0
    assert old.kv.closed
    fresh.ensure_reader()
    assert readers() == 0
    with pytest.raises(DatasetNotReady, match="the process is about to end"):
        prices["a"]


# --- memory ----------------------------------------------------------------------------------------------------------


def test_memory_only_keeps_the_real_stores_out_of_it(fresh: Runtime, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/stores/"
    with override_settings(ETCDAERO={"default": {"KV": f"{url}kv.sqlite3", "RECORDS": f"{url}records.sqlite3"}}):
        prices = declare()
        assert prices.refresh().ok
        assert not list(tmp_path.iterdir())
        fresh.memory_only = False
        assert prices.refresh().version == 1
        assert list(tmp_path.iterdir())
        fresh.memory_only = True
        assert prices.refresh().version == 1  # in memory, and not due


def test_forgetting_the_memory_empties_the_stores_of_all_aliases_that_were_used(fresh: Runtime) -> None:
    prices = declare()
    with override_settings(ETCDAERO=TWO):
        fresh.arm()
        prices.refresh()
        fresh.stores("other").kv.put("a", "1")
        fresh.stores("other").records.put(b"a", b"1")
    with override_settings(ETCDAERO=TWO):
        assert fresh.stores("other").kv.get("a") is not None
    fresh.forget_memory()
    with override_settings(ETCDAERO=TWO):
        assert fresh.stores("other").kv.get("a") is None
        assert fresh.stores("other").records.get(b"a") is None
        assert prices.history() == []
