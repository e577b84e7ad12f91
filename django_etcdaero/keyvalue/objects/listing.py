"""Reading many objects: page by page, as of one revision, so that what is returned was all there at one moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, TypeVar

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.keyvalue import txn
from django_etcdaero.keyvalue.client.background import logger
from django_etcdaero.keyvalue.values import KeyValue, SortOrder

from .fields import Selection
from .layout import Layout
from .stored import Invalid, Listing, Stored
from .timed_steps import TimedSteps

T = TypeVar("T")

PAGE = 500
"""Objects that are read with one request."""

OrderBy: TypeAlias = Literal["name", "-name", "version", "-version", "created", "-created", "modified", "-modified"]
"""By name, by last change (``version`` and ``modified`` are the same), by creation; ``-`` reverses."""

_ORDERS: dict[str, Callable[[Stored[Any]], Any]] = {
    "name": lambda stored: stored.name.encode(),
    "version": lambda stored: (stored.version, stored.name.encode()),
    "modified": lambda stored: (stored.version, stored.name.encode()),
    "created": lambda stored: (stored.created, stored.name.encode()),
}
"""Objects that were written in one transaction have the same revisions: their names decide."""


async def visit(steps: TimedSteps, start: bytes, end: bytes, *, revision: int, take: Callable[[KeyValue], bool]) -> int:
    """Give the keys of a range to ``take``, in order, until it returns ``True``; return the revision they are of."""
    while True:
        page = await steps.read(txn.get(start, end or None, limit=PAGE, revision=revision))
        revision = revision or page.revision
        if any(map(take, page.kvs)) or not page.more:
            return revision
        start = page.kvs[-1].key + b"\0"


async def list_objects(
    steps: TimedSteps,
    layout: Layout[T],
    selection: Selection[T],
    *,
    under: str | None,
    order_by: str,
    limit: int,
    offset: int,
    revision: int,
    skip_invalid: bool,
) -> Listing[T]:
    """Read the objects that ``selection`` wants, in order, ``limit`` of them (0: all) after the first ``offset``."""
    selection.check(layout.codec.fields)
    order = _ORDERS.get(order_by.removeprefix("-"))
    if order is None:
        raise InvalidRequest(
            f"order_by must be one of {', '.join(_ORDERS)}, or one of them after '-', not {order_by!r}"
        )
    for name, number in (("limit", limit), ("offset", offset), ("revision", revision)):
        if number < 0:
            raise InvalidRequest(f"{name} must not be negative: {number}")
    start, end = layout.span(under)
    enough = offset + limit + 1 if limit else 0
    items: list[Stored[T]] = []
    invalid: list[Invalid] = []

    def take(found: KeyValue) -> bool:
        read = layout.read_or_tell(found)
        if isinstance(read, Invalid):
            if not skip_invalid:
                raise read.error
            logger.warning("skipped: %s", read.error)
            invalid.append(read)
        elif selection.matches(read.object):
            items.append(read)
        return enough > 0 and order_by == "name" and len(items) == enough

    if order_by == "-name" and enough and selection.everything and not skip_invalid:
        page = await steps.read(txn.get(start, end, limit=enough, revision=revision, sort_order=SortOrder.DESCEND))
        revision = revision or page.revision
        for found in page.kvs:
            take(found)
    else:
        revision = await visit(steps, start, end, revision=revision, take=take)
        items.sort(key=order, reverse=order_by.startswith("-"))
    last = offset + limit if limit else len(items)
    return Listing(tuple(items[offset:last]), revision, len(items) > last, tuple(invalid))
