"""One runtime in each process: stores opened once and late, a reader where there is use for it, an end in order."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.signals import request_started
from django.test import override_settings
from pytest_django import Settings

from django_etcdaero import conf, dataset
from django_etcdaero.datasets.host import bind
from django_etcdaero.datasets.read.live import live_state
from django_etcdaero.datasets.read.reader import Reader
from django_etcdaero.datasets.state.presence import processes
from django_etcdaero.exceptions import Cancelled, ClusterError, ConfigurationError, DatasetNotReady
from django_etcdaero.runtime import Runtime, runtime
from tests.waiting import wait_until

TWO = {"default": {"KV": "mem:", "RECORDS": "mem:"}, "other": {"KV": "mem:", "RECORDS": "mem:"}}

pytestmark = pytest.mark.usefixtures("registry")


class Hooks:
    """What a runtime asked the interpreter to call."""

    def __init__(self) -> None:
        self.after_in_child: list[Callable[[], None]] = []
        self.at_exit: list[Callable[[], None]] = []


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> Hooks:
    found = Hooks()
    monkeypatch.setattr(
        os, "register_at_fork", lambda *, after_in_child, **others: found.after_in_child.append(after_in_child)
    )
    monkeypatch.setattr(atexit, "register", found.at_exit.append)
    monkeypatch.setattr(sys, "argv", ["gunicorn", "shop.wsgi"])
    return found


@pytest.fixture
def fresh(hooks: Hooks) -> Iterator[Runtime]:
    """A runtime as in a process that has just begun, on stores in memory; it is not armed yet."""
    made = Runtime()
    made.memory_only = True
    before = bind(made)
    uid = "django_etcdaero.runtime"
    waiting = request_started.disconnect(dispatch_uid=uid)  # the runtime of the process that runs the tests
    yield made
    made.forget_memory()
    bind(before)
    conf.changed.disconnect(made._on_settings_changed)
    request_started.disconnect(dispatch_uid=uid)
    if waiting:
        request_started.connect(runtime._on_request, dispatch_uid=uid)


def readers() -> int:
    return [thread.name for thread in threading.enumerate()].count("etcdaero-reader")


def start(option: str) -> Any:
    return override_settings(ETCDAERO={"default": {"KV": "mem:", "RECORDS": "mem:", "OPTIONS": {"START": option}}})


def declare(**options: Any) -> Any:
    @dataset(**options)
    def prices() -> dict[str, int]:
        return {"a": 1}

    return prices


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

    def fail(used: Any) -> Any:
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


# --- when the reader starts ------------------------------------------------------------------------------------------


def test_auto_starts_at_once_where_the_process_serves(
    fresh: Runtime, hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["uvicorn", "shop.asgi"])
    fresh.arm()
    assert readers() == 1


def test_auto_starts_at_the_first_request_elsewhere(fresh: Runtime) -> None:
    fresh.arm()
    assert readers() == 0
    request_started.send(sender=None)
    assert readers() == 1
    request_started.send(sender=None)
    assert readers() == 1


def test_a_later_request_starts_a_reader_that_died_but_none_that_was_closed(
    fresh: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh.arm()
    with monkeypatch.context() as patch:
        patch.setattr(Reader, "_run", lambda self: None)
        request_started.send(sender=None)
        wait_until(lambda: fresh._reader is not None and fresh._reader.died, what="the end of the reader")
    request_started.send(sender=None)
    assert readers() == 1
    fresh.close()
    request_started.send(sender=None)
    assert readers() == 0


def test_a_reader_that_gets_no_thread_breaks_no_request_and_is_tried_again(
    fresh: Runtime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: Reader) -> None:
        raise RuntimeError("can't start new thread")

    prices = declare(first_read_timeout=60)
    prices.refresh()
    fresh.arm()
    with monkeypatch.context() as patch:
        patch.setattr(Reader, "start", fail)
        request_started.send(sender=None)
        with pytest.raises(DatasetNotReady, match="the reader of this process is not running"):
            prices["a"]
    assert "the reader cannot be started: can't start new thread" in caplog.text
    assert prices["a"] == 1


def test_a_reader_that_outlives_the_closing_overwrites_nothing(fresh: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in the middle of loading, and takes longer than closing waits for it."""
    monkeypatch.setattr("django_etcdaero.runtime.EXIT_PATIENCE", 0.05)
    entered, proceed, slow = threading.Event(), threading.Event(), [True]

    def prepare(rows: Any) -> None:
        if threading.current_thread().name == "etcdaero-reader" and slow[0]:
            slow[0] = False
            entered.set()
            assert proceed.wait(20)

    value = ["old"]

    @dataset(prepare=prepare)
    def prices() -> dict[str, str]:
        return {"a": value[0]}

    fresh.arm()
    prices.refresh()
    fresh.ensure_reader()
    assert entered.wait(20)
    (old,) = [thread for thread in threading.enumerate() if thread.name == "etcdaero-reader"]
    fresh.restart()
    value[0] = "new"
    prices.refresh(force=True)
    assert prices.wait_version(2, timeout=20)["a"] == "new"
    proceed.set()
    old.join(20)
    assert not old.is_alive()
    assert (prices["a"], prices.status().version, prices.status().state) == ("new", 2, "VALID")


def test_auto_starts_at_the_first_read_elsewhere(fresh: Runtime) -> None:
    prices = declare(first_read_timeout=60)
    fresh.arm()
    assert prices.refresh().ok
    assert readers() == 0
    assert prices["a"] == 1
    assert readers() == 1


def test_always_starts_at_once(fresh: Runtime) -> None:
    with start("always"):
        fresh.arm()
        assert readers() == 1


def test_lazy_starts_at_the_first_read_only(fresh: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["uvicorn", "shop.asgi"])
    with start("lazy"):
        prices = declare(first_read_timeout=60)
        fresh.arm()
        request_started.send(sender=None)
        assert readers() == 0
        prices.refresh()
        assert prices["a"] == 1
        assert readers() == 1


def test_off_never_starts_and_reads_say_so(fresh: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["uvicorn", "shop.asgi"])
    with start("off"):
        prices = declare(first_read_timeout=1e6)
        fresh.arm()
        assert prices.refresh().ok
        with pytest.raises(DatasetNotReady, match=r'switched off by .*"START"'):
            prices["a"]
        fresh.ensure_reader()
        assert readers() == 0


def test_wrong_settings_break_nothing_and_are_the_reason(fresh: Runtime) -> None:
    with override_settings(ETCDAERO={"default": {"KV": "nonsense:"}}):
        prices = declare(first_read_timeout=1e6)
        fresh.arm()
        assert readers() == 0
        with pytest.raises(DatasetNotReady, match=r'ETCDAERO\["default"\]\["KV"\] .*nonsense'):
            prices["a"]
        assert "nonsense" in str(prices.refresh().error)


def test_a_process_that_was_not_armed_reads_nothing(fresh: Runtime) -> None:
    fresh.ensure_reader()
    assert readers() == 0
    with pytest.raises(DatasetNotReady, match="the reader of this process is not running"):
        declare(first_read_timeout=1e6)["a"]


def test_there_is_one_reader_however_many_ask(fresh: Runtime) -> None:
    fresh.arm()
    threads = [threading.Thread(target=fresh.ensure_reader) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert readers() == 1


def test_starting_the_reader_does_not_wait_for_a_store_that_is_being_opened(
    fresh: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    proceed, entered = threading.Event(), threading.Event()
    real = conf.open_engine

    def slow(used: Any) -> Any:
        entered.set()
        assert proceed.wait(20)
        return real(used)

    monkeypatch.setattr(conf, "open_engine", slow)
    fresh.arm()
    opening = threading.Thread(target=fresh.stores, args=("default",))
    opening.start()
    assert entered.wait(20)
    fresh.ensure_reader()  # would wait for ever if it waited
    assert fresh.reader_refusal() is None
    proceed.set()
    opening.join(20)


def test_arming_twice_hooks_once(fresh: Runtime, hooks: Hooks) -> None:
    fresh.arm()
    fresh.arm()
    assert (len(hooks.after_in_child), len(hooks.at_exit)) == (1, 1)


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


# --- ready() ---------------------------------------------------------------------------------------------------------

PROJECT = """
import os, sys, threading
from pathlib import Path
import django
from django.conf import settings

sys.argv = {argv!r}
settings.configure(
    BASE_DIR=Path({base!r}),
    INSTALLED_APPS=["django_etcdaero", "shop"],
    ETCDAERO={{"default": {{"OPTIONS": {{"START": {start!r}}}}}}},
)
before = threading.active_count()
django.setup()
from django_etcdaero import datasets
print(sorted(datasets), threading.active_count() - before, (Path({base!r}) / ".etcdaero").exists(),
      "sqlite3" in sys.modules, sep="|")
"""


@pytest.mark.parametrize(
    ("argv", "option", "threads"),
    [(["manage.py", "migrate"], "auto", 0), (["gunicorn"], "auto", 0), (["uvicorn"], "auto", 1), (["x"], "always", 1)],
)
def test_ready_finds_datasets_opens_no_store_and_starts_no_thread_but_the_reader(
    tmp_path: Path, argv: list[str], option: str, threads: int
) -> None:
    app = tmp_path / "shop"
    app.mkdir()
    (app / "__init__.py").touch()
    (app / "datasets.py").write_text(
        textwrap.dedent("""
            from django_etcdaero import dataset

            @dataset
            def prices():
                return {"a": 1}
        """)
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROJECT.format(argv=argv, base=str(tmp_path), start=option)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    names, started, opened, loaded = done.stdout.strip().split("|")
    assert names == "['prices']"
    assert int(started) >= threads
    if not threads:
        assert (started, opened, loaded) == ("0", "False", "False")
