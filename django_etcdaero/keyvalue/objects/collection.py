"""Collections of typed objects: what users hold.

::

    @dataclass(frozen=True)
    class Order:
        customer: str
        total: Decimal

    orders = kv.objects(Order, "orders/")
    placed = orders.create("2026/7", Order("Ada", Decimal("9.50")))
    orders.update("2026/7", replace(placed.object, total=Decimal("8")), version=placed.version)

An object is one key with a JSON document; its version is the revision of its last change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypeVar, Unpack

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.keyvalue import ops
from django_etcdaero.keyvalue.arguments import check_count, check_flag, check_text
from django_etcdaero.keyvalue.client.background import logger
from django_etcdaero.keyvalue.client.client import Client
from django_etcdaero.keyvalue.keys import Text
from django_etcdaero.keyvalue.recipes.mirror import Mirror
from django_etcdaero.keyvalue.recipes.mirror import make as make_mirror
from django_etcdaero.keyvalue.rooms import is_contender
from django_etcdaero.keyvalue.values import Compare, KeyValue, SortOrder
from django_etcdaero.system.acting import acts
from django_etcdaero.system.steps import drive
from django_etcdaero.system.threads import in_event_loop
from django_etcdaero.system.twins import twins

from .clearing import clear
from .codec import Types, Unknown, codec_for
from .fields import Fields, Selection
from .layout import Layout
from .leased import LeasedObject
from .stored import Invalid, Listing, Stored
from .timed_steps import TimedSteps
from .watch import FollowOptions, ObjectWatch, follow
from .writing import ObjectCalls

T = TypeVar("T")

OrderBy: TypeAlias = Literal["name", "-name", "version", "-version", "created", "-created", "modified", "-modified"]
"""By name, by last change (``version`` and ``modified`` are the same), by creation; ``-`` reverses."""

_ORDERS: dict[str, Callable[[Stored[Any]], Any]] = {
    "name": lambda stored: stored.name.encode(),
    "version": lambda stored: (stored.version, stored.name.encode()),
    "modified": lambda stored: (stored.version, stored.name.encode()),
    "created": lambda stored: (stored.created, stored.name.encode()),
}
"""Objects that were written in one transaction have the same revisions: their names decide."""


class Collection(ObjectCalls[T]):
    """The objects of one type below a prefix; made with
    :meth:`KV.objects() <django_etcdaero.keyvalue.facade.KV.objects>`.

    Safe to share between threads. Names are text without ``/`` at either end. ``timeout`` is in seconds, for the whole
    operation; ``None`` is the engine's default for each call. Besides what a method names it raises
    ``InvalidRequest`` for bad arguments, ``EncodeError`` for an object that does not fit its declaration,
    ``InvalidObject`` when something else than such an object is stored, and what any call of the store raises.

    ``ttl`` is in whole seconds, at least 2: the object is put on a lease of its own and vanishes when that ends. 0 is
    no end. ``None`` leaves it as it is: a new object stays for ever, and a write keeps the lease an object has.
    """

    def __init__(self, client: Client, types: Types[T], prefix: Text, *, unknown: Unknown = "ignore") -> None:
        """``types``: a class, several (their names are stored as ``kind``), or the classes by kind.

        Classes are dataclasses, or have ``to_json()`` and a classmethod ``from_json()``. ``unknown`` says what becomes
        of stored fields that a class does not declare: ``"ignore"`` lets old code read what newer code has written (and
        drops them when it writes), ``"refuse"`` raises ``InvalidObject``. Raises ``ConfigurationError`` for types that
        cannot be stored, ``InvalidRequest`` for a prefix that the package keeps for itself.
        """
        self.client = client
        self.layout: Layout[T] = Layout(prefix, codec_for(types, unknown=unknown))
        client.life.borders.refuse_guest(client.prefix + self.layout.prefix, f"the collection {self.prefix!r}")

    def __repr__(self) -> str:
        return f"<Collection {self.prefix!r} of {', '.join(self.layout.codec.classes)}>"

    @property
    def prefix(self) -> str:
        """What the keys of the objects begin with, ``/`` at the end."""
        return self.layout.prefix.decode()

    async def _leased(
        self, name: str, value: T, *, ttl: int = 10, replace: bool = False, timeout: float | None = None
    ) -> LeasedObject:
        """Store an object that is there for as long as this process keeps it.

        ``ttl``: seconds after which the object of a dead process vanishes. Raises ``KeyExists`` if there is one of that
        name; ``replace=True`` stores the new one in its place, and deletes that at the end.
        """
        leased = LeasedObject(self.client, self.layout, name, value, ttl=ttl)
        await leased.create(replace=replace, timeout=timeout)
        return leased

    leased, aleased = twins(_leased)

    # many objects -----------------------------------------------------------------------------------------------------

    async def _list(
        self,
        *,
        under: str | None = None,
        where: Callable[[T], object] | None = None,
        fields: Fields | None = None,
        labels: Mapping[str, str] | None = None,
        order_by: OrderBy = "name",
        limit: int = 0,
        offset: int = 0,
        revision: int = 0,
        skip_invalid: bool = False,
        timeout: float | None = None,
    ) -> Listing[T]:
        """Return objects as they were at one moment.

        ``under``: those whose names begin with it and ``/``. Wanted are the objects for which ``where(object)`` is
        true, which have the values ``fields`` (``{"address.city": "Graz"}``), and which have the ``labels`` in their
        field ``labels``. ``limit`` 0 is all; ``offset`` are left out first. A further page of the same state is asked
        for with ``revision=listing.revision``; ``Compacted`` is raised if it is not kept any more.

        What cannot be read raises ``InvalidObject``; with ``skip_invalid`` it is logged and in ``Listing.invalid``.
        """
        steps, layout, selection = TimedSteps(self.client, timeout), self.layout, Selection(where, fields, labels)
        selection.check(layout.codec.fields)
        order = _ORDERS.get(str(order_by).removeprefix("-"))
        if order is None:
            raise InvalidRequest(
                f"order_by must be one of {', '.join(_ORDERS)}, or one of them after '-', not {order_by!r}"
            )
        for name, number in (("limit", limit), ("offset", offset), ("revision", revision)):
            check_count(name, number)
        check_flag("skip_invalid", skip_invalid)
        start, end = layout.span(under)
        enough = offset + limit + 1 if limit else 0
        items: list[Stored[T]] = []
        invalid: list[Invalid] = []

        def take(found: KeyValue) -> bool:
            if is_contender(found):
                return False
            read = layout.read_or_tell(found)
            if isinstance(read, Invalid):
                if not skip_invalid:
                    raise read.error
                logger.warning("skipped: %s", read.error)
                invalid.append(read)
            elif selection.matches(read.object):
                items.append(read)
            return enough > 0 and order_by == "name" and len(items) == enough

        few: Sequence[KeyValue] | None = None
        if order_by == "-name" and enough and selection.everything and not skip_invalid:
            page = await steps.read(ops.get(start, end, limit=enough, revision=revision, sort_order=SortOrder.DESCEND))
            revision = revision or page.revision
            few = None if page.more and any(map(is_contender, page.kvs)) else page.kvs
        if few is not None:
            for found in few:
                take(found)
        else:
            revision = await steps.visit(start, end, revision=revision, take=take)
            items.sort(key=order, reverse=order_by.startswith("-"))
        last = offset + limit if limit else len(items)
        return Listing(tuple(items[offset:last]), revision, len(items) > last, tuple(invalid))

    list, alist = twins(_list)

    async def _delete_under(self, prefix: str, *, timeout: float | None = None) -> int:
        """Delete everything whose name begins with ``prefix`` and ``/``, in one step; return how much it was."""
        start, end = self.layout.span(check_text("prefix", prefix), name="prefix")
        return await clear(TimedSteps(self.client, timeout), start, end)

    delete_under, adelete_under = twins(_delete_under)

    @acts
    async def _delete_all(self, *, timeout: float | None = None) -> int:
        """Delete everything in the collection, in one step; return how much it was.

        Locks and elections that are called like the collection, or like what is in it, stay.
        """
        return await clear(TimedSteps(self.client, timeout), *self.layout.span(None))

    delete_all, adelete_all = twins(_delete_all)

    @acts
    def watch(
        self,
        name: str | None = None,
        *,
        max_pending: int = 1024,
        resync: bool = False,
        timeout: float | None = None,
        **options: Unpack[FollowOptions[T]],
    ) -> ObjectWatch[T]:
        """Follow one object, those ``under`` a prefix, or all.

        ``since`` 0, which is the default: first what there is (``Created``, or ``Updated`` for what was changed since
        its creation), then every change, without a gap. A version or revision: every change after it. ``None``: changes
        from now on.

        ``where``, ``fields`` and ``labels`` select as in :meth:`list`: an object that comes into the selection is
        ``Created``, one that leaves it ``Deleted``. ``changed``: of the updates only those that change one of these
        fields.

        Where events cannot be had any more, or more than ``max_pending`` were not consumed, the iteration raises
        :class:`~django_etcdaero.exceptions.EventsLost` with what there is; who goes on iterating gets the events after
        that. With ``resync`` there is a ``Resynced`` among the events instead. ``timeout`` is
        for starting the watch, which is left to ``async with`` where an event loop runs.
        """
        following = follow(self.layout, name, **options)
        watch = ObjectWatch(self.client, following, max_pending=max_pending, resync=resync, timeout=timeout)
        if not in_event_loop():
            drive(watch.begin())
        return watch

    @acts
    async def _mirror(self, *, timeout: float | None = None) -> Mirror[T]:
        """Return a live copy of the collection in memory: a mapping of names to objects.

        It is complete when this returns, and reading asks no store: :mod:`django_etcdaero.keyvalue.recipes.mirror`. An
        object is the same one for all who read it, until it is changed in the store. What cannot be read is in
        ``errors``. ``timeout`` (seconds) is for each call to the store.
        """
        prefix = self.layout.prefix
        return await make_mirror(
            self.client,
            prefix,
            lambda found: self.layout.read(found).object,
            wanted=lambda found: not is_contender(found),
            timeout=timeout,
        )

    mirror, amirror = twins(_mirror)

    # for transactions ------------------------------------------------------------------------------------------------

    def key(self, name: str) -> bytes:
        """Return the key of an object, relative to the client."""
        return self.layout.key(name)

    def version_of(self, name: str) -> ops.Subject:
        """Return the left side of a condition on the version of an object, 0 if it does not exist.

        ``orders.version_of("7") == 12``, ``!=``, ``<``, ``<=``, ``>``, ``>=``: for transactions of either kind.
        """
        return ops.mod_revision(self.key(name))

    def holds(self, name: str, value: T) -> Compare:
        """Return the condition that exactly this object is stored under a name, written as this collection does it."""
        return ops.value(self.key(name)) == self.layout.encode(name, value)
