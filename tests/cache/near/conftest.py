"""Processes with a near cache, several of them in one: each has its own client, notices, stamps and layer."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from django_etcdaero.cache import serializers
from django_etcdaero.cache.codec import Codec
from django_etcdaero.cache.counters import Counters
from django_etcdaero.cache.lifetime import life_of
from django_etcdaero.cache.near import Near
from django_etcdaero.cache.near_entries import NearEntries
from django_etcdaero.cache.notice import Notice
from django_etcdaero.cache.notices import Notices
from django_etcdaero.cache.stamps import Stamps
from django_etcdaero.exceptions import EtcdAeroError
from django_etcdaero.keyvalue import KV, Engine
from django_etcdaero.keyvalue.embedded import EmbeddedEngine, drop_memory
from django_etcdaero.keyvalue.values import WatchBatch, WatchHandle, WatchLost, WatchRequest, WatchSink
from django_etcdaero.records.memory.store import MemoryStore
from django_etcdaero.records.memory.store import drop_memory as drop_records
from django_etcdaero.records.store import RecordStore
from tests.keyvalue.interposed import InterposedEngine
from tests.waiting import wait_until

_numbers = itertools.count()

EVERY_ENGINE = pytest.mark.parametrize(
    "engine", ["mem", "sqlite", pytest.param("etcd", marks=pytest.mark.servers)], indirect=True
)
"""For tests that depend on how changes come in; the others run on one engine."""


@pytest.fixture
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    kind = getattr(request, "param", "mem")
    if kind == "etcd":
        from django_etcdaero.keyvalue.etcd import EtcdEngine

        engine: Engine = EtcdEngine([request.getfixturevalue("shared_server").endpoint])
    elif kind == "sqlite":
        engine = EmbeddedEngine.file(tmp_path / "kv.sqlite3")
    else:
        engine = EmbeddedEngine.memory(f"near-{next(_numbers)}")
    yield engine
    engine.close()
    if kind == "mem":
        drop_memory(engine.info.location.removeprefix("mem:"))


class Wire(InterposedEngine):
    """The engine as one process has it, whose watches can be broken."""

    def __init__(self, inner: Engine) -> None:
        super().__init__(inner)
        self.sinks: list[WatchSink] = []

    def watch(self, request: WatchRequest, sink: WatchSink, *, timeout: float | None = None) -> WatchHandle:
        handle = super().watch(request, sink, timeout=timeout)
        self.sinks.append(sink)
        return handle

    def lose(self, why: WatchLost) -> None:
        sinks, self.sinks = self.sinks, []
        for sink in sinks:
            sink(WatchBatch(lost=why))

    def close(self) -> None:
        """The engine is everybody's."""


@dataclass
class Ear:
    """A receiver that notes what it is told."""

    heard: list[Notice] = field(default_factory=list)

    def forget(self, notice: Notice) -> None:
        self.heard.append(notice)

    def everything(self) -> int:
        return sum(notice.everything for notice in self.heard)

    def digests(self) -> set[bytes]:
        return {digest for notice in self.heard for digests in notice.keys.values() for digest in digests}


class Speaker:
    """Notices of one process, with an ear."""

    def __init__(self, engine: Engine, prefix: str) -> None:
        self.wire = Wire(engine)
        self.kv = KV(self.wire, prefix=prefix)
        self.ear = Ear()
        self.notices = Notices(self._client, lease_ttl=lambda: 30)
        self.notices.add(self.ear, max_age=60.0)
        self.away: EtcdAeroError | None = None

    def _client(self) -> KV:
        if self.away is not None:
            raise self.away
        return self.kv

    def listen(self) -> None:
        """Follow others, and forget what was heard until then."""
        self.notices.follow()
        wait_until(lambda: self.ear.everything(), what="the watch")
        self.ear.heard.clear()

    @property
    def key(self) -> bytes:
        return self.notices._key


@pytest.fixture
def prefix() -> str:
    return f"near-{next(_numbers)}/"


@pytest.fixture
def speak(engine: Engine, prefix: str) -> Iterator[Callable[[], Speaker]]:
    made: list[Speaker] = []

    def make() -> Speaker:
        made.append(Speaker(engine, prefix))
        return made[-1]

    yield make
    for speaker in made:
        speaker.notices.finish(0.0)
        speaker.kv.close()


class Watched(MemoryStore):
    """A record store that counts reads, and calls ``during`` between the reading of records and the answer."""

    def __init__(self, name: str) -> None:
        super().__init__(name, max_value_bytes=8192)
        self.reads = 0
        self.during: Callable[[], object] | None = None

    def get(self, key: bytes, *, timeout: float | None = None) -> Any:
        return self.get_many((key,), timeout=timeout).get(key)

    def get_many(self, keys: Any, *, timeout: float | None = None) -> Any:
        found = super().get_many(keys, timeout=timeout)
        self.reads += 1
        during, self.during = self.during, None
        if during is not None:
            during()
        return found


class Process:
    """The entries of a process, with what they are made of."""

    def __init__(self, records: str, speaker: Speaker, **options: Any) -> None:
        self.store = Watched(records)
        self.speaker = speaker
        self.counters = Counters()
        self.near = Near(**{"max_entries": 1000, "max_bytes": 1_000_000, "max_age": 60.0, **options})
        self.stamps = Stamps(self._open)
        self.secrets = ["secret"]
        self.codec = Codec(
            serializers.SIGNED_PICKLE,
            None,
            secrets=lambda: self.secrets,
            min_length=1024,
            level=None,
            max_bytes=1_000_000,
        )
        self.settled = True
        self.entries = NearEntries(
            self._open,
            self.stamps,
            self.codec,
            self.counters,
            room=b"cache/",
            stamp_max_age=3600.0,
            wrote_parts=lambda: None,
            patience=5.0,
            near=self.near,
            notices=speaker.notices,
            settled=lambda: self.settled,
        )

    def _open(self) -> RecordStore:
        return self.store

    def put(self, key: str, value: Any, seconds: float | None = 300, tags: tuple[str, ...] = ()) -> None:
        life = life_of(seconds)
        self.entries.put("", key, value, life, self.entries.stamps("", tags, life))

    def get(self, key: str) -> Any:
        """What a cache returns for a key."""
        found = self.entries.near("", key) or self.entries.look("", key)
        return None if found is None else found.value

    def held(self, key: str) -> Any:
        """What the process answers without asking the store."""
        found = self.entries.near("", key)
        return None if found is None else found.value


def settle(one: Process, two: Process) -> None:
    """Let two processes have heard all that they have said until now."""
    for speaker, other in ((one.speaker, two.speaker), (two.speaker, one.speaker)):
        mark = Notice(stamps={b"mark %d" % next(_numbers)})
        speaker.notices.publish(mark)
        wait_until(lambda: any(mark.stamps <= notice.stamps for notice in other.ear.heard), what="the mark")  # noqa: B023


@pytest.fixture
def process(speak: Callable[[], Speaker]) -> Iterator[Callable[..., Process]]:
    """Makes processes that share a record store and a KV store."""
    name = f"near-{next(_numbers)}"

    def make(*, listen: bool = True, **options: Any) -> Process:
        process = Process(name, speak(), **options)
        if listen:  # now, so that the start of the watch does not drop anything in the middle of the test
            process.speaker.listen()
        return process

    yield make
    drop_records(name)
