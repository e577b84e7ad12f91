"""A process without a reader tells its watches, and one that has none does nothing."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from django_etcdaero import watch_telling
from django_etcdaero.datasets.layout import PROCESSES
from django_etcdaero.datasets.state import watching
from django_etcdaero.datasets.state.presence import Process, processes
from django_etcdaero.datasets.stores import About
from django_etcdaero.exceptions import ClusterError, DeadlineExceeded
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.client.open_watches import Use
from django_etcdaero.keyvalue.embedded import EmbeddedEngine, drop_memory
from django_etcdaero.watch_telling import tell_watches
from tests.keyvalue.interposed import InterposedEngine
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def _prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, seconds in (
        (watch_telling, "LOOK_AFTER", 0.01),
        (watch_telling, "LOOK_EVERY", 0.02),
        (watching, "LASTING", 0.0),
        (watching, "TELL_EVERY", 0.0),
    ):
        monkeypatch.setattr(module, name, seconds)


@pytest.fixture
def store() -> Iterator[InterposedEngine]:
    engine = InterposedEngine(EmbeddedEngine.memory("watch-telling"))
    yield engine
    engine.inner.close()
    drop_memory("watch-telling")


@pytest.fixture
def told_otherwise() -> list[bool]:
    """Whether a reader registers the process, the last of it counts."""
    return [False]


@pytest.fixture
def kv(store: InterposedEngine, told_otherwise: list[bool]) -> Iterator[KV]:
    made = KV(store, prefix="app/")
    about = About(program="celery", kind="worker")
    tell_watches(made, ttl=30, started=7.0, about=lambda: about, told_otherwise=lambda: told_otherwise[-1])
    yield made
    made.close()


@pytest.fixture
def look(store: InterposedEngine) -> Iterator[KV]:
    """Another process, which looks."""
    made = KV(store.inner, prefix="app/")
    yield made
    made.close()


def telling() -> bool:
    return any(each.name == "etcdaero-telling" for each in threading.enumerate())


def told(kv: KV) -> list[tuple[str, str, str]]:
    return [(watch.keys, watch.use, watch.name) for process in processes(kv) for watch in process.watches]


def test_a_wait_for_a_lock_is_told_and_withdrawn(kv: KV, look: KV) -> None:
    holder = look.lock("orders/7")
    holder.acquire()
    waits = kv.lock("orders/7")

    async def wait() -> None:
        await waits.aacquire()

    thread = threading.Thread(target=lambda: asyncio.run(wait()))
    thread.start()
    wait_until(lambda: any(use == Use.LOCK for _, use, _ in told(look)), what="the wait")
    (process,) = processes(look)
    assert (process.program, process.kind, process.pid, process.started) == ("celery", "worker", os.getpid(), 7.0)
    (key,) = [keys for keys, use, name in told(look) if (use, name) == (Use.LOCK, "orders/7")]
    assert key.startswith("orders/7/")
    holder.release()
    thread.join(10)
    waits.release()
    wait_until(lambda: not look.range(PROCESSES, prefix=True), what="the withdrawal")
    with kv.watch("again"):
        wait_until(lambda: told(look) == [("again", Use.WATCH, "")], what="the next one")
    wait_until(lambda: not look.range(PROCESSES, prefix=True), what="the next withdrawal")


def test_who_never_watches_and_short_waits_cost_no_call(
    kv: KV, store: InterposedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LASTING", 60.0)
    kv.put("a", "1")
    assert not telling()
    before = store.calls["put"], store.calls["lease_grant"]
    for _ in range(3):
        with pytest.raises(DeadlineExceeded):
            kv.wait_for("a", lambda value: False, timeout=0.05)
    assert telling()
    assert (store.calls["put"], store.calls["lease_grant"]) == before


def test_where_a_reader_registers_the_process_it_does_not(kv: KV, look: KV, told_otherwise: list[bool]) -> None:
    told_otherwise.append(True)
    with kv.watch("a"):
        assert not telling()
        told_otherwise.append(False)
        with kv.watch("b"):
            wait_until(lambda: len(told(look)) == 2, what="both")
            told_otherwise.append(True)
            wait_until(lambda: not look.range(PROCESSES, prefix=True), what="the withdrawal")


def test_a_store_that_is_away_is_asked_again(
    kv: KV, look: KV, store: InterposedEngine, caplog: pytest.LogCaptureFixture
) -> None:
    store.fail("put", ClusterError("away"), times=3)
    with kv.watch("a"):
        wait_until(lambda: told(look) == [("a", Use.WATCH, "")], what="what is told")
    assert [each.levelname for each in caplog.records if "could not be told" in each.getMessage()] == ["WARNING"]


PROGRAM = """
import sys, threading
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["django_etcdaero"],
    BASE_DIR=sys.argv[1],
    ETCDAERO={"default": {"KV": "sqlite:///kv", "RECORDS": "sqlite:///records", "PREFIX": "shop"}},
)
import django
django.setup()
from django_etcdaero import kv, watch_telling
from django_etcdaero.datasets.state import watching
watch_telling.LOOK_AFTER = watching.LASTING = 0.05
threads = threading.active_count()
kv.put("a", "1")
assert threading.active_count() == threads, "who never watches starts no thread for it"
print("ready", flush=True)
kv.lock("orders/7").acquire()
"""


def test_a_command_that_waits_for_a_lock_is_seen_by_others(tmp_path: Path) -> None:
    kv = KV(EmbeddedEngine.file(tmp_path / "kv"), prefix="shop/")
    with kv.lock("orders/7"):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

        def there() -> list[Process]:
            assert process.poll() is None, process.communicate()
            return [each for each in processes(kv) if any(watch.use == Use.LOCK for watch in each.watches)]

        wait_until(there, 30, what="its registration")
        (found,) = there()
        assert (found.pid, found.schemas) == (process.pid, {})
        assert found.software["django-etcdaero"]
        process.terminate()
        process.communicate(timeout=30)
    kv.close()
    kv.engine.close()
