"""Elections between processes of one host, with processes that are killed, stopped and started again."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from django_etcdaero.exceptions import DeadlineExceeded
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.embedded import EmbeddedEngine
from django_etcdaero.keyvalue.queue.holder import Changed, Elected
from django_etcdaero.system.processes import is_dead, this_process
from tests.keyvalue.queue.contending import Contenders, contenders
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

TTL = 2
LONG_TTL = 60


@pytest.fixture
def kv(path: Path) -> Iterator[KV]:
    engine = EmbeddedEngine.file(path)
    client = KV(engine)
    yield client
    client.close()
    engine.close()


@pytest.fixture
def start(path: Path) -> Iterator[Contenders]:
    with contenders(path) as started:
        yield started


def test_the_leadership_of_a_killed_process_is_free_after_its_ttl(kv: KV, start: Contenders) -> None:
    first = start.start("election", "E", ttl=TTL, value="one")
    token = first.won()
    election = kv.election("E", ttl=TTL, value="two")
    holder = election.holder()
    assert holder is not None
    assert (holder.pid, holder.token) == (first.pid, token)
    first.kill()
    election.campaign(timeout=TTL + 5)
    assert election.token > token
    election.resign()
    assert kv.range("", prefix=True).count == 0


def test_a_killed_candidate_leaves_nothing_and_those_behind_it_advance(kv: KV, start: Contenders) -> None:
    first = kv.election("E", value="one")
    first.campaign()
    second = start.start("election", "E", ttl=TTL, value="two")
    wait_until(lambda: len(first.queue()) == 2, what="the second in line")
    third = start.start("election", "E", ttl=LONG_TTL, value="three")
    wait_until(lambda: len(first.queue()) == 3, what="the third in line")
    second.kill()
    wait_until(lambda: len(first.queue()) == 2, what="the end of the killed candidate's key")
    first.resign()
    third.won()
    third.end()
    assert kv.range("", prefix=True).count == 0


def test_a_leader_that_resigns_is_followed_at_once(kv: KV, start: Contenders) -> None:
    first = start.start("election", "E", ttl=LONG_TTL, value="one")
    first.won()
    second = start.start("election", "E", ttl=LONG_TTL, value="two")
    wait_until(lambda: kv.election("E").queue()[1:], what="the second in line")
    first.end()
    second.won()
    assert second.holds()
    leader = kv.election("E").leader()
    assert leader is not None
    assert leader.value == b"two"


def test_a_leader_that_is_started_again_goes_on_to_lead(kv: KV, start: Contenders) -> None:
    first = start.start("election", "E", ttl=LONG_TTL, value="one")
    token = first.won()
    rival = kv.election("E", value="two")
    with rival.observe() as events:
        before = rival.leader()
        assert events.next(timeout=10) == Changed(before)
        waiting = start.start("election", "E", ttl=LONG_TTL, value="three")
        wait_until(lambda: len(rival.queue()) == 2, what="another candidate")
        first.kill()
        again = start.start("election", "E", ttl=LONG_TTL, value="one")
        assert again.won() == token
        assert again.holds()
        after = rival.leader()
        assert before is not None
        assert after is not None
        assert after.same_as(before)
        assert after.lease != before.lease
        with pytest.raises(DeadlineExceeded):
            events.next(timeout=0.2)
        kv.engine.lease_revoke(before.lease)
        assert again.holds()
        holder = rival.holder()
        assert holder is not None
        assert holder.pid == again.pid
        again.end()
        assert waiting.won() > token


def test_a_second_process_of_the_same_name_does_not_lead_while_the_first_lives(kv: KV, start: Contenders) -> None:
    first = start.start("election", "E", ttl=LONG_TTL, value="one")
    first.won()
    second = start.start("election", "E", ttl=LONG_TTL, value="one")
    wait_until(lambda: len(kv.election("E").queue()) == 2, what="the second in line")
    assert first.holds()
    first.process.send_signal(signal.SIGSTOP)
    with pytest.raises(DeadlineExceeded):
        kv.election("E", value="one").campaign(timeout=0.5)
    first.process.send_signal(signal.SIGCONT)
    assert first.holds()
    first.end()
    second.won()


def test_the_place_of_a_process_that_died_elsewhere_is_not_taken_over(kv: KV, start: Contenders) -> None:
    first = start.start("election", "E", ttl=LONG_TTL, value="one")
    first.won()
    (found,) = kv.range("E:contenders/", prefix=True).kvs
    told = json.loads(found.value)
    first.kill()
    for change in ({"boot": "another run"}, {"pids": "pid:[1]"}, {"pid": True}, {"pid": -1}, {"pid": 2**80}):
        kv.put(found.key, json.dumps({**told, "process": {**told["process"], **change}}), ignore_lease=True)
        with pytest.raises(DeadlineExceeded):
            kv.election("E", value="one").campaign(timeout=0.1)
    for value in ("no JSON", "[]", '{"process": 7}'):
        kv.put(found.key, value, ignore_lease=True)
        with pytest.raises(DeadlineExceeded):
            kv.election("E", value="one").campaign(timeout=0.1)
    kv.put(found.key, found.value, ignore_lease=True)
    kv.election("E", value="one").campaign(timeout=1)


def test_candidates_without_a_name_of_their_own_take_nothing_over(kv: KV, start: Contenders) -> None:
    first = start.start("election", "E", ttl=LONG_TTL)
    first.won()
    first.kill()
    with pytest.raises(DeadlineExceeded):
        kv.election("E").campaign(timeout=0.2)


def test_a_leader_whose_place_was_taken_over_knows_it(kv: KV, path: Path) -> None:
    election = kv.election("E", ttl=LONG_TTL, value="one")
    election.campaign()
    # It lives, but told that it was a process that does not.
    (found,) = kv.range("E:contenders/", prefix=True).kvs
    told = json.loads(found.value)
    told["process"]["pid"] = 2**22 + 1  # beyond the highest number that Linux gives
    kv.put(found.key, json.dumps(told), ignore_lease=True)
    engine = EmbeddedEngine.file(path)
    other = KV(engine)
    with kv.election("E").observe() as events:
        first = events.next(timeout=10)
        assert isinstance(first, Changed)
        successor = other.election("E", ttl=LONG_TTL, value="one")
        successor.campaign(timeout=5)
        wait_until(lambda: election.lost, what="the loss")
        assert successor.is_leader
        with successor.observe() as its_events:
            assert isinstance(its_events.next(timeout=10), Elected)
    election.resign()
    successor.resign()
    other.close()
    engine.close()
    assert kv.range("", prefix=True).count == 0


def test_a_process_is_dead_only_if_that_is_certain(start: Contenders) -> None:
    mine = this_process()
    assert mine is not None
    assert not is_dead(mine)
    assert is_dead({**mine, "started": "1"})
    assert not is_dead({**mine, "boot": "another"})
    assert not is_dead({**mine, "pid": 1, "started": None, "pids": "pid:[1]"})
    assert not is_dead(None)


def test_a_process_that_nobody_has_waited_for_is_dead(start: Contenders) -> None:
    mine = this_process()
    assert mine is not None
    contender = start.start("lock", "L", ttl=TTL)
    contender.won()
    stat = Path(f"/proc/{contender.pid}/stat")
    theirs = {**mine, "pid": contender.pid, "started": stat.read_text().rpartition(")")[2].split()[19]}
    assert not is_dead(theirs)
    contender.process.kill()
    wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "Z", what="the end of the process")
    wait_until(lambda: is_dead(theirs), what="the certainty")


def test_a_killed_waiter_for_a_lock_leaves_nothing_and_those_behind_it_advance(kv: KV, start: Contenders) -> None:
    lock = kv.lock("L")
    lock.acquire()
    killed = start.start("lock", "L", ttl=TTL)
    wait_until(lambda: len(lock.queue()) == 2, what="the first waiter")
    last = start.start("lock", "L", ttl=LONG_TTL)
    wait_until(lambda: len(lock.queue()) == 3, what="the second waiter")
    killed.kill()
    wait_until(lambda: len(lock.queue()) == 2, what="the end of the killed waiter's key")
    lock.release()
    last.won()
    last.end()
    assert kv.range("", prefix=True).count == 0
