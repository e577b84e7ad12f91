"""The recipes of a client: what is built from its calls, each in a module of its own that is imported on first use.

Most are written once, as :mod:`steps <django_etcdaero.keyvalue.client.steps>`; here is where they are carried out, with
blocking calls or with awaits.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from django_etcdaero.system.steps import adrive, drive

from .client.scope import View
from .recipes.attempt import Isolation
from .recipes.contention import MAX_ATTEMPTS
from .values import SortOrder, SortTarget

if TYPE_CHECKING:
    from .administration import Auth, Cluster, Maintenance
    from .keys import Text
    from .objects import Collection, ObjectTxn
    from .objects.codec import Types, Unknown
    from .queue.election import Election
    from .recipes.stm import AsyncTransaction, Transaction
    from .recipes.temporary import TemporaryKey
    from .values import KeyValue

T = TypeVar("T")


class Recipes(View):
    """Methods of :class:`~django_etcdaero.keyvalue.facade.KV` that delegate to other modules, where the rules are."""

    # many keys -------------------------------------------------------------------------------------------------------

    def iterate(
        self,
        start: Text,
        range_end: Text | None = None,
        *,
        prefix: bool = False,
        page_size: int = 500,
        keys_only: bool = False,
        descending: bool = False,
        revision: int = 0,
        serializable: bool = False,
        timeout: float | None = None,
    ) -> Iterator[KeyValue]:
        """Go through a range of any size, page by page, as of one revision:
        :mod:`django_etcdaero.keyvalue.recipes.paging`.

        ``timeout`` (seconds) is for each page.
        """
        from .recipes.paging import Pages

        pages = Pages(
            self._client,
            start,
            range_end,
            prefix=prefix,
            page_size=page_size,
            keys_only=keys_only,
            descending=descending,
            revision=revision,
            serializable=serializable,
            timeout=timeout,
        )
        return iter(pages)

    def first(
        self,
        start: Text,
        range_end: Text | None = None,
        *,
        prefix: bool = False,
        by: SortTarget = SortTarget.KEY,
        timeout: float | None = None,
    ) -> KeyValue | None:
        """Return the first key of a range in the order of ``by``, ``None`` if there is no key."""
        from .recipes.paging import end

        steps = end(self._client, start, range_end, prefix=prefix, by=by, order=SortOrder.ASCEND, timeout=timeout)
        return drive(steps)

    def last(
        self,
        start: Text,
        range_end: Text | None = None,
        *,
        prefix: bool = False,
        by: SortTarget = SortTarget.KEY,
        timeout: float | None = None,
    ) -> KeyValue | None:
        """Return the last key of a range in the order of ``by``, ``None`` if there is no key."""
        from .recipes.paging import end

        steps = end(self._client, start, range_end, prefix=prefix, by=by, order=SortOrder.DESCEND, timeout=timeout)
        return drive(steps)

    # one key, read and written in one step ---------------------------------------------------------------------------

    def increment(self, key: Text, delta: int = 1, *, initial: int = 0, timeout: float | None = None) -> int:
        """Add ``delta`` to the decimal number in ``key`` and return the sum:
        :mod:`django_etcdaero.keyvalue.recipes.atomic`.

        A missing key counts as ``initial``.
        """
        from .recipes.atomic import increment

        return drive(increment(self._client, key, delta, initial=initial, timeout=timeout))

    def test_and_set(self, key: Text, expected: Text | None, value: Text, *, timeout: float | None = None) -> bool:
        """Write ``value`` if the key has the value ``expected``; return whether it did.

        ``expected`` ``None`` means that the key does not exist. The key keeps its lease.
        """
        from .recipes.atomic import test_and_set

        return drive(test_and_set(self._client, key, expected, value, timeout=timeout))

    def stm(
        self,
        function: Callable[[Transaction], T],
        *,
        isolation: Isolation = Isolation.SERIALIZABLE_SNAPSHOT,
        max_attempts: int = MAX_ATTEMPTS,
        timeout: float | None = None,
    ) -> T:
        """Run ``function(tx)`` as one transaction over what it reads and writes; return what it returns.

        It is called again when a key that it read was changed meanwhile: :mod:`django_etcdaero.keyvalue.recipes.stm`.
        """
        from .recipes.stm import Transaction, transact

        steps = transact(
            self._client, function, Transaction, isolation=isolation, max_attempts=max_attempts, timeout=timeout
        )
        answer: T = drive(steps)
        return answer

    def temporary_key(
        self, key: Text, value: Text = b"1", *, ttl: int = 10, replace: bool = False, timeout: float | None = None
    ) -> TemporaryKey:
        """Put a key that exists for as long as this process holds it:
        :mod:`django_etcdaero.keyvalue.recipes.temporary`.

        ``ttl``: seconds after which the key of a dead process is gone. ``timeout`` is for putting it there. Raises
        ``KeyExists`` unless ``replace``.
        """
        from .recipes.temporary import TemporaryKey

        return TemporaryKey(self._client, key, value, ttl=ttl, replace=replace, timeout=timeout)

    # leaders and objects ---------------------------------------------------------------------------------------------

    def election(self, name: Text, *, ttl: int = 10, value: Text = b"") -> Election:
        """Return an election under ``name``, in which this is a candidate with ``value``, not campaigning yet.

        ``ttl``: seconds after which a dead leader is replaced.
        """
        from .queue.election import Election

        return Election(self._client, name, ttl=ttl, value=value)

    def objects(self, types: Types[T], prefix: Text, *, unknown: Unknown = "ignore") -> Collection[T]:
        """Return the objects of ``types`` that are stored under ``prefix``: :mod:`django_etcdaero.keyvalue.objects`.

        ``unknown``: whether stored fields that a type does not have are ignored or refused.
        """
        from .objects import Collection

        return Collection(self._client, types, prefix, unknown=unknown)

    def object_txn(self) -> ObjectTxn:
        """Return a transaction over objects, of several collections if need be."""
        from .objects import ObjectTxn

        return ObjectTxn(self._client)

    # for event loops -------------------------------------------------------------------------------------------------

    def aiterate(
        self,
        start: Text,
        range_end: Text | None = None,
        *,
        prefix: bool = False,
        page_size: int = 500,
        keys_only: bool = False,
        descending: bool = False,
        revision: int = 0,
        serializable: bool = False,
        timeout: float | None = None,
    ) -> AsyncIterator[KeyValue]:
        """Go through a range of any size as :meth:`iterate` does, with ``async for``."""
        from .recipes.paging import Pages

        pages = Pages(
            self._client,
            start,
            range_end,
            prefix=prefix,
            page_size=page_size,
            keys_only=keys_only,
            descending=descending,
            revision=revision,
            serializable=serializable,
            timeout=timeout,
        )
        return aiter(pages)

    async def afirst(
        self,
        start: Text,
        range_end: Text | None = None,
        *,
        prefix: bool = False,
        by: SortTarget = SortTarget.KEY,
        timeout: float | None = None,
    ) -> KeyValue | None:
        """Do what :meth:`first` does."""
        from .recipes.paging import end

        steps = end(self._client, start, range_end, prefix=prefix, by=by, order=SortOrder.ASCEND, timeout=timeout)
        return await adrive(steps)

    async def alast(
        self,
        start: Text,
        range_end: Text | None = None,
        *,
        prefix: bool = False,
        by: SortTarget = SortTarget.KEY,
        timeout: float | None = None,
    ) -> KeyValue | None:
        """Do what :meth:`last` does."""
        from .recipes.paging import end

        steps = end(self._client, start, range_end, prefix=prefix, by=by, order=SortOrder.DESCEND, timeout=timeout)
        return await adrive(steps)

    async def aincrement(self, key: Text, delta: int = 1, *, initial: int = 0, timeout: float | None = None) -> int:
        """Do what :meth:`increment` does."""
        from .recipes.atomic import increment

        return await adrive(increment(self._client, key, delta, initial=initial, timeout=timeout))

    async def atest_and_set(
        self, key: Text, expected: Text | None, value: Text, *, timeout: float | None = None
    ) -> bool:
        """Do what :meth:`test_and_set` does."""
        from .recipes.atomic import test_and_set

        return await adrive(test_and_set(self._client, key, expected, value, timeout=timeout))

    async def astm(
        self,
        function: Callable[[AsyncTransaction], Awaitable[T]],
        *,
        isolation: Isolation = Isolation.SERIALIZABLE_SNAPSHOT,
        max_attempts: int = MAX_ATTEMPTS,
        timeout: float | None = None,
    ) -> T:
        """Run ``await function(tx)`` as :meth:`stm` runs ``function(tx)``."""
        from .recipes.stm import AsyncTransaction, transact

        steps = transact(
            self._client, function, AsyncTransaction, isolation=isolation, max_attempts=max_attempts, timeout=timeout
        )
        answer: T = await adrive(steps)
        return answer

    # administration --------------------------------------------------------------------------------------------------

    @property
    def auth(self) -> Auth:
        """Users and roles of the store. Raises ``NotSupported`` where it has none."""
        return self.open_engine().auth

    @property
    def cluster(self) -> Cluster:
        """The members of the store. Raises ``NotSupported`` where there are none."""
        return self.open_engine().cluster

    @property
    def maintenance(self) -> Maintenance:
        """Status, alarms, snapshots and the like. Raises ``NotSupported`` where there is nothing to maintain."""
        return self.open_engine().maintenance
