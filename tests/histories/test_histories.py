"""Eight processes lock, elect, watch, mirror and transact on a cluster of three while its members fail and change.

Everything they did and saw is recorded and held against the history that the cluster itself tells in the end.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from django_etcdaero.keyvalue import KV, Event, EventType
from django_etcdaero.keyvalue.etcd import EtcdEngine
from tests.histories import checks
from tests.histories.checks import Change, Record, Stay
from tests.keyvalue.etcd.servers import Cluster, Server
from tests.programs.history_worker import PERMITS
from tests.waiting import wait_until

WORKERS = 8
RANGES = ("registers/", "guarded/")
QUEUES = ("permits/", "sides/")
KEYS = ("registers/", "guarded/lock", "guarded/election", "guarded/permits", "guarded/read", "guarded/write")


class Crew:
    """The worker processes and what they have written down."""

    def __init__(self, endpoints: list[str], directory: Path, start_revision: int) -> None:
        self._endpoints = ",".join(endpoints)
        self._directory = directory
        self._start_revision = start_revision
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self.killed: set[str] = set()

    def hire(self, number: str) -> None:
        arguments = [self._endpoints, "crew/", number, str(self._start_revision), str(self._log(number))]
        with (self._directory / f"{number}.err").open("wb") as errors:
            self._processes[number] = subprocess.Popen(
                [sys.executable, "-m", "tests.programs.history_worker", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def wait_started(self, number: str) -> None:
        stdout = self._processes[number].stdout
        assert stdout is not None
        assert stdout.readline() == "running\n", self._errors(number)

    def kill(self, number: str) -> None:
        process = self._processes.pop(number)
        process.kill()
        process.communicate(timeout=10)
        self.killed.add(number)

    def quiet(self) -> None:
        """Let everybody finish what he is writing."""
        for process in self._processes.values():
            assert process.stdin is not None
            process.stdin.write("enough\n")
            process.stdin.flush()
        for number, process in self._processes.items():
            assert process.stdout is not None
            assert process.stdout.readline() == "quiet\n", self._errors(number)

    def finish(self) -> None:
        for number, process in self._processes.items():
            process.communicate(timeout=60)
            assert process.returncode == 0, self._errors(number)
            assert "Traceback" not in self._errors(number), self._errors(number)  # warnings are to be expected

    def end(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.communicate(timeout=10)

    def records(self, number: str) -> list[Record]:
        # A killed process may have left half a line.
        lines = self._log(number).read_bytes().splitlines(keepends=True) if self._log(number).exists() else []
        return [json.loads(line) for line in lines if line.endswith(b"\n")]

    def done(self) -> Counter[str]:
        """Return how many writes were acknowledged so far, of each kind."""
        found: Counter[str] = Counter()
        for path in self._directory.glob("*.log"):
            for line in path.read_bytes().splitlines():
                if b'"done"' in line:
                    found.update(key for key in KEYS if f'"key": "{key}'.encode() in line)
        return found

    def _log(self, number: str) -> Path:
        return self._directory / f"{number}.log"

    def _errors(self, number: str) -> str:
        return (self._directory / f"{number}.err").read_text()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path / "cluster").running() as cluster:
        yield cluster


@pytest.fixture
def spare(cluster: Cluster, tmp_path: Path) -> Iterator[Server]:
    """A server that can become a member; the clients know its address from the start."""
    spare = Server("spare", tmp_path / "spare", options=cluster.members[0].options)
    yield spare
    spare.kill()


@pytest.fixture
def kv(cluster: Cluster, spare: Server) -> Iterator[KV]:
    engine = EtcdEngine([*cluster.endpoints, spare.endpoint], timeout=10.0)
    kv = KV(engine, prefix="crew/")
    yield kv
    kv.close()
    engine.close()


@pytest.fixture
def crew(cluster: Cluster, spare: Server, kv: KV, tmp_path: Path) -> Iterator[Crew]:
    logs = tmp_path / "logs"
    logs.mkdir()
    crew = Crew([*cluster.endpoints, spare.endpoint], logs, start_revision=kv.range("start").revision + 1)
    numbers = [str(number) for number in range(WORKERS)]
    try:
        for number in numbers:
            crew.hire(number)
        for number in numbers:
            crew.wait_started(number)
        yield crew
    finally:
        crew.end()


def lose_the_leader(cluster: Cluster, go_on: Callable[[str], None]) -> None:
    leader = cluster.leader()
    leader.kill()
    go_on("after the loss of the leader")
    leader.start()
    leader.wait_ready()


def freeze_a_follower(cluster: Cluster, go_on: Callable[[str], None]) -> None:
    leader = cluster.leader()
    follower = next(member for member in cluster.members if member is not leader)
    follower.signal(signal.SIGSTOP)
    go_on("with a frozen follower")
    follower.signal(signal.SIGCONT)


def freeze_the_leader(cluster: Cluster, go_on: Callable[[str], None]) -> None:
    leader = cluster.leader()
    leader.signal(signal.SIGSTOP)
    go_on("with a frozen leader")
    leader.signal(signal.SIGCONT)


def restart_all(cluster: Cluster, go_on: Callable[[str], None]) -> None:
    cluster.kill()
    cluster.heal()


def views(cluster: Cluster) -> str:
    """Return who waits for the lock according to each member; etcd 3.5.0 to 3.5.2 may come to differ when killed."""
    asked = ("get", "--prefix", "crew/lock", "--keys-only", "--consistency=s")
    return "\n".join(f"{each.name}: {each.etcdctl(*asked, check=False).stdout.split()}" for each in cluster.members)


def replace_a_member(cluster: Cluster, spare: Server) -> None:
    """Take a member out for good and let the spare server join."""

    def change(*arguments: str) -> None:
        # Refused for as long as the members have not been connected with each other for five seconds.
        def accepted() -> bool:
            return leader.etcdctl("member", *arguments, check=False).returncode == 0

        wait_until(accepted, 30, f"member {arguments[0]}")

    leader = cluster.leader()
    leaving = next(member for member in cluster.members if member is not leader)
    staying = [member for member in cluster.members if member is not leaving]
    listed = leader.etcdctl("member", "list", "--write-out=json").stdout
    members = {member["name"]: member["ID"] for member in json.loads(listed)["members"]}
    change("remove", f"{members[leaving.name]:x}")
    leaving.kill()
    change("add", spare.name, f"--peer-urls=http://127.0.0.1:{spare.peer_port}")
    spare.initial_cluster = ",".join(each.peer_address for each in (*staying, spare))
    spare.options.append("--initial-cluster-state=existing")
    spare.start()
    spare.wait_ready()
    cluster.members[:] = [*staying, spare]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_is_lost_doubled_or_held_by_two_whatever_happens_to_the_cluster(
    cluster: Cluster, spare: Server, kv: KV, crew: Crew
) -> None:
    def go_on(when: str) -> None:
        before = crew.done()
        try:
            wait_until(lambda: all(crew.done()[key] >= before[key] + 15 for key in KEYS), 60, f"progress {when}")
        except AssertionError as error:
            raise AssertionError(f"{error}; since then {crew.done() - before}\n{views(cluster)}") from None

    go_on("at the beginning")
    for fault in (lose_the_leader, freeze_a_follower, freeze_the_leader, restart_all):
        fault(cluster, go_on)
        go_on(f"after {fault.__name__}")
    crew.kill("0")
    crew.hire("again")
    crew.wait_started("again")
    go_on("after the death of a worker")
    replace_a_member(cluster, spare)
    go_on("after a change of members")
    crew.quiet()
    for prefix in RANGES:
        kv.put(f"{prefix}end", json.dumps({"name": "end"}))
    crew.finish()
    assert not kv.lock("lock").queue(), "somebody left a key in line"
    assert not kv.semaphore("permits").queue(), "somebody left a key in line"
    assert not kv.rwlock("sides").queue(), "somebody left a key in line"
    check(crew, {prefix: told_by_the_cluster(kv, prefix) for prefix in RANGES})
    check_queues(told_by_the_cluster(kv, "guarded/")[:-1], {prefix: stays(kv, prefix) for prefix in QUEUES})


def told_by_the_cluster(kv: KV, prefix: str) -> list[Change]:
    history = []
    with kv.watch(prefix, prefix=True, start_revision=1, max_pending=1_000_000) as watch:
        while not history or history[-1].key != f"{prefix}end":
            item = watch.next(timeout=30)
            assert isinstance(item, Event)
            history.append(Change(item.kv.key.decode(), item.kv.mod_revision, item.kv.value.decode()))
    return history


def stays(kv: KV, prefix: str) -> list[Stay]:
    """Return who was in a queue and from when to when, as the cluster tells it."""
    kv.put(f"{prefix}end", "")
    found, there = [], dict[str, int]()
    with kv.watch(prefix, prefix=True, start_revision=1, max_pending=1_000_000) as watch:
        while f"{prefix}end" not in there:
            item = watch.next(timeout=30)
            assert isinstance(item, Event)
            key = item.kv.key.decode()
            if item.type is EventType.DELETE:
                found.append(Stay(key, there.pop(key), item.kv.mod_revision))
            else:
                there[key] = item.kv.create_revision
    return found


def check_queues(guarded: list[Change], queues: dict[str, list[Stay]]) -> None:
    sides = queues["sides/"]
    writers = [stay for stay in sides if stay.key.startswith("sides/write/")]
    assert checks.only_the_first_hold(guarded, "guarded/permits", queues["permits/"], fewer_than=PERMITS) > 50
    assert checks.only_the_first_hold(guarded, "guarded/write", sides, fewer_than=1) > 50
    assert checks.only_the_first_hold(guarded, "guarded/read", writers, fewer_than=1) > 50


def check(crew: Crew, histories: dict[str, list[Change]]) -> None:
    numbers = [*map(str, range(WORKERS)), "again"]
    records = {number: crew.records(number) for number in numbers}
    everything = [record for number in numbers for record in records[number]]
    writes = [change for history in histories.values() for change in history[:-1]]
    checks.acknowledged_writes_are_there(everything, writes)
    checks.nothing_else_is_there(everything, writes)
    checks.no_update_is_lost(histories["registers/"][:-1])
    for key in ("guarded/lock", "guarded/election"):
        assert checks.one_holder_after_the_other(histories["guarded/"][:-1], key) > 50
    for number in numbers:
        gaps = [record for record in records[number] if record["kind"] == "gap"]
        assert not gaps, f"worker {number}: {gaps}"
        for prefix in RANGES:
            events = [record for record in records[number] if record.get("range") == prefix]
            expected = histories[prefix]
            if number in crew.killed:  # it saw the beginning only
                expected = expected[: len(events)]
            checks.watch_saw_everything(events, expected, f"worker {number} on {prefix}")
            changes = [record for record in records[number] if record.get("mirror") == prefix]
            mirrors = [record for record in records[number] if record.get("of") == prefix]
            assert len(mirrors) == 1, f"worker {number}: {len(mirrors)} mirrors of {prefix}"
            for mirror in mirrors:
                who = f"mirror of {prefix} in worker {number}"
                missing = checks.mirror_saw_everything(mirror["start"], changes, histories[prefix], who)
                assert number in crew.killed or not missing, f"{who}: {len(missing)} changes at the end are missing"
