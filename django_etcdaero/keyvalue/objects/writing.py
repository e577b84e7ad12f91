"""The operations on one object: what is asked of the store, and what the answer means.

A write is one transaction, guarded by what it presupposes: that the object does not exist, that it exists, or that it
has a certain version. The other branch reads what there is instead, so that the error can be named without another
call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django_etcdaero.exceptions import InvalidObject, InvalidRequest, KeyExists, KeyNotFound, VersionConflict
from django_etcdaero.keyvalue import txn
from django_etcdaero.keyvalue.client.lease import check_ttl
from django_etcdaero.keyvalue.recipes.contention import Contention
from django_etcdaero.keyvalue.values import Compare, KeyValue, PutRequest, TxnRequest
from django_etcdaero.system.steps import Apply, Pause

from .layout import Layout
from .stored import Stored
from .timed_steps import TimedSteps

T = TypeVar("T")


def check_version(version: int | None) -> None:
    """Raise ``InvalidRequest`` unless ``version`` is ``None`` or one that an object can have."""
    if version is not None and (type(version) is not int or version < 1):
        raise InvalidRequest(f"version must be the version of a stored object, at least 1, not {version!r}")


def condition(key: bytes, version: int | None) -> Compare:
    """Return "it exists", or "it has this version"."""
    return txn.version(key) > 0 if version is None else txn.mod_revision(key) == version


def difference(label: str, found: KeyValue | None, version: int | None) -> KeyNotFound | VersionConflict:
    """Return the error that says why :func:`condition` did not hold."""
    if found is None:
        return KeyNotFound(f"{label} does not exist")
    return VersionConflict(f"{label} has version {found.mod_revision}, not {version}")


def write(key: bytes, data: bytes, *, ttl: int | None, lease: int) -> PutRequest:
    """Return the put that replaces an object, keeping the lease that it hangs on if ``ttl`` is ``None``."""
    return txn.put(key, data, lease=lease, prev_kv=True, ignore_lease=ttl is None)


async def create(steps: TimedSteps, layout: Layout[T], name: str, value: T, *, ttl: int | None) -> Stored[T]:
    """Store an object that does not exist."""
    key, data = layout.key(name), layout.encode(name, value)
    lease = await _lease(steps, ttl)
    answer = await steps.txn(
        TxnRequest((txn.version(key) == 0,), (txn.put(key, data, lease=lease),), (txn.get(key, keys_only=True),))
    )
    if not answer.succeeded:
        await _give_back(steps, lease)
        raise KeyExists(f"{layout.label(name)} exists, with version {txn.found(answer.responses[0])[0].mod_revision}")
    return Stored(name, value, answer.revision, answer.revision, lease)


async def update(
    steps: TimedSteps, layout: Layout[T], name: str, value: T, *, version: int | None, ttl: int | None
) -> Stored[T]:
    """Replace an object that exists."""
    check_version(version)
    key, data = layout.key(name), layout.encode(name, value)
    lease = await _lease(steps, ttl)
    put = write(key, data, ttl=ttl, lease=lease)
    answer = await steps.txn(TxnRequest((condition(key, version),), (put,), (txn.get(key, keys_only=True),)))
    if not answer.succeeded:
        await _give_back(steps, lease)
        raise difference(layout.label(name), _first(txn.found(answer.responses[0])), version)
    return replaced(name, value, txn.replaced(answer.responses[0]), answer.revision, put)


async def put(steps: TimedSteps, layout: Layout[T], name: str, value: T, *, ttl: int | None) -> Stored[T]:
    """Store an object whether it exists or not."""
    key, data = layout.key(name), layout.encode(name, value)
    lease = await _lease(steps, ttl)
    over = write(key, data, ttl=ttl, lease=lease)
    answer = await steps.txn(
        TxnRequest((txn.version(key) == 0,), (txn.put(key, data, lease=lease, prev_kv=True),), (over,))
    )
    return replaced(name, value, txn.replaced(answer.responses[0]), answer.revision, over)


def replaced(name: str, value: T, before: KeyValue | None, revision: int, put: PutRequest) -> Stored[T]:
    """Return an object as it is after ``put`` has replaced ``before`` (``None``: has created it)."""
    created = revision if before is None else before.create_revision
    lease = before.lease if put.ignore_lease and before is not None else put.lease
    return Stored(name, value, revision, created, lease)


async def delete(steps: TimedSteps, layout: Layout[T], name: str, *, version: int | None) -> Stored[T]:
    """Delete an object that exists, and return it."""
    check_version(version)
    key = layout.key(name)
    answer = await steps.txn(
        TxnRequest((condition(key, version),), (txn.delete(key, prev_kv=True),), (txn.get(key, keys_only=True),))
    )
    if not answer.succeeded:
        raise difference(layout.label(name), _first(txn.found(answer.responses[0])), version)
    try:
        return layout.read(txn.deleted(answer.responses[0])[0])
    except InvalidObject as error:
        raise InvalidObject(f"it was deleted, and cannot be returned: {error}") from error


async def delete_span(steps: TimedSteps, start: bytes, end: bytes) -> int:
    """Delete whatever is in a range, and return how much it was."""
    return (await steps.delete(start, end)).deleted


async def find(steps: TimedSteps, layout: Layout[T], name: str) -> Stored[T] | None:
    """Read an object."""
    answer = await steps.read(txn.get(layout.key(name)))
    found = _first(answer.kvs)
    return None if found is None else layout.read(found)


async def get(steps: TimedSteps, layout: Layout[T], name: str) -> Stored[T]:
    """Read an object that exists."""
    found = await find(steps, layout, name)
    if found is None:
        raise difference(layout.label(name), None, None)
    return found


async def exists(steps: TimedSteps, layout: Layout[T], name: str) -> bool:
    """Tell whether there is an object, readable or not."""
    answer = await steps.read(txn.get(layout.key(name), keys_only=True))
    return bool(answer.kvs)


async def consistent_update(
    steps: TimedSteps, layout: Layout[T], name: str, function: Callable[[T], Any], *, max_attempts: int
) -> Stored[T]:
    """Replace an object by what ``function`` makes of it, again and again until nobody was faster."""
    key, label = layout.key(name), layout.label(name)
    contention = Contention(f"the update of {label}", max_attempts=max_attempts, timeout=steps.left())
    while True:
        found = _first((await steps.read(txn.get(key))).kvs)
        if found is None:
            raise difference(label, None, None)
        value = await Apply(function, layout.read(found).object)
        if value is None:
            raise InvalidRequest(f"{label}: the function returned None; it must return the object to be stored")
        put = write(key, layout.encode(name, value), ttl=None, lease=0)
        answer = await steps.txn(TxnRequest((condition(key, found.mod_revision),), (put,)))
        if answer.succeeded:
            return replaced(name, value, txn.replaced(answer.responses[0]), answer.revision, put)
        await Pause(contention.fail())


async def _lease(steps: TimedSteps, ttl: int | None) -> int:
    if not ttl:  # None: as it is; 0: none
        return 0
    check_ttl(ttl)
    return await steps.grant(ttl)


async def _give_back(steps: TimedSteps, lease: int) -> None:
    if lease:
        await steps.revoke(lease)


def _first(kvs: tuple[KeyValue, ...]) -> KeyValue | None:
    return kvs[0] if kvs else None
