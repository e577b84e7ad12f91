"""Status, alarms, defragmentation, checksums and backups of the members of an etcd cluster."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from django_etcdaero.exceptions import (
    ClusterError,
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)
from django_etcdaero.keyvalue.administration import (
    Alarm,
    AlarmType,
    Backup,
    EndpointHealth,
    EndpointState,
    EndpointStatus,
    HashKV,
    Maintenance,
    MemberStatus,
    SnapshotProgress,
)
from django_etcdaero.keyvalue.etcd.connection.address import parse_client_url, parse_endpoint
from django_etcdaero.keyvalue.etcd.connection.balancer import Balancer
from django_etcdaero.keyvalue.etcd.connection.waiting import InThread
from django_etcdaero.keyvalue.etcd.messages.arguments import check_int
from django_etcdaero.keyvalue.etcd.messages.classes import rpc
from django_etcdaero.stores.endpoint import Endpoint
from django_etcdaero.system.pool import Pool
from django_etcdaero.system.twins import twins

from .cluster import LIST_MEMBERS, checked_id
from .member_calls import Ask, MemberCalls
from .questions import Answer
from .snapshot import SnapshotFile

_STATUS = ("Status", rpc.StatusRequest())
_SNAPSHOT = ("Snapshot", rpc.SnapshotRequest())
_LINEARIZABLE_READ = ("Range", rpc.RangeRequest(key=b"health", keys_only=True))
"""The key that ``etcdctl endpoint health`` reads; a user without permission for it has proved as much."""


class EtcdMaintenance(Maintenance):
    """The service ``Maintenance``; most of it is about the one member that is asked."""

    def __init__(
        self,
        ask: Ask,
        member_calls: MemberCalls,
        balancer: Balancer,
        *,
        threads: Callable[[], Pool],
        deadline: Callable[[float | None], float],
        timeout: float,
        encrypted: bool,
    ) -> None:
        """``deadline(timeout)`` returns when a call must end that begins now, or raises because none may begin.

        ``timeout`` (seconds) is the default. ``threads`` returns those that write files for event loops.
        """
        self._ask = ask
        self._member_calls = member_calls
        self._balancer = balancer
        self._threads = threads
        self._deadline = deadline
        self._timeout = timeout
        self._encrypted = encrypted

    # how they do -----------------------------------------------------------------------------------------------------

    def endpoints(self) -> tuple[EndpointState, ...]:
        return self._balancer.states()

    async def _health(self, *, timeout: float | None = None) -> tuple[EndpointHealth, ...]:
        questions = [_STATUS, _LINEARIZABLE_READ]
        answers = await self._ask_all(self._balancer.endpoints, questions, self._deadline(timeout))
        for found in answers.values():
            for answer in found:
                if isinstance(answer.error, Unauthenticated):
                    raise answer.error
        return tuple(_health(endpoint, *answers[endpoint]) for endpoint in sorted(answers, key=str))

    health, ahealth = twins(_health)

    async def _statuses(self, *, timeout: float | None = None) -> tuple[EndpointStatus, ...]:
        answers = await self._ask_all(self._balancer.endpoints, [_STATUS], self._deadline(timeout))
        return tuple(_endpoint_status(endpoint, answers[endpoint][0]) for endpoint in sorted(answers, key=str))

    statuses, astatuses = twins(_statuses)

    async def _status(self, endpoint: str | None = None, *, timeout: float | None = None) -> MemberStatus:
        deadline = self._deadline(timeout)
        chosen = self._balancer.endpoints if endpoint is None else (parse_endpoint(endpoint),)
        for number, each in enumerate(chosen, 1):
            now = time.monotonic()
            share = max(0.0, deadline - now) / (len(chosen) - number + 1)
            try:
                return _status(each, await self._ask_one(each, *_STATUS, deadline=now + share, repeat=True))
            except (ClusterError, DeadlineExceeded):
                if number == len(chosen):
                    raise
        raise AssertionError("there is no endpoint")

    status, astatus = twins(_status)

    # alarms ----------------------------------------------------------------------------------------------------------

    async def _alarms(self, *, timeout: float | None = None) -> tuple[Alarm, ...]:
        answer = await self._ask("Alarm", rpc.AlarmRequest(action="GET"), timeout, repeat=True)
        return tuple(Alarm(found.memberID, AlarmType(found.alarm)) for found in answer.alarms)

    alarms, aalarms = twins(_alarms)

    async def _disarm(self, alarm: Alarm | None = None, *, timeout: float | None = None) -> tuple[Alarm, ...]:
        deadline = self._deadline(timeout)
        raised = await self._alarms(timeout=timeout)
        wanted = tuple(found for found in raised if alarm is None or found == alarm)
        for found in wanted:
            message = rpc.AlarmRequest(action="DEACTIVATE", memberID=found.member_id, alarm=found.type)
            await self._ask("Alarm", message, deadline - time.monotonic(), repeat=False)
        return wanted

    disarm, adisarm = twins(_disarm)

    # members ---------------------------------------------------------------------------------------------------------

    async def _defragment(self, endpoint: str, *, timeout: float = 120.0) -> None:
        deadline = self._deadline(timeout)
        chosen = parse_endpoint(endpoint)
        # A member that is not there is to be told of sooner than after all the time that the work may take.
        soon = min(deadline, time.monotonic() + self._timeout)
        await self._ask_one(chosen, *_STATUS, deadline=soon, repeat=True)
        await self._ask_one(chosen, "Defragment", rpc.DefragmentRequest(), deadline=deadline, repeat=False)

    defragment, adefragment = twins(_defragment)

    async def _hash_kv(self, endpoint: str, *, revision: int = 0, timeout: float | None = None) -> HashKV:
        check_int("revision", revision)
        chosen = parse_endpoint(endpoint)
        message = rpc.HashKVRequest(revision=revision)
        answer = await self._ask_one(chosen, "HashKV", message, deadline=self._deadline(timeout), repeat=True)
        return HashKV(str(chosen), answer.header.member_id, answer.hash, answer.compact_revision)

    hash_kv, ahash_kv = twins(_hash_kv)

    async def _move_leader(self, member_id: int, *, timeout: float | None = None) -> None:
        deadline = self._deadline(timeout)
        message = rpc.MoveLeaderRequest(targetID=checked_id(member_id))
        leader = await self._leader(member_id, deadline)
        await self._ask_one(leader, "MoveLeader", message, deadline=deadline, repeat=False)

    move_leader, amove_leader = twins(_move_leader)

    async def _snapshot(
        self,
        path: str | os.PathLike[str],
        *,
        endpoint: str | None = None,
        progress: SnapshotProgress | None = None,
        timeout: float = 600.0,
    ) -> Backup:
        deadline = self._deadline(timeout)
        chosen = self._balancer.endpoints if endpoint is None else (parse_endpoint(endpoint),)
        errors: dict[str, str] = {}
        with SnapshotFile(Path(path), progress) as file:
            for each in chosen:
                file.begin()
                try:
                    await self._member_calls.receive(each, *_SNAPSHOT, file.take, deadline=deadline)
                except ClusterError as error:
                    errors |= error.errors
                else:
                    return await InThread(self._threads, partial(file.finish, str(each)), self._timeout)
        raise ClusterError(f"Snapshot: no endpoint could answer: {errors}", errors)

    snapshot, asnapshot = twins(_snapshot)

    # ------------------------------------------------------------------------------------------------------------------

    async def _ask_one(self, endpoint: Endpoint, method: str, message: Any, *, deadline: float, repeat: bool) -> Any:
        return await self._member_calls.ask(endpoint, method, message, deadline=deadline, repeat=repeat)

    async def _ask_all(
        self, endpoints: Sequence[Endpoint], questions: Sequence[tuple[str, Any]], deadline: float
    ) -> dict[Endpoint, list[Answer]]:
        return await self._member_calls.ask_all(endpoints, questions, deadline=deadline)

    async def _leader(self, target: int, deadline: float) -> Endpoint:
        """Return where the leader is: at one of the endpoints that are known, else where its client URLs say."""
        listing = await self._ask("MemberList", LIST_MEMBERS, deadline - time.monotonic(), repeat=True)
        members = listing.members
        if all(target != member.ID for member in members):
            raise NotFound(f"member {target:x} not found")
        advertised = (
            parse_client_url(url, encrypted=self._encrypted) for member in members for url in member.clientURLs
        )
        known = self._balancer.endpoints
        candidates = dict.fromkeys([*known, *(endpoint for endpoint in advertised if endpoint is not None)])
        # Half of the time: one of them may be frozen, and the leader is still to be asked.
        now = time.monotonic()
        answers = await self._ask_all(list(candidates), [_STATUS], now + (deadline - now) / 2)
        for endpoint, (answer,) in answers.items():
            if answer.error is None and answer.value.leader == answer.value.header.member_id:
                return endpoint
        raise FailedPrecondition("no member says that it is the leader")


def _status(endpoint: Endpoint, answer: Any) -> MemberStatus:
    return MemberStatus(
        endpoint=str(endpoint),
        member_id=answer.header.member_id,
        cluster_id=answer.header.cluster_id,
        version=answer.version,
        leader=answer.leader,
        is_learner=answer.isLearner,
        revision=answer.header.revision,
        db_size=answer.dbSize,
        db_size_in_use=answer.dbSizeInUse,
        raft_term=answer.raftTerm,
        raft_index=answer.raftIndex,
        raft_applied_index=answer.raftAppliedIndex,
        errors=tuple(answer.errors),
    )


def _endpoint_status(endpoint: Endpoint, answer: Answer) -> EndpointStatus:
    if answer.error is not None:
        return EndpointStatus(str(endpoint), None, str(answer.error))
    return EndpointStatus(str(endpoint), _status(endpoint, answer.value), "")


def _health(endpoint: Endpoint, status: Answer, read: Answer) -> EndpointHealth:
    serves = read.error is None or isinstance(read.error, PermissionDenied)
    learner = status.error is None and status.value.isLearner
    if status.error is not None:
        error = str(status.error)
    elif not serves and not learner:
        error = "; ".join([*status.value.errors, str(read.error)])
    else:
        error = "; ".join(status.value.errors)
    return EndpointHealth(
        endpoint=str(endpoint),
        reachable=status.error is None or serves,
        has_leader=serves or (status.error is None and status.value.leader != 0),
        serves_reads=serves,
        is_learner=learner,
        latency=read.seconds if serves else None,
        error=error,
    )
