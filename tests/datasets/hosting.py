"""A process for the datasets under test: stores in memory that can be made to fail, and a listener that remembers."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any

from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.datasets.read.announced import AnnouncementView
from django_etcdaero.datasets.read.follower import Follower
from django_etcdaero.datasets.read.live import live_state
from django_etcdaero.datasets.read.reader import Reader
from django_etcdaero.datasets.registry import datasets
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.state.reading import read_state
from django_etcdaero.datasets.state.status import RefreshResult
from django_etcdaero.datasets.state.stored_state import StoredState
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.exceptions import ClusterError, ConfigurationError
from django_etcdaero.keyvalue.embedded import EmbeddedEngine
from django_etcdaero.keyvalue.embedded import drop_memory as drop_engine
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.records.memory.store import MemoryStore
from django_etcdaero.records.memory.store import drop_memory as drop_records
from django_etcdaero.system.error_text import text_of
from tests.keyvalue.interposed import InterposedEngine

_numbers = itertools.count(1)


class InterposedStore:
    """A record store that counts calls, fails while it is broken, and calls ``before``/``after`` hooks by method."""

    def __init__(self, inner: MemoryStore) -> None:
        self.inner = inner
        self.info = inner.info
        self.max_value_bytes = inner.max_value_bytes
        self.calls: Counter[str] = Counter()
        self.before: dict[str, Callable[..., object]] = {}
        self.after: dict[str, Callable[..., object]] = {}
        self.broken: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)

        def passed(*args: Any, **options: Any) -> Any:
            self.calls[name] += 1
            if name in self.before:
                self.before[name](*args, **options)
            if self.broken is not None:
                raise self.broken
            answer = method(*args, **options)
            if name in self.after:
                self.after[name](*args, **options)
            return answer

        return passed


class Remembering:
    """A listener that remembers what it was told."""

    def __init__(self) -> None:
        self.publications: list[tuple[str, int]] = []
        self.loads: list[tuple[str, int]] = []
        self.failures: list[tuple[str, str, str]] = []
        self.locks_lost: list[str] = []
        self.refreshes: list[tuple[str, str]] = []

    def published(self, dataset: Any, announcement: Announcement) -> None:
        self.publications.append((dataset.name, announcement.version))

    def loaded(self, dataset: Any, snapshot: Any) -> None:
        self.loads.append((dataset.name, snapshot.version))

    def failed(self, dataset: Any, error: Exception, phase: str) -> None:
        self.failures.append((dataset.name, phase, text_of(error)))

    def lock_lost(self, dataset: Any) -> None:
        self.locks_lost.append(dataset.name)

    def refreshed(self, dataset: Any, result: RefreshResult) -> None:
        self.refreshes.append((dataset.name, str(result.outcome)))


class Alias:
    """The stores of one alias, which outlive their clients: ``reopen`` makes what another process would have."""

    def __init__(self, lock_ttl: int = 10) -> None:
        self.name = f"datasets-{next(_numbers)}"
        self.now = 1000.0
        self.engine = InterposedEngine(EmbeddedEngine.memory(self.name))
        self.records = InterposedStore(MemoryStore(self.name, clock=lambda: self.now))
        self.opened: list[Stores] = []
        self.stores = self.another(lock_ttl=lock_ttl)

    def another(self, *, lock_ttl: int = 10) -> Stores:
        """Return the stores as another process sees them."""
        made = Stores(kv=KV(self.engine, prefix="t/"), records=self.records, prefix="t", lock_ttl=lock_ttl)  # type: ignore[arg-type]
        self.opened.append(made)
        return made

    def empty_engine(self) -> None:
        """Let the coordination store lose everything, revisions included."""
        for stores in self.opened:
            stores.kv.close()
        self.engine.close()
        drop_engine(self.name)
        self.engine = InterposedEngine(EmbeddedEngine.memory(self.name))
        self.opened.clear()
        self.stores = self.another()

    def close(self) -> None:
        self.engine.mend()
        self.engine.before.clear()
        for stores in self.opened:
            stores.kv.close()
        self.engine.close()
        drop_engine(self.name)
        drop_records(self.name)


class FakeHost:
    """A process that hosts datasets; nothing runs in it unless a test starts it."""

    memory_only = False

    def __init__(self) -> None:
        self.listener = Remembering()
        self.aliases = {"default": Alias()}
        self.refusal: str | None = "no reader in this test"
        self.ensured = 0
        self.woken = 0
        self.reader: Reader | None = None
        self.start: Callable[[], object] | None = None
        """What the first read sets off."""
        self.transaction: str | None = None
        """Alias of the database in which one is open."""
        self.at_commit: list[Callable[[], object]] = []
        """To be called at its commit; cleared by its rollback."""

    def stores(self, alias: str) -> Stores:
        if alias not in self.aliases:
            raise ConfigurationError(f"no alias {alias!r}")
        return self.aliases[alias].stores

    def ensure_reader(self) -> None:
        self.ensured += 1
        if self.start is not None:
            start, self.start = self.start, None
            start()

    def wake_reader(self, dataset: Any) -> None:
        self.woken += 1
        if self.reader is not None:
            self.reader.wake(dataset)

    def refreshing(self, dataset: Any) -> AbstractContextManager[object]:
        return nullcontext()

    def run_project_code(self, function: Callable[[], Any]) -> Any:
        return function()

    def open_transaction(self) -> str | None:
        return self.transaction

    def on_commit(self, function: Callable[[], object]) -> Callable[[], bool] | None:
        if self.transaction is None:
            return None
        self.at_commit.append(function)
        return lambda: function in self.at_commit

    async def in_database_thread(self, function: Callable[[], Any]) -> Any:
        return await asyncio.to_thread(function)

    def reader_refusal(self) -> str | None:
        return None if self.reader is not None and self.reader.alive else self.refusal

    # for tests ---------------------------------------------------------------------------------------------------

    @property
    def engine(self) -> InterposedEngine:
        return self.aliases["default"].engine

    @property
    def records(self) -> InterposedStore:
        return self.aliases["default"].records

    @property
    def kv(self) -> KV:
        return self.aliases["default"].stores.kv

    def state(self, dataset: Dataset[Any, Any]) -> StoredState:
        return read_state(self.stores(dataset.using).kv, dataset.layout("t"))

    def blocks(self, dataset: Dataset[Any, Any]) -> BlockStore:
        return BlockStore(self.stores(dataset.using).records, dataset.layout("t"))

    def ttls(self, dataset: Dataset[Any, Any]) -> dict[bytes, int | None]:
        """Return the time to live of each stored block, page and root, by digest."""
        layout = dataset.layout("t")
        found = self.aliases[dataset.using].records.inner.scan(layout.records)
        return {key.removeprefix(layout.records): meta.ttl for key, meta in found if key != layout.announcement_copy}

    def age(self, dataset: Dataset[Any, Any], seconds: float) -> None:
        """Make the last load, and the last failure, appear older by so many seconds, also to who has seen them."""
        live_state(dataset).age.sighting = None
        state, layout, kv = self.state(dataset), dataset.layout("t"), self.stores(dataset.using).kv
        if state.checked is not None:
            older = dataclasses.replace(state.checked, load_started=state.checked.load_started - seconds)
            kv.put(layout.checked, older.encode())
        if state.attempt is not None:
            attempt = state.attempt
            kv.put(
                layout.attempt,
                dataclasses.replace(attempt, at=attempt.at - seconds, next_at=attempt.next_at - seconds).encode(),
            )
        self.state(dataset)  # what this process has seen of its own loads counts as well

    def start_reader(self, *, poll_interval: float = 30.0, splay: float = 0.0) -> Reader:
        hosting: Any = self  # whose listener is of a class of its own
        self.reader = Reader(datasets.values(), hosting, poll_interval=poll_interval, splay=splay, presence_ttl=30)
        self.reader.start()
        return self.reader

    def other(self) -> FakeHost:
        """Return another process on the same stores."""
        twin = FakeHost.__new__(FakeHost)
        twin.__dict__.update(self.__dict__)
        twin.listener = Remembering()
        twin.aliases = {}
        for name, alias in self.aliases.items():
            copied = Alias.__new__(Alias)
            copied.__dict__.update(alias.__dict__)
            copied.stores = alias.another()
            twin.aliases[name] = copied
        return twin

    def close(self) -> None:
        if self.reader is not None:
            self.reader.stop(5.0)
        for alias in self.aliases.values():
            alias.close()


class Source:
    """What a dataset under test is loaded from."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows
        self.loads = 0
        self.during: Callable[[], object] | None = None
        """Called once, while the next load is under way."""
        self.error: BaseException | None = None

    def __call__(self) -> Any:
        self.loads += 1
        if self.during is not None:
            during, self.during = self.during, None
            during()
        if self.error is not None:
            raise self.error
        return self.rows


class Declared(Dataset[Any, Any]):
    """What :func:`declare` makes; nothing but the source is added."""

    source: Source

    def load(self) -> Any:
        return self.source()


def publish(dataset: Any, rows: Mapping[Any, Any] | None = None, *, host: Any = None) -> RefreshResult:
    """Load and publish ``rows`` now, in this process or in ``host``."""
    if rows is not None:
        dataset.source.rows = rows
    if host is not None:
        return Refresh(dataset, host, force=True).run()
    result: RefreshResult = dataset.refresh(force=True)
    return result


class Following:
    """A follower that looks and takes a step only when told to."""

    def __init__(
        self, dataset: Any, host: Any, *, splay: float, stopped: Callable[[], bool], copy_interval: float
    ) -> None:
        self.view = AnnouncementView(dataset.using, host, changed=lambda name: None, poll_interval=30.0)
        self.follower = Follower(
            dataset, host, self.view, stopped=stopped, poll_interval=30.0, copy_interval=copy_interval, splay=splay
        )

    def step(self) -> None:
        """Look at what is announced, and do what it asks for."""
        self.view.look([self.follower.dataset])
        self.follower.step()

    def close(self) -> None:
        self.view.close()


def follow(
    dataset: Any,
    host: Any,
    *,
    splay: float = 0.0,
    stopped: Callable[[], bool] = lambda: False,
    copy_interval: float = 0.0,
) -> Following:
    """Return what follows a dataset a step at a time; by default each looks at the announcement copy."""
    return Following(dataset, host, splay=splay, stopped=stopped, copy_interval=copy_interval)


def in_thread(function: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Run ``function`` in a thread; its value or exception is put in the list."""
    answers: list[Any] = []

    def run() -> None:
        try:
            answers.append(function())
        except Exception as error:
            answers.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, answers


def many(count: int, **changes: Any) -> dict[str, Any]:
    """Return ``count`` rows with keys ``k0`` and so on, with changes."""
    return {f"k{number}": {"n": number} for number in range(count)} | changes


def away(host: FakeHost) -> None:
    for method in ("txn", "range", "watch", "put"):
        host.engine.break_(method, ClusterError("no endpoint answers"))


HOUR = timedelta(hours=1)


def history(host: FakeHost, dataset: Any) -> list[int]:
    return [each.announcement.version for each in dataset.history()]


def drop_lock(host: FakeHost, dataset: Any) -> None:
    """Take the lock away from whoever holds it, as an expired lease does."""
    assert host.kv.delete_range(dataset.layout("t").lock + "/", prefix=True).deleted == 1
