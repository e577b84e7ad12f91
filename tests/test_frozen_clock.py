"""Where a test has stopped the clock with freezegun, nothing hangs, nothing fails, and what "now" gives is stored."""

from __future__ import annotations

import datetime
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import caches
from django.test import override_settings
from freezegun import freeze_time

from django_etcdaero import dataset, kv
from django_etcdaero.datasets.read.live_state import LiveState, Work
from django_etcdaero.exceptions import DeadlineExceeded, LockTimeout
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.runtime import runtime
from django_etcdaero.testing import override_dataset
from tests.keyvalue.etcd.servers import Server

NOW = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


@dataclass
class Visit:
    at: datetime.datetime
    day: datetime.date | None = None


@pytest.fixture
def prices(registry: object) -> Any:
    @dataset(first_read_timeout=20)
    def prices() -> dict[str, Any]:
        return {"a": {"at": datetime.datetime.now(datetime.UTC), "day": datetime.date.today()}}  # noqa: DTZ011

    return prices


def use(store: KV) -> None:
    """Do what waits, and what counts time."""
    store.put("key", "value")
    with store.lock("a"), pytest.raises(LockTimeout):
        store.lock("a", timeout=0.05).acquire()
    with store.lease(2) as lease:
        lease.keep_alive()
        assert lease.remaining > 0
    with store.watch("key") as changes:
        with pytest.raises(DeadlineExceeded):
            changes.next(timeout=0.05)
        store.put("key", "other")
        assert changes.next(timeout=20).kv.value == b"other"


def test_a_dataset_is_refreshed_and_read(prices: Any) -> None:
    with freeze_time(NOW) as clock:
        result = prices.refresh()
        assert result.ok, result.error
        row = prices["a"]
        assert (row["at"], row["day"]) == (NOW, NOW.date())
        assert prices.status().published_at == NOW.timestamp()
        clock.move_to(NOW + DAY)
        assert prices.refresh(force=True).ok
        assert prices.wait_version(2, timeout=20)["a"]["at"] == NOW + DAY


def test_rows_that_this_process_has_loaded_do_not_get_too_old(registry: object) -> None:
    @dataset(max_stale=datetime.timedelta(minutes=1), first_read_timeout=20)
    def rates() -> dict[str, int]:
        return {"a": 1}

    with freeze_time(NOW) as clock:
        assert rates.refresh().ok
        assert rates["a"] == 1  # the reader begins after the load
        for days in (1, 2):
            clock.move_to(NOW + days * DAY)
            rates.snapshot()
            status = rates.status()
            assert status.age is not None
            assert status.age < 60
            assert rates.refresh(force=True).ok
        assert rates["a"] == 1


def test_what_the_reader_does_is_not_taken_for_stuck() -> None:
    with freeze_time(NOW) as clock:
        state = LiveState("prices", lambda: pytest.fail("nothing is read"))
        state.work = Work.begin("prepare()")
        clock.move_to(NOW + DAY)
        assert state.stuck is None


@freeze_time(NOW)
def test_rows_come_back_as_plain_dates(prices: Any) -> None:
    prices.refresh()
    assert (type(prices["a"]["at"]), type(prices["a"]["day"])) == (type(NOW), type(NOW.date()))


@freeze_time(NOW)
def test_an_override_takes_what_now_gives(prices: Any) -> None:
    with override_dataset(prices, {datetime.date.today(): datetime.datetime.now()}):  # noqa: DTZ005, DTZ011
        assert prices[NOW.date()] == NOW.replace(tzinfo=None)


@freeze_time(NOW)
def test_a_version_that_does_not_come_is_not_waited_for_without_end(prices: Any) -> None:
    with pytest.raises(DeadlineExceeded):
        prices.wait_version(1, timeout=0.05)


@freeze_time(NOW)
def test_keys_locks_leases_and_watches_in_memory() -> None:
    use(kv)


@pytest.mark.parametrize("years", [-10, 10])
def test_keys_locks_leases_and_watches_in_etcd(server: Server, years: int) -> None:
    engine = EtcdEngine([server.endpoint])
    with freeze_time(datetime.datetime.now(datetime.UTC) + 365 * years * DAY):
        store = KV(engine, prefix="frozen")
        use(store)
        store.close()
    engine.close()


@freeze_time(NOW)
def test_objects_hold_what_now_gives() -> None:
    visits = kv.objects(Visit, "visits")
    visits.put("a", Visit(datetime.datetime.now(datetime.UTC), datetime.date.today()))  # noqa: DTZ011
    assert visits.get("a").object == Visit(NOW, NOW.date())


@pytest.mark.parametrize("location", ["mem:frozen", "sqlite:///{}/frozen.sqlite3"])
def test_a_cache_with_timeouts(location: str, tmp_path: Path) -> None:
    with freeze_time(NOW) as clock:
        backend = {"BACKEND": "django_etcdaero.cache.EtcdAeroCache", "LOCATION": location.format(tmp_path)}
        with override_settings(CACHES={"default": backend}):
            cache = caches["default"]
            cache.set("a", datetime.datetime.now(), timeout=60)  # noqa: DTZ005
            cache.set("b", 1, timeout=0.5)
            assert cache.get("a") == NOW.replace(tzinfo=None)
            assert cache.get_or_set("c", lambda: 3, timeout=60) == 3
            assert cache.get("b") == 1
            clock.tick(1)
            assert (cache.get("b"), cache.get("a")) == (None, NOW.replace(tzinfo=None))


@pytest.mark.slow
def test_what_is_imported_while_the_clock_stands_works_when_it_goes_again(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
            import datetime
            from freezegun import freeze_time

            with freeze_time("2020-01-01"):
                from django_etcdaero.datasets.blocks.codec import Encoder, decode
                from django_etcdaero.keyvalue.objects.annotations import Annotations

                datetime_form = Annotations(strict=True).form(datetime.datetime | None)
                frozen = [datetime.datetime.now(), datetime.date.today()]
                assert decode(Encoder().encode(["a"], [frozen])[1][0]) == frozen
            for moment in (*frozen, datetime.datetime.now(), datetime.date.today()):
                (row,) = Encoder().encode(["a"], [moment])[1]
                assert decode(row) == moment
                assert type(decode(row)) in (datetime.datetime, datetime.date)
            assert datetime_form.decode(datetime_form.encode(datetime.datetime(2026, 1, 1))) is not None
        """)
    )
    subprocess.run([sys.executable, program], check=True, timeout=60)


def test_the_reader_goes_on_when_the_clock_does(prices: Any) -> None:
    with freeze_time(NOW):
        prices.refresh()
        assert prices["a"]["at"] == NOW
    prices.refresh(force=True)
    assert prices.wait_version(2, timeout=20)["a"]["at"] > NOW
    assert runtime.reader_refusal() is None
