"""When the reader of a process starts, and what ``ready()`` does not do."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest
from django.core.signals import request_started
from django.test import override_settings

from django_etcdaero import conf, dataset
from django_etcdaero.datasets.read.reader import Reader
from django_etcdaero.exceptions import DatasetNotReady
from django_etcdaero.runtime import Runtime
from django_etcdaero.system import forks, uwsgi
from tests.runtime.hooking import Hooks, declare, readers, start
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("registry")


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
        if threading.current_thread().name == "etcdaero-load" and slow[0]:
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
    old = [thread for thread in threading.enumerate() if thread.name in ("etcdaero-reader", "etcdaero-load")]
    fresh.restart()
    value[0] = "new"
    prices.refresh(force=True)
    assert prices.wait_version(2, timeout=20)["a"] == "new"
    proceed.set()
    for thread in old:
        thread.join(20)
        assert not thread.is_alive()
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


# --- ready() ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
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


# --- servers that fork, or patch threads, in their own way -----------------------------------------------------------


def test_where_gevent_may_still_replace_threads_a_fork_reads_from_its_first_request_on(
    fresh: Runtime, hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh.arm()
    fresh.ensure_reader()
    fresh.close()
    with monkeypatch.context() as patch:
        patch.setattr("django_etcdaero.system.gevent_pool.may_patch", lambda: True)
        for call in hooks.after_in_child:
            call()
    assert readers() == 0
    request_started.send(sender=None)
    assert readers() == 1


def test_the_child_of_a_fork_that_nobody_saw_reads_again_at_its_first_request(
    fresh: Runtime, hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh.arm()
    fresh.ensure_reader()
    inherited = fresh._reader
    assert inherited is not None
    monkeypatch.setattr(forks, "_in_child", hooks.after_in_child)
    monkeypatch.setattr(forks, "_resources", {})
    monkeypatch.setattr(forks, "_pid", -1)
    request_started.send(sender=None)
    assert fresh._reader not in (None, inherited)
    inherited.stop(20)


def test_where_no_threads_run_nothing_is_read_and_the_reason_is_told(
    fresh: Runtime, hooks: Hooks, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(uwsgi, "runs_threads", lambda: False)
    prices = declare()
    fresh.arm()
    assert "no dataset is read in this process" in caplog.text
    assert "enable-threads = true" in caplog.text
    with pytest.raises(DatasetNotReady, match=r"enable-threads = true"):
        prices["a"]
    assert readers() == 0
