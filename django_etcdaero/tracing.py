"""Spans around the calls to the key-value stores, made by whatever tracer the project uses.

With OpenTelemetry, in the ``ready()`` of one of the project's apps::

    from opentelemetry import trace

    from django_etcdaero import tracing

    tracing.enable(trace.get_tracer("shop").start_as_current_span)

A span is called ``kv put``, ``kv range``, ``kv txn`` and so on. Its attributes are the key (as the store has it, with
the prefix), the operation, and the location of the store without user and password; never a value. The background work
of the package is traced like that of the project. Without a tracer no call passes through here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

from .keyvalue.interception import Around, interpose
from .runtime import runtime

if TYPE_CHECKING:
    from .keyvalue.engine import Engine
    from .keyvalue.facade import KV


class StartSpan(Protocol):
    """What opens a span: ``start_as_current_span`` of an OpenTelemetry tracer, or something of that form."""

    def __call__(self, name: str, *, attributes: dict[str, str]) -> AbstractContextManager[object]:
        """Return the span as a context manager; an error of the call leaves through it."""


_off = threading.Event()
"""Set when what :func:`enable` put up is to do nothing any more."""


def trace(client: KV, start_span: StartSpan) -> Callable[[], None]:
    """Open a span for each call to the store of one client, and of all who share it; return what ends that."""
    return interpose(client.engine, _spans(client.engine, start_span))


def enable(start_span: StartSpan) -> None:
    """Open spans for the calls of every alias, now and whenever its store is opened, in children of forks too."""
    global _off
    disable()
    _off = off = threading.Event()

    def attach(client: KV) -> None:
        spans = _spans(client.engine, start_span)
        interpose(client.engine, lambda call, argument: nullcontext() if off.is_set() else spans(call, argument))

    runtime.on_open(attach)


def disable() -> None:
    """Open no more spans for the aliases."""
    _off.set()
    runtime.on_open(None)


def _spans(engine: Engine, start_span: StartSpan) -> Around:
    location = engine.info.location

    def around(call: str, argument: Any) -> AbstractContextManager[object]:
        attributes = {"db.system.name": engine.info.kind, "db.operation.name": call, "server.location": location}
        key = _key(argument)
        if key is not None:
            attributes["etcdaero.key"] = key.decode(errors="backslashreplace")
        return start_span(f"kv {call}", attributes=attributes)

    return around


def _key(argument: Any) -> bytes | None:
    """Return the key that a request is about; of a transaction that of its first condition or operation."""
    if isinstance(argument, bytes):
        return argument
    for requests in ("compares", "success", "failure"):
        for request in getattr(argument, requests, ()):
            return _key(request)
    key: bytes | None = getattr(argument, "key", None)
    return key
