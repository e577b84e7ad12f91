"""The waist of the data plane: what a record store must do, and the values that cross it.

A record is one value under one key with a *generation* (1 when created, raised by each write or touch) and an optional
time to live. The model is Aerospike's, cut down to what datasets and the cache need; every store behind it behaves the
same way. Keys are ``bytes`` of 1 to ``MAX_KEY_BYTES``; values are ``bytes``, or an ``int`` of 64 bits (so that it can
be incremented). Times to live are whole seconds, ``None`` means for ever. Every call takes a ``timeout`` in seconds
(``None``: the store's default, never "for ever") and raises errors of :mod:`django_etcdaero.exceptions` only:
``DeadlineExceeded``, ``ClusterError``, ``StoreBusy``, ``StoreFull``, ``OutcomeUnknown`` (a write that may have
happened) and ``ConfigurationError`` (the store is set up so that the call cannot work, and the message says what to
change).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from django_etcdaero.exceptions import InvalidRequest

from . import arguments

Value: TypeAlias = bytes | int


class Meta(NamedTuple):
    """What is known of a record without its value."""

    generation: int
    ttl: int | None
    """Whole seconds left, rounded up; ``None``: never expires."""


class Record(NamedTuple):
    """A record as read."""

    value: Value
    generation: int
    ttl: int | None


class Fill(NamedTuple):
    """How much is in a store, as far as it knows without looking at each record's value; ``None``: it does not."""

    matching: int | None = None
    """Live records whose keys begin as was asked for."""
    records: int | None = None
    """All records, those included that have expired and are still to be removed."""
    size: int | None = None
    """Bytes that they take where they are kept; of servers on all nodes together, copies included."""
    limit: int | None = None
    """How many records the store takes; ``None`` also where it has no limit of its own."""


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What a store is, for people. Never contains a password."""

    kind: str
    """``"memory"``, ``"sqlite"``, ``"aerospike"``, ``"etcd"`` or ``"database"``."""
    location: str
    details: dict[str, str] = field(default_factory=dict)


class RecordStore(ABC):
    """A store of records. Safe to share between threads, not between processes: see :meth:`abandon`."""

    info: StoreInfo

    max_value_bytes: int
    """Largest ``bytes`` value a record may have; more raises ``RecordTooBig``."""

    deleted_may_return: bool = False
    """A record that was deleted while a server was away may be there again when that server is back."""

    # one record ------------------------------------------------------------------------------------------------------

    def get(self, key: bytes, *, timeout: float | None = None) -> Record | None:
        """Return the record, or ``None`` when there is none (or it has expired)."""
        return self.get_many((key,), timeout=timeout).get(key)

    def peek(self, key: bytes, *, timeout: float | None = None) -> Record | None:
        """Return what :meth:`get` does, for somebody who only looks: a store that evicts does not count it as a use."""
        return self.get(key, timeout=timeout)

    def put(
        self,
        key: bytes,
        value: Value,
        *,
        ttl: int | None = None,
        create_only: bool = False,
        generation: int | None = None,
        timeout: float | None = None,
    ) -> None:
        """Write a record; ``ttl`` replaces the one it had.

        ``create_only``: raise ``KeyExists`` if there is a (live) record. ``generation``: write only over a record that
        has exactly this generation, else raise ``VersionConflict`` (also when there is no record). Raises
        ``RecordTooBig``.
        """
        arguments.check_items({key: value}, self.max_value_bytes)
        arguments.check_ttl(ttl)
        if generation is not None:
            arguments.check_generations((generation,))
        if create_only and generation is not None:
            raise InvalidRequest("create_only and generation exclude each other: a record yet to be created has none")
        self._put(key, value, ttl, 0 if create_only else generation, timeout)

    def delete(self, key: bytes, *, generation: int | None = None, timeout: float | None = None) -> bool:
        """Delete a record; return whether there was one. ``generation`` as in :meth:`put`."""
        arguments.check_keys((key,))
        arguments.check_generations((generation,))
        return self._delete(key, generation, timeout)

    def touch(
        self, key: bytes, ttl: int | None, *, generation: int | None = None, timeout: float | None = None
    ) -> bool:
        """Give a record a new time to live (and so a new generation); return whether there was one.

        ``generation`` as in :meth:`put`.
        """
        arguments.check_keys((key,))
        arguments.check_ttl(ttl)
        arguments.check_generations((generation,))
        return self._touch(key, ttl, generation, timeout)

    def exists(self, key: bytes, *, timeout: float | None = None) -> Meta | None:
        """Return generation and time to live without reading the value, or ``None``."""
        return self.exists_many((key,), timeout=timeout).get(key)

    def increment(self, key: bytes, delta: int, *, timeout: float | None = None) -> int:
        """Add ``delta`` atomically to an ``int`` record and return the sum; the time to live stays.

        Raises ``KeyNotFound`` (it never creates), ``TypeError`` for a ``bytes`` record, ``OverflowError`` beyond 64
        bits.
        """
        arguments.check_keys((key,))
        arguments.check_int("delta", delta)
        return self._increment(key, delta, timeout)

    # many records ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def get_many(self, keys: Collection[bytes], *, timeout: float | None = None) -> dict[bytes, Record]:
        """Return the records that exist. Never leaves one out because of a failure: then it raises."""

    def put_many(self, items: Mapping[bytes, Value], *, ttl: int | None = None, timeout: float | None = None) -> None:
        """Write many records, all with the same ``ttl``. Not atomic: after an error some may be written."""
        arguments.check_items(items, self.max_value_bytes)
        arguments.check_ttl(ttl)
        self._put_many(items, ttl, timeout)

    @abstractmethod
    def delete_many(self, keys: Collection[bytes], *, timeout: float | None = None) -> int:
        """Delete many records; return how many there were."""

    @abstractmethod
    def exists_many(self, keys: Collection[bytes], *, timeout: float | None = None) -> dict[bytes, Meta]:
        """Return generation and time to live of the records that exist."""

    def touch_many(
        self, items: Mapping[bytes, int | None], ttl: int | None, *, timeout: float | None = None
    ) -> set[bytes]:
        """Give many records the time to live ``ttl``; return the keys that were touched.

        ``items`` maps each key to the generation it must have (``None``: any). A record that is missing or has another
        generation is left alone and not returned.
        """
        arguments.check_keys(items)
        arguments.check_generations(items.values())
        arguments.check_ttl(ttl)
        return self._touch_many(items, ttl, timeout)

    @abstractmethod
    def scan(self, prefix: bytes = b"", *, timeout: float | None = None) -> Iterator[tuple[bytes, Meta]]:
        """Yield key and meta of every live record whose key starts with ``prefix``, in no order.

        Records written or deleted meanwhile may or may not be seen; every other one is seen exactly once. ``timeout``
        bounds each step, not the whole.
        """

    def fill(self, prefix: bytes = b"", *, timeout: float | None = None) -> Fill:
        """Return how much is in the store, and how many of the records have keys that begin with ``prefix``."""
        arguments.check_prefix(prefix)
        arguments.check_timeout(timeout)
        return Fill()

    @abstractmethod
    def truncate(self, *, timeout: float | None = None) -> None:
        """Remove every record that was written before the call, of everybody who uses this store."""

    # writing, with arguments that are what they should be ------------------------------------------------------------

    @abstractmethod
    def _put(self, key: bytes, value: Value, ttl: int | None, generation: int | None, timeout: float | None) -> None:
        """``generation`` 0: there must be no record."""

    @abstractmethod
    def _delete(self, key: bytes, generation: int | None, timeout: float | None) -> bool: ...

    @abstractmethod
    def _touch(self, key: bytes, ttl: int | None, generation: int | None, timeout: float | None) -> bool: ...

    @abstractmethod
    def _increment(self, key: bytes, delta: int, timeout: float | None) -> int: ...

    @abstractmethod
    def _put_many(self, items: Mapping[bytes, Value], ttl: int | None, timeout: float | None) -> None: ...

    @abstractmethod
    def _touch_many(self, items: Mapping[bytes, int | None], ttl: int | None, timeout: float | None) -> set[bytes]: ...

    # life ------------------------------------------------------------------------------------------------------------

    @abstractmethod
    def close(self) -> None:
        """Release the store. Idempotent; calls after it raise ``Cancelled``."""

    def before_fork(self, timeout: float) -> None:  # noqa: B027 - what holds nothing native has nothing to do
        """Come to rest because this process is about to fork (see :mod:`django_etcdaero.system.forks`).

        Waits at most ``timeout`` seconds for calls under way; new calls wait for :meth:`after_fork_in_parent`. What
        must not be inherited is closed, and opened again when needed. Never raises.
        """

    def after_fork_in_parent(self) -> None:  # noqa: B027
        """Go on as before the fork: all of this process are kept."""

    @abstractmethod
    def abandon(self) -> None:
        """In the child of a fork: forget everything inherited without touching it. Unusable afterwards."""


def batches(keys: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    """Cut ``keys`` into lists of at most ``size`` keys."""
    batch: list[bytes] = []
    for key in keys:
        batch.append(key)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def by_size(items: Mapping[bytes, Value], *, records: int, size: int) -> Iterator[list[bytes]]:
    """Yield the keys of ``items`` in parts of at most ``records`` keys and (about) ``size`` bytes of values."""
    part: list[bytes] = []
    written = 0
    for key, value in items.items():
        part.append(key)
        written += len(value) if isinstance(value, bytes) else 8
        if len(part) >= records or written >= size:
            yield part
            part, written = [], 0
    if part:
        yield part
