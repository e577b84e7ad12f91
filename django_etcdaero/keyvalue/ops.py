"""Transactions: conditions, operations and the builder that puts them together.

::

    from django_etcdaero.keyvalue import ops

    result = (
        kv.txn()
        .when(ops.mod_revision("stock/7") == seen, ops.value("open") == "yes")
        .then(ops.put("stock/7", "41"), ops.get("price/7"))
        .otherwise(ops.get("stock/7"))
        .commit()
    )

All conditions must hold for ``then`` to run, else ``otherwise`` runs; either way it is one atomic step and at most one
new revision. Keys are relative to the client's prefix. A transaction may be an operation of another one.

On a missing key a condition on the value never holds, whatever the operator, and version, revisions and lease count as
0: ``create_revision(key) == 0`` is "the key does not exist". A condition on a range must hold for every key of it; on
an empty range it is judged like one missing key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias, Unpack

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.system.acting import acts
from django_etcdaero.system.blocking import refuse_in_event_loop

from .arguments import LeaseRef, RangeOptions, WatchOptions, check_flag, checked_options, lease_id
from .keys import FROM_KEY, Text, span, to_bytes
from .values import (
    Compare,
    CompareOp,
    CompareTarget,
    DeleteRequest,
    DeleteResult,
    KeyValue,
    Operation,
    PutRequest,
    PutResult,
    RangeRequest,
    RangeResult,
    Response,
    TxnRequest,
    TxnResult,
    WatchRequest,
)

# --- conditions ------------------------------------------------------------------------------------------------------


class Subject:
    """The left side of a condition; ``==``, ``!=``, ``<``, ``<=``, ``>`` and ``>=`` make it a :class:`Compare`.

    etcd has no ``<=`` and ``>=``. With numbers they are ``<`` the next and ``>`` the one before. ``<=`` a value is
    ``<`` the value with a NUL after it, which is the next in order; none is next before it, so ``>=`` with a value
    raises ``InvalidRequest``.
    """

    __slots__ = ("_key", "_range_end", "_target")
    __hash__ = None  # type: ignore[assignment]  # equality is not a truth value here

    def __init__(self, target: CompareTarget, key: Text, range_end: Text | None, *, prefix: bool) -> None:
        self._target = target
        self._key, self._range_end = span(key, range_end, prefix=prefix)

    def __repr__(self) -> str:
        return f"<the {self._target.name.lower()} of {self._key!r}, to be compared>"

    def __eq__(self, operand: object) -> Compare:  # type: ignore[override]
        return self._compare(CompareOp.EQUAL, operand)

    def __ne__(self, operand: object) -> Compare:  # type: ignore[override]
        return self._compare(CompareOp.NOT_EQUAL, operand)

    def __lt__(self, operand: object) -> Compare:
        return self._compare(CompareOp.LESS, operand)

    def __gt__(self, operand: object) -> Compare:
        return self._compare(CompareOp.GREATER, operand)

    def __le__(self, operand: object) -> Compare:
        checked = self._operand(operand)
        following = checked + b"\0" if isinstance(checked, bytes) else checked + 1
        return self._compare(CompareOp.LESS, following)

    def __ge__(self, operand: object) -> Compare:
        checked = self._operand(operand)
        if isinstance(checked, bytes):
            raise InvalidRequest(
                f"the value of {self._key!r} cannot be compared with >=: etcd has only ==, !=, < and >; "
                "compare with > a smaller value"
            )
        return self._compare(CompareOp.GREATER, checked - 1)

    def _compare(self, op: CompareOp, operand: object) -> Compare:
        return Compare(self._key, self._target, op, self._operand(operand), self._range_end)

    def _operand(self, operand: object) -> int | bytes:
        if self._target is CompareTarget.VALUE:
            if isinstance(operand, str | bytes):
                return to_bytes(operand, name="value to compare with")
        elif isinstance(operand, int) and not isinstance(operand, bool):
            return operand
        elif self._target is CompareTarget.LEASE and isinstance(number := getattr(operand, "id", None), int):
            return number
        kind = type(operand).__name__
        raise InvalidRequest(f"{self._target.name} of {self._key!r} cannot be compared with {operand!r} ({kind})")


def value(key: Text, range_end: Text | None = None, *, prefix: bool = False) -> Subject:
    """The value of a key (compare with str or bytes)."""
    return Subject(CompareTarget.VALUE, key, range_end, prefix=prefix)


def version(key: Text, range_end: Text | None = None, *, prefix: bool = False) -> Subject:
    """How often the key was put since it was created; 0 if it does not exist."""
    return Subject(CompareTarget.VERSION, key, range_end, prefix=prefix)


def create_revision(key: Text, range_end: Text | None = None, *, prefix: bool = False) -> Subject:
    """The revision that created the key; 0 if it does not exist."""
    return Subject(CompareTarget.CREATE, key, range_end, prefix=prefix)


def mod_revision(key: Text, range_end: Text | None = None, *, prefix: bool = False) -> Subject:
    """The revision that last changed the key; 0 if it does not exist."""
    return Subject(CompareTarget.MOD, key, range_end, prefix=prefix)


def lease_of(key: Text, range_end: Text | None = None, *, prefix: bool = False) -> Subject:
    """The lease the key hangs on (compare with an id or a lease); 0 for none."""
    return Subject(CompareTarget.LEASE, key, range_end, prefix=prefix)


# --- operations ------------------------------------------------------------------------------------------------------


def get(key: Text, range_end: Text | None = None, **options: Unpack[RangeOptions]) -> RangeRequest:
    """Read a key, a range or everything under a prefix; the options are those of :class:`RangeRequest`."""
    checked = checked_options("range", options, RangeOptions)
    start, end = span(key, range_end, prefix=checked.pop("prefix", False))
    return RangeRequest(start, end, **checked)


def put(
    key: Text,
    value: Text = b"",
    *,
    lease: LeaseRef = 0,
    prev_kv: bool = False,
    ignore_value: bool = False,
    ignore_lease: bool = False,
) -> PutRequest:
    """Write a key. Without ``lease`` the key is taken off the lease it had, unless ``ignore_lease``."""
    name = to_bytes(key, name="key")
    if not name:
        raise InvalidRequest("key is empty")
    check_flag("prev_kv", prev_kv)
    check_flag("ignore_value", ignore_value)
    check_flag("ignore_lease", ignore_lease)
    number = lease_id("lease", lease)
    return PutRequest(name, to_bytes(value, name="value"), number, prev_kv, ignore_value, ignore_lease)


def delete(
    key: Text,
    range_end: Text | None = None,
    *,
    prefix: bool = False,
    prev_kv: bool = False,
    everything: bool = False,
) -> DeleteRequest:
    """Delete a key, a range or everything under a prefix.

    Without ``everything`` it is refused when it is carried out if it is of all keys of the client, or of keys of
    several rooms: :mod:`django_etcdaero.keyvalue.rooms`.
    """
    start, end = span(key, range_end, prefix=prefix)
    check_flag("prev_kv", prev_kv)
    check_flag("everything", everything)
    return DeleteRequest(start, end, prev_kv, everything)


def watch(key: Text, range_end: Text | None = None, **options: Unpack[WatchOptions]) -> WatchRequest:
    """Follow a key, a range or everything under a prefix; not an operation of a transaction, but named like one."""
    checked = checked_options("watch", options, WatchOptions)
    start, end = span(key, range_end, prefix=checked.pop("prefix", False))
    if end not in (b"", FROM_KEY) and end <= start:
        raise InvalidRequest(f"range_end {end!r} is not after key {start!r}")
    return WatchRequest(start, end, **checked)


# --- answers ---------------------------------------------------------------------------------------------------------


def found(response: Response) -> tuple[KeyValue, ...]:
    """Return the keys that a ``get()`` of a transaction has found; none for the answer to anything else."""
    return response.kvs if isinstance(response, RangeResult) else ()


def replaced(response: Response) -> KeyValue | None:
    """Return what a ``put(prev_kv=True)`` of a transaction has written over."""
    return response.prev_kv if isinstance(response, PutResult) else None


def deleted(response: Response) -> tuple[KeyValue, ...]:
    """Return what a ``delete(prev_kv=True)`` of a transaction has deleted."""
    return response.prev_kvs if isinstance(response, DeleteResult) else ()


# --- the builder -----------------------------------------------------------------------------------------------------

Step: TypeAlias = "Operation | Txn"


class Txn:
    """A transaction being put together; made with :meth:`KV.txn() <django_etcdaero.keyvalue.facade.KV.txn>`."""

    __slots__ = ("_arun", "_compares", "_otherwise", "_run", "_then")

    def __init__(
        self,
        run: Callable[[TxnRequest, float | None], TxnResult],
        arun: Callable[[TxnRequest, float | None], Awaitable[TxnResult]],
    ) -> None:
        """``run`` and ``arun`` carry out a request within a timeout in seconds, blocking and awaited."""
        self._run = run
        self._arun = arun
        self._compares: list[Compare] = []
        self._then: list[Operation] = []
        self._otherwise: list[Operation] = []

    def __repr__(self) -> str:
        return f"<Txn when={self._compares} then={self._then} otherwise={self._otherwise}>"

    def when(self, *compares: Compare) -> Txn:
        """Add conditions; all of them must hold."""
        for compare in compares:
            if not isinstance(compare, Compare):
                raise InvalidRequest(f"when() takes conditions such as version('key') == 0, not {compare!r}")
        self._compares.extend(compares)
        return self

    def then(self, *operations: Step) -> Txn:
        """Add operations to run if the conditions hold."""
        self._then.extend(map(_operation, operations))
        return self

    def otherwise(self, *operations: Step) -> Txn:
        """Add operations to run if a condition does not hold."""
        self._otherwise.extend(map(_operation, operations))
        return self

    def request(self) -> TxnRequest:
        """Return what was put together so far; its keys are relative to the client's prefix."""
        return TxnRequest(tuple(self._compares), tuple(self._then), tuple(self._otherwise))

    @acts
    def commit(self, *, timeout: float | None = None) -> TxnResult:
        """Run it, within ``timeout`` seconds. Raises what :meth:`.Engine.txn` raises; a false condition is no error."""
        refuse_in_event_loop("commit()", "await acommit(…)")
        return self._run(self.request(), timeout)

    @acts
    async def acommit(self, *, timeout: float | None = None) -> TxnResult:
        """Run it as :meth:`commit` does. If the waiting task is cancelled it may be applied or not."""
        return await self._arun(self.request(), timeout)


def _operation(step: Step) -> Operation:
    if isinstance(step, Txn):
        return step.request()
    if isinstance(step, RangeRequest | PutRequest | DeleteRequest | TxnRequest):
        return step
    raise InvalidRequest(f"a transaction is made of get(), put(), delete() and transactions, not {step!r}")
