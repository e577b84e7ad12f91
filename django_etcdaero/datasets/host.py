"""What a dataset needs from the process it lives in, and the one place where the process provides it.

The datasets package knows neither settings nor signals. Whoever hosts it (:mod:`django_etcdaero.runtime`, or a test)
binds a :class:`Host` once; datasets ask it for the stores of their alias when they need them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from django_etcdaero.exceptions import ConfigurationError

if TYPE_CHECKING:
    from .declared import Declared
    from .snapshot import Snapshot
    from .state.announcement import Announcement
    from .state.status import RefreshResult
    from .stores import Stores


T = TypeVar("T")


class Listener(Protocol):
    """Told of what happens to datasets, in the thread where it happens. Must not raise and must return quickly."""

    def published(self, dataset: Declared[Any, Any], announcement: Announcement) -> None:
        """This process published a version."""

    def loaded(self, dataset: Declared[Any, Any], snapshot: Snapshot[Any, Any]) -> None:
        """This process serves another version from now on."""

    def failed(self, dataset: Declared[Any, Any], error: Exception, phase: str) -> None:
        """A ``"refresh"`` or a ``"load"`` (by the reader) failed; what was served before is still served."""

    def lock_lost(self, dataset: Declared[Any, Any]) -> None:
        """A refresh of this process lost its lock."""

    def refreshed(self, dataset: Declared[Any, Any], result: RefreshResult) -> None:
        """A refresh of this process has come to its end, whatever that is."""


class Host(Protocol):
    """The process, as its datasets see it."""

    listener: Listener

    @property
    def memory_only(self) -> bool:
        """Whether all stores are in the memory of this process, so that nobody else publishes to them."""

    def stores(self, alias: str) -> Stores:
        """Return the stores of an alias, opened now if need be.

        Raises ``ConfigurationError`` for an unknown alias or a wrong setting, and what the stores raise on opening.
        """

    def ensure_reader(self) -> None:
        """Start the reader of this process unless it runs or must not; called by the first read.

        Never raises, never waits for a store.
        """

    def wake_reader(self, dataset: Declared[Any, Any]) -> None:
        """Make a running reader look at the announcement of ``dataset`` now, because somebody waits for it."""

    def refreshing(self, dataset: Declared[Any, Any]) -> AbstractContextManager[object]:
        """Return what a refresh of the dataset runs in: a span of a tracer, or nothing."""

    def run_project_code(self, function: Callable[[], T]) -> T:
        """Call a function of the project in this thread, which belongs to the package; return what it returns.

        The function does not meet what another one has left behind in the thread. Raises what it raises.
        """

    def open_transaction(self) -> str | None:
        """Return the alias of a database of the project in which this thread has a transaction open; ``None``: none.

        The block that a ``TestCase`` of Django wraps around a test does not count. Never connects, never raises.
        """

    def on_commit(self, function: Callable[[], object]) -> Callable[[], bool] | None:
        """Have ``function`` called when the transactions that this thread has open are committed, in each database.

        What it raises is logged. Returns a function that tells whether it may still be called: not any more when all
        were committed or rolled back. Returns ``None``, and does nothing, when no transaction is open. Raises
        ``RefreshInTransaction`` where nobody tells of the commit, because autocommit is switched off.
        """

    def in_database_thread(self, function: Callable[[], T]) -> Awaitable[T]:
        """Call ``function``, from asynchronous code, in the thread whose databases that code uses; return its value."""

    def reader_refusal(self) -> str | None:
        """Say why no reader runs in this process, or ``None`` when one does."""


_host: Host | None = None


def bind(host: Host | None) -> Host | None:
    """Make ``host`` the process's host and return the one before."""
    global _host
    before, _host = _host, host
    return before


def host() -> Host:
    """Return the process's host. Raises ``ConfigurationError`` when there is none."""
    if _host is None:
        raise ConfigurationError(
            "datasets are not set up in this process: 'django_etcdaero' must be in INSTALLED_APPS, and a dataset is "
            "usable after django.setup() only, not in AppConfig.ready() or while a module is imported"
        )
    return _host
