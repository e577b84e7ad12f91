"""A state machine that does the same things to the embedded engine and to a real etcd, and compares all they say."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from django_etcdaero.exceptions import Compacted, EtcdAeroError, InvalidRequest
from django_etcdaero.keyvalue.duplicates import has_open_deletion
from django_etcdaero.keyvalue.embedded import EmbeddedEngine, drop_memory
from django_etcdaero.keyvalue.engine import Engine
from django_etcdaero.keyvalue.values import (
    Compare,
    CompareOp,
    CompareTarget,
    DeleteRequest,
    LeaseStatus,
    Operation,
    PutRequest,
    RangeRequest,
    TxnRequest,
    WatchLost,
    WatchRequest,
)
from tests.keyvalue import requests
from tests.keyvalue.answers import comparable
from tests.keyvalue.etcd.differential.sides import Side
from tests.keyvalue.etcd.differential.watching import Journal, Pair
from tests.keyvalue.requests import Surroundings
from tests.waiting import wait_until

CHOSEN = (5, -6, 7)
NEVER_GRANTED = 999
_FIRST_NAME = 1001
_LONG = (1000, 3600, 9_000_000_000)
_ENOUGH_WATCHES = 8
_SHORTEST_TTL = 2
_EVERYTHING = RangeRequest(b"\0", b"\0")

_numbers = itertools.count()
_clients = st.integers(0, 1)


def about(make: Callable[[Surroundings], st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """Return the strategy ``make(surroundings of the machine as it is when something is drawn)``."""
    return st.runner().flatmap(lambda machine: make(machine.surroundings))


def several(make: Callable[[Surroundings], st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """Return the same for one to three things at once."""
    return about(lambda surroundings: st.lists(make(surroundings), min_size=1, max_size=3))


class Engines(RuleBasedStateMachine):
    """Both sides have two clients, and each command goes to one of them, the same one on both sides."""

    etcd: ClassVar[Callable[[], Sequence[Engine]]]
    """Returns two clients of a server that nobody else uses."""
    untouched: ClassVar[bool]
    """The server is a new one each time."""
    counts: ClassVar[Counter[str]]
    """Commands so far, by kind."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.expiries_left = 0
        self.differs = False
        self.over = False
        self.name = f"differential-{next(_numbers)}"
        clients = [EmbeddedEngine.memory(self.name, clock=lambda: self.now) for _ in range(2)]
        servers = type(self).etcd()
        self.compacted = -1
        base = self.base = 1
        if not self.untouched:
            # The server has a past, of which nothing is left, and both sides must have forgotten theirs.
            servers[0].delete_range(DeleteRequest(b"\0", b"\0"))
            for lease in servers[0].lease_list():
                servers[0].lease_revoke(lease)
            base = servers[0].put(PutRequest(b"base")).revision
            clients[0].put(PutRequest(b"base"))
            servers[0].compact(base)
            clients[0].compact(2)
            self.compacted = self.base = 2
        self.sides = [Side("embedded", clients, offset=0), Side("etcd", servers, offset=base - self.base)]
        self.journals = [Journal(self.sides, client, self.base) for client in range(2)]
        self.watches: list[Pair] = []
        self.lease_names: list[int] = []

    @property
    def newest(self) -> int:
        return self.sides[0].clients[0].range(_EVERYTHING).revision

    @property
    def surroundings(self) -> Surroundings:
        ordered = (*CHOSEN, NEVER_GRANTED)
        return Surroundings(self.newest, self.compacted, (*ordered, *self.lease_names), ordered)

    # comparing -------------------------------------------------------------------------------------------------------

    def same(self, kind: str, call: Callable[[Side], Any], request: Operation | None = None) -> Any:
        """Make a call on both sides; return the answer of both, or the class of the error that both have raised."""
        if not self.over:
            type(self).counts[kind] += 1
        answers: list[Any] = []
        for side in self.sides:
            try:
                answers.append(side.inward(call(side)))
            except EtcdAeroError as error:
                answers.append(error)
        shown = [self._shown(answer, request) for answer in answers]
        self.differs = self.differs or shown[0] != shown[1]
        assert shown[0] == shown[1], f"{kind} {request or ''}:\n{answers[0]!r} embedded\n{answers[1]!r} etcd"
        return type(answers[0]) if isinstance(answers[0], EtcdAeroError) else answers[0]

    def _shown(self, answer: Any, request: Operation | None) -> Any:
        if isinstance(answer, Compacted):
            told = answer.compact_revision  # the server does not tell it everywhere
            told = next(side.revision_in(told) for side in self.sides if side.revision_in(told) in (0, self.compacted))
            return Compacted, told in (0, self.compacted)
        if isinstance(answer, InvalidRequest):
            # Which of two reasons is told may differ where our side of the real server looks for one of them itself.
            several = isinstance(request, TxnRequest) and has_open_deletion(request)
            return type(answer), "" if several else str(answer).removeprefix("mvcc: ")
        if isinstance(answer, EtcdAeroError):
            return type(answer)
        return answer if request is None else comparable(request, answer)

    def settle(self) -> None:
        """Wait until all watches have delivered everything, and compare it."""
        revisions = [side.revision_in(side.clients[0].range(_EVERYTHING).revision) for side in self.sides]
        assert revisions[0] == revisions[1]
        self.differs, sound = True, self.differs
        histories = [journal.upto(revisions[0]) for journal in self.journals]
        for watch in self.watches:
            watch.check(histories[0])
        self.differs = sound

    # keys ------------------------------------------------------------------------------------------------------------

    @initialize(expiries=st.integers(0, 1))
    def be_patient(self, expiries: int) -> None:
        self.expiries_left = expiries

    @rule(requests=several(requests.puts), client=_clients)
    def put(self, requests: Sequence[PutRequest], client: int) -> None:
        for request in requests:
            self.same("put", lambda side, request=request: side.clients[client].put(side.outward(request)), request)

    @rule(requests=several(requests.ranges), client=_clients)
    def range(self, requests: Sequence[RangeRequest], client: int) -> None:
        for request in requests:
            self.same("range", lambda side, request=request: side.clients[client].range(side.outward(request)), request)

    @rule(request=about(requests.deletes), client=_clients)
    def delete(self, request: DeleteRequest, client: int) -> None:
        self.same("delete", lambda side: side.clients[client].delete_range(request), request)

    @rule(requests=several(requests.txns), client=_clients)
    def txn(self, requests: Sequence[TxnRequest], client: int) -> None:
        for request in requests:
            self.same("txn", lambda side, request=request: side.clients[client].txn(side.outward(request)), request)

    @rule(part=st.sampled_from(["compares", "success", "failure", "nested"]), count=st.integers(126, 130))
    def crowded_txn(self, part: str, count: int) -> None:
        many = (RangeRequest(b"a"),) * count
        request = {
            "compares": TxnRequest(compares=(Compare(b"a", CompareTarget.VERSION, CompareOp.GREATER, -1),) * count),
            "success": TxnRequest(success=many),
            "failure": TxnRequest(failure=many),
            "nested": TxnRequest(success=(PutRequest(b"a"), TxnRequest(success=many))),
        }[part]
        self.same("crowded txn", lambda side: side.clients[0].txn(request), request)

    @rule(
        revision=about(lambda store: st.sampled_from([store.newest - ago for ago in (-1, 0, 1, 3, 8)] + [0, -1])),
        physical=st.booleans(),
        client=_clients,
    )
    def compact(self, revision: int, physical: bool, client: int) -> None:
        # What a watch has not got to yet is lost to it, so all must have got to the newest revision on both sides.
        # Those that have delivered something certainly follow, and then the journals tell how far.
        self.settle()
        for watch in self.watches:
            if not watch.has_delivered and watch.start <= self.newest:
                self.change_what_it_sees(watch)
        self.settle()
        refused = self.same(
            "compact", lambda side: side.clients[client].compact(side.revision_out(revision), physical=physical)
        )
        if refused is None:
            self.compacted = revision

    # leases ----------------------------------------------------------------------------------------------------------

    @rule(name=st.sampled_from([0, *CHOSEN]), ttl=st.sampled_from([*_LONG, 9_000_000_001, 1 << 62]), client=_clients)
    def grant(self, name: int, ttl: int, client: int) -> None:
        self.grant_on_both(name, ttl, client)

    def grant_on_both(self, name: int, ttl: int, client: int = 0) -> int | None:
        """Grant a lease called ``name``; with 0 the stores choose its id. Return its name, ``None`` if refused."""
        called = name or _FIRST_NAME + len(self.lease_names)

        def grant(side: Side) -> LeaseStatus:
            status = side.clients[client].lease_grant(ttl, lease_id=name)
            side.name_lease(called, status.id)
            return status._replace(id=side.lease_in(status.id))

        granted = self.same("lease grant", grant)
        if not isinstance(granted, LeaseStatus):
            return None
        if not name:
            self.lease_names.append(called)
        return called

    @rule(
        kind=st.sampled_from(["revoke", "keep alive", "time to live", "time to live", "list", "short"]),
        name=about(lambda store: st.sampled_from(list(store.leases))),
        ttl=st.integers(-2, 3),
        client=_clients,
    )
    def use_lease(self, kind: str, name: int, ttl: int, client: int) -> None:
        match kind:
            case "revoke":
                self.revoke(name, client)
            case "keep alive":
                self.same("keep alive", lambda side: side.clients[client].lease_keep_alive(side.lease_out(name)))
            case "time to live":
                keys = ttl > 0
                self.same("time to live", lambda side: self.lease_status(side, name, keys=keys, client=client))
            case "list":
                self.list_leases(client)
            case "short":
                granted = self.grant_on_both(0, ttl, client)
                assert granted is not None
                self.revoke(granted, client)

    def revoke(self, name: int, client: int) -> None:
        self.same("lease revoke", lambda side: side.clients[client].lease_revoke(side.lease_out(name)))

    def list_leases(self, client: int) -> None:
        self.same("lease list", lambda side: sorted(map(side.lease_in, side.clients[client].lease_list())))

    @staticmethod
    def lease_status(side: Side, name: int, *, keys: bool, client: int = 0) -> object:
        """Return the status of a lease but for the seconds left, which go on between two calls."""
        status = side.clients[client].lease_time_to_live(side.lease_out(name), keys=keys)
        assert status.ttl <= status.granted_ttl
        assert status.id == side.lease_out(name)
        return status.ttl >= 0, status.granted_ttl, sorted(status.keys)

    @precondition(lambda self: self.expiries_left > 0)
    @rule(data=st.data(), count=st.integers(1, 2), ttl=st.integers(-1, _SHORTEST_TTL), renewed=st.booleans())
    def expiry(self, data: st.DataObject, count: int, ttl: int, renewed: bool) -> None:
        """Short leases run out one after the other: on the server in real time, embedded when its clock is moved."""
        self.expiries_left -= 1
        names = [self.grant_on_both(0, ttl if number == 0 else _SHORTEST_TTL + number) for number in range(count)]
        for key in data.draw(st.lists(st.sampled_from(requests.KEYS), min_size=1, max_size=6)):
            put = PutRequest(key, b"short", lease=data.draw(st.sampled_from([*names, *names, 0])) or 0)
            self.same("put", lambda side, put=put: side.clients[0].put(side.outward(put)))
        if renewed:
            for name in reversed(names):
                self.same("keep alive", lambda side, name=name: side.clients[1].lease_keep_alive(side.lease_out(name)))
        self.settle()
        server = self.sides[1]
        started = self.now
        for number, name in enumerate(names):
            assert name is not None
            own_id = server.lease_out(name)
            wait_until(lambda own_id=own_id: server.clients[0].lease_time_to_live(own_id).ttl < 0, what="the expiry")
            self.now = started + _SHORTEST_TTL + number
            self.same("expiry", lambda side, name=name: self.lease_status(side, name, keys=True))
            self.same("range", lambda side: side.clients[1].range(_EVERYTHING), _EVERYTHING)
        self.list_leases(0)
        self.settle()

    # watches ---------------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.watches) < _ENOUGH_WATCHES)
    @rule(request=about(requests.watches), client=_clients)
    def watch(self, request: WatchRequest, client: int) -> None:
        type(self).counts["watch"] += 1
        pair = Pair(request, self.sides, client, newest=self.newest, compacted=self.compacted)
        if request.range_end not in (b"", b"\0") and request.range_end <= (request.key or b"\0"):
            assert pair.wait_lost() is WatchLost.REFUSED
        elif pair.start < self.compacted:
            assert pair.wait_lost() is WatchLost.COMPACTED
        else:
            self.watches.append(pair)

    @precondition(lambda self: self.watches)
    @rule(number=st.integers(0, _ENOUGH_WATCHES - 1))
    def cancel(self, number: int) -> None:
        type(self).counts["cancel"] += 1
        self.settle()
        self.watches.pop(number % len(self.watches)).cancel()

    @rule()
    def compare_watches(self) -> None:
        self.settle()

    def change_what_it_sees(self, watch: Pair) -> None:
        key = watch.request.key or b"\0"
        self.same("put", lambda side: side.clients[0].put(PutRequest(key)))
        self.same("delete", lambda side: side.clients[1].delete_range(DeleteRequest(key)))

    # the end ---------------------------------------------------------------------------------------------------------

    def compare_everything(self) -> None:
        """Compare each revision, each lease, and each watch once more after a change that it must show."""
        self.over = True
        for watch in self.watches:
            for _ in range(2 if watch.start > self.newest else 1):  # a watch from the future starts late
                self.change_what_it_sees(watch)
        self.settle()
        for name in (*CHOSEN, *self.lease_names):
            self.same("time to live", lambda side, name=name: self.lease_status(side, name, keys=True))
        self.list_leases(1)
        for revision in range(max(self.compacted, self.base), self.newest + 1):
            request = RangeRequest(b"\0", b"\0", revision=revision)
            self.same("range", lambda side, request=request: side.clients[0].range(side.outward(request)), request)

    def teardown(self) -> None:
        try:
            if not self.differs:
                self.compare_everything()
        finally:
            for watch in self.watches:
                watch.cancel()
            for journal in self.journals:
                journal.cancel()
            for client in self.sides[0].clients:
                client.close()
            drop_memory(self.name)
