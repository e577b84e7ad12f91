"""Standing between a record store and those who use it: spans of a tracer, and figures of a metric.

As in :mod:`django_etcdaero.keyvalue.interception` a function gives a context manager for each call, and the call runs
inside it. What a store makes of other calls of its own, as ``get`` of ``get_many``, is one call.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

from django_etcdaero.system.interposing import Around, put_up

from .store import RecordStore

CALLS: Final = (
    "get",
    "put",
    "delete",
    "touch",
    "exists",
    "increment",
    "get_many",
    "put_many",
    "delete_many",
    "exists_many",
    "touch_many",
    "truncate",
)
"""What a store can be asked to do, but for ``scan``, whose cost falls to whoever takes the records one by one, and for
``fill`` and ``peek``, by which only operators look."""


def interpose(store: RecordStore, around: Around) -> Callable[[], None]:
    """Run every call of ``store`` inside ``around(...)`` from now on; return what ends that.

    ``around`` is told the name from :data:`CALLS`, and the key, the keys or the items that the call is about. Of
    several that stand before one store the last one is asked first; they end in any order.
    """
    return put_up(store, around, lambda asked: _functions(store, asked))


def _functions(store: RecordStore, around: Around) -> dict[str, Callable[..., Any]]:
    inside: ContextVar[bool] = ContextVar("inside", default=False)

    def before(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if inside.get():
                return method(*arguments, **options)
            token = inside.set(True)
            try:
                with around(name, arguments[0] if arguments else options.get("key")):
                    return method(*arguments, **options)
            finally:
                inside.reset(token)

        return call

    return {name: before(name, getattr(store, name)) for name in CALLS}
