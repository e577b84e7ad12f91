"""Checks of what users pass, before anything is sent: each error names the argument.

A store would refuse some of it in words of its own, take some of it for something else, and not survive the rest: a
``sort_target`` that does not exist crashes an etcd server before 3.6.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypedDict, TypeVar

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.durations import check_seconds
from django_etcdaero.system.functions import is_coroutine_function

from .values import Compare, CompareOp, CompareTarget, SortOrder, SortTarget, WatchRequest

E = TypeVar("E", bound=enum.IntEnum)

INT64 = range(-(1 << 63), 1 << 63)
"""What etcd's numbers hold."""

_LAST = (1 << 63) - 1
LARGEST_REQUEST = 3 * 512 * 1024 - 64
"""Bytes of keys and values in a request: etcd's default ``--max-request-bytes``, less what the encoding may add."""


class WithId(Protocol):
    """A lease, as far as an argument needs one."""

    @property
    def id(self) -> int:
        """Its number in the store."""


LeaseRef: TypeAlias = int | WithId
"""A lease that is given by its id, or as a :class:`~django_etcdaero.keyvalue.client.lease.Lease`."""


class PageOptions(TypedDict, total=False):
    """Options of a range that may be read in pages, as in :class:`~django_etcdaero.keyvalue.values.RangeRequest`."""

    prefix: bool
    """Read all keys that start with the first argument; it excludes a ``range_end``."""
    revision: int
    """Show the store as of this revision; 0: as it is now."""
    serializable: bool
    """One member may answer alone, perhaps with what is outdated."""
    keys_only: bool
    """Leave the values out."""


class IterateOptions(PageOptions, total=False):
    """Options of going through a range."""

    page_size: int
    """Keys that are read at once; 500 unless given."""
    descending: bool
    """Begin with the last key."""
    timeout: float | None
    """Seconds for each page; ``None``: the engine's default."""


class EndOptions(TypedDict, total=False):
    """Options of looking for the first or last key of a range."""

    prefix: bool
    """Look at all keys that start with the first argument; it excludes a ``range_end``."""
    by: SortTarget
    """In which order it is the first or last; the order of the keys unless given."""
    timeout: float | None
    """Seconds; ``None``: the engine's default."""


class EventOptions(TypedDict, total=False):
    """Which events a watch tells, as in :class:`~django_etcdaero.keyvalue.values.WatchRequest`."""

    prefix: bool
    """Follow all keys that start with the first argument; it excludes a ``range_end``."""
    start_revision: int
    """The first revision wanted; 0: what comes from now on, every change after the call has returned."""
    prev_kv: bool
    """Tell what was there before each change, too."""
    no_put: bool
    no_delete: bool
    fragment: bool
    """Do not wait until all of a very big revision has come (embedded engine: no difference)."""


class WatchOptions(EventOptions, total=False):
    """What a watch tells, as in :class:`~django_etcdaero.keyvalue.values.WatchRequest`."""

    progress_notify: bool
    """Tell how far the watch is, as often as the store marks it (by default every ten minutes)."""


class PutOptions(TypedDict, total=False):
    """Options of a put, as in :class:`~django_etcdaero.keyvalue.values.PutRequest`."""

    lease: LeaseRef
    """What the key is put on; 0: nothing, it is taken off the lease it had."""
    prev_kv: bool
    """Return what was there before, too."""
    ignore_value: bool
    """Leave the value as it is."""
    ignore_lease: bool
    """Leave the key on the lease it has."""


class RangeOptions(PageOptions, total=False):
    """Options of a range, as in :class:`~django_etcdaero.keyvalue.values.RangeRequest`."""

    limit: int
    """Keys at most; 0: all."""
    sort_order: SortOrder
    sort_target: SortTarget
    count_only: bool
    min_mod_revision: int
    max_mod_revision: int
    min_create_revision: int
    max_create_revision: int


_CHOICES: dict[str, type[enum.IntEnum]] = {"sort_order": SortOrder, "sort_target": SortTarget}


def checked_options(what: str, options: Mapping[str, object], known: type) -> dict[str, Any]:
    """Return ``options``, unless one does not exist (``TypeError``) or has a value that it cannot have.

    ``known`` is the ``TypedDict`` of the options of a ``what``.
    """
    checked = dict(options)
    for name, value in options.items():
        if name not in known.__annotations__:
            raise TypeError(f"a {what} has no option {name!r}; known: {', '.join(sorted(known.__annotations__))}")
        if name in _CHOICES:
            checked[name] = check_choice(name, value, _CHOICES[name])
        elif name == "limit" or name.endswith("revision"):
            check_count(name, value)
        elif name != "prefix":
            check_flag(name, value)
    return checked


def check_count(name: str, value: object) -> None:
    """Refuse anything but an ``int`` from 0 on that etcd's 64 bits hold: limits, revisions."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidRequest(f"{name} must be an int, not {value!r}")
    if not 0 <= value <= _LAST:
        raise InvalidRequest(f"{name} must be from 0 to {_LAST}, not {value}")


def check_int(name: str, value: object) -> None:
    """Refuse anything but an ``int`` of 64 bits."""
    # Of an int of another type, such as a member of an enum, Python would go through the whole range one by one.
    if not isinstance(value, int) or int(value) not in INT64:
        raise InvalidRequest(f"{name} must be an int of 64 bits, not {value!r}")


def check_bytes(name: str, value: object) -> None:
    """Refuse anything but ``bytes``."""
    if not isinstance(value, bytes):
        raise InvalidRequest(f"{name} must be bytes, not {type(value).__name__}")


def check_text(name: str, value: object) -> str:
    """Return ``value`` if it is a ``str`` that is not empty and can be sent, which is as UTF-8."""
    if not isinstance(value, str):
        raise InvalidRequest(f"{name} must be str, not {type(value).__name__}")
    try:
        encoded = value.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"{name} cannot be written as UTF-8: {error}") from None
    if not encoded:
        raise InvalidRequest(f"{name} must be a text that is not empty")
    return value


def check_function(name: str, value: object, *, may_be_awaited: bool = False) -> None:
    """Refuse what cannot be called, and a coroutine function, unless its answer ``may_be_awaited``."""
    if not callable(value):
        raise InvalidRequest(f"{name} must be a function, not {value!r}")
    if not may_be_awaited and is_coroutine_function(value):
        raise InvalidRequest(f"{name} must not be a coroutine function, as {value!r} is: nobody would await it")


def check_path(name: str, value: object) -> Path:
    """Return ``value`` as the path of a file."""
    try:
        encoded = os.fsencode(value)  # type: ignore[arg-type]
    except (TypeError, UnicodeEncodeError):
        encoded = b"\0"
    if b"\0" in encoded:
        raise InvalidRequest(f"{name} must be the path of a file, not {value!r}")
    return Path(os.fsdecode(encoded))


def check_flag(name: str, value: object) -> None:
    """Refuse anything but ``True`` and ``False``."""
    if not isinstance(value, bool):
        raise InvalidRequest(f"{name} must be True or False, not {value!r}")


def check_timeout(timeout: float | None) -> None:
    """Refuse what is no number of seconds; ``None`` is one that is not given."""
    if timeout is not None:
        check_seconds("timeout", timeout)


def end_of(timeout: float | None) -> float | None:
    """Return when ``timeout`` seconds will be over by ``time.monotonic()``; ``None``: never."""
    return None if timeout is None else monotonic() + check_seconds("timeout", timeout)


def seconds_until(limit: float | None) -> float | None:
    """Return the seconds that are left until ``limit`` (by ``time.monotonic()``), 0 after it; ``None``: no end."""
    return None if limit is None else max(0.0, limit - monotonic())


def check_choice(name: str, value: object, kind: type[E]) -> E:
    """Return ``value`` as a member of ``kind``; its number will do too."""
    if isinstance(value, kind):
        return value
    if type(value) is int and value in tuple(kind):
        return kind(value)
    raise InvalidRequest(f"{name} must be one of {', '.join(map(str, map(repr, kind)))}, not {value!r}")


def lease_id(name: str, lease: object) -> int:
    """Return the id of a lease that is given as a :data:`LeaseRef`.

    An id is any signed number of 64 bits: etcd takes negative ones too. 0 is no lease.
    """
    number = getattr(lease, "id", lease)
    if type(number) is not int or not ~_LAST <= number <= _LAST:
        raise InvalidRequest(f"{name} must be a lease or its id, not {lease!r}")
    return number


def check_compare(compare: Compare) -> None:
    """Refuse a target and an operator that etcd does not have, and an operand that is not of the target's type."""
    check_choice("target", compare.target, CompareTarget)
    check_choice("op", compare.op, CompareOp)
    (check_bytes if compare.target == CompareTarget.VALUE else check_int)("operand", compare.operand)


def check_watch(request: WatchRequest) -> None:
    """Refuse a watch that cannot be asked for. Unlike elsewhere an empty key is allowed and stands for ``b"\\0"``."""
    check_bytes("key", request.key)
    check_bytes("range_end", request.range_end)
    check_int("start_revision", request.start_revision)
    if len(request.key) + len(request.range_end) > LARGEST_REQUEST:
        raise InvalidRequest("request is too large")
