"""Status, alarms, defragmentation, checksums and backups of the members of an etcd cluster."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing
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
    EndpointHealth,
    EndpointState,
    EndpointStatus,
    HashKV,
    Maintenance,
    MemberStatus,
    Snapshot,
    SnapshotProgress,
)
from django_etcdaero.keyvalue.etcd.connection.address import parse_client_url, parse_endpoint
from django_etcdaero.keyvalue.etcd.connection.balancer import Balancer
from django_etcdaero.keyvalue.etcd.messages.arguments import check_int
from django_etcdaero.keyvalue.etcd.messages.classes import rpc
from django_etcdaero.stores.endpoint import Endpoint

from .cluster import EtcdCluster, checked_id
from .direct import Answer, Call, Direct
from .snapshot import SnapshotFile

_STATUS = ("Status", rpc.StatusRequest())
_LINEARIZABLE_READ = ("Range", rpc.RangeRequest(key=b"health", keys_only=True))
"""The key that ``etcdctl endpoint health`` reads; a user without permission for it has proved as much."""


class EtcdMaintenance(Maintenance):
    """The service ``Maintenance``; most of it is about the one member that is asked."""

    def __init__(
        self, call: Call, direct: Callable[[], Direct], balancer: Balancer, *, timeout: float, encrypted: bool
    ) -> None:
        """``direct`` returns the way to particular members, or raises because the engine may not be used any more."""
        self._call = call
        self._direct = direct
        self._balancer = balancer
        self._timeout = timeout
        self._encrypted = encrypted

    # how they do -----------------------------------------------------------------------------------------------------

    def endpoints(self) -> tuple[EndpointState, ...]:
        return self._balancer.states()

    def health(self, *, timeout: float | None = None) -> tuple[EndpointHealth, ...]:
        answers = self._direct().ask(
            self._balancer.endpoints, [_STATUS, _LINEARIZABLE_READ], timeout=self._seconds(timeout)
        )
        for found in answers.values():
            for answer in found:
                if isinstance(answer.error, Unauthenticated):
                    raise answer.error
        return tuple(_health(endpoint, *answers[endpoint]) for endpoint in sorted(answers, key=str))

    def statuses(self, *, timeout: float | None = None) -> tuple[EndpointStatus, ...]:
        answers = self._direct().ask(self._balancer.endpoints, [_STATUS], timeout=self._seconds(timeout))
        return tuple(_endpoint_status(endpoint, answers[endpoint][0]) for endpoint in sorted(answers, key=str))

    def status(self, endpoint: str | None = None, *, timeout: float | None = None) -> MemberStatus:
        deadline = time.monotonic() + self._seconds(timeout)
        chosen = self._balancer.endpoints if endpoint is None else (parse_endpoint(endpoint),)
        for number, each in enumerate(chosen, 1):
            share = max(0.0, deadline - time.monotonic()) / (len(chosen) - number + 1)
            try:
                return _status(each, self._run(each, *_STATUS, timeout=share, repeat=True))
            except (ClusterError, DeadlineExceeded):
                if number == len(chosen):
                    raise
        raise AssertionError("there is no endpoint")

    # alarms ----------------------------------------------------------------------------------------------------------

    def alarms(self, *, timeout: float | None = None) -> tuple[Alarm, ...]:
        answer = self._call("Alarm", rpc.AlarmRequest(action="GET"), timeout, repeat=True)
        return tuple(Alarm(found.memberID, AlarmType(found.alarm)) for found in answer.alarms)

    def disarm(self, alarm: Alarm | None = None, *, timeout: float | None = None) -> tuple[Alarm, ...]:
        deadline = time.monotonic() + self._seconds(timeout)
        raised = self.alarms(timeout=timeout)
        wanted = tuple(found for found in raised if alarm is None or found == alarm)
        for found in wanted:
            message = rpc.AlarmRequest(action="DEACTIVATE", memberID=found.member_id, alarm=found.type)
            self._call("Alarm", message, deadline - time.monotonic(), repeat=False)
        return wanted

    # members ---------------------------------------------------------------------------------------------------------

    def defragment(self, endpoint: str, *, timeout: float = 120.0) -> None:
        deadline = time.monotonic() + timeout
        chosen = parse_endpoint(endpoint)
        # A member that is not there is to be told of sooner than after all the time that the work may take.
        self._run(chosen, *_STATUS, timeout=min(timeout, self._timeout), repeat=True)
        left = max(0.0, deadline - time.monotonic())
        self._run(chosen, "Defragment", rpc.DefragmentRequest(), timeout=left, repeat=False)

    def hash_kv(self, endpoint: str, *, revision: int = 0, timeout: float | None = None) -> HashKV:
        check_int("revision", revision)
        chosen = parse_endpoint(endpoint)
        message = rpc.HashKVRequest(revision=revision)
        answer = self._run(chosen, "HashKV", message, timeout=self._seconds(timeout), repeat=True)
        return HashKV(str(chosen), answer.header.member_id, answer.hash, answer.compact_revision)

    def move_leader(self, member_id: int, *, timeout: float | None = None) -> None:
        deadline = time.monotonic() + self._seconds(timeout)
        message = rpc.MoveLeaderRequest(targetID=checked_id(member_id))
        leader = self._leader(member_id, deadline)
        self._run(leader, "MoveLeader", message, timeout=deadline - time.monotonic(), repeat=False)

    def snapshot(
        self,
        path: str | os.PathLike[str],
        *,
        endpoint: str | None = None,
        progress: SnapshotProgress | None = None,
        timeout: float = 600.0,
    ) -> Snapshot:
        deadline = time.monotonic() + timeout
        chosen = self._balancer.endpoints if endpoint is None else (parse_endpoint(endpoint),)
        errors: dict[str, str] = {}
        with SnapshotFile(Path(path), progress) as file:
            for each in chosen:
                file.begin()
                try:
                    with closing(self._parts(each, deadline)) as parts:
                        for part in parts:
                            file.add(part.blob, part.remaining_bytes)
                except ClusterError as error:
                    errors |= error.errors
                else:
                    return file.finish(str(each))
        raise ClusterError(f"Snapshot: no endpoint could answer: {errors}", errors)

    # ------------------------------------------------------------------------------------------------------------------

    def _seconds(self, timeout: float | None) -> float:
        return self._timeout if timeout is None else timeout

    def _run(self, endpoint: Endpoint, method: str, message: Any, *, timeout: float, repeat: bool) -> Any:
        return self._direct().run(endpoint, method, message, timeout=timeout, repeat=repeat)

    def _parts(self, endpoint: Endpoint, deadline: float) -> Any:
        return self._direct().stream(endpoint, "Snapshot", rpc.SnapshotRequest(), deadline=deadline)

    def _leader(self, target: int, deadline: float) -> Endpoint:
        """Return where the leader is: at one of the endpoints that are known, else where its client URLs say."""
        members = EtcdCluster(self._call).members(timeout=deadline - time.monotonic())
        if all(member.id != target for member in members):
            raise NotFound(f"member {target:x} not found")
        known = self._balancer.endpoints
        advertised = (
            parse_client_url(url, encrypted=self._encrypted) for member in members for url in member.client_urls
        )
        candidates = dict.fromkeys([*known, *(endpoint for endpoint in advertised if endpoint is not None)])
        # Half of the time: one of them may be frozen, and the leader is still to be asked.
        patience = (deadline - time.monotonic()) / 2
        for endpoint, (answer,) in self._direct().ask(list(candidates), [_STATUS], timeout=patience).items():
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
