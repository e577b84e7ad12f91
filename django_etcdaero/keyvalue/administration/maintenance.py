"""Status, alarms, defragmentation, checksums and backups of the members of a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from django_etcdaero.exceptions import (
    ClusterError,
    ConfigurationError,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)
from django_etcdaero.keyvalue.arguments import check_choice, check_count, check_function, check_path, check_text
from django_etcdaero.stores.endpoint import Endpoint, parse_endpoint
from django_etcdaero.system.acting import acts
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.pool import InThread, Pool
from django_etcdaero.system.twins import twins

from . import values
from .asking import Answer, Ask, Fields, Members, Question
from .cluster import LIST_MEMBERS, advertised, checked_id
from .snapshot import SnapshotFile

STATUS: Question = ("Status", {})
_LINEARIZABLE_READ: Question = ("Range", {"key": b"health", "keys_only": True})
"""The key that ``etcdctl endpoint health`` reads; a user without permission for it has proved as much."""


class Maintenance:
    """Looking after the members one by one."""

    def __init__(
        self,
        ask: Ask,
        members: Members,
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
        self._members = members
        self._threads = threads
        self._deadline = deadline
        self._timeout = timeout
        self._encrypted = encrypted

    # how they do -----------------------------------------------------------------------------------------------------

    def endpoints(self) -> tuple[values.EndpointState, ...]:
        """Return the endpoints that this engine uses and how it fares with them. Makes no call."""
        return self._members.states()

    async def _health(self, *, timeout: float | None = None) -> tuple[values.EndpointHealth, ...]:
        """Examine all endpoints at the same time; a member that is dead or frozen costs ``timeout``, and no error.

        Raises ``Unauthenticated`` if the user is not accepted.
        """
        questions = [STATUS, _LINEARIZABLE_READ]
        answers = await self._members.ask_all(self._members.endpoints, questions, deadline=self._deadline(timeout))
        for found in answers.values():
            for answer in found:
                if isinstance(answer.error, Unauthenticated):
                    raise answer.error
        return tuple(_health(endpoint, *answers[endpoint]) for endpoint in sorted(answers, key=str))

    health, ahealth = twins(_health)

    async def _statuses(self, *, timeout: float | None = None) -> tuple[values.EndpointStatus, ...]:
        """Return the status of all endpoints, asked at the same time; one that does not answer is no error."""
        answers = await self._members.ask_all(self._members.endpoints, [STATUS], deadline=self._deadline(timeout))
        return tuple(_endpoint_status(endpoint, answers[endpoint][0]) for endpoint in sorted(answers, key=str))

    statuses, astatuses = twins(_statuses)

    async def _status(self, endpoint: str | None = None, *, timeout: float | None = None) -> values.MemberStatus:
        """Return the status of one member, by default of the one in use, or another one if that does not answer."""
        deadline = self._deadline(timeout)
        chosen = self._members.endpoints if endpoint is None else (_endpoint(endpoint),)
        for number, each in enumerate(chosen, 1):
            now = monotonic()
            share = max(0.0, deadline - now) / (len(chosen) - number + 1)
            try:
                return _status(each, await self._members.ask(each, *STATUS, deadline=now + share, repeat=True))
            except (ClusterError, DeadlineExceeded):
                if number == len(chosen):
                    raise
        raise AssertionError("there is no endpoint")

    status, astatus = twins(_status)

    # alarms ----------------------------------------------------------------------------------------------------------

    async def _alarms(self, *, timeout: float | None = None) -> tuple[values.Alarm, ...]:
        """Return the alarms that are raised."""
        answer = await self._ask("Alarm", {"action": "GET"}, timeout, repeat=True)
        return tuple(values.Alarm(found.memberID, values.AlarmType(found.alarm)) for found in answer.alarms)

    alarms, aalarms = twins(_alarms)

    @acts
    async def _arm(self, alarm: values.Alarm, *, timeout: float | None = None) -> None:
        """Raise an alarm for a member, as the member itself does when something is wrong.

        ``NOSPACE`` makes all writes of the whole cluster fail with ``StoreFull`` until it is taken back, ``CORRUPT``
        all reads as well. Raising one that is raised already changes nothing.
        """
        await self._ask("Alarm", _alarm_fields("ACTIVATE", alarm), timeout, repeat=True)

    arm, aarm = twins(_arm)

    @acts
    async def _disarm(
        self, alarm: values.Alarm | None = None, *, timeout: float | None = None
    ) -> tuple[values.Alarm, ...]:
        """Take back one alarm, or all; return those that were raised. Remove the cause first, or they come back."""
        if alarm is not None:
            _alarm_fields("DEACTIVATE", alarm)
        deadline = self._deadline(timeout)
        raised = await self._alarms(timeout=timeout)
        wanted = tuple(found for found in raised if alarm is None or found == alarm)
        for found in wanted:
            await self._ask("Alarm", _alarm_fields("DEACTIVATE", found), deadline - monotonic(), repeat=False)
        return wanted

    disarm, adisarm = twins(_disarm)

    # members ---------------------------------------------------------------------------------------------------------

    async def _defragment(self, endpoint: str, *, timeout: float = 120.0) -> None:
        """Give unused space of a member's file back to its file system. The member serves nobody meanwhile."""
        deadline = self._deadline(timeout)
        chosen = _endpoint(endpoint)
        # A member that is not there is to be told of sooner than after all the time that the work may take.
        soon = min(deadline, monotonic() + self._timeout)
        await self._members.ask(chosen, *STATUS, deadline=soon, repeat=True)
        await self._members.ask(chosen, "Defragment", {}, deadline=deadline, repeat=False)

    defragment, adefragment = twins(_defragment)

    async def _hash_kv(self, endpoint: str, *, revision: int = 0, timeout: float | None = None) -> values.HashKV:
        """Return the checksum of a member's keys up to ``revision`` (0: its latest).

        Raises ``Compacted`` and ``FutureRevision``.
        """
        check_count("revision", revision)
        chosen = _endpoint(endpoint)
        fields = {"revision": revision}
        answer = await self._members.ask(chosen, "HashKV", fields, deadline=self._deadline(timeout), repeat=True)
        return values.HashKV(str(chosen), answer.header.member_id, answer.hash, answer.compact_revision)

    hash_kv, ahash_kv = twins(_hash_kv)

    async def _move_leader(self, member_id: int, *, timeout: float | None = None) -> None:
        """Make another member the leader. Raises ``NotFound``, and ``FailedPrecondition`` if it cannot be one."""
        deadline = self._deadline(timeout)
        fields = {"targetID": checked_id(member_id)}
        leader = await self._leader(member_id, deadline)
        await self._members.ask(leader, "MoveLeader", fields, deadline=deadline, repeat=False)

    move_leader, amove_leader = twins(_move_leader)

    async def _snapshot(
        self,
        path: str | os.PathLike[str],
        *,
        endpoint: str | None = None,
        progress: values.SnapshotProgress | None = None,
        timeout: float = 600.0,
    ) -> values.Backup:
        """Write a backup of the whole store into the file ``path``, for ``etcdctl snapshot restore``.

        It is written beside ``path`` first, readable by its owner only, verified with the checksum that the server
        sends at the end, made durable, and then put in its place, where it replaces a former one: what is at ``path``
        is always whole. Without ``endpoint`` it is taken from the member in use, or another one if that fails; then
        ``progress`` begins anew. For event loops another thread calls ``progress``.

        Raises ``ResponseError`` for a checksum that does not fit, and ``OSError`` if the file cannot be written.
        """
        target = check_path("path", path)
        if progress is not None:
            check_function("progress", progress)
        deadline = self._deadline(timeout)
        chosen = self._members.endpoints if endpoint is None else (_endpoint(endpoint),)
        errors: dict[str, str] = {}
        with SnapshotFile(target, progress) as file:
            for each in chosen:
                file.begin()
                try:
                    await self._members.receive(each, "Snapshot", file.take, deadline=deadline)
                except ClusterError as error:
                    errors |= error.errors
                else:
                    return await InThread(self._threads, partial(file.finish, str(each)), self._timeout)
        raise ClusterError(f"Snapshot: no endpoint could answer: {errors}", errors)

    snapshot, asnapshot = twins(_snapshot)

    # ------------------------------------------------------------------------------------------------------------------

    async def _leader(self, target: int, deadline: float) -> Endpoint:
        """Return where the leader is: at one of the endpoints that are known, else where its client URLs say."""
        listing = await self._ask(*LIST_MEMBERS, deadline - monotonic(), repeat=True)
        members = listing.members
        if all(target != member.ID for member in members):
            raise NotFound(f"member {target:x} not found")
        candidates = dict.fromkeys([*self._members.endpoints, *advertised(members, encrypted=self._encrypted)])
        # Half of the time: one of them may be frozen, and the leader is still to be asked.
        now = monotonic()
        answers = await self._members.ask_all(list(candidates), [STATUS], deadline=now + (deadline - now) / 2)
        for endpoint, (answer,) in answers.items():
            if answer.error is None and answer.value.leader == answer.value.header.member_id:
                return endpoint
        raise FailedPrecondition("no member says that it is the leader")


def _alarm_fields(action: str, alarm: object) -> Fields:
    if not isinstance(alarm, values.Alarm):
        raise InvalidRequest(f"alarm must be an Alarm, as alarms() returns them, not {alarm!r}")
    kind = check_choice("alarm.type", alarm.type, values.AlarmType)
    return {"action": action, "memberID": checked_id(alarm.member_id, name="alarm.member_id"), "alarm": kind}


def _endpoint(text: str) -> Endpoint:
    """Read ``host:port``, or the same as a URL. Raises ``InvalidRequest``."""
    check_text("endpoint", text)
    try:
        return parse_endpoint(text.rpartition("://")[2].rstrip("/"))
    except ConfigurationError as error:
        raise InvalidRequest(f"endpoint {text!r}: {error}") from None


def _status(endpoint: Endpoint, answer: Any) -> values.MemberStatus:
    return values.MemberStatus(
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
        db_size_quota=answer.dbSizeQuota,
    )


def _endpoint_status(endpoint: Endpoint, answer: Answer) -> values.EndpointStatus:
    if answer.error is not None:
        return values.EndpointStatus(str(endpoint), None, str(answer.error))
    return values.EndpointStatus(str(endpoint), _status(endpoint, answer.value), "")


def _health(endpoint: Endpoint, status: Answer, read: Answer) -> values.EndpointHealth:
    serves = read.error is None or isinstance(read.error, PermissionDenied)
    learner = status.error is None and status.value.isLearner
    if status.error is not None:
        error = str(status.error)
    elif not serves and not learner:
        error = "; ".join([*status.value.errors, str(read.error)])
    else:
        error = "; ".join(status.value.errors)
    return values.EndpointHealth(
        endpoint=str(endpoint),
        reachable=status.error is None or serves,
        has_leader=serves or (status.error is None and status.value.leader != 0),
        serves_reads=serves,
        is_learner=learner,
        latency=read.seconds if serves else None,
        error=error,
    )
