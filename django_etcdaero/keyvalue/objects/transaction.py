"""Several objects in one step, of one collection or of several: all changes are made, or none.

Each change carries its own condition: what is created must not exist, what is updated, deleted or touched must exist
(and have the version that is asked for). If one does not hold nothing is changed, and the other branch of the
transaction looks which ones it were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from django_etcdaero.exceptions import EtcdAeroError, InvalidRequest, KeyExists, TxnFailed
from django_etcdaero.keyvalue import ops
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.values import (
    Compare,
    CompareOp,
    DeleteRequest,
    KeyValue,
    PutRequest,
    Response,
    TxnRequest,
    TxnResult,
)
from django_etcdaero.system.acting import acts
from django_etcdaero.system.twins import twins

from .collection import Collection
from .layout import Layout
from .stored import Invalid, Stored
from .timed_steps import TimedSteps
from .writing import condition, difference, replaced, write

T = TypeVar("T")

_SIGNS: Final = {
    CompareOp.EQUAL: "==",
    CompareOp.NOT_EQUAL: "!=",
    CompareOp.LESS: "<",
    CompareOp.GREATER: ">",
}


@dataclass(frozen=True, slots=True)
class ObjectTxnResult:
    """What a committed transaction did."""

    revision: int
    """The version of everything that it wrote."""
    stored: tuple[Stored[Any], ...]
    """What was created and updated, in the order in which it was staged."""
    deleted: tuple[Stored[Any] | Invalid, ...]
    """What was deleted, as it was before."""


@dataclass(frozen=True, slots=True)
class _Change:
    layout: Layout[Any]
    name: str
    compare: Compare
    operation: PutRequest | DeleteRequest
    value: Any = None
    """The object that is written; ``None`` for a touch and a deletion."""
    creates: bool = False
    version: int | None = None

    @property
    def label(self) -> str:
        return self.layout.label(self.name)

    def error(self, found: KeyValue | None) -> EtcdAeroError | None:
        """Return why the condition does not hold, ``None`` if it does."""
        if self.creates:
            return None if found is None else KeyExists(f"{self.label} exists, with version {found.mod_revision}")
        if found is not None and self.version in (None, found.mod_revision):
            return None
        return difference(self.label, found, self.version)


class ObjectTxn:
    """A transaction being put together; made with
    :meth:`KV.object_txn() <django_etcdaero.keyvalue.facade.KV.object_txn>`.

    For one thread. Every collection must be of the same store and prefix. An object can be changed once in a
    transaction. There may be 128 changes; with further conditions (:meth:`compare`) 127 of both together, because the
    store counts a level of nesting, in which it looks which of them do not hold. After a commit it is empty and may be
    used again; after a failure it is as it was.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._changes: dict[bytes, _Change] = {}
        self._compares: list[Compare] = []

    def __repr__(self) -> str:
        return f"<ObjectTxn of {len(self._changes)} changes and {len(self._compares)} further conditions>"

    @property
    def is_empty(self) -> bool:
        """True if nothing was staged."""
        return not self._changes and not self._compares

    # staging ---------------------------------------------------------------------------------------------------------

    def create(self, collection: Collection[T], name: str, value: T) -> ObjectTxn:
        """Store an object; it must not exist."""
        layout, key = self._target(collection, name)
        put = ops.put(key, layout.encode(name, value))
        return self._stage(_Change(layout, name, ops.version(key) == 0, put, value, creates=True))

    def update(self, collection: Collection[T], name: str, value: T, *, version: int | None = None) -> ObjectTxn:
        """Replace an object; it must exist, and have ``version`` if that is given. It keeps its lease."""
        layout, key = self._target(collection, name)
        put = write(key, layout.encode(name, value), ttl=None, lease=0)
        return self._stage(_Change(layout, name, condition(key, version), put, value, version=version))

    def delete(self, collection: Collection[Any], name: str, *, version: int | None = None) -> ObjectTxn:
        """Delete an object; it must exist, and have ``version`` if that is given."""
        layout, key = self._target(collection, name)
        return self._stage(
            _Change(layout, name, condition(key, version), ops.delete(key, prev_kv=True), version=version)
        )

    def touch(self, collection: Collection[Any], name: str, *, version: int | None = None) -> ObjectTxn:
        """Give an object a new version and change nothing else; it must exist, and have ``version`` if given."""
        layout, key = self._target(collection, name)
        put = ops.put(key, ignore_value=True, ignore_lease=True)
        return self._stage(_Change(layout, name, condition(key, version), put, version=version))

    def compare(self, *compares: Compare) -> ObjectTxn:
        """Add conditions: ``orders.version_of("7") == 12``, ``orders.holds("7", order)``, ``lock.compare()``, …"""
        for each in compares:
            if not isinstance(each, Compare):
                raise InvalidRequest(f"compare() takes conditions such as orders.version_of('7') == 12, not {each!r}")
        self._compares.extend(compares)
        return self

    @acts
    def clear(self) -> None:
        """Forget everything that was staged."""
        self._changes.clear()
        self._compares.clear()

    # committing ------------------------------------------------------------------------------------------------------

    @acts
    async def _commit(self, *, timeout: float | None = None) -> ObjectTxnResult:
        """Make all changes in one step, within ``timeout`` seconds.

        Raises ``TxnFailed`` if a condition does not hold; its ``errors`` say which, with a ``KeyExists``,
        ``KeyNotFound`` or ``VersionConflict`` for each change, and a ``TxnFailed`` for each further condition. Raises
        ``InvalidRequest`` if nothing was staged, and what any call of the store raises.
        """
        steps = TimedSteps(self._client, timeout)
        if self.is_empty:
            raise InvalidRequest("nothing was staged in the transaction")
        changes, compares = tuple(self._changes.values()), tuple(self._compares)
        answer = await steps.txn(
            TxnRequest(
                (*(change.compare for change in changes), *compares),
                tuple(change.operation for change in changes),
                (
                    *(ops.get(change.operation.key, keys_only=True) for change in changes),
                    *(TxnRequest((compare,)) for compare in compares),
                ),
            )
        )
        if not answer.succeeded:
            raise _failure(changes, compares, answer.responses)
        self.clear()
        return _result(changes, answer)

    commit, acommit = twins(_commit)

    # inside ----------------------------------------------------------------------------------------------------------

    def _target(self, collection: Collection[T], name: str) -> tuple[Layout[T], bytes]:
        if not isinstance(collection, Collection):
            raise InvalidRequest(f"collection must be a Collection, not {collection!r}")
        client = collection.client
        if client.engine is not self._client.engine or client.prefix != self._client.prefix:
            raise InvalidRequest(f"{collection!r} is of another store, or under another prefix, than the transaction")
        key = collection.layout.key(name)
        if key in self._changes:
            raise InvalidRequest(f"{collection.layout.label(name)} is changed in this transaction already")
        return collection.layout, key

    def _stage(self, change: _Change) -> ObjectTxn:
        self._changes[change.operation.key] = change
        return self


def _result(changes: Sequence[_Change], answer: TxnResult) -> ObjectTxnResult:
    stored: list[Stored[Any]] = []
    deleted: list[Stored[Any] | Invalid] = []
    for change, response in zip(changes, answer.responses, strict=True):
        if isinstance(change.operation, DeleteRequest):
            deleted.extend(map(change.layout.read_or_tell, ops.deleted(response)))
        elif not change.operation.ignore_value:
            before = ops.replaced(response)
            stored.append(replaced(change.name, change.value, before, answer.revision, change.operation))
    return ObjectTxnResult(answer.revision, tuple(stored), tuple(deleted))


def _failure(changes: Sequence[_Change], compares: Sequence[Compare], responses: Sequence[Response]) -> TxnFailed:
    errors: list[EtcdAeroError] = []
    for change, response in zip(changes, responses, strict=False):
        error = change.error(next(iter(ops.found(response)), None))
        if error is not None:
            errors.append(error)
    for compare, response in zip(compares, responses[len(changes) :], strict=True):
        if not (isinstance(response, TxnResult) and response.succeeded):
            sign = _SIGNS[CompareOp(compare.op)]
            subject = f"{compare.target.name.lower()} of {compare.key!r}"
            errors.append(TxnFailed(f"{subject} {sign} {compare.operand!r} does not hold"))
    return TxnFailed(f"nothing was changed: {'; '.join(map(str, errors))}", errors)
