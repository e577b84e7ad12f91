"""Spans and durations by the conventions of OpenTelemetry, in the memory of its SDK."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from django_etcdaero import kv
from django_etcdaero.contrib import opentelemetry
from django_etcdaero.contrib.opentelemetry import instrument, store_attributes, uninstrument
from django_etcdaero.exceptions import FutureRevision
from django_etcdaero.runtime import runtime
from tests.management.running import declare

pytestmark = pytest.mark.usefixtures("registry", "closing")


class Recorded:
    """What the SDK was given."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._reader = InMemoryMetricReader()
        self.meters = MeterProvider([self._reader])

    def begin(self, **options: Any) -> None:
        instrument(tracer_provider=self.tracers, meter_provider=self.meters, **options)

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def of(self, operation: str) -> ReadableSpan:
        (found,) = (each for each in self.spans if (each.attributes or {}).get("db.operation.name") == operation)
        return found

    def durations(self) -> list[Any]:
        data: Any = self._reader.get_metrics_data()
        (metric,) = (each for each in data.resource_metrics[0].scope_metrics[0].metrics)
        assert (metric.name, metric.unit) == ("db.client.operation.duration", "s")
        return list(metric.data.data_points)


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    yield Recorded()
    uninstrument()


def test_a_call_to_kv_is_a_span_of_a_database_client(recorded: Recorded) -> None:
    recorded.begin()
    kv.leases()
    span = recorded.of("lease_list")
    assert (span.name, span.kind) == ("lease_list tests", SpanKind.CLIENT)
    assert dict(span.attributes or {}) == {
        "db.system.name": "memory",
        "db.operation.name": "lease_list",
        "db.namespace": "tests",
    }


def test_keys_are_told_on_request_only_and_values_never(recorded: Recorded) -> None:
    recorded.begin()
    kv.delete_range("customers/hidden")
    recorded.begin(keys=True)
    kv.txn().then(kv_put("customers/told", "secret")).commit()
    told = "".join(each.to_json() for each in recorded.spans)
    assert "hidden" not in told
    assert "tests/customers/told" in told
    assert "secret" not in told


def kv_put(key: str, value: str) -> Any:
    from django_etcdaero.keyvalue import ops

    return ops.put(key, value)


def test_an_error_is_told_by_its_type(recorded: Recorded) -> None:
    recorded.begin()
    with pytest.raises(FutureRevision):
        kv.compact(10**12)
    span = recorded.of("compact")
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "django_etcdaero.exceptions.FutureRevision"
    (point,) = (each for each in recorded.durations() if each.attributes["db.operation.name"] == "compact")
    assert point.attributes["error.type"] == "django_etcdaero.exceptions.FutureRevision"


def test_calls_to_records_are_spans_and_a_batch_is_one(recorded: Recorded) -> None:
    recorded.begin()
    records = runtime.stores("default").records
    records.put(b"a", b"1")
    records.get_many([b"a", b"b"])
    assert (recorded.of("get_many").attributes or {})["db.operation.batch.size"] == 2
    assert "db.operation.batch.size" not in (recorded.of("put").attributes or {})
    counts = {each.attributes["db.operation.name"]: each.count for each in recorded.durations()}
    assert counts == {"put": 1, "get_many": 1}
    assert recorded.durations()[0].explicit_bounds == opentelemetry.BUCKETS


def test_calls_of_a_refresh_are_inside_its_span(recorded: Recorded) -> None:
    prices = declare()
    recorded.begin()
    prices.refresh()
    prices.errors.append(RuntimeError("down"))
    prices.refresh(force=True)
    good, bad = (each for each in recorded.spans if each.name == "refresh prices")
    assert good.attributes is not None
    assert bad.attributes is not None
    assert good.attributes["etcdaero.dataset"] == "prices"
    assert (good.attributes["etcdaero.outcome"], good.attributes["etcdaero.version"]) == ("refreshed", 1)
    assert (bad.attributes["etcdaero.outcome"], bad.status.status_code) == ("failed", StatusCode.ERROR)
    assert good.context is not None
    inside = {
        each.name.partition(" ")[0]
        for each in recorded.spans
        if each.parent and each.parent.span_id == good.context.span_id
    }
    assert {"txn", "range", "put_many"} <= inside


def test_calls_of_background_threads_may_go_without_spans(recorded: Recorded) -> None:
    recorded.begin(roots=False)
    kv.leases()
    assert recorded.spans == []
    with recorded.tracers.get_tracer("shop").start_as_current_span("request"):
        kv.leases()
    assert [each.name for each in recorded.spans] == ["lease_list tests", "request"]
    (point,) = (each for each in recorded.durations() if each.attributes["db.operation.name"] == "lease_list")
    assert point.count == 2


def test_awaited_calls_are_spans_of_the_task_that_waits(recorded: Recorded) -> None:
    recorded.begin(roots=False)

    async def use() -> None:
        with recorded.tracers.get_tracer("shop").start_as_current_span("request"):
            await asyncio.gather(kv.aput("a", "1"), kv.aput("b", "2"))

    asyncio.run(use())
    first, second, request = recorded.spans
    assert (first.name, second.name, request.name) == ("put tests", "put tests", "request")
    assert request.context is not None
    assert {each.parent.span_id for each in (first, second) if each.parent} == {request.context.span_id}


def test_it_ends(recorded: Recorded) -> None:
    recorded.begin()
    uninstrument()
    kv.leases()
    declare().refresh()
    assert recorded.spans == []


@pytest.mark.parametrize(
    ("kind", "location", "told"),
    [
        ("etcd", "etcd://10.0.0.1:2379", {"server.address": "10.0.0.1", "server.port": 2379}),
        ("etcd", "etcd://[::1]:2379", {"server.address": "::1", "server.port": 2379}),
        ("etcd", "etcds://a:1,b:2", {"server.address": "a:1,b:2"}),
        (
            "aerospike",
            "aerospike://h:3000/ns/set",
            {"server.address": "h", "server.port": 3000, "db.namespace": "ns", "db.collection.name": "set"},
        ),
        ("sqlite", "sqlite:////var/x.sqlite3", {}),
        ("embedded", "sqlite:////var/x.sqlite3", {"db.system.name": "sqlite"}),
        ("database", "db:default/room", {"db.system.name": "sqlite"}),
    ],
)
def test_where_a_store_is(kind: str, location: str, told: dict[str, Any]) -> None:
    assert store_attributes(kind, location) == {"db.system.name": kind} | told


def test_a_missing_package_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "opentelemetry", None)
        with pytest.raises(ImproperlyConfigured, match=r"opentelemetry-api: .*django-etcdaero\[opentelemetry\]"):
            importlib.reload(opentelemetry)
    importlib.reload(opentelemetry)
