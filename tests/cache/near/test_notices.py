"""Processes tell each other: over each engine, within bounds, and everything is dropped where something is missing."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

import pytest

from django_etcdaero.cache import notices as module
from django_etcdaero.cache.notice import Notice, unpack
from django_etcdaero.cache.notices import LONG_RUN, PER_SECOND, SAVED_UP, Budget
from django_etcdaero.datasets.layout import CACHES
from django_etcdaero.exceptions import ClusterError, ConfigurationError
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.values import WatchLost
from tests.keyvalue.etcd.servers import Server
from tests.waiting import wait_until

from .conftest import EVERY_ENGINE, Speaker

GENERATION = b"generatn"

Speak = Callable[[], Speaker]


def about(*digests: bytes) -> Notice:
    return Notice(keys={GENERATION: set(digests)})


def keys(kv: KV) -> list[bytes]:
    return [each.key for each in kv.range(CACHES, prefix=True).kvs]


@EVERY_ENGINE
def test_others_are_told(speak: Speak) -> None:
    one, two = speak(), speak()
    one.listen()
    two.listen()
    one.notices.publish(about(b"aaaaaaaa"))
    assert one.ear.digests() == {b"aaaaaaaa"}  # at once
    wait_until(lambda: two.ear.digests() == {b"aaaaaaaa"}, what="the notice")
    two.notices.publish(Notice(stamps={b"t1"}))
    wait_until(lambda: Notice(stamps={b"t1"}) in one.ear.heard, what="the answer")
    assert one.ear.heard == [about(b"aaaaaaaa"), Notice(stamps={b"t1"})]  # one's own did not come back


@EVERY_ENGINE
def test_a_process_has_one_key_on_its_session(speak: Speak) -> None:
    one, two = speak(), speak()
    two.listen()
    for number in range(5):
        one.notices.publish(about(b"%08d" % number))
        wait_until(lambda number=number: b"%08d" % number in two.ear.digests(), what="the notice")  # type: ignore[misc]
    assert keys(one.kv) == [one.key]
    found = one.kv.get(one.key)
    assert found is not None
    assert found.lease == one.kv.session(30).lease.id
    received = unpack(found.value)
    assert received is not None
    assert received.number == one.wire.calls["put"] <= 5
    assert two.ear.everything() == 0


@EVERY_ENGINE
def test_a_burst_is_a_few_coarse_notices(speak: Speak) -> None:
    one, two = speak(), speak()
    two.listen()
    began = time.monotonic()
    for number in range(10_000):
        one.notices.publish(about(b"%08d" % number))
    one.notices.publish(Notice(stamps={b"last"}))
    wait_until(lambda: any(b"last" in notice.stamps for notice in two.ear.heard), what="the last notice")
    took = time.monotonic() - began
    assert one.wire.calls["put"] <= took * PER_SECOND + 2
    assert keys(one.kv) == [one.key]
    assert any(GENERATION in notice.whole for notice in two.ear.heard)
    assert two.ear.everything() == 0


def test_what_is_published_in_one_go_is_one_notice(speak: Speak) -> None:
    one, two = speak(), speak()
    two.listen()
    notice = Notice()
    notice.add_keys(GENERATION, {b"%08d" % number for number in range(10_000)})
    one.notices.publish(notice)
    wait_until(lambda: two.ear.heard, what="the notice")
    assert two.ear.heard == [Notice(whole={GENERATION})]
    assert one.wire.calls["put"] == 1


def test_the_budget_is_kept_over_a_day() -> None:
    budget, now, times = Budget(0.0), 0.0, list[float]()
    while now < 3600:
        now = budget.next
        budget.spend(now)
        times.append(now)
    for start, end in zip(times, times[int(PER_SECOND) :], strict=False):
        assert end - start > 0.999
    assert len(times) <= SAVED_UP + LONG_RUN * 3600 + 2
    budget.spend(now + 1000)
    assert budget.next == pytest.approx(now + 1000 + 1 / PER_SECOND)  # saved up again


@EVERY_ENGINE
@pytest.mark.parametrize("why", [WatchLost.COMPACTED, WatchLost.RESET])
def test_a_gap_drops_everything(speak: Speak, why: WatchLost) -> None:
    one, two = speak(), speak()
    two.listen()
    one.notices.publish(about(b"aaaaaaaa"))
    wait_until(lambda: two.ear.digests(), what="the notice")
    two.wire.lose(why)
    wait_until(lambda: two.ear.everything() == 1, what="everything being dropped")
    one.notices.publish(about(b"bbbbbbbb"))
    wait_until(lambda: b"bbbbbbbb" in two.ear.digests(), what="the next notice")
    assert two.ear.everything() == 1


def test_a_missing_number_drops_everything(speak: Speak) -> None:
    one, two = speak(), speak()
    two.listen()
    one.kv.put(f"{CACHES}other", about(b"aaaaaaaa").pack(3))
    one.kv.put(f"{CACHES}other", about(b"bbbbbbbb").pack(4))
    one.kv.put(f"{CACHES}other", about(b"bbbbbbbb").pack(4))  # whose answer had got lost
    one.kv.put(f"{CACHES}other", about(b"dddddddd").pack(6))
    wait_until(lambda: len(two.ear.heard) == 4, what="four notices")
    assert [notice.everything for notice in two.ear.heard] == [False, False, False, True]


def test_rubbish_is_ignored(speak: Speak) -> None:
    one, two = speak(), speak()
    two.listen()
    for value in (b"", b"x" * 5000, b"\xebCN", b"\xff" * 12):
        one.kv.put(f"{CACHES}rubbish", value)
    one.kv.delete(f"{CACHES}rubbish")
    one.notices.publish(about(b"aaaaaaaa"))
    wait_until(lambda: two.ear.heard, what="the notice")
    assert two.ear.heard == [about(b"aaaaaaaa")]


def test_a_damaged_notice_is_everything(speak: Speak) -> None:
    one, two = speak(), speak()
    two.listen()
    one.kv.put(f"{CACHES}other", about(b"aaaaaaaa").pack(1)[:-1])
    wait_until(lambda: two.ear.heard, what="the notice")
    assert two.ear.everything() == 1


def test_keys_of_others_in_the_store_are_nothing(speak: Speak) -> None:
    one, two = speak(), speak()
    two.listen()
    one.kv.put("cache/users", b"x")
    one.kv.put("cachesx", about(b"xxxxxxxx").pack(1))
    one.notices.publish(about(b"aaaaaaaa"))
    wait_until(lambda: two.ear.heard, what="the notice")
    assert two.ear.heard == [about(b"aaaaaaaa")]


def test_a_key_that_ran_out_says_nothing_and_comes_back(speak: Speak) -> None:
    one, two = speak(), speak()
    two.listen()
    one.notices.publish(about(b"aaaaaaaa"))
    wait_until(lambda: two.ear.digests(), what="the notice")
    one.kv.revoke_lease(one.kv.session(30).lease.id)
    wait_until(lambda: not keys(two.kv), what="the key being gone")
    one.notices.publish(about(b"bbbbbbbb"))
    wait_until(lambda: b"bbbbbbbb" in two.ear.digests(), what="the next notice")
    assert keys(two.kv) == [one.key]
    assert two.ear.everything() == 0


def test_a_store_that_is_away_is_not_felt(speak: Speak, caplog: pytest.LogCaptureFixture) -> None:
    one, two = speak(), speak()
    two.listen()
    one.wire.break_("put", ClusterError("away"))
    one.wire.break_("watch", ClusterError("away"))
    with caplog.at_level(logging.WARNING, "django_etcdaero.cache"):
        one.notices.follow()
        for number in range(3):
            one.notices.publish(about(b"%08d" % number))
        wait_until(lambda: one.wire.calls["put"] > 2 and one.wire.calls["watch"] > 0, what="two tries")
        assert not one.notices.following
        one.wire.mend()
        wait_until(lambda: len(two.ear.digests()) == 3, what="all notices")
        one.notices.publish(about(b"last one"))
        wait_until(lambda: b"last one" in two.ear.digests(), what="the next notice")
    assert two.ear.everything() == 0  # no number was left out
    told = [record.getMessage() for record in caplog.records if record.name == "django_etcdaero.cache"]
    assert len([text for text in told if "cannot" in text or "not told" in text]) == 2


def test_a_watch_that_could_not_begin_is_tried_again(speak: Speak) -> None:
    one = speak()
    one.wire.fail("watch", ClusterError("away"))

    def followed() -> bool:
        one.notices.follow()
        return one.notices.following

    wait_until(followed, what="the watch")
    assert one.wire.calls["watch"] == 2
    wait_until(lambda: one.ear.everything() == 1, what="everything being dropped")


def test_a_server_that_was_killed_and_is_back(server: Server) -> None:
    engine = EtcdEngine([server.endpoint])
    one, two = Speaker(engine, "near/"), Speaker(engine, "near/")
    one.listen()
    two.listen()
    server.kill()
    one.notices.publish(about(b"aaaaaaaa"))
    wait_until(lambda: one.notices._failures > 0, what="a try that failed")
    server.start()
    server.wait_ready()
    wait_until(lambda: two.ear.digests() == {b"aaaaaaaa"}, timeout=60, what="the notice")
    assert two.ear.everything() == 0
    for speaker in (one, two):
        speaker.notices.finish(0.0)
        speaker.kv.close()
    engine.close()


def test_a_server_that_is_back_with_nothing_drops_everything(server: Server) -> None:
    engine = EtcdEngine([server.endpoint])
    one, two = Speaker(engine, "near/"), Speaker(engine, "near/")
    two.listen()
    for number in range(3):
        one.kv.put("something", str(number))
    one.notices.publish(about(b"bbbbbbbb"))
    wait_until(lambda: two.ear.digests() == {b"bbbbbbbb"}, what="the first notice")
    two.ear.heard.clear()
    server.kill()
    server.wipe()
    server.start()
    server.wait_ready()
    wait_until(lambda: two.ear.everything(), timeout=60, what="everything being dropped")
    one.notices.publish(about(b"aaaaaaaa"))
    wait_until(lambda: two.ear.digests() == {b"aaaaaaaa"}, timeout=60, what="the notice")
    for speaker in (one, two):
        speaker.notices.finish(0.0)
        speaker.kv.close()
    engine.close()


def test_what_nobody_can_hold_any_more_is_not_sent(speak: Speak) -> None:
    one, two = speak(), speak()
    two.listen()
    one.notices._max_age = 0.0
    one.wire.break_("put", ClusterError("away"))
    one.notices.publish(about(b"aaaaaaaa"))
    wait_until(lambda: one.wire.calls["put"] == 1 and not one.notices._pending, what="the try")
    one.wire.mend()
    one.notices.publish(about(b"bbbbbbbb"))
    wait_until(lambda: two.ear.heard, what="the notice")
    assert two.ear.digests() == {b"bbbbbbbb"}


def test_a_wrong_setting_is_told_and_not_raised(speak: Speak, caplog: pytest.LogCaptureFixture) -> None:
    one = speak()
    one.away = ConfigurationError("there is no alias 'x'")
    with caplog.at_level(logging.WARNING, "django_etcdaero.cache"):
        one.notices.follow()
        one.notices.publish(about(b"aaaaaaaa"))
        wait_until(lambda: len(caplog.records) == 2, what="both being logged")
    assert "no alias 'x'" in caplog.text


def test_a_client_that_was_closed_is_replaced(speak: Speak) -> None:
    one, two = speak(), speak()
    one.listen()
    two.listen()
    former, one.kv = one.kv, KV(one.wire, prefix=one.kv.prefix)
    former.close()
    assert not one.notices.following

    def followed() -> bool:
        one.notices.follow()
        return one.notices.following

    wait_until(followed, what="another watch")
    two.notices.publish(about(b"aaaaaaaa"))
    wait_until(lambda: one.ear.digests(), what="the notice")
    assert one.ear.everything() == 1


def test_the_thread_ends_when_there_is_nothing_to_do(speak: Speak, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINGER", 0.02)
    one, two = speak(), speak()
    assert not one.notices._thread.alive  # nothing starts before there is something to do
    one.listen()
    wait_until(lambda: not one.notices._thread.alive, what="the end of the thread")
    two.notices.publish(about(b"aaaaaaaa"))
    wait_until(lambda: one.ear.digests(), what="the notice, without it")
    one.notices.publish(about(b"bbbbbbbb"))
    wait_until(lambda: one.kv.get(one.key), what="another thread")
    wait_until(lambda: not one.notices._thread.alive, what="its end")


def test_no_thread_to_be_had(speak: Speak, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = speak(), speak()
    two.listen()
    with monkeypatch.context() as patched:

        def refuse(self: object) -> None:
            raise RuntimeError("can't start new thread")

        patched.setattr(module.Background, "start", refuse)
        one.notices.publish(about(b"aaaaaaaa"))
        one.notices.follow()
    one.notices.publish(about(b"bbbbbbbb"))
    wait_until(lambda: two.ear.digests() == {b"aaaaaaaa", b"bbbbbbbb"}, what="both")


def test_at_the_end_the_last_notice_is_sent_at_once(speak: Speak) -> None:
    one, two = speak(), speak()
    two.listen()
    one.notices._budget.next = time.monotonic() + 1000
    one.notices.publish(about(b"aaaaaaaa"))
    one.notices.finish(30.0)
    wait_until(lambda: two.ear.digests() == {b"aaaaaaaa"}, what="the notice")
    one.notices.publish(about(b"bbbbbbbb"))
    one.notices.follow()
    assert one.ear.digests() == {b"aaaaaaaa", b"bbbbbbbb"}
    wait_until(lambda: not one.notices._thread.alive, what="the end of the thread")
    assert one.wire.calls["put"] == 1


def test_the_end_waits_for_no_store_that_is_away(speak: Speak) -> None:
    one = speak()
    one.wire.break_("put", ClusterError("away"))
    one.notices.publish(about(b"aaaaaaaa"))
    one.notices.finish(1000.0)


def test_a_child_begins_anew(speak: Speak) -> None:
    one, two = speak(), speak()
    one.listen()
    two.listen()
    one.notices.publish(about(b"aaaaaaaa"))
    wait_until(lambda: two.ear.digests(), what="the notice")
    former, before = one.key, one.notices._changed
    with before:  # as a thread of the parent had it in the moment of the fork
        one.notices.abandon()
        assert one.key != former
        assert not one.notices.following
        one.notices.publish(about(b"bbbbbbbb"))
        wait_until(lambda: b"bbbbbbbb" in two.ear.digests(), what="the child's notice")
    assert sorted(keys(two.kv)) == sorted([former, one.key])
    assert str(os.getpid()).encode() in one.key


def test_threads_publish_together(speak: Speak) -> None:
    one, two = speak(), speak()
    two.listen()
    threads = [
        threading.Thread(
            target=lambda first=first: [one.notices.publish(about(b"%08d" % (first + step))) for step in range(10)]
        )
        for first in range(0, 80, 10)
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(two.ear.digests()) == 80, what="all that was published")
    for thread in threads:
        thread.join()
