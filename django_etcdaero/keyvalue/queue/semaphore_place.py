"""A place in the queue for a semaphore.

The queue is that of a lock, and the first ``limit`` in it hold the semaphore (the layout is in
:mod:`django_etcdaero.keyvalue.queue.layout`).

The limit is in the store, so that all go by the same one:

* to enter is one transaction, on the condition that the limit is the own one: put the key, and read who is first;
* where it is another one, and nobody is in the queue, the limit is set first. While somebody is, contenders who have
  another limit are refused. Whoever has none of its own takes that of the store;
* it may be changed at any time. Then it is watched by all who wait: more of them have their turn at once; or those who
  hold stay, and nobody has its turn until there are fewer than the limit.

Who waits has its turn when fewer than the limit are before it. It watches the DELETION of all keys in the queue, and
counts those before it: the store is asked again only when it may be its turn.
"""

from __future__ import annotations

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.keyvalue.arguments import end_of
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.open_watches import Use
from django_etcdaero.keyvalue.client.session import Session
from django_etcdaero.keyvalue.client.steps import Commit, Read, seconds_left
from django_etcdaero.keyvalue.keys import prefix_end
from django_etcdaero.keyvalue.ops import create_revision, found, get, mod_revision, put
from django_etcdaero.keyvalue.ops import value as value_of
from django_etcdaero.keyvalue.values import EventType, TxnResult, WatchBatch, WatchRequest
from django_etcdaero.system.clocks import monotonic

from .layout import keys_of, limit_key, oldest, read_limit, up_to
from .place import Place
from .reading import read_line


class SemaphorePlace(Place):
    """The place of one who wants to be among the first in the queue."""

    use = Use.SEMAPHORE

    def __init__(self, client: Client, session: Session, name: bytes, value: bytes, *, wanted: int | None) -> None:
        """``wanted`` is the limit that the store must have; ``None``: whichever it has."""
        super().__init__(client, session, name, value)
        self.limit = wanted or 0
        """As the store had it when it was asked last."""
        self._wanted = wanted
        self._before: set[bytes] = set()  # whose departures are waited for

    async def enter(self, limit: float) -> bool:
        """Take a place in the queue, until ``limit``. Return whether it is one of the first.

        Raises ``InvalidRequest`` if the store has another limit, or none and none is wanted.
        """
        while True:
            self.limit = await self._ask_limit(limit)
            result = await self._enter_at_limit(limit)
            if result.succeeded:
                mine, first = found(result.responses[-2]), found(result.responses[-1])
                self._entered(mine[0].create_revision, result.revision)
                return self.key in (kv.key for kv in first)
            await self._settle(result, limit)

    async def enter_if_empty(self, limit: float) -> bool:
        """Take a place if it is one of the first, until ``limit``. Return whether it was taken; if not, leave."""
        allowed = await self._ask_limit(limit)
        in_line, _ = await read_line(self._client, self.name, allowed, lambda: seconds_left(limit))
        if len(in_line) >= allowed:
            self.first = in_line[0]
            return False
        return await self.enter(limit) or not await self._in_the_way(seconds_left(limit))

    async def _enter_at_limit(self, limit: float) -> TxnResult:
        """Put the key, if the store has the limit by which the place goes."""
        entry = (
            self._client.txn()
            .when(value_of(limit_key(self.name)) == str(self.limit))
            .then(*self.puts(), get(self.key, keys_only=True), oldest(self.name, limit=self.limit))
            .otherwise(get(limit_key(self.name)), oldest(self.name))
        )
        tries = 0

        async def commit() -> TxnResult:
            nonlocal tries
            tries += 1
            return await self._commit(entry, limit)

        doubted = self._in_doubt
        result = await self.repeat(commit, limit)
        if not result.succeeded:  # a try before whose answer was lost may have put it
            self._in_doubt = doubted or tries > 1
        return result

    async def _ask_limit(self, limit: float) -> int:
        if self._wanted is not None:
            return self._wanted
        stored = await Read(self._client, get(limit_key(self.name)), seconds_left(limit))
        allowed = read_limit(stored.kvs)
        if allowed is None:
            raise InvalidRequest(f"the semaphore {self.label!r} has no limit in the store yet: one must be given")
        return allowed

    async def _settle(self, refused: TxnResult, limit: float) -> None:
        """Set the limit where that can be done: there is none, or nobody is in the queue."""
        stored, others = map(found, refused.responses)
        if self._wanted is None:  # it was changed since it was read
            return
        unchanged = [mod_revision(limit_key(self.name)) == (stored[0].mod_revision if stored else 0)]
        if stored and others:
            raise InvalidRequest(
                f"the semaphore {self.label!r} has the limit {stored[0].value.decode(errors='replace')} in the store,"
                f" not {self._wanted}, and somebody is in its queue; set_limit() changes it for all"
            )
        if stored:
            unchanged.append(create_revision(keys_of(self.name), prefix=True) == 0)
        setting = self._client.txn().when(*unchanged).then(put(limit_key(self.name), str(self._wanted)))
        await self.repeat(lambda: Commit(setting, seconds_left(limit)), limit)

    async def _in_the_way(self, timeout: float) -> tuple[WatchRequest, ...]:
        end = end_of(timeout) or monotonic()
        line = await Read(self._client, up_to(self.name, self.token, limit=0), seconds_left(end))
        # The limit is read after that. Those before the own key can only have become fewer.
        stored = await Read(self._client, get(limit_key(self.name)), seconds_left(end))
        self._see([kv for kv in line.kvs if kv.key == self.key], line.revision)
        before = self.contenders(kv for kv in line.kvs if kv.create_revision < self.token)
        self.limit = read_limit(stored.kvs) or self.limit
        if len(before) < self.limit:
            return ()
        self._before = {kv.key for kv in before}
        start = keys_of(self.name)
        return (
            WatchRequest(start, prefix_end(start), start_revision=line.revision + 1, no_put=True),
            WatchRequest(limit_key(self.name), start_revision=stored.revision + 1),
        )

    def _may_have_changed(self, batch: WatchBatch) -> bool:
        for event in map(self._client.keyspace.inward_event, batch.events):
            if event.kv.key == limit_key(self.name):
                return True
            if event.type is EventType.DELETE:
                self._before.discard(event.kv.key)
        return len(self._before) < self.limit
