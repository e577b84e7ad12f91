"""The class of all datasets: declared by subclassing, read as a mapping, refreshed and rolled back by methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar

from django_etcdaero.system.acting import acts, overrides_act

from .declaration import check
from .host import host
from .read.live import LiveDataset
from .registry import datasets

if TYPE_CHECKING:
    from .publish.history import Version
    from .read.requested import RefreshRequest
    from .state.status import RefreshResult

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
        check(cls)
        dataset = super().__new__(cls)
        dataset.__init__()  # type: ignore[misc] # what cls() would do, if it were allowed
        datasets.register(dataset)
        # The object itself and no descriptor: ``Prices.live[key]`` is on the path of requests.
        cls.live = dataset  # type: ignore[assignment]

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
    def refresh(self, *, force: bool = False, wait: float = 0.0, allow_in_atomic: bool = False) -> RefreshResult:
        """Load and publish if it is due and nobody else does; return what happened, and raise nothing of it.

        ``force`` loads even when it is not due. ``wait`` is how many seconds to wait for another process that is
        refreshing. Raises ``RefreshInTransaction`` when a transaction is open on a database of the project, because
        what ``load()`` finds then may never be committed; ``allow_in_atomic`` publishes it all the same.
        """
        from .publish.refresh import Refresh
        from .publish.uncommitted import refuse_in_transaction

        if not allow_in_atomic:
            refuse_in_transaction(host(), f"refresh() of dataset {self.name!r}")
        result = Refresh(self, host(), force=force, wait=wait).run()
        host().wake_reader(self)
        return result

    @acts
    def request_refresh(self) -> RefreshRequest[K, V]:
        """Ask whoever refreshes this dataset for a new load, and return at once.

        It is answered by the next load that begins from now on: by a running ``etcdaero_refresh --loop`` at once,
        otherwise by the next scheduled run. Inside a transaction it is sent when that is committed; what goes wrong
        then is logged. ``request_refresh().wait(10)`` waits until this process serves what that load gave.

        Raises what the store raises, and ``RefreshInTransaction`` in a transaction whose commit nobody tells of,
        because autocommit is switched off.
        """
        from .read.requested import RefreshRequest

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

    @acts
    def rollback(self, version: int) -> None:
        """Make every process serve a kept version again and hold it there: refreshes go to the history only.

        Raises ``KeyNotFound`` when the version is not kept, ``CorruptBlock`` when parts of it are gone or damaged,
        ``Fenced`` when something was published or pinned in between.
        """
        from .publish.history import rollback

        rollback(self, host().stores(self.using), version)

    @acts
    def unpin(self) -> bool:
        """End a rollback's hold and ask for a load; return whether there was one."""
        from .publish.history import unpin

        return unpin(self, host().stores(self.using))

    def __repr__(self) -> str:
        loaded = self._live_state.loaded
        return f"<Dataset {self.name}: {f'version {loaded.version}' if loaded else 'not loaded'}>"


def _is_declaration(cls: type[Dataset[Any, Any]]) -> bool:
    """Tell whether this class declares a dataset, and is not a base for such classes."""
    return cls is not Dataset and "name" in cls.__dict__


def _use_instead(cls: type[Dataset[Any, Any]]) -> str:
    return f"use {cls.__qualname__}.live, or datasets[{cls.name!r}]"
