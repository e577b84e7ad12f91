"""Nothing of one dataset stops another: neither code that does not return, nor a store that does not answer."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, NamedTuple

import pytest

from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.datasets.read import live_state as states
from django_etcdaero.datasets.read import reader as reading
from django_etcdaero.datasets.read.reader import Reader
from django_etcdaero.datasets.state.presence import processes
from django_etcdaero.datasets.state.status import State
from django_etcdaero.exceptions import DatasetNotReady, DatasetStale, DeadlineExceeded
from django_etcdaero.system import workers
from tests.datasets.hosting import Alias, FakeHost, many, publish
from tests.waiting import wait_until


class Block:
    """Where code of a project, or a call to a store, does not go on until the test lets it."""

    def __init__(self) -> None:
        self.armed = False
        self.inside = 0
        self.released = threading.Event()

    def __call__(self, *arguments: Any, **options: Any) -> None:
        if self.armed and threading.current_thread().name == "etcdaero-load":
            self.inside += 1
            assert self.released.wait(60)


@pytest.fixture
def block() -> Iterator[Block]:
    made = Block()
    yield made
    made.released.set()


class Row(NamedTuple):
    """A row whose making may take for ever."""

    n: int
    made = Block()

    @classmethod
    def build(cls, n: int) -> Row:
        cls.made()
        return cls(n)


def in_prepare(host: FakeHost, declare: Any, block: Block) -> Any:
    return declare(name="slow", prepare=lambda self, rows: block())


def in_a_receiver(host: FakeHost, declare: Any, block: Block) -> Any:
    real = host.listener.loaded

    def loaded(dataset: Any, snapshot: Any) -> None:
        real(dataset, snapshot)
        if dataset.name == "slow":
            block()

    host.listener.loaded = loaded  # type: ignore[method-assign]
    return declare(name="slow")


def in_a_record_store(host: FakeHost, declare: Any, block: Block) -> Any:
    slow = declare(name="slow")
    records = slow.layout("t").records

    def look(keys: Any, **options: Any) -> None:
        if any(key.startswith(records) for key in keys):
            block()

    host.records.before["get_many"] = look
    return slow


PLACES: dict[str, Callable[[FakeHost, Any, Block], Any]] = {
    "prepare()": in_prepare, "a receiver": in_a_receiver, "a record store": in_a_record_store
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_what_blocks_for_one_dataset_delays_no_other(
    host: FakeHost,
    declare: Any,
    block: Block,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    place: Any,
) -> None:
    monkeypatch.setattr(states, "STUCK_AFTER", 0.2)
    monkeypatch.setattr(reading, "LONG", 0.3)
    slow, flags, old = place(host, declare, block), declare(name="flags"), declare(name="old", max_stale=timedelta(1))
    other = host.other()
    for dataset in (slow, flags, old):
        publish(dataset, {"a": 1})
    host.start_reader(poll_interval=3600.0)
    for dataset in (slow, flags, old):
        assert dataset.wait_ready(20)["a"] == 1
    block.armed = True
    publish(slow, {"a": 2}, host=other)
    wait_until(lambda: block.inside, what="the block")
    for version in (2, 3, 4):
        publish(flags, {"a": version}, host=other)
        assert flags.wait_version(version, timeout=20)["a"] == version
    late = declare({"a": 7}, name="late", first_read_timeout=20.0)
    publish(late, host=other)
    assert late["a"] == 7
    wait_until(lambda: slow.status().state is State.INTERRUPTED, what="the state of the one that hangs")
    status = slow.status()
    assert status.busy_since is not None
    assert status.busy_with is not None
    assert status.busy_with in str(status.error)
    assert "is under way since 20" in str(status.error)
    assert flags.status().state is State.VALID
    wait_until(lambda: f"{status.busy_with} is under way for more than" in caplog.text, what="the log line")
    assert caplog.text.count("is under way for more than") == 1
    block.released.set()
    assert slow.wait_version(2, timeout=20)["a"] == 2
    wait_until(lambda: slow.status().state is State.VALID, what="the recovery")
    assert slow.status().busy_with is None


def test_rows_become_too_old_while_their_next_version_hangs(host: FakeHost, declare: Any, block: Block) -> None:
    prices = declare(prepare=lambda self, rows: block(), max_stale=timedelta(seconds=3))
    publish(prices, {"a": 1})
    host.start_reader(poll_interval=3600.0)
    assert prices.wait_ready(20)["a"] == 1
    block.armed = True
    publish(prices, {"a": 2}, host=host.other())
    wait_until(lambda: block.inside, what="the block")
    wait_until(lambda: prices.status().state is State.STALE, what="the end of max_stale")
    with pytest.raises(DatasetStale):
        prices["a"]


def test_rows_do_not_become_too_old_while_the_source_gives_the_same(host: FakeHost, declare: Any) -> None:
    prices = declare(max_stale=timedelta(seconds=2))
    publish(prices)
    host.start_reader(poll_interval=3600.0)
    prices.wait_ready(20)
    stop, seen = time.monotonic() + 5, set()
    other = host.other()
    while time.monotonic() < stop:
        publish(prices, host=other)  # unchanged: nothing is announced
        seen.add(prices.status().state)
        time.sleep(0.05)
    assert seen == {State.VALID}


def test_a_coordination_store_that_does_not_answer_delays_no_other_alias(
    host: FakeHost, declare: Any, block: Block, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "STUCK_AFTER", 0.2)
    host.aliases["other"] = Alias()
    flags = declare(name="flags")
    there = [declare(name=f"there{number}", using="other") for number in range(20)]
    for dataset in (flags, *there):
        publish(dataset, {"a": 1})
    host.start_reader(poll_interval=0.2)
    for dataset in (flags, *there):
        assert dataset.wait_ready(20)["a"] == 1
    host.aliases["other"].engine.before["range"] = block
    block.armed = True
    wait_until(lambda: block.inside, what="the store that does not answer")
    other = host.other()
    for version in (2, 3, 4):
        publish(flags, {"a": version}, host=other)
        assert flags.wait_version(version, timeout=20)["a"] == version
    wait_until(lambda: there[0].status().state is State.INTERRUPTED, what="the state under the other alias")
    assert "a look at KV of the alias 'other' is under way since" in str(there[7].status().error)
    assert flags.status().state is State.VALID
    block.released.set()
    wait_until(lambda: all(each.status().state is State.VALID for each in there), what="the recovery")


def test_thirty_that_hang_do_not_keep_another_from_being_loaded(host: FakeHost, declare: Any, block: Block) -> None:
    hanging = [declare(name=f"h{number:02}", prepare=lambda self, rows: block()) for number in range(30)]
    flags = declare(name="z", first_read_timeout=30.0)
    for dataset in (*hanging, flags):
        publish(dataset)
    block.armed = True
    host.start_reader(poll_interval=3600.0)
    assert flags["a"] == 1  # first reads do not wait for the loads of others
    wait_until(lambda: block.inside == 30, 40, what="all that hang")
    publish(flags, {"a": 2}, host=host.other())
    assert flags.wait_version(2, timeout=20)["a"] == 2
    with pytest.raises(DatasetNotReady):
        hanging[0].wait_ready(0.05)


def test_large_fetches_are_put_off_one_by_one(host: FakeHost, declare: Any) -> None:
    large = [declare(random_rows(), name=f"large{number}") for number in range(3)]
    small = declare(name="small")
    for dataset in (*large, small):
        publish(dataset)
    host.start_reader(poll_interval=3600.0, splay=3600.0)
    for dataset in (*large, small):
        assert dataset.wait_ready(20)
    other = host.other()
    for each in large:
        publish(each, random_rows(), host=other)
    publish(small, {"a": 2}, host=other)
    assert small.wait_version(2, timeout=20)["a"] == 2
    assert [each.snapshot().version for each in large] == [1, 1, 1]
    assert {each.status().state for each in large} == {State.VALID}


def test_who_waits_is_not_put_off(host: FakeHost, declare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = random_rows()
    waiting, other = (declare(rows, name=name, first_read_timeout=20.0) for name in ("waiting", "other"))
    for dataset in (waiting, other):
        publish(dataset)
    host.start_reader(poll_interval=3600.0, splay=3600.0)
    wait_until(lambda: "is being loaded" in str(other.status().error), what="the first look")
    assert waiting[1] == rows[1]
    assert other.status().version is None


def random_rows() -> dict[int, bytes]:
    """Return rows of 2 MB that cannot be compressed."""
    return {number: random.randbytes(50_000) for number in range(40)}


def settle(reader: Reader, host: FakeHost) -> None:
    """Wait until the reader has nothing to do any more."""
    wait_until(lambda: processes(host.kv), what="the registration")
    wait_until(lambda: not reader._workers._waiting and not reader._workers._running, what="the end of all jobs")


def at_rest(host: FakeHost, declare: Any, count: int, **options: Any) -> tuple[Reader, list[Any]]:
    """Return a reader that has loaded so many datasets and has nothing to do, and these."""
    made = [declare(name=f"dataset{number}", **options) for number in range(count)]
    for each in made:
        publish(each)
    reader = host.start_reader(poll_interval=3600.0)
    for each in made:
        each.wait_ready(20)
    settle(reader, host)
    return reader, made


def test_an_announcement_costs_the_coordination_store_nothing_but_the_watch(host: FakeHost, declare: Any) -> None:
    _, made = at_rest(host, declare, 20)
    assert len(host.kv.life.callback_watches) == 1
    other = host.other()
    before = host.engine.calls["range"]
    for number, each in enumerate(made):
        publish(each, {"a": number + 2}, host=other)
    of_publishing = host.engine.calls["range"] - before
    for number, each in enumerate(made):
        wait_until(lambda each=each: each.status().version == 2, what="the version")  # type: ignore[misc]
        assert each["a"] == number + 2
    assert host.engine.calls["range"] - before == of_publishing


def test_a_poll_reads_two_ranges_for_all_datasets(host: FakeHost, declare: Any) -> None:
    reader, _ = at_rest(host, declare, 20)
    (alias,) = reader._aliases.values()
    before = host.engine.calls.copy()
    looks = alias.view.looks
    alias.view.look_now()
    reader._wake.set()
    wait_until(lambda: alias.view.looks == looks + 1, what="the next look")
    assert host.engine.calls - before == {"range": 2}


def test_waking_up_one_looks_at_one(host: FakeHost, declare: Any) -> None:
    _, made = at_rest(host, declare, 20)
    before = host.engine.calls["range"]
    with pytest.raises(DeadlineExceeded):
        made[0].wait_version(2, timeout=0.3)
    assert 0 < host.engine.calls["range"] - before <= 4


def test_the_next_reader_goes_on_with_what_is_held(host: FakeHost, declare: Any) -> None:
    rows = many(500)
    prices = declare(rows)
    publish(prices)
    host.start_reader(poll_interval=3600.0).stop(20)
    host.start_reader(poll_interval=3600.0)
    first = prices.wait_ready(20)
    host.reader.stop(20)  # type: ignore[union-attr]
    fetched = host.records.calls["get_many"]
    host.start_reader(poll_interval=3600.0)
    wait_until(lambda: prices.status().state is State.VALID and processes(host.kv), what="the next reader")
    assert host.records.calls["get_many"] == fetched
    publish(prices, rows | {"k1": {"n": -1}}, host=host.other())
    second = prices.wait_version(2, timeout=20)
    assert sum(first[key] is second[key] for key in rows) > 400


def test_at_rest_there_is_one_thread(host: FakeHost, declare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "LINGER", 0.05)
    made = [declare(name=f"dataset{number}") for number in range(10)]
    for each in made:
        publish(each)
    host.start_reader(poll_interval=3600.0)
    for each in made:
        each.wait_ready(20)
    wait_until(
        lambda: "etcdaero-load" not in [thread.name for thread in threading.enumerate()], what="the end of the others"
    )


def test_a_receiver_that_raises_is_no_failed_load(
    host: FakeHost, declare: Any, caplog: pytest.LogCaptureFixture
) -> None:
    prices = declare()
    publish(prices)

    def loaded(dataset: Any, snapshot: Any) -> None:
        raise SystemExit("a receiver ends")

    host.listener.loaded = loaded  # type: ignore[method-assign]
    host.start_reader(poll_interval=3600.0)
    assert prices.wait_ready(20)["a"] == 1
    wait_until(lambda: "a receiver of dataset_loaded failed" in caplog.text, what="the log line")
    assert (prices.status().state, prices.status().failures) == (State.VALID, 0)
    Refresh(prices, host.other(), force=True).run()


def test_an_announcement_of_one_of_many_is_no_work_for_the_others(
    host: FakeHost, declare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, made = at_rest(host, declare, 100, max_stale=timedelta(1))
    looked_at: list[Any] = []
    real = Reader._begin_step

    def begin(self: Any, follower: Any, now: float) -> float:
        looked_at.append(follower.dataset)
        return real(self, follower, now)

    monkeypatch.setattr(Reader, "_begin_step", begin)
    publish(made[7], {"a": 2}, host=host.other())
    assert made[7].wait_version(2, timeout=20)["a"] == 2
    settle(reader, host)
    assert made[7] in looked_at
    assert len(set(looked_at)) < 5  # of a hundred: some had just ended their load
