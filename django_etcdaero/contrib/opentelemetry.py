"""Spans and a metric for OpenTelemetry, by its stable conventions for database clients.

In the ``ready()`` of one of the project's apps::

    from django_etcdaero.contrib.opentelemetry import instrument

    instrument()

A call to a store is a span of kind CLIENT, ``put shop`` for instance: the operation and what it is about, which is the
set of Aerospike or the ``PREFIX`` of the alias. A refresh is a span too, and its calls are inside it. How long calls
took is in the histogram ``db.client.operation.duration``. No value is in any of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from .extras import missing

try:
    from opentelemetry import metrics, trace
except ImportError as error:
    raise missing(__name__, "opentelemetry-api", "opentelemetry") from error

from django.db import connections

from django_etcdaero import __version__, conf, tracing
from django_etcdaero.datasets.state.status import RefreshResult
from django_etcdaero.keyvalue.interception import key_of
from django_etcdaero.signals import refresh_ended
from django_etcdaero.stores.url import split
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.interposing import Around

if TYPE_CHECKING:
    from django_etcdaero.datasets.declared import Declared
    from django_etcdaero.keyvalue.engine import Engine
    from django_etcdaero.records.store import RecordStore

Attributes: TypeAlias = dict[str, str | int]

BUCKETS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
"""Seconds: the bounds that the conventions advise."""

_NAME: Final = "django_etcdaero"

_refresh: ContextVar[trace.Span | None] = ContextVar("refresh", default=None)
"""The span of the refresh that runs."""

_end: Callable[[], None] | None = None


def instrument(
    *,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
    keys: bool = False,
    roots: bool = True,
) -> None:
    """Make spans and measure from now on, in the place of an earlier call.

    Without providers those are used that are set globally, now or later. ``keys``: spans of calls to KV have the key as
    ``etcdaero.key``. ``roots=False``: a call that would begin a trace of its own makes no span, as those of background
    threads do, which renew leases and look for new versions; it is measured all the same.
    """
    global _end
    uninstrument()
    tracer = trace.get_tracer(_NAME, __version__, tracer_provider)
    meter = metrics.get_meter(_NAME, __version__, meter_provider)
    duration = meter.create_histogram(
        "db.client.operation.duration",
        unit="s",
        description="Duration of database client operations.",
        explicit_bucket_boundaries_advisory=BUCKETS,
    )
    calls = _Calls(tracer, duration, keys=keys, roots=roots)
    end_observing = tracing.observe(kv=calls.of_engine, records=calls.of_store, refreshes=_Refreshes(tracer))
    refresh_ended.connect(_tell)

    def end() -> None:
        end_observing()
        refresh_ended.disconnect(_tell)

    _end = end


def uninstrument() -> None:
    """Make no spans and measure no more."""
    global _end
    if _end is not None:
        _end()
    _end = None


class _Calls:
    """Makes what calls run in."""

    def __init__(self, tracer: trace.Tracer, duration: metrics.Histogram, *, keys: bool, roots: bool) -> None:
        self.tracer = tracer
        self.duration = duration
        self._keys = keys
        self._roots = roots

    def of_engine(self, alias: str, engine: Engine) -> Around:
        common = store_attributes(engine.info.kind, engine.info.location) | {"db.namespace": conf.get(alias).prefix}

        def around(call: str, argument: Any) -> AbstractContextManager[object]:
            key = key_of(argument) if self._keys else None
            more: Attributes = {} if key is None else {"etcdaero.key": key.decode(errors="backslashreplace")}
            return _Call(self, common | {"db.operation.name": call}, more, span=self._has_span())

        return around

    def of_store(self, alias: str | None, store: RecordStore) -> Around:
        common = store_attributes(store.info.kind, store.info.location)
        if alias is not None:
            common.setdefault("db.namespace", conf.get(alias).prefix)

        def around(call: str, argument: Any) -> AbstractContextManager[object]:
            size = len(argument) if call.endswith("_many") and isinstance(argument, Sized) else 0
            more: Attributes = {"db.operation.batch.size": size} if size > 1 else {}
            return _Call(self, common | {"db.operation.name": call}, more, span=self._has_span())

        return around

    def _has_span(self) -> bool:
        return self._roots or trace.get_current_span().get_span_context().is_valid


class _Call(AbstractContextManager[object]):
    """One call. ``attributes`` are those of the metric too, ``more`` are of the span only."""

    __slots__ = ("_attributes", "_calls", "_entered", "_inside", "_more", "_span", "_started")

    def __init__(self, calls: _Calls, attributes: Attributes, more: Attributes, *, span: bool) -> None:
        self._calls, self._attributes, self._more, self._span = calls, attributes, more, span

    def __enter__(self) -> object:
        self._inside = self._begin() if self._span else nullcontext()
        self._entered = self._inside.__enter__()
        self._started = monotonic()
        return self

    def _begin(self) -> AbstractContextManager[trace.Span]:
        found = self._attributes
        target = found.get("db.collection.name") or found.get("db.namespace") or found.get("server.address", "")
        return self._calls.tracer.start_as_current_span(
            f"{found['db.operation.name']} {target}".rstrip(),
            kind=trace.SpanKind.CLIENT,
            attributes=found | self._more,
        )

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        took, attributes = max(0.0, monotonic() - self._started), self._attributes
        if kind is not None:
            attributes = attributes | {"error.type": f"{kind.__module__}.{kind.__qualname__}"}
            if self._entered is not None:
                self._entered.set_attribute("error.type", attributes["error.type"])
        self._calls.duration.record(took, attributes)
        self._inside.__exit__(kind, error, at)


class _Refreshes:
    """Makes the span that a refresh runs in."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    @contextmanager
    def __call__(self, dataset: Declared[Any, Any]) -> Iterator[None]:
        attributes = {"etcdaero.dataset": dataset.name, "etcdaero.alias": dataset.using}
        with self._tracer.start_as_current_span(f"refresh {dataset.name}", attributes=attributes) as span:
            token = _refresh.set(span)
            try:
                yield
            finally:
                _refresh.reset(token)


def _tell(sender: Any, *, result: RefreshResult, **kwargs: Any) -> None:
    span = _refresh.get()
    if span is None:  # a load that hangs is told from another thread
        return
    span.set_attribute("etcdaero.outcome", str(result.outcome))
    if result.version is not None:
        span.set_attributes({"etcdaero.version": result.version, "etcdaero.rows": result.rows})
    if not result.ok:
        span.set_status(trace.Status(trace.StatusCode.ERROR, result.error))


def store_attributes(kind: str, location: str) -> Attributes:
    """Return what is told of each call to a store: its kind, and where it is; of several hosts all of them."""
    parts = split(location)
    found: Attributes = {"db.system.name": kind}
    if kind == "database":  # db:ALIAS
        found = {"db.system.name": connections[parts.path.partition("/")[0]].vendor}
    elif kind == "embedded":
        found = {"db.system.name": "sqlite" if parts.scheme == "sqlite" else "memory"}
    elif kind == "aerospike":
        _, namespace, set_name = parts.path.split("/")
        found |= {"db.namespace": namespace, "db.collection.name": set_name}
    host, _, port = parts.netloc.rpartition(":")
    if "," in parts.netloc:
        found["server.address"] = parts.netloc
    elif host:
        found |= {"server.address": host.strip("[]"), "server.port": int(port)}
    return found
