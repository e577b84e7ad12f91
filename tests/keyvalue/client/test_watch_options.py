"""What can be asked of a watch, and the shortest form of one: waiting for a change."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from django_etcdaero.exceptions import Compacted, DeadlineExceeded, EventsLost, InvalidRequest
from django_etcdaero.keyvalue import KV, Event, EventType, Progress, ResyncReason
from django_etcdaero.keyvalue.embedded import EmbeddedEngine, drop_memory, hub
from django_etcdaero.keyvalue.values import WatchBatch, WatchHandle, WatchRequest, WatchSink
from tests.keyvalue.interposed import InterposedEngine
from tests.waiting import wait_until

# --- waiting for one change ------------------------------------------------------------------------------------------


def changed_by(kv: KV, change: Callable[[], object], **options: object) -> Event:
    """What ``wait_for_change`` returns when ``change()`` is made once it waits."""
    seen: list[Event] = []
    waiter = threading.Thread(target=lambda: seen.append(kv.wait_for_change("a", timeout=20, **options)))  # type: ignore[arg-type]
    engine = kv.engine
    assert isinstance(engine, InterposedEngine)
    waiter.start()
    wait_until(lambda: engine.running, what="the watch")
    change()
    waiter.join(20)
    assert not engine.running
    return seen[0]


def test_waiting_returns_the_change_of_a_value(kv: KV) -> None:
    kv.put("a", "old")
    event = changed_by(kv, lambda: kv.put("a", "new"))
    assert (event.type, event.kv.key, event.kv.value) == (EventType.PUT, b"a", b"new")
    assert not event.created


def test_waiting_returns_the_creation_of_a_missing_key(kv: KV) -> None:
    event = changed_by(kv, lambda: kv.put("a", "new"))
    assert event.created


def test_waiting_returns_the_deletion(kv: KV) -> None:
    kv.put("a", "old")
    event = changed_by(kv, lambda: kv.delete("a"))
    assert (event.type, event.kv.key, event.kv.value) == (EventType.DELETE, b"a", b"")


def test_waiting_for_a_range(kv: KV) -> None:
    assert changed_by(kv, lambda: kv.put("a/1", "x"), prefix=True).kv.key == b"a/1"


def test_waiting_from_a_revision_on_returns_what_has_happened_since(kv: KV) -> None:
    revision = kv.put("a", "1").revision
    kv.put("a", "2")
    kv.put("a", "3")
    assert kv.wait_for_change("a", start_revision=revision + 1, timeout=10).kv.value == b"2"


def test_waiting_has_an_end(kv: KV) -> None:
    with pytest.raises(DeadlineExceeded):
        kv.wait_for_change("a", timeout=0.05)


def test_waiting_for_history_that_is_gone_is_told(kv: KV) -> None:
    first = kv.put("a", "1").revision
    oldest = kv.put("a", "2").revision
    kv.compact(oldest)
    with pytest.raises(Compacted) as caught:
        kv.wait_for_change("a", start_revision=first, timeout=10)
    assert caught.value.compact_revision == oldest


# --- progress --------------------------------------------------------------------------------------------------------


class Marking(EmbeddedEngine):
    """An engine whose watches can be given marks of progress."""

    sinks: list[WatchSink]

    def watch(self, request: WatchRequest, sink: WatchSink, *, timeout: float | None = None) -> WatchHandle:
        self.sinks.append(sink)
        return super().watch(request, sink, timeout=timeout)

    def mark(self, revision: int) -> None:
        for sink in self.sinks:
            sink(WatchBatch((), revision))


@pytest.fixture
def marking() -> Iterator[Marking]:
    engine = Marking.memory("marking")
    assert isinstance(engine, Marking)
    engine.sinks = []
    yield engine
    engine.close()
    drop_memory("marking")


def test_marks_of_progress_come_if_they_are_asked_for(marking: Marking) -> None:
    kv = KV(marking)
    with kv.watch("a", progress_notify=True) as asked, kv.watch("a") as unasked:
        kv.put("a", "1")
        first = asked.next(timeout=10)
        marking.mark(7)
        assert isinstance(first, Event)
        assert asked.next(timeout=10) == Progress(7)
        assert isinstance(unasked.next(timeout=10), Event)
        with pytest.raises(DeadlineExceeded):
            unasked.next(timeout=0.05)
    kv.close()


def test_of_marks_in_a_row_the_newest_is_kept(marking: Marking) -> None:
    kv = KV(marking)
    with kv.watch("a", progress_notify=True) as watch:
        for revision in range(5, 5000):
            marking.mark(revision)
        assert watch.next(timeout=10) == Progress(4999)
        with pytest.raises(DeadlineExceeded):
            watch.next(timeout=0.05)
    kv.close()


def test_the_embedded_engine_marks_progress_by_itself() -> None:
    now = [0.0]
    engine = EmbeddedEngine.memory("progress", clock=lambda: now[0])
    kv = KV(engine)
    with kv.watch("a", progress_notify=True) as watch:
        kv.put("a", "1")
        assert isinstance(watch.next(timeout=10), Event)
        marks: list[object] = []

        def marked() -> bool:
            now[0] += 601  # etcd's interval is ten minutes
            kv.put("b", "not watched")
            with suppress(DeadlineExceeded):
                marks.append(watch.next(timeout=0.01))
            return bool(marks)

        before = kv.put("b", "").revision
        wait_until(marked, what="a mark")
        (mark,) = marks
        assert isinstance(mark, Progress)
        assert mark.revision >= before
    kv.close()
    engine.close()
    drop_memory("progress")


def test_the_embedded_engine_marks_when_a_watch_of_the_past_has_caught_up() -> None:
    engine = EmbeddedEngine.memory("past")
    kv = KV(engine)
    first = kv.put("a", "1").revision
    last = [kv.put("b", "1").revision for _ in range(1200)][-1]
    with kv.watch("a", start_revision=first, progress_notify=True) as watch:
        assert isinstance(watch.next(timeout=10), Event)
        assert watch.next(timeout=10) == Progress(last)
    assert engine.marks_caught_up
    kv.close()
    engine.close()
    drop_memory("past")


def test_a_store_in_which_nothing_happens_marks_progress_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "PROGRESS_INTERVAL", 0.05)
    engine = EmbeddedEngine.memory("quiet")
    kv = KV(engine)
    with kv.watch("a", progress_notify=True) as watch:
        assert watch.next(timeout=10) == Progress(1)
    kv.close()
    engine.close()
    drop_memory("quiet")


# --- fragments, overflow, callbacks ----------------------------------------------------------------------------------


def test_fragments_make_no_difference_to_what_is_seen(kv: KV) -> None:
    with kv.watch("a/", prefix=True, fragment=True) as watch:
        for number in range(3):
            kv.put(f"a/{number}", "x")
        items = [watch.next(timeout=10) for _ in range(3)]
    assert [item.kv.key for item in items if isinstance(item, Event)] == [b"a/0", b"a/1", b"a/2"]


def test_no_more_than_max_pending_wait_and_a_snapshot_stands_for_the_rest(kv: KV) -> None:
    engine = kv.engine
    assert isinstance(engine, InterposedEngine)
    with kv.watch("a", max_pending=3) as watch:
        for number in range(10):
            before = engine.delivered
            kv.put("a", str(number))
            if number < 4:
                wait_until(lambda before=before: engine.delivered > before, what="the delivery")
        with pytest.raises(EventsLost) as caught:
            watch.next(timeout=10)
        assert caught.value.reason is ResyncReason.OVERFLOW
        assert [found.value for found in caught.value.snapshot] == [b"9"]


def test_a_callback_is_not_called_any_more_after_false_or_cancel(kv: KV) -> None:
    by_false: list[object] = []
    by_cancel: list[object] = []
    watch = kv.watch("a", callback=lambda item: bool(by_false.append(item)))
    handle = kv.watch("a", callback=by_cancel.append)
    kv.put("a", "1")
    wait_until(lambda: watch.closed and by_cancel, what="both calls")
    handle.cancel()
    handle.cancel()
    with kv.watch("a") as after:
        kv.put("a", "2")
        after.next(timeout=10)
    done = threading.Event()
    kv.callbacks.submit(lambda: done.set())  # after all that callbacks may still be given
    assert done.wait(10)
    assert len(by_false) == len(by_cancel) == 1


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"start_revision": -1}, "start_revision"),
        ({"start_revision": "1"}, "start_revision"),
        ({"prev_kv": 1}, "prev_kv"),
        ({"no_put": "yes"}, "no_put"),
        ({"no_delete": None}, "no_delete"),
        ({"fragment": 0}, "fragment"),
        ({"progress_notify": "often"}, "progress_notify"),
        ({"max_pending": 0}, "max_pending"),
        ({"max_pending": 1.5}, "max_pending"),
        ({"range_end": "A"}, "range_end"),
    ],
)
def test_options_that_mean_nothing_are_named(kv: KV, options: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        kv.watch("a", **options)  # type: ignore[arg-type]
