"""The record store in a set of an Aerospike namespace, of which this store should be the only user.

Time goes by in whole seconds there: a record with a time to live of n seconds lives n to n + 1. Generations have 16
bits: after 65,535 comes 1. Deleted records can come back when a node that was away at the time returns, and a namespace
in memory loses what had no second copy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar, cast

from django_etcdaero.exceptions import (
    ClusterError,
    DeadlineExceeded,
    InvalidRequest,
    KeyExists,
    KeyNotFound,
    NotSupported,
    OutcomeUnknown,
    VersionConflict,
)
from django_etcdaero.records import arguments, conditions
from django_etcdaero.records.life import ConnectedStore
from django_etcdaero.records.store import Fill, Meta, Record, StoreInfo, Value, batches, by_size
from django_etcdaero.stores.aerospike import AerospikeAddress, address_of
from django_etcdaero.stores.credentials import Tls
from django_etcdaero.system import forks

from . import errors
from .connection import Connection
from .errors import NativeError
from .fill import fill_of
from .node_answers import without_refusals

if TYPE_CHECKING:
    from .native_client import Batch, NativeClient, Page

T = TypeVar("T")

BATCH_READS, BATCH_OTHERS = 256, 5000
"""Keys in one batch that returns values, and in one that does not (older servers take 5,000 by default)."""

BATCH_WRITES, BATCH_WRITE_BYTES = 1000, 4_000_000
"""Most records and (about) most bytes in one batch that writes values."""

SCAN_PAGE = 1000
"""Records that a scan reads at a time."""

_NOT_FOUND = (errors.NOT_FOUND,)

MAX_GENERATION = 0xFFFF
"""Of larger ones the client would send the lower 16 bits."""

MILLISECOND_PASSES = 0.002
"""Seconds after which the clock of any node shows another millisecond."""

CONFIRMATION_INTERVAL = 0.002
"""Seconds between two looks at whether all nodes have truncated."""


class AerospikeStore(ConnectedStore):
    """Records in the set ``set_name`` of ``namespace``. Connects when the first call is made.

    ``hosts``: names or addresses, and ports, of some nodes; or an address, which says all but the two numbers.
    ``timeout``: seconds that a call without one may take;
    ``max_value_bytes``: the server's ``max-record-size`` (1 MiB unless configured) includes key and overhead.
    """

    deleted_may_return = True

    def __init__(
        self,
        hosts: AerospikeAddress | Sequence[tuple[str, int]],
        *,
        namespace: str = "",
        set_name: str = "",
        timeout: float = 5.0,
        max_value_bytes: int = arguments.DEFAULT_MAX_VALUE_BYTES,
        user: str | None = None,
        password: str | None = None,
        tls: Tls | None = None,
    ) -> None:
        address = hosts
        if not isinstance(address, AerospikeAddress):
            address = address_of(address, namespace=namespace, set_name=set_name, user=user, password=password, tls=tls)
        arguments.check_timeout(timeout)
        if not timeout:
            raise InvalidRequest("timeout must be above 0 seconds")
        self.info = StoreInfo("aerospike", address.safe)
        self.max_value_bytes = max_value_bytes
        self.namespace = address.namespace
        self._set = address.set_name
        self._connections = self._connection = Connection(address, timeout)
        forks.protect(self)

    def get(self, key: bytes, *, timeout: float | None = None) -> Record | None:
        arguments.check_key(key)
        if timeout is not None:
            arguments.check_timeout(timeout)
        until = self._connection.until(timeout)
        return self._connection.run(lambda client, ms: client.get(key, ms), until, expected=_NOT_FOUND)[1]

    def _put(self, key: bytes, value: Value, ttl: int | None, generation: int | None, timeout: float | None) -> None:
        def call(client: NativeClient, ms: int) -> None:
            client.put(key, value, ms, ttl=ttl, create_only=generation == 0, generation=generation or None)

        expected = errors.EXISTS if generation == 0 else errors.GENERATION
        if self._write(call, key, generation or None, timeout, ttl=ttl, expected=(expected,)) == errors.EXISTS:
            raise KeyExists(f"there is a record {key!r} already")

    def _delete(self, key: bytes, generation: int | None, timeout: float | None) -> bool:
        code = self._write(lambda client, ms: client.delete(key, ms, generation=generation), key, generation, timeout)
        return code == errors.OK

    def _touch(self, key: bytes, ttl: int | None, generation: int | None, timeout: float | None) -> bool:
        def call(client: NativeClient, ms: int) -> None:
            client.touch(key, ms, ttl=ttl, generation=generation)

        return self._write(call, key, generation, timeout, ttl=ttl) == errors.OK

    def exists(self, key: bytes, *, timeout: float | None = None) -> Meta | None:
        arguments.check_keys((key,))
        return self._read(lambda client, ms: client.exists(key, ms), timeout)

    def _increment(self, key: bytes, delta: int, timeout: float | None) -> int:
        arguments.check_timeout(timeout)
        until = self._connection.until(timeout)
        expected = (errors.NOT_FOUND, errors.FILTERED_OUT)
        while True:
            code, total = self._connection.run(
                lambda client, ms: client.increment(key, delta, ms), until, write=True, expected=expected
            )
            if total is not None:
                return total
            record = None
            if code == errors.FILTERED_OUT:  # by the server, which does not say why
                record = self._connection.run(
                    lambda client, ms: client.get(key, ms), until, expected=(errors.NOT_FOUND,)
                )[1]
            if record is None:
                raise KeyNotFound(f"there is no record {key!r} to increment")
            conditions.incremented(key, record.value, delta)
            self._connection.check_deadline(until)  # it would fit now: another client has changed it meanwhile

    def get_many(self, keys: Collection[bytes], *, timeout: float | None = None) -> dict[bytes, Record]:
        arguments.check_keys(keys)
        return self._each(batches(keys, BATCH_READS), lambda client, part, ms: client.get_many(part, ms), timeout)

    def _put_many(self, items: Mapping[bytes, Value], ttl: int | None, timeout: float | None) -> None:
        def call(client: NativeClient, keys: list[bytes], ms: int) -> Batch[None]:
            return client.put_many({key: items[key] for key in keys}, ms, ttl=ttl)

        self._each(by_size(items, records=BATCH_WRITES, size=BATCH_WRITE_BYTES), call, timeout, write=True, ttl=ttl)

    def delete_many(self, keys: Collection[bytes], *, timeout: float | None = None) -> int:
        arguments.check_keys(keys)
        parts = batches(keys, BATCH_OTHERS)
        return len(self._each(parts, lambda client, part, ms: client.delete_many(part, ms), timeout, write=True))

    def exists_many(self, keys: Collection[bytes], *, timeout: float | None = None) -> dict[bytes, Meta]:
        arguments.check_keys(keys)
        return self._each(batches(keys, BATCH_OTHERS), lambda client, part, ms: client.exists_many(part, ms), timeout)

    def _touch_many(self, items: Mapping[bytes, int | None], ttl: int | None, timeout: float | None) -> set[bytes]:
        possible = [key for key, generation in items.items() if (generation or 0) <= MAX_GENERATION]

        def call(client: NativeClient, part: list[bytes], ms: int) -> Batch[None]:
            return client.touch_many({key: items[key] for key in part}, ms, ttl=ttl)

        return set(self._each(batches(possible, BATCH_OTHERS), call, timeout, write=True, ttl=ttl))

    def scan(self, prefix: bytes = b"", *, timeout: float | None = None) -> Iterator[tuple[bytes, Meta]]:
        arguments.check_prefix(prefix)
        arguments.check_timeout(timeout)
        self._connection.check_usable()
        return self._scan(prefix, timeout)

    def fill(self, prefix: bytes = b"", *, timeout: float | None = None) -> Fill:
        arguments.check_prefix(prefix)
        sets = self.ask_nodes(f"sets/{self.namespace}/{self._set}", timeout=timeout)
        found = fill_of(sets.values(), self.ask_nodes(f"namespace/{self.namespace}", timeout=timeout).values())
        return found if prefix else found._replace(matching=found.records)

    def truncate(self, *, timeout: float | None = None) -> None:
        """See the waist. Returns when every node has confirmed it.

        A truncation removes what was last written in an earlier millisecond than its own: what was written in the same
        one would stay for ever. And it reaches the other nodes only after the one that was asked has answered.
        """
        arguments.check_timeout(timeout)
        until = self._connection.until(timeout)
        before = max(self._truncations(until), default=0)
        time.sleep(MILLISECOND_PASSES)
        self._connection.run(lambda client, ms: client.truncate(ms), until, write=True)
        try:
            while any(truncation <= before for truncation in self._truncations(until)):
                self._connection.check_deadline(until)
                time.sleep(CONFIRMATION_INTERVAL)
        except (ClusterError, DeadlineExceeded) as error:
            raise OutcomeUnknown(f"{self.info.location}: not every node has confirmed the truncation") from error

    def ask_nodes(self, command: str, *, timeout: float | None = None) -> dict[str, str]:
        """Return what each node of the cluster answers to a text command (as ``asinfo -v`` sends), by the node's name.

        A node that refuses it is left out. When all do, raises ``NotSupported`` for a command that they do not know,
        ``PermissionDenied`` for one that takes a role which the user does not have, ``ResponseError`` otherwise. Raises
        what reading raises.
        """
        arguments.check_timeout(timeout)
        until = self._connection.until(timeout)

        def ask(client: NativeClient, ms: int) -> dict[str, str]:
            return client.ask_nodes(command, ms)

        answers = self._connection.run(ask, until, expected=(errors.NOT_UNDERSTOOD,))[1]
        if answers is None:
            name = command.partition(":")[0]
            raise NotSupported(f"{self.info.location}: the servers do not know the command {name!r}")
        return without_refusals(command, answers)

    def _read(self, call: Callable[[NativeClient, int], T], timeout: float | None) -> T | None:
        """Return what ``call`` does, or ``None`` if there is no such record."""
        arguments.check_timeout(timeout)
        return self._connection.run(call, self._connection.until(timeout), expected=(errors.NOT_FOUND,))[1]

    def _write(
        self,
        call: Callable[[NativeClient, int], None],
        key: bytes,
        generation: int | None,
        timeout: float | None,
        *,
        ttl: int | None = None,
        expected: tuple[int, ...] = (errors.NOT_FOUND, errors.GENERATION),
    ) -> int:
        """Return 0 or a result code of ``expected``; raise ``VersionConflict`` unless ``generation`` fits."""
        arguments.check_timeout(timeout)
        code: int | None = None
        if generation is None or generation <= MAX_GENERATION:
            code, _ = self._connection.run(
                call, self._connection.until(timeout), write=True, ttl=ttl, expected=expected
            )
        else:
            self._connection.check_usable()
        if code is None or code == errors.GENERATION or (code == errors.NOT_FOUND and generation is not None):
            raise VersionConflict(f"there is no record {key!r} of generation {generation}")
        return code

    def _each(
        self,
        parts: Iterable[list[bytes]],
        call: Callable[[NativeClient, list[bytes], int], Batch[T]],
        timeout: float | None,
        *,
        write: bool = False,
        ttl: int | None = None,
    ) -> dict[bytes, T]:
        """Return what ``call(client, keys, milliseconds)`` finds for all parts.

        What was refused of a part is asked for again, and nothing else: the rest was done already.
        """
        arguments.check_timeout(timeout)
        self._connection.check_usable()
        until = self._connection.until(timeout)
        found: dict[bytes, T] = {}
        for number, part in enumerate(parts):
            if number:
                self._connection.check_deadline(until)
            left = list(dict.fromkeys(part))

            def run(client: NativeClient, ms: int, left: list[bytes] = left) -> None:
                batch = call(client, left, ms)
                found.update(batch.found)
                left[:] = batch.refused
                for code in batch.refused.values():
                    raise NativeError(code, f"{len(left)} rows of a batch were refused", in_doubt=False)

            self._connection.run(run, until, write=write, ttl=ttl)
        return found

    def _scan(self, prefix: bytes, timeout: float | None) -> Iterator[tuple[bytes, Meta]]:
        position: object = None
        while True:

            def read(client: NativeClient, ms: int, position: object = position) -> Page:
                return client.page(position, SCAN_PAGE, ms)

            # A page can be read again: all of it is dropped when its end does not come.
            again = errors.REFUSED | errors.AWAY
            page = cast("Page", self._connection.run(read, self._connection.until(timeout), again=again)[1])
            yield from (found for found in page.found if found[0].startswith(prefix))
            position = page.position
            if position is None:
                return

    def _truncations(self, until: float) -> list[int]:
        return self._connection.run(lambda client, ms: client.truncations(ms), until)[1] or []
