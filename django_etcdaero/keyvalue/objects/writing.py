"""The operations on one object: what is asked of the store, and what the answer means.

A write is one transaction, guarded by what it presupposes: that the object does not exist, that it exists, or that it
has a certain version. The other branch reads what there is instead, so that the error can be named without another
call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from django_etcdaero.exceptions import InvalidObject, InvalidRequest, KeyExists, KeyNotFound, VersionConflict
from django_etcdaero.keyvalue import ops
from django_etcdaero.keyvalue.arguments import check_function
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.recipes.contention import MAX_ATTEMPTS, Contention
from django_etcdaero.keyvalue.values import Compare, KeyValue, PutRequest, TxnRequest
from django_etcdaero.system.blocking import refuse_in_event_loop
from django_etcdaero.system.steps import Apply, Pause, adrive, drive
from django_etcdaero.system.twins import twins

from .layout import Layout
from .stored import Stored
from .timed_steps import TimedSteps

T = TypeVar("T")


def condition(key: bytes, version: int | None) -> Compare:
    """Return "it exists", or "it has this version". Raises ``InvalidRequest`` for one that no object can have."""
    if version is None:
        return ops.version(key) > 0
    if type(version) is not int or not 1 <= version < 1 << 63:
        raise InvalidRequest(f"version must be the version of a stored object, at least 1, not {version!r}")
    return ops.mod_revision(key) == version


def difference(label: str, found: KeyValue | None, version: int | None) -> KeyNotFound | VersionConflict:
    """Return the error that says why :func:`condition` did not hold."""
    if found is None:
        return KeyNotFound(f"{label} does not exist")
    return VersionConflict(f"{label} has version {found.mod_revision}, not {version}")


def write(key: bytes, data: bytes, *, ttl: int | None, lease: int) -> PutRequest:
    """Return the put that replaces an object, keeping the lease that it hangs on if ``ttl`` is ``None``."""
    return ops.put(key, data, lease=lease, prev_kv=True, ignore_lease=ttl is None)


def replaced(name: str, value: T, before: KeyValue | None, revision: int, put: PutRequest) -> Stored[T]:
    """Return an object as it is after ``put`` has replaced ``before`` (``None``: has created it)."""
    created = revision if before is None else before.create_revision
    lease = before.lease if put.ignore_lease and before is not None else put.lease
    return Stored(name, value, revision, created, lease)


class ObjectCalls(Generic[T]):
    """Methods of a :class:`~django_etcdaero.keyvalue.objects.collection.Collection` for one object."""

    client: Client
    """The client whose keys the objects are."""
    layout: Layout[T]

    async def _create(self, name: str, value: T, *, ttl: int | None = None, timeout: float | None = None) -> Stored[T]:
        """Store an object under a new name. Raises ``KeyExists``."""
        steps = TimedSteps(self.client, timeout)
        key, data = self.layout.key(name), self.layout.encode(name, value)
        lease = await steps.grant(ttl)
        put, look = ops.put(key, data, lease=lease), ops.get(key, keys_only=True)
        answer = await steps.txn(TxnRequest((ops.version(key) == 0,), (put,), (look,)))
        if not answer.succeeded:
            await steps.revoke(lease)
            version = ops.found(answer.responses[0])[0].mod_revision
            raise KeyExists(f"{self.layout.label(name)} exists, with version {version}")
        return Stored(name, value, answer.revision, answer.revision, lease)

    create, acreate = twins(_create)

    async def _find(self, name: str, *, timeout: float | None = None) -> Stored[T] | None:
        """Return an object, ``None`` if there is none of that name."""
        answer = await TimedSteps(self.client, timeout).read(ops.get(self.layout.key(name)))
        found = _first(answer.kvs)
        return None if found is None else self.layout.read(found)

    find, afind = twins(_find)

    async def _get(self, name: str, *, timeout: float | None = None) -> Stored[T]:
        """Return an object. Raises ``KeyNotFound``."""
        found = await self._find(name, timeout=timeout)
        if found is None:
            raise difference(self.layout.label(name), None, None)
        return found

    get, aget = twins(_get)

    async def _exists(self, name: str, *, timeout: float | None = None) -> bool:
        """Tell whether there is something of that name, without reading it."""
        answer = await TimedSteps(self.client, timeout).read(ops.get(self.layout.key(name), keys_only=True))
        return bool(answer.kvs)

    exists, aexists = twins(_exists)

    async def _update(
        self,
        name: str,
        value: T,
        *,
        version: int | None = None,
        ttl: int | None = None,
        timeout: float | None = None,
    ) -> Stored[T]:
        """Replace an object, only if it still has ``version`` (``None``: whatever it has).

        Raises ``KeyNotFound`` if there is none, ``VersionConflict`` if it has another version.
        """
        steps = TimedSteps(self.client, timeout)
        key, data = self.layout.key(name), self.layout.encode(name, value)
        compare = condition(key, version)
        lease = await steps.grant(ttl)
        put = write(key, data, ttl=ttl, lease=lease)
        answer = await steps.txn(TxnRequest((compare,), (put,), (ops.get(key, keys_only=True),)))
        if not answer.succeeded:
            await steps.revoke(lease)
            raise difference(self.layout.label(name), _first(ops.found(answer.responses[0])), version)
        return replaced(name, value, ops.replaced(answer.responses[0]), answer.revision, put)

    update, aupdate = twins(_update)

    async def _put(self, name: str, value: T, *, ttl: int | None = None, timeout: float | None = None) -> Stored[T]:
        """Store an object, in place of the one of that name if there is one."""
        steps = TimedSteps(self.client, timeout)
        key, data = self.layout.key(name), self.layout.encode(name, value)
        lease = await steps.grant(ttl)
        new, over = ops.put(key, data, lease=lease, prev_kv=True), write(key, data, ttl=ttl, lease=lease)
        answer = await steps.txn(TxnRequest((ops.version(key) == 0,), (new,), (over,)))
        return replaced(name, value, ops.replaced(answer.responses[0]), answer.revision, over)

    put, aput = twins(_put)

    async def _delete(self, name: str, *, version: int | None = None, timeout: float | None = None) -> Stored[T]:
        """Delete an object, only if it still has ``version`` (``None``: whatever it has); return what it was.

        Raises ``KeyNotFound``, ``VersionConflict``. If what was stored cannot be read, ``InvalidObject`` is raised
        after it was deleted; :meth:`discard` does not read it.
        """
        key = self.layout.key(name)
        delete, look = ops.delete(key, prev_kv=True), ops.get(key, keys_only=True)
        steps = TimedSteps(self.client, timeout)
        answer = await steps.txn(TxnRequest((condition(key, version),), (delete,), (look,)))
        if not answer.succeeded:
            raise difference(self.layout.label(name), _first(ops.found(answer.responses[0])), version)
        try:
            return self.layout.read(ops.deleted(answer.responses[0])[0])
        except InvalidObject as error:
            raise InvalidObject(f"it was deleted, and cannot be returned: {error}") from error

    delete, adelete = twins(_delete)

    async def _discard(self, name: str, *, timeout: float | None = None) -> bool:
        """Delete what is stored under a name, if there is anything; return whether there was."""
        answer = await TimedSteps(self.client, timeout).delete(self.layout.key(name), b"")
        return bool(answer.deleted)

    discard, adiscard = twins(_discard)

    def consistent_update(
        self,
        name: str,
        function: Callable[[T], T],
        *,
        max_attempts: int = MAX_ATTEMPTS,
        timeout: float | None = None,
    ) -> Stored[T]:
        """Replace an object by ``function(object)``, so that no change of anybody gets lost.

        When somebody else changed the object meanwhile the function is called again with the new state, after a short
        random pause. What it raises is raised here, and nothing is written. Raises ``KeyNotFound``, and
        ``TxnFailed`` when ``max_attempts`` were in vain.
        """
        steps = TimedSteps(self.client, timeout)
        refuse_in_event_loop("consistent_update()", "await aconsistent_update(…)")
        return drive(_replace_by(steps, self.layout, name, function, max_attempts=max_attempts))

    async def aconsistent_update(
        self,
        name: str,
        function: Callable[[T], T | Awaitable[T]],
        *,
        max_attempts: int = MAX_ATTEMPTS,
        timeout: float | None = None,
    ) -> Stored[T]:
        """Replace an object as :meth:`consistent_update` does; ``function`` may be a coroutine function."""
        steps = TimedSteps(self.client, timeout)
        return await adrive(_replace_by(steps, self.layout, name, function, max_attempts=max_attempts))


async def _replace_by(
    steps: TimedSteps, layout: Layout[T], name: str, function: Callable[[T], Any], *, max_attempts: int
) -> Stored[T]:
    """Replace an object by what ``function`` makes of it, again and again until nobody was faster."""
    check_function("function", function, may_be_awaited=True)
    key, label = layout.key(name), layout.label(name)
    contention = Contention(f"the update of {label}", max_attempts=max_attempts, timeout=steps.left())
    while True:
        found = _first((await steps.read(ops.get(key))).kvs)
        if found is None:
            raise difference(label, None, None)
        value = await Apply(function, layout.read(found).object)
        if value is None:
            raise InvalidRequest(f"{label}: the function returned None; it must return the object to be stored")
        put = write(key, layout.encode(name, value), ttl=None, lease=0)
        answer = await steps.txn(TxnRequest((condition(key, found.mod_revision),), (put,)))
        if answer.succeeded:
            return replaced(name, value, ops.replaced(answer.responses[0]), answer.revision, put)
        await Pause(contention.fail())


def _first(kvs: tuple[KeyValue, ...]) -> KeyValue | None:
    return kvs[0] if kvs else None
