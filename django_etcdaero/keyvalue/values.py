"""The values that cross the waist of the coordination plane: requests, answers and events, in etcd's own words.

Keys and values are ``bytes``. A *range* is ``[key, range_end)``; an empty ``range_end`` means the single key, and
``range_end == b"\\0"`` means everything from ``key`` on.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, SupportsIndex, TypeAlias, overload

_SHOWN_BYTES = 200
"""A longer value is shown by its beginning and its length: shells and logs are no place for 1.5 MB."""

_SHOWN_KEYS = 10
"""Of a longer range the first keys are shown, and how many there are."""


class KeyValue(NamedTuple):
    """One key with its value and its place in the store's history."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    """1 for a key just created, raised by each put, back to 1 after a delete and a new put."""
    lease: int
    """Id of the lease the key hangs on, 0 for none."""

    def __repr__(self) -> str:
        value = repr(self.value)
        if len(self.value) > _SHOWN_BYTES:
            value = f"{self.value[:_SHOWN_BYTES]!r}… ({len(self.value)} bytes)"
        rest = ", ".join(f"{name}={getattr(self, name)}" for name in self._fields[2:])
        return f"KeyValue(key={self.key!r}, value={value}, {rest})"


new_kv: Callable[[type[KeyValue], Iterable[Any]], KeyValue] = tuple.__new__
"""What the constructor of a named tuple does, without the call in between."""


class SortOrder(enum.IntEnum):
    """Order of the keys in a range; the numbers are etcd's wire values."""

    NONE = 0
    ASCEND = 1
    DESCEND = 2


class SortTarget(enum.IntEnum):
    """What a range is sorted by; the numbers are etcd's wire values."""

    KEY = 0
    VERSION = 1
    CREATE = 2
    MOD = 3
    VALUE = 4


class CompareTarget(enum.IntEnum):
    """What a comparison looks at; the numbers are etcd's wire values."""

    VERSION = 0
    CREATE = 1
    MOD = 2
    VALUE = 3
    LEASE = 4


class CompareOp(enum.IntEnum):
    """How a comparison compares; the numbers are etcd's wire values."""

    EQUAL = 0
    GREATER = 1
    LESS = 2
    NOT_EQUAL = 3


# --- requests --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RangeRequest:
    """Read a key or a range of keys."""

    key: bytes
    range_end: bytes = b""
    limit: int = 0
    """At most so many keys (0: all); applied after sorting and after the revision bounds."""
    revision: int = 0
    """Read as of this revision (0 or less: now)."""
    sort_order: SortOrder = SortOrder.NONE
    sort_target: SortTarget = SortTarget.KEY
    serializable: bool = False
    """Answer from any one member, possibly stale (embedded engine: no difference)."""
    keys_only: bool = False
    count_only: bool = False
    min_mod_revision: int = 0
    max_mod_revision: int = 0
    min_create_revision: int = 0
    max_create_revision: int = 0


@dataclass(frozen=True, slots=True)
class PutRequest:
    """Write one key."""

    key: bytes
    value: bytes = b""
    lease: int = 0
    prev_kv: bool = False
    ignore_value: bool = False
    """Keep the stored value; the key must exist and ``value`` be empty."""
    ignore_lease: bool = False
    """Keep the lease the key has; the key must exist and ``lease`` be 0."""


@dataclass(frozen=True, slots=True)
class DeleteRequest:
    """Delete a key or a range of keys."""

    key: bytes
    range_end: bytes = b""
    prev_kv: bool = False
    everything: bool = False
    """For clients: it may be of all their keys, and of several rooms (``keyvalue/rooms.py``). Engines do not ask."""


@dataclass(frozen=True, slots=True)
class Compare:
    """One condition of a transaction. On a range every key must fulfil it.

    On a missing key ``VALUE`` never holds, whatever the operator; the other targets compare as 0 (etcd's rule).
    """

    key: bytes
    target: CompareTarget
    op: CompareOp
    operand: int | bytes
    """``bytes`` for ``VALUE``, ``int`` for the others."""
    range_end: bytes = b""

    def __bool__(self) -> bool:
        # Python makes two comparisons joined by "and" of "5 < x < 10", and drops the first one because it is true.
        raise TypeError("a condition is neither true nor false by itself; give several to when(), separated by commas")


@dataclass(frozen=True, slots=True)
class TxnRequest:
    """If all ``compares`` hold then ``success`` else ``failure``: one atomic step, one revision."""

    compares: Sequence[Compare] = ()
    success: Sequence[Operation] = ()
    failure: Sequence[Operation] = ()

    @property
    def is_read_only(self) -> bool:
        """True when neither branch writes, nested transactions included."""
        return all(
            isinstance(operation, RangeRequest) or (isinstance(operation, TxnRequest) and operation.is_read_only)
            for branch in (self.success, self.failure)
            for operation in branch
        )


Operation: TypeAlias = "RangeRequest | PutRequest | DeleteRequest | TxnRequest"


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """Follow a key or a range of keys."""

    key: bytes
    range_end: bytes = b""
    start_revision: int = 0
    """First revision wanted (inclusive); 0 or less: only what comes after the watch is created."""
    prev_kv: bool = False
    no_put: bool = False
    no_delete: bool = False
    progress_notify: bool = False
    """Deliver marks of progress too: batches without events, every ten minutes by default (etcd's server option)."""
    fragment: bool = False
    """A revision with very many changes may be delivered in several batches (embedded engine: no difference)."""


# --- answers ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RangeResult:
    """Answer to a :class:`RangeRequest`: a collection of its keys.

    Iterating, ``len()``, ``in`` and an index go over ``kvs``, and without keys it is false.
    """

    kvs: tuple[KeyValue, ...]
    more: bool
    """There were more keys than ``limit``."""
    count: int
    """Keys in the range, whatever ``limit`` and the revision bounds say."""
    revision: int
    """The store's revision when it answered."""

    def __iter__(self) -> Iterator[KeyValue]:
        return iter(self.kvs)

    def __len__(self) -> int:
        return len(self.kvs)

    def __contains__(self, item: object) -> bool:
        return item in self.kvs

    @overload
    def __getitem__(self, index: SupportsIndex) -> KeyValue: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[KeyValue, ...]: ...
    def __getitem__(self, index: Any) -> Any:
        return self.kvs[index]

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.kvs[:_SHOWN_KEYS]))
        if len(self.kvs) > _SHOWN_KEYS:
            shown += f", … ({len(self.kvs)} keys)"
        return f"RangeResult(kvs=({shown}), more={self.more}, count={self.count}, revision={self.revision})"

    def _replace(self, **fields: Any) -> RangeResult:
        """Return it with other fields, as the other answers do, which are named tuples."""
        return replace(self, **fields)


class PutResult(NamedTuple):
    """Answer to a :class:`PutRequest`."""

    prev_kv: KeyValue | None
    revision: int


class DeleteResult(NamedTuple):
    """Answer to a :class:`DeleteRequest`; false if there was nothing to delete."""

    deleted: int
    prev_kvs: tuple[KeyValue, ...]
    revision: int

    def __bool__(self) -> bool:
        """Tell whether anything was deleted."""
        return self.deleted > 0


class TxnResult(NamedTuple):
    """Answer to a :class:`TxnRequest`; ``responses`` has one entry for each operation of the branch that ran.

    It is false if the conditions did not hold.
    """

    succeeded: bool
    responses: tuple[Response, ...]
    revision: int

    def __bool__(self) -> bool:
        """Tell whether the conditions held."""
        return self.succeeded


Response: TypeAlias = "RangeResult | PutResult | DeleteResult | TxnResult"


class LeaseStatus(NamedTuple):
    """Answer to :meth:`.Engine.lease_time_to_live`."""

    id: int
    ttl: int
    """Whole seconds left; -1: there is no such lease."""
    granted_ttl: int
    keys: tuple[bytes, ...]


class Renewal(NamedTuple):
    """Answer about one lease of :meth:`.Engine.lease_keep_alive_many`."""

    id: int
    ttl: int
    """Seconds from ``sent`` on; 0: there is no such lease."""
    sent: float
    """When the request that was answered was about to be sent, by the caller's clock."""


RenewalSink: TypeAlias = Callable[[Renewal], None]


class EventType(enum.IntEnum):
    """Kind of a watch event; the numbers are etcd's wire values."""

    PUT = 0
    DELETE = 1


class Event(NamedTuple):
    """One change of one key. For a DELETE ``kv`` has only ``key`` and ``mod_revision``."""

    type: EventType
    kv: KeyValue
    prev_kv: KeyValue | None = None

    @property
    def created(self) -> bool:
        """True for the PUT that brought the key into being."""
        return self.type is EventType.PUT and self.kv.create_revision == self.kv.mod_revision


@dataclass(frozen=True, slots=True)
class WatchBatch:
    """What an engine hands to the sink of a watch.

    ``events`` holds whole revisions (parts of one with ``fragment``), in order, each event once. A batch without events
    is a progress mark: all events up to ``revision`` have been delivered. After a batch with ``lost`` set nothing more
    follows: the events between the last batch and now cannot be had any more, and the watcher must take a fresh
    snapshot and watch anew.
    """

    events: tuple[Event, ...] = ()
    revision: int = 0
    lost: WatchLost | None = None
    compact_revision: int = 0
    """The oldest revision that can still be read, where ``lost`` is ``COMPACTED``; 0: the store did not say."""


class WatchLost(enum.Enum):
    """Why a watch cannot go on by itself."""

    COMPACTED = "compacted"
    """The next revision it needs has been compacted away."""
    RESET = "reset"
    """The store shows a revision below one already seen: it was wiped, replaced or restored."""
    CLOSED = "closed"
    """The engine was closed."""
    REFUSED = "refused"
    """The store refused the watch (an inverted range, no permission)."""


WatchSink: TypeAlias = Callable[[WatchBatch], None]


class PromptSink(ABC):
    """A sink that only hands its batches over: it waits for nothing, asks no store and runs no user's code.

    An engine may call it from the thread that reads the connection, which saves a change of threads for each event.
    """

    __slots__ = ()

    @abstractmethod
    def __call__(self, batch: WatchBatch) -> None:
        """Take ``batch``."""


class WatchHandle(ABC):
    """A running watch."""

    @abstractmethod
    def cancel(self) -> None:
        """End the watch. Idempotent, returns at once; no batch is delivered after it returned.

        Called from inside the sink it lets the current call finish.
        """
