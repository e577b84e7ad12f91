"""Software transactional memory: read and write keys as if nobody else were there.

::

    def move(tx):
        stock = int(tx.get("shelf/7") or 0)
        if stock < 5:
            raise TooFew(stock)
        tx.put("shelf/7", str(stock - 5))
        tx.put("shelf/8", str(int(tx.get("shelf/8") or 0) + 5))

    kv.stm(move)

Reads go to the store, writes are kept until the function returns and are then committed in one transaction, on the
condition that nothing that counts has changed meanwhile (:class:`Isolation`,
:mod:`django_etcdaero.keyvalue.recipes.attempt`). If something has, the function is run again, so **it may run several
times**: what it does apart from ``tx`` should be harmless to repeat. The failed commit brings back what was read in its
present state, so that the next attempt costs one call if it reads the same and comes soon; after several conflicts the
pauses grow and everything is read afresh.

* An exception of the function ends the transaction, and nothing is written.
* A function that only reads commits nothing and has no conflicts at the two serializable levels, the default included.
* A commit whose outcome is unknown raises ``OutcomeUnknown`` and is not repeated.
* A store takes 128 conditions and 128 writes in one transaction (etcd's default). A key that was read is one condition,
  a range is one and one more for each key that was in it, a key that is written unread is one at
  ``SERIALIZABLE_SNAPSHOT``. More raise ``InvalidRequest`` at the commit. Functions that only read have no such limit.
* Transactions do not nest: one that is run inside the function is another one, of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django_etcdaero.exceptions import Compacted, FutureRevision, InvalidRequest, VersionConflict
from django_etcdaero.keyvalue.arguments import check_function
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.lease import Lease
from django_etcdaero.keyvalue.client.steps import Commit, Read
from django_etcdaero.keyvalue.keys import Text, span
from django_etcdaero.keyvalue.ops import delete, put
from django_etcdaero.keyvalue.values import PutRequest, TxnResult
from django_etcdaero.system.acting import acts
from django_etcdaero.system.interruption import interrupts
from django_etcdaero.system.steps import Apply, Pause
from django_etcdaero.system.twins import twins

from .attempt import Attempt, Isolation, Reading, Span
from .contention import Contention

__all__ = ["AsyncTransaction", "Isolation", "Transaction", "transact"]


class _Handle:
    """What a function has in hand during one attempt. Keys are relative to the client's prefix."""

    def __init__(self, client: Client, attempt: Attempt, contention: Contention) -> None:
        self._client = client
        self._attempt = attempt
        self._contention = contention
        self._closed = False

    def put(self, key: Text, value: Text, *, lease: int | Lease = 0) -> None:
        """Write a key at the end of the transaction. Without ``lease`` it is taken off the lease it had."""
        self._check_open()
        self._attempt.write(put(key, value, lease=lease))

    def delete(self, key: Text) -> None:
        """Delete a key at the end of the transaction; no error if there is none."""
        self._check_open()
        self._attempt.write(delete(key))

    @acts
    def close(self) -> None:
        """End the attempt: nothing can be read or written with this object any more."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidRequest("this attempt of the transaction is over; use the object that the function was given")

    async def _get(self, key: Text) -> bytes | None:
        """Return the value of a key, ``None`` if there is no such key."""
        name, _ = span(key, None, prefix=False)
        self._check_open()
        written = self._attempt.written(name)
        if written is not None:
            return written.value if isinstance(written, PutRequest) else None
        reading = await self._read((name, b""))
        return reading.kvs[0].value if reading.kvs else None

    async def _revision(self, key: Text) -> int:
        """Return the mod revision of a key as the store has it, own writes left out; 0 if there is no such key."""
        reading = await self._read(span(key, None, prefix=False))
        return reading.kvs[0].mod_revision if reading.kvs else 0

    async def _range(self, key: Text, range_end: Text | None = None, *, prefix: bool = False) -> dict[bytes, bytes]:
        """Return the keys of a range with their values, in order; the range is given as for ``KV.range``."""
        where = span(key, range_end, prefix=prefix)
        reading = await self._read(where)
        return self._attempt.overlay(where, reading.kvs)

    async def _read(self, where: Span) -> Reading:
        self._check_open()
        attempt = self._attempt
        reading = attempt.known(where)
        while reading is None:
            request = attempt.request(where)
            try:
                try:
                    result = await Read(self._client, request, self._contention.left())
                except FutureRevision:  # a member that is behind may not answer alone
                    request = replace(request, serializable=False)
                    result = await Read(self._client, request, self._contention.left())
            except (Compacted, FutureRevision) as error:
                attempt.outdated = True
                raise VersionConflict(f"the snapshot of the transaction cannot be read any more: {error}") from error
            reading = attempt.take(request, result)
        return reading


_get, _aget = twins(_Handle._get, awaited="get")
_revision, _arevision = twins(_Handle._revision, awaited="revision")
_range, _arange = twins(_Handle._range, awaited="range")


class Transaction(_Handle):
    """The keys as the function of a transaction sees them, its own writes included. For one thread.

    Reads raise what :meth:`KV.range <django_etcdaero.keyvalue.facade.KV.range>` raises, ``DeadlineExceeded`` when the
    time of the transaction is up, and ``VersionConflict`` when the attempt cannot succeed any more (it is made again,
    whatever the function makes of the error).
    """

    get, revision, range = _get, _revision, _range


class AsyncTransaction(_Handle):
    """The same as :class:`Transaction` for coroutine functions. Several reads may be awaited at the same time."""

    get, revision, range = _aget, _arevision, _arange


async def transact(
    client: Client,
    function: Callable[[Any], Any],
    handle_class: type[Transaction | AsyncTransaction],
    *,
    isolation: Isolation,
    max_attempts: int,
    timeout: float | None,
) -> Any:
    """Run ``function(handle)`` as a transaction and return what it returned in the attempt that was committed.

    Raises what the function raises; ``TxnFailed`` after ``max_attempts`` conflicts; ``DeadlineExceeded`` after
    ``timeout`` seconds altogether (``None``: the engine's default for each call); and what a transaction raises.
    """
    check_function("function", function, may_be_awaited=True)
    if not isinstance(isolation, Isolation):
        raise InvalidRequest(f"isolation must be an Isolation, not {isolation!r}")
    contention = Contention("the transaction", max_attempts=max_attempts, timeout=timeout)
    attempt = Attempt(isolation)
    while True:
        handle = handle_class(client, attempt, contention)
        conflict: TxnResult | None = None
        try:
            answer = await Apply(function, handle)
        except Exception as error:
            if not attempt.outdated or interrupts(error):
                raise
        finally:
            handle.close()
        if not attempt.outdated:
            if attempt.complete:
                return answer
            # Without writes (several keys read at REPEATABLE_READ) this one only reads. An etcd before 3.5.5 does not
            # survive the cancellation of such a transaction; the etcd engine sees to that for all of them.
            txn = client.txn().when(*attempt.compares()).then(*attempt.writes()).otherwise(*attempt.prefetch())
            result = await Commit(txn, contention.left())
            if result.succeeded:
                return answer
            conflict = result
        pause = contention.fail()
        await Pause(pause)
        attempt = attempt.next(conflict if contention.still_fresh(pause) else None)
