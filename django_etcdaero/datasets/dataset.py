"""The class of all datasets: declared by subclassing, read as a mapping, refreshed and rolled back by methods."""

from __future__ import annotations

from collections.abc import Collection
from os import PathLike
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeVar

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.system.acting import acts, overrides_act
from django_etcdaero.system.durations import check_seconds

from .declaration import check
from .host import host
from .read.live import LiveDataset
from .registry import datasets

if TYPE_CHECKING:
    from .publish.diff import Diff
    from .publish.history import Version
    from .read.requested import RefreshRequest
    from .state.announcement import Announcement
    from .state.status import RefreshResult
    from .state.validations import RefusedLoad

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D", bound="Dataset[Any, Any]")


class _Live:
    """Stands at ``live`` of classes that declare no dataset; in one that does the dataset itself is there.

    Being a descriptor it tells type checkers that ``Prices.live`` is an object of ``Prices``.
    """

    def __get__(self, instance: object, owner: type[D]) -> D:
        raise AttributeError(f"{owner.__qualname__}.live: {_BASE.format(owner.__qualname__)}")


_BASE = "{} is a base for datasets: a subclass with a name is registered by itself"


class Dataset(LiveDataset[K, V]):
    """A dataset: subclass it, give it a ``name`` and a ``load()``, and it is registered.

    ``Prices.live`` is the dataset that the class ``Prices`` declares; ``datasets["prices"]`` is the same object. Nobody
    else makes an object of the class: no reader would fill it. A subclass that sets no ``name`` of its own is a base
    for others and is not registered.

    ``Dataset[K, V]``: the types of keys and rows, as reading gives them.
    """

    live = _Live()
    """The dataset of a class that declares one. Raises ``AttributeError`` for a base class."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        overrides_act(cls)
        if "name" not in cls.__dict__:
            cls.live = _Live()  # not that of the class it inherits from
            return
        cls.origin = f"{cls.__module__}.{cls.__qualname__}"
        cls._check_declaration()
        dataset = super().__new__(cls)
        dataset.__init__()  # type: ignore[misc] # what cls() would do, if it were allowed
        datasets.register(dataset)
        # The object itself and no descriptor: ``Prices.live[key]`` is on the path of requests.
        cls.live = dataset  # type: ignore[assignment]

    @classmethod
    def _check_declaration(cls) -> None:
        """Refuse a wrong declaration. Raises ``ConfigurationError``."""
        check(cls)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Refuse to make a second object, which no reader would fill. Raises ``TypeError``."""
        if not _is_declaration(cls):
            raise TypeError(_BASE.format(cls.__qualname__))
        raise TypeError(f"{cls.__qualname__}() would be a dataset that no reader fills: {_use_instead(cls)}")

    def __class_getitem__(cls, item: Any, /) -> Any:
        """Make ``Dataset[str, Row]`` a type. Raises ``TypeError`` where a declared class is read like its dataset."""
        if _is_declaration(cls):
            raise TypeError(f"{cls.__qualname__} is the class that declares the dataset: {_use_instead(cls)}")
        return super().__class_getitem__(item)  # type: ignore[misc] # Mapping has it when it runs

    @acts
    def refresh(
        self,
        *,
        force: bool = False,
        wait: float = 0.0,
        skip_validators: bool = False,
        allow_in_atomic: bool = False,
        full: bool = False,
        keys: Collection[K] | None = None,
    ) -> RefreshResult:
        """Load and publish if it is due and nobody else does; return what happened, and raise nothing of it.

        ``force`` loads even when it is not due. ``wait`` is how many seconds to wait for another process that is
        refreshing. ``full`` loads everything now, also where ``load_changes()`` would do. ``keys`` loads the rows of
        these keys now, with ``load_keys()``, and leaves all others as they are; what that does not give is deleted.
        ``skip_validators`` publishes what validators would refuse; the history tells. Raises
        ``RefreshInTransaction`` when a transaction is open on a database of the project, because what ``load()`` finds
        then may never be committed; ``allow_in_atomic`` publishes it all the same. Raises ``InvalidRequest``
        in an event loop, which it would block.
        """
        from .publish.blocking import refuse_in_event_loop
        from .publish.changing import check_given_keys
        from .publish.refresh import Refresh
        from .publish.uncommitted import refuse_in_transaction

        wait = check_seconds("wait", wait)
        refuse_in_event_loop(self.name)
        if not allow_in_atomic:
            refuse_in_transaction(host(), f"refresh() of dataset {self.name!r}")
        if keys is not None:
            if not self._loads_keys():
                raise InvalidRequest(f"refresh(keys=…): dataset {self.name!r} has no load_keys()")
            if full:
                raise InvalidRequest("refresh(): keys and full exclude each other")
            keys = check_given_keys(keys)
        now = force or full or keys is not None
        result = Refresh(
            self, host(), force=now, wait=wait, skip_validators=skip_validators, full=full, keys=keys
        ).run()
        host().wake_reader(self)
        return result

    @acts
    def request_refresh(self) -> RefreshRequest[K, V]:
        """Ask whoever refreshes this dataset for a new load, and return at once.

        It is answered by the next load that begins from now on: by a running ``etcdaero_refresh --loop`` at once,
        otherwise by the next scheduled run. Inside a transaction it is sent when that is committed; what goes wrong
        then is logged. ``request_refresh().wait(10)`` waits until this process serves what that load gave.

        Raises what the store raises, ``InvalidRequest`` in an event loop, and ``RefreshInTransaction`` in a transaction
        whose commit nobody tells of, because autocommit is switched off.
        """
        from django_etcdaero.system.blocking import refuse_in_event_loop

        from .read.requested import RefreshRequest

        refuse_in_event_loop(f"dataset {self.name!r}: request_refresh()", "await dataset.arequest_refresh()")
        return RefreshRequest(self)

    @acts
    async def arequest_refresh(self) -> RefreshRequest[K, V]:
        """Do what :meth:`request_refresh` does without blocking the event loop, where Django's asynchronous calls use
        databases, and so may have a transaction open.
        """
        return await host().in_database_thread(self.request_refresh)

    def history(self) -> list[Version]:
        """Return the kept versions, the newest first."""
        from .publish.history import versions

        return versions(self, host().stores(self.using))

    def refused(self) -> list[RefusedLoad]:
        """Return the last loads that a validator refused, the newest first, with what each validator said."""
        from .publish.history import refused

        return refused(self, host().stores(self.using))

    def diff(self, old: int | None = None, new: int | None = None) -> Diff[K, V]:
        """Compare two kept versions; ``new`` is the current one by default, ``old`` the one published before ``new``.

        Rows are compared when they are looked at, and only blocks that differ are fetched. Raises ``KeyNotFound`` when
        a version is not kept, ``CorruptBlock`` when parts of one are gone or damaged.
        """
        from .publish.diff import diff

        return diff(self, host().stores(self.using), old, new)

    @acts
    def pin(self, version: int | None = None, *, reason: str = "", by: str = "") -> int:
        """Hold every process on a kept version; return which. Refreshes go to the history only, until :meth:`unpin`.

        By default that is the version that is current: nothing changes for readers, and nothing will. Who (``by``) and
        why (``reason``), texts of at most 1000 characters, is kept with it. Raises what :meth:`rollback` raises.
        """
        from .publish.history import pin

        return pin(self, host().stores(self.using), version, reason=reason, by=by)

    @acts
    def rollback(self, version: int | None = None, *, reason: str = "", by: str = "") -> int:
        """Make every process go back to a kept version and hold it there, as :meth:`pin` does; return which.

        By default it is the version that was published before the current one. Raises ``KeyNotFound`` when the version
        is not kept, ``CorruptBlock`` when parts of it are gone or damaged, ``Fenced`` when something was published or
        pinned in between.
        """
        from .publish.history import rollback

        return rollback(self, host().stores(self.using), version, reason=reason, by=by)

    @acts
    def unpin(self) -> bool:
        """End a hold by :meth:`pin` or :meth:`rollback` and ask for a load; return whether there was one."""
        from .publish.history import unpin

        return unpin(self, host().stores(self.using))

    @acts
    def export_version(self, target: str | PathLike[str] | BinaryIO, version: int | None = None) -> Announcement:
        """Write a kept version, the current one by default, to a file that :meth:`import_version` reads; return it.

        A path is written under another name, readable by its owner only, and renamed at the end; a pipe or a device is
        written to as it is. Needs little memory. Raises ``KeyNotFound``, ``CorruptBlock``, what the record store
        raises, and ``OSError``.
        """
        from .publish.transfer import export_version

        return export_version(self, host().stores(self.using), target, version)

    @acts
    def import_version(
        self,
        source: str | PathLike[str] | BinaryIO,
        *,
        force: bool = False,
        skip_validators: bool = False,
        wait: float = 0.0,
    ) -> RefreshResult:
        """Publish the rows of a file as a new version, under the lock and after the validators, as a refresh does.

        ``force`` takes a file of a dataset of another name or schema. ``wait`` is how many seconds to wait for another
        process that is refreshing. Raises ``ResponseError`` for a file that is damaged or no export, ``InvalidRequest``
        for that of another dataset, ``OSError``; nothing was done then. What else fails is told by the result.
        """
        from .publish.transfer import import_version

        wait = check_seconds("wait", wait)
        result = import_version(self, host(), source, force=force, skip_validators=skip_validators, wait=wait)
        host().wake_reader(self)
        return result

    def __repr__(self) -> str:
        loaded = self._live_state.loaded
        return f"<Dataset {self.name}: {f'version {loaded.version}' if loaded else 'not loaded'}>"


def _is_declaration(cls: type[Dataset[Any, Any]]) -> bool:
    """Tell whether this class declares a dataset, and is not a base for such classes."""
    return cls is not Dataset and "name" in cls.__dict__


def _use_instead(cls: type[Dataset[Any, Any]]) -> str:
    return f"use {cls.__qualname__}.live, or datasets[{cls.name!r}]"
