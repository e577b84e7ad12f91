"""Spans for the calls to the stores."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from django_etcdaero import kv, kvs, tracing
from django_etcdaero.exceptions import FutureRevision, LeaseNotFound
from django_etcdaero.keyvalue import ops
from django_etcdaero.runtime import runtime
from django_etcdaero.stores.local import MemoryAddress
from tests.management.running import declare


class Tracer:
    """Takes notes, as the tracer of a project would."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, str | None]] = []
        self.attributes: list[dict[str, str]] = []
        self.errors: list[type[BaseException]] = []

    @contextmanager
    def start_as_current_span(self, name: str, *, attributes: dict[str, str]) -> Iterator[None]:
        self.spans.append((name, attributes.get("etcdaero.key")))
        self.attributes.append(attributes)
        try:
            yield
        except Exception as error:
            self.errors.append(type(error))
            raise


@pytest.fixture
def tracer() -> Iterator[Tracer]:
    yield Tracer()
    tracing.disable()


def test_each_call_is_a_span_with_its_key_and_never_a_value(tracer: Tracer) -> None:
    tracing.enable(tracer.start_as_current_span)
    kv.put("a", "secret")
    kv.get("a")
    kv.txn().when(ops.version("b") == 0).then(ops.put("c", "secret")).commit()
    kv.delete("a")
    kv.leases()
    prefix = kv.prefix.decode()
    assert tracer.spans == [
        ("kv put", f"{prefix}a"),
        ("kv range", f"{prefix}a"),
        ("kv txn", f"{prefix}b"),
        ("kv delete_range", f"{prefix}a"),
        ("kv lease_list", None),
    ]
    assert "secret" not in repr(tracer.attributes)
    assert {each["server.location"] for each in tracer.attributes} == {kvs["default"].engine.info.location}


def test_awaited_calls_are_traced_too(tracer: Tracer) -> None:
    tracing.enable(tracer.start_as_current_span)

    async def use() -> None:
        await kv.aput("a", "1")
        assert (await kv.aget("a")) is not None

    asyncio.run(use())
    assert [name for name, _ in tracer.spans] == ["kv put", "kv range"]


def test_errors_leave_through_the_span(tracer: Tracer) -> None:
    tracing.enable(tracer.start_as_current_span)
    with pytest.raises(LeaseNotFound):
        kv.put("a", "1", lease=12345)
    with pytest.raises(FutureRevision):
        kv.compact(10**12)
    assert tracer.errors == [LeaseNotFound, FutureRevision]


def test_stores_opened_before_and_after_are_traced_and_none_when_it_ended(tracer: Tracer) -> None:
    kv.put("before", "1")
    tracing.enable(tracer.start_as_current_span)
    kv.put("open already", "1")
    runtime.restart()
    kv.put("opened again", "1")
    assert len(tracer.spans) == 2
    tracing.disable()
    kv.put("after", "1")
    assert len(tracer.spans) == 2


def test_of_two_tracers_the_later_one_is_used(tracer: Tracer) -> None:
    other = Tracer()
    kv.put("open", "1")
    tracing.enable(other.start_as_current_span)
    tracing.enable(tracer.start_as_current_span)
    kv.put("a", "1")
    assert (len(other.spans), len(tracer.spans)) == (0, 1)


def test_one_client_can_be_traced_for_a_while(tracer: Tracer) -> None:
    end = tracing.trace(kvs["default"], tracer.start_as_current_span)
    kv.put("a", "1")
    end()
    kv.put("a", "2")
    assert len(tracer.spans) == 1


def noting(notes: list[str], who: str) -> Any:
    @contextmanager
    def around(call: str, argument: Any = None) -> Iterator[None]:
        notes.append(f"{who} {call}")
        yield

    return around


def test_observers_do_not_disturb_each_other(tracer: Tracer) -> None:
    notes: list[str] = []
    tracing.enable(tracer.start_as_current_span)
    ends = [
        tracing.observe(kv=lambda alias, engine, who=who: noting(notes, f"{who} of {alias}"))  # type: ignore[misc]
        for who in ("one", "two")
    ]
    kv.put("a", "1")
    assert (sorted(notes), len(tracer.spans)) == (["one of default put", "two of default put"], 1)
    ends[0]()
    kv.put("a", "2")
    runtime.restart()
    kv.put("a", "3")
    assert notes[2:] == ["two of default put"] * 2
    ends[1]()
    kv.put("a", "4")
    assert (len(notes), len(tracer.spans)) == (4, 4)


def test_calls_to_records_are_observed_also_of_stores_that_only_a_cache_has() -> None:
    notes: list[str] = []
    end = tracing.observe(records=lambda alias, store: noting(notes, f"{alias} {store.info.kind}"))
    runtime.stores("default").records.put(b"a", b"1")
    runtime.open_stores.records(MemoryAddress("observed"), timeout=1.0).get(b"a")
    end()
    runtime.stores("default").records.get(b"a")
    assert notes == ["default memory put", "None memory get"]


@pytest.mark.usefixtures("registry", "closing")
def test_refreshes_are_observed_with_their_calls_inside() -> None:
    notes: list[str] = []

    @contextmanager
    def around(dataset: Any) -> Iterator[None]:
        notes.append(f"begin {dataset.name}")
        yield
        notes.append("end")

    prices = declare()
    end = tracing.observe(kv=lambda alias, engine: noting(notes, "kv"), refreshes=around)
    assert prices.refresh().ok
    end()
    first, last = notes.index("begin prices"), notes.index("end")
    assert "kv txn" in notes[first:last]
    prices.refresh(force=True)
    assert notes.count("begin prices") == 1
