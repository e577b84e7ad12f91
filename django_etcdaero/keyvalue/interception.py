"""Standing between a client and its engine: spans of a tracer, and failures in tests.

What stands there is a function that gives a context manager for each call; the call runs inside it. It sees the calls
that the engine itself carries out: where ``get`` is made of ``range``, or an awaited call of the blocking one in a
thread, it sees only the latter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django_etcdaero.system.interposing import Around, put_up

from .engine import Engine

CALLS: Final = (
    "range",
    "put",
    "delete_range",
    "txn",
    "compact",
    "lease_grant",
    "lease_revoke",
    "lease_keep_alive",
    "lease_time_to_live",
    "lease_list",
    "watch",
)
"""What an engine can be asked to do.

An awaited call goes by the name of the blocking one, ``get`` by ``range``, ``lease_keep_alive_many`` by
``lease_keep_alive``.
"""


def interpose(engine: Engine, around: Around) -> Callable[[], None]:
    """Run every call of ``engine`` inside ``around(...)`` from now on; return what ends that.

    ``around`` is told the name from :data:`CALLS`, and the request, key, number, id or ids that the call is about. Of
    several that stand before one engine the last one is asked first; they end in any order.
    """
    return put_up(engine, around, lambda asked: _functions(engine, asked))


def _functions(engine: Engine, around: Around) -> dict[str, Callable[..., Any]]:
    def before(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            with around(name, arguments[0] if arguments else None):
                return method(*arguments, **options)

        return call

    def before_awaited(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*arguments: Any, **options: Any) -> Any:
            with around(name, arguments[0] if arguments else None):
                return await method(*arguments, **options)

        return call

    functions: dict[str, Callable[..., Any]] = {}
    for name in CALLS:
        functions[name] = before(name, getattr(engine, name))
        if getattr(type(engine), f"a{name}") is not getattr(Engine, f"a{name}"):
            functions[f"a{name}"] = before_awaited(name, getattr(engine, f"a{name}"))
    functions["lease_keep_alive_many"] = before("lease_keep_alive", engine.lease_keep_alive_many)
    if type(engine).get is not Engine.get:
        functions["get"] = before("range", engine.get)
    return functions


def key_of(argument: Any) -> bytes | None:
    """Return the key that a request is about; of a transaction that of its first condition or operation."""
    if isinstance(argument, bytes):
        return argument
    for requests in ("compares", "success", "failure"):
        for request in getattr(argument, requests, ()):
            return key_of(request)
    key: bytes | None = getattr(argument, "key", None)
    return key
