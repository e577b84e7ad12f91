"""Spans around the calls to the key-value stores, made by whatever tracer the project uses.

With OpenTelemetry, in the ``ready()`` of one of the project's apps::

    from opentelemetry import trace

    from django_etcdaero import tracing

    tracing.enable(trace.get_tracer("shop").start_as_current_span)

A span is called ``kv put``, ``kv range``, ``kv txn`` and so on. Its attributes are the key (as the store has it, with
the prefix), the operation, and the location of the store without user and password; never a value. The background work
of the package is traced like that of the project. Without a tracer no call passes through here.

:mod:`django_etcdaero.contrib.opentelemetry` does more, by the names that OpenTelemetry has agreed on.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from .keyvalue import interception as calls_of_engines
from .records import interception as calls_of_stores
from .runtime import AroundRefresh, runtime
from .system.interposing import Around

if TYPE_CHECKING:
    from .keyvalue.engine import Engine
    from .keyvalue.facade import KV
    from .open_stores import Opened
    from .records.store import RecordStore


class StartSpan(Protocol):
    """What opens a span: ``start_as_current_span`` of an OpenTelemetry tracer, or something of that form."""

    def __call__(self, name: str, *, attributes: dict[str, str]) -> AbstractContextManager[object]:
        """Return the span as a context manager; an error of the call leaves through it."""


AroundEngine: TypeAlias = "Callable[[str, Engine], Around]"
"""Makes of an alias and its engine what each call to it runs in."""

AroundStore: TypeAlias = "Callable[[str | None, RecordStore], Around]"
"""Makes of an alias (``None``: a store that only a cache has) and its record store what each call to it runs in."""

_end: Callable[[], None] | None = None
"""Ends what :func:`enable` put up."""


def trace(client: KV, start_span: StartSpan) -> Callable[[], None]:
    """Open a span for each call to the store of one client, and of all who share it; return what ends that."""
    return calls_of_engines.interpose(client.engine, _spans(client.engine, start_span))


def enable(start_span: StartSpan) -> None:
    """Open spans for the calls of every alias, now and whenever its store is opened, in children of forks too."""
    global _end
    disable()
    _end = observe(kv=lambda alias, engine: _spans(engine, start_span))


def disable() -> None:
    """Open no more spans for the aliases."""
    global _end
    if _end is not None:
        _end()
    _end = None


def observe(
    *, kv: AroundEngine | None = None, records: AroundStore | None = None, refreshes: AroundRefresh | None = None
) -> Callable[[], None]:
    """Run what this process does in context managers: calls to key-value and to record stores, and refreshes.

    That holds for stores that are open and for those that will be, in children of forks too; return what ends it.
    Several observers do not disturb each other. What they are told is the call and what it is about, never a value that
    was read.
    """
    observing = True

    def while_observing(around: Around) -> Around:
        return lambda call, argument: around(call, argument) if observing else nullcontext()

    def attach(opened: Opened) -> None:
        if kv is not None and opened.kv is not None and opened.alias is not None:
            calls_of_engines.interpose(opened.kv.engine, while_observing(kv(opened.alias, opened.kv.engine)))
        if records is not None:
            calls_of_stores.interpose(opened.records, while_observing(records(opened.alias, opened.records)))

    ends = [runtime.on_open(attach)]
    if refreshes is not None:
        ends.append(runtime.on_refresh(refreshes))

    def end() -> None:
        nonlocal observing
        observing = False
        for each in ends:
            each()

    return end


def _spans(engine: Engine, start_span: StartSpan) -> Around:
    location = engine.info.location

    def around(call: str, argument: Any) -> AbstractContextManager[object]:
        attributes = {"db.system.name": engine.info.kind, "db.operation.name": call, "server.location": location}
        key = calls_of_engines.key_of(argument)
        if key is not None:
            attributes["etcdaero.key"] = key.decode(errors="backslashreplace")
        return start_span(f"kv {call}", attributes=attributes)

    return around
