"""Keys, ranges and the namespace of a client.

A client works below a prefix: every key it sends is put under the prefix, every key it gets back has the prefix taken
off, and no range, however open, leaves it. Inside a client ranges are written as at the waist: ``range_end == b""`` is
the single key and ``range_end == b"\\0"`` is "everything from the key on", which here ends with the namespace.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, TypeAlias, overload

from django_etcdaero.exceptions import InvalidRequest

from .rooms import Borders
from .values import (
    Compare,
    DeleteRequest,
    DeleteResult,
    Event,
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
    new_kv,
)

Text: TypeAlias = str | bytes
"""A key or a value: ``str`` is sent as UTF-8."""

FROM_KEY = b"\0"
"""The range end that means "no end" (etcd's wire rule)."""


def to_bytes(data: Text, *, name: str) -> bytes:
    """Return ``data`` as bytes; ``name`` is what an ``InvalidRequest`` calls it."""
    if isinstance(data, bytes):
        return data if type(data) is bytes else bytes(data)  # what subclasses add is nothing to a store
    if isinstance(data, str):
        try:
            return data.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest(f"{name} cannot be written as UTF-8: {error}") from error
    raise InvalidRequest(f"{name} must be str or bytes, not {type(data).__name__}")


def prefix_end(prefix: bytes) -> bytes:
    """Return the ``range_end`` with which a range from ``prefix`` covers exactly the keys that start with it.

    It is the prefix with its last byte raised by one; a trailing 0xff cannot be raised, so it is dropped first. When
    nothing is left there is no end: ``b"\\0"``.
    """
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else FROM_KEY


def shown(start: bytes, end: bytes) -> str:
    """Return a range in words, for reprs; ``end`` as servers take it."""
    if not end:
        return f"{start!r}"
    if end == b"\0":
        return f"{start!r} and all after it"
    return f"the prefix {start!r}" if end == prefix_end(start) else f"{start!r} to {end!r}"


def span(key: Text, range_end: Text | None, *, prefix: bool) -> tuple[bytes, bytes]:
    """Return ``(key, range_end)`` as bytes for the three ways to name keys: one key, a range, all under a prefix.

    Raises ``InvalidRequest`` for an empty single key, an empty ``range_end``, a ``range_end`` with ``prefix``, and what
    has the wrong type.
    """
    start = to_bytes(key, name="key")
    if not isinstance(prefix, bool):
        raise InvalidRequest(f"prefix must be True or False, not {prefix!r}")
    if prefix:
        if range_end is not None:
            raise InvalidRequest("range_end and prefix=True exclude each other")
        return start, prefix_end(start)
    if range_end is None:
        if not start:
            raise InvalidRequest("key is empty")
        return start, b""
    end = to_bytes(range_end, name="range_end")
    if not end:
        raise InvalidRequest("range_end is empty; for everything from the key on it is b'\\0'")
    return start, end


_options: Callable[[RangeRequest], tuple[Any, ...]] = attrgetter(
    *[field.name for field in dataclasses.fields(RangeRequest) if field.name not in ("key", "range_end")]
)


class Namespace:
    """Puts keys under a prefix and takes it off again."""

    __slots__ = ("_borders", "_length", "prefix")

    def __init__(self, prefix: bytes, borders: Borders | None = None) -> None:
        """``borders``: what deletions must not cross, unless they say so."""
        self.prefix = prefix
        self._length = len(prefix)
        self._borders = borders

    # on the way out --------------------------------------------------------------------------------------------------

    def span(self, key: bytes, range_end: bytes) -> tuple[bytes, bytes]:
        """Return a range as the store sees it. The store has no empty key, so a range may as well start after it."""
        if not range_end:
            return self.prefix + key, b""
        end = prefix_end(self.prefix) if range_end == FROM_KEY else self.prefix + range_end
        return self.prefix + key or b"\0", end

    @overload
    def outward(self, request: Compare) -> Compare: ...
    @overload
    def outward(self, request: RangeRequest) -> RangeRequest: ...
    @overload
    def outward(self, request: PutRequest) -> PutRequest: ...
    @overload
    def outward(self, request: DeleteRequest) -> DeleteRequest: ...
    @overload
    def outward(self, request: TxnRequest) -> TxnRequest: ...
    @overload
    def outward(self, request: WatchRequest) -> WatchRequest: ...

    def outward(self, request: Operation | Compare | WatchRequest) -> Operation | Compare | WatchRequest:
        """Return the request with all its keys under the prefix, those of nested transactions too."""
        # Written out: dataclasses.replace() takes several times as long, in the commonest calls.
        if isinstance(request, PutRequest):
            r = request
            return PutRequest(self.prefix + r.key, r.value, r.lease, r.prev_kv, r.ignore_value, r.ignore_lease)
        if isinstance(request, TxnRequest):
            return TxnRequest(
                compares=tuple([self.outward(compare) for compare in request.compares]),
                success=tuple([self.outward(operation) for operation in request.success]),
                failure=tuple([self.outward(operation) for operation in request.failure]),
            )
        key, range_end = self.span(request.key, request.range_end)
        if isinstance(request, Compare):
            return Compare(key, request.target, request.op, request.operand, range_end)
        if isinstance(request, RangeRequest):
            return RangeRequest(key, range_end, *_options(request))
        if range_end and self._borders and isinstance(request, DeleteRequest) and not request.everything:
            self._borders.check(key, range_end)
        return dataclasses.replace(request, key=key, range_end=range_end)

    # on the way back -------------------------------------------------------------------------------------------------

    def own_keys(self, keys: Iterable[bytes]) -> tuple[bytes, ...]:
        """Return those of ``keys`` that are under the prefix, without it."""
        return tuple(key[self._length :] for key in keys if key.startswith(self.prefix))

    def inward_kv(self, kv: KeyValue) -> KeyValue:
        """Return ``kv`` without the prefix."""
        key, value, create_revision, mod_revision, version, lease = kv
        return new_kv(KeyValue, (key[self._length :], value, create_revision, mod_revision, version, lease))

    def _inward_kvs(self, kvs: Iterable[KeyValue]) -> tuple[KeyValue, ...]:
        length = self._length
        return tuple(
            [  # as inward_kv(), whose call takes as long as the rest
                new_kv(KeyValue, (key[length:], value, create_revision, mod_revision, version, lease))
                for key, value, create_revision, mod_revision, version, lease in kvs
            ]
        )

    def inward_event(self, event: Event) -> Event:
        """Return ``event`` without the prefix."""
        previous = event.prev_kv
        return Event(event.type, self.inward_kv(event.kv), None if previous is None else self.inward_kv(previous))

    @overload
    def inward(self, response: RangeResult) -> RangeResult: ...
    @overload
    def inward(self, response: PutResult) -> PutResult: ...
    @overload
    def inward(self, response: DeleteResult) -> DeleteResult: ...
    @overload
    def inward(self, response: TxnResult) -> TxnResult: ...

    def inward(self, response: Response) -> Response:
        """Return the answer with the prefix taken off all its keys, those of nested transactions too."""
        if not self._length:
            return response
        if isinstance(response, RangeResult):
            kvs = self._inward_kvs(response.kvs)
            return RangeResult(kvs, response.more, response.count, response.revision)
        if isinstance(response, PutResult):
            return response if response.prev_kv is None else response._replace(prev_kv=self.inward_kv(response.prev_kv))
        if isinstance(response, DeleteResult):
            return response._replace(prev_kvs=self._inward_kvs(response.prev_kvs))
        return response._replace(responses=tuple(self.inward(each) for each in response.responses))
