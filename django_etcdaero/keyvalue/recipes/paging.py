"""Going through a range of any size, page by page.

All pages are read as of the revision of the first one, so together they are one consistent view, whatever is written
meanwhile. Not more than one page is in memory. If the store compacts that revision away before the last page the
iteration ends with ``Compacted``: what came so far is right, the rest cannot be had any more.

Ascending pages ask for no order, because ranges come in the order of their keys anyway and etcd reads the whole range
whenever it is told to sort. Descending ones have to ask, and each costs the store a look at all that is still to come.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Unpack

from django_etcdaero.exceptions import Compacted, FutureRevision
from django_etcdaero.keyvalue.arguments import EndOptions, PageOptions, check_choice, check_flag, check_timeout
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.client.steps import Read
from django_etcdaero.keyvalue.keys import Text
from django_etcdaero.keyvalue.ops import get
from django_etcdaero.keyvalue.values import KeyValue, RangeResult, SortOrder, SortTarget
from django_etcdaero.system.blocking import refuse_in_event_loop
from django_etcdaero.system.steps import adrive, drive

from .contention import check_positive


class Pages:
    """The keys of a range in their order, to be gone through once, with ``for`` or ``async for``.

    All are as of ``revision`` (0: of the first page). The store is asked when a key of the next page is asked for;
    ``timeout`` (seconds) is for each page. Arguments are checked at once. With ``descending`` each page costs an etcd
    server as much as all the keys that are left, because it reads and sorts them before it counts. Iterating raises
    what :meth:`KV.range <django_etcdaero.keyvalue.facade.KV.range>` raises, and ``Compacted`` if the revision is
    compacted on the way.
    """

    def __init__(
        self,
        client: Client,
        key: Text,
        range_end: Text | None,
        *,
        page_size: int = 500,
        descending: bool = False,
        timeout: float | None = None,
        **options: Unpack[PageOptions],
    ) -> None:
        check_flag("descending", descending)
        if unknown := options.keys() - PageOptions.__annotations__:
            raise TypeError(f"pages have no option {min(unknown)!r}")
        order = SortOrder.DESCEND if descending else SortOrder.NONE
        request = get(key, range_end, sort_order=order, **options)
        check_positive("page_size", page_size)
        check_timeout(timeout)
        self._client = client
        self._request = replace(request, limit=page_size)
        self._timeout = timeout
        self._delivered = 0
        self._finished = False

    def __iter__(self) -> Iterator[KeyValue]:
        refuse_in_event_loop("iterate()", "async for … in aiterate(…)")
        while not self._finished:
            yield from drive(self._turn())

    async def __aiter__(self) -> AsyncIterator[KeyValue]:
        while not self._finished:
            for found in await adrive(self._turn()):
                yield found

    async def _turn(self) -> tuple[KeyValue, ...]:
        """Read the next page."""
        try:
            result = await self._read()
        except Compacted as error:
            if not self._delivered:
                raise
            raise Compacted(
                f"revision {self._request.revision} was compacted away after {self._delivered} keys of it had been"
                f" read, so that the rest cannot be had: {error}",
                error.compact_revision,
            ) from error
        self._delivered += len(result.kvs)
        self._finished = not result.more
        if result.more:
            last = result.kvs[-1].key
            revision = self._request.revision if self._request.revision > 0 else result.revision
            if self._request.sort_order is SortOrder.DESCEND:
                self._request = replace(self._request, range_end=last, revision=revision)
            else:
                self._request = replace(self._request, key=last + b"\0", revision=revision)
        return result.kvs

    async def _read(self) -> RangeResult:
        result: RangeResult
        try:
            result = await Read(self._client, self._request, self._timeout)
        except FutureRevision:  # this member lags behind the one that answered before, or behind who gave the revision
            if not self._request.serializable:
                raise
            self._request = replace(self._request, serializable=False)
            result = await Read(self._client, self._request, self._timeout)
        return result


async def first(
    client: Client, key: Text, range_end: Text | None = None, **options: Unpack[EndOptions]
) -> KeyValue | None:
    """Return the first key of a range in the order of ``by``, ``None`` if there is no key.

    Which one it is among keys that are equal in ``by`` (created or changed in one transaction) is not defined. Unless
    it is the first in the order of the keys, the store looks at the whole range.
    """
    return await _end(client, key, range_end, order=SortOrder.ASCEND, **options)


async def last(
    client: Client, key: Text, range_end: Text | None = None, **options: Unpack[EndOptions]
) -> KeyValue | None:
    """Return the last key of a range in the order of ``by``, as :meth:`first` does."""
    return await _end(client, key, range_end, order=SortOrder.DESCEND, **options)


async def _end(
    client: Client,
    key: Text,
    range_end: Text | None,
    *,
    order: SortOrder,
    prefix: bool = False,
    by: SortTarget = SortTarget.KEY,
    timeout: float | None = None,
) -> KeyValue | None:
    request = get(key, range_end, prefix=prefix)
    target = check_choice("by", by, SortTarget)
    if target is SortTarget.KEY and order is SortOrder.ASCEND:
        order = SortOrder.NONE
    result = await Read(client, replace(request, limit=1, sort_target=target, sort_order=order), timeout)
    return result.kvs[0] if result.kvs else None
