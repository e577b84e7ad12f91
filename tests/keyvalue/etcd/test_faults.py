"""What a status means: for the next try, and for the caller. Pure decisions, over texts that etcd servers send."""

from __future__ import annotations

import pytest
from grpc import StatusCode

from django_etcdaero.exceptions import (
    AlreadyExists,
    ClusterError,
    Compacted,
    DeadlineExceeded,
    EtcdAeroError,
    FailedPrecondition,
    FutureRevision,
    InvalidRequest,
    KeyNotFound,
    LeaseExists,
    LeaseNotFound,
    NotFound,
    NotSupported,
    PermissionDenied,
    ResponseError,
    StoreBusy,
    StoreFull,
    Unauthenticated,
)
from django_etcdaero.keyvalue.etcd.messages.faults import CallFault, classify, describe, translate, unanswered


@pytest.mark.parametrize(
    ("code", "details", "fault"),
    [
        (StatusCode.UNAVAILABLE, "failed to connect to all addresses; last error: refused", CallFault.UNCONNECTED),
        (StatusCode.UNAVAILABLE, "DNS resolution failed for etcd:2379", CallFault.UNCONNECTED),
        (StatusCode.UNAVAILABLE, "etcdserver: no leader", CallFault.UNSENT),
        (StatusCode.UNAVAILABLE, "Socket closed", CallFault.LOST),
        (StatusCode.UNAVAILABLE, "etcdserver: request timed out", CallFault.LOST),
        (StatusCode.UNAVAILABLE, "etcdserver: leader changed", CallFault.LOST),
        (StatusCode.UNAVAILABLE, "", CallFault.LOST),
        (StatusCode.UNKNOWN, "Stream removed", CallFault.LOST),
        (StatusCode.INTERNAL, "Received RST_STREAM with error code 2", CallFault.LOST),
        (StatusCode.CANCELLED, "Channel closed!", CallFault.LOST),
        (StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", CallFault.LATE),
        (StatusCode.UNKNOWN, "context deadline exceeded", CallFault.LATE),
        (StatusCode.UNAUTHENTICATED, "etcdserver: invalid auth token", CallFault.TOKEN),
        (StatusCode.INVALID_ARGUMENT, "etcdserver: revision of auth store is old", CallFault.TOKEN),
        (StatusCode.INVALID_ARGUMENT, "etcdserver: user name is empty", CallFault.TOKEN),
        (StatusCode.RESOURCE_EXHAUSTED, "etcdserver: too many requests", CallFault.BUSY),
        (StatusCode.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", CallFault.ANSWERED),
        (StatusCode.PERMISSION_DENIED, "etcdserver: permission denied", CallFault.ANSWERED),
        (StatusCode.UNAVAILABLE, "etcdserver: unhealthy cluster", CallFault.ANSWERED),
        (
            StatusCode.UNKNOWN,
            "etcdserver: re-configuration failed due to not enough started members",
            CallFault.ANSWERED,
        ),
        (StatusCode.UNKNOWN, "auth: permission denied", CallFault.ANSWERED),
        (
            StatusCode.UNKNOWN,
            "auth: authentication failed, password was given for no password user",
            CallFault.ANSWERED,
        ),
        (StatusCode.UNAVAILABLE, "etcdserver: rpc not supported for learner", CallFault.UNSENT),
        (StatusCode.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted", CallFault.ANSWERED),
    ],
)
def test_what_a_status_means_for_the_next_try(code: StatusCode, details: str, fault: CallFault) -> None:
    assert classify(code, details) is fault


@pytest.mark.parametrize(
    ("code", "details", "error"),
    [
        (StatusCode.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted", Compacted),
        (StatusCode.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision", FutureRevision),
        (StatusCode.OUT_OF_RANGE, "etcdserver: too large lease TTL", InvalidRequest),
        (StatusCode.INVALID_ARGUMENT, "etcdserver: key not found", KeyNotFound),
        (StatusCode.INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request", InvalidRequest),
        (StatusCode.NOT_FOUND, "etcdserver: requested lease not found", LeaseNotFound),
        (StatusCode.FAILED_PRECONDITION, "etcdserver: lease already exists", LeaseExists),
        (StatusCode.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", StoreFull),
        (StatusCode.RESOURCE_EXHAUSTED, "etcdserver: too many requests", StoreBusy),
        (StatusCode.RESOURCE_EXHAUSTED, "grpc: received message larger than max (3 vs. 2)", InvalidRequest),
        (StatusCode.PERMISSION_DENIED, "etcdserver: permission denied", PermissionDenied),
        (StatusCode.UNAUTHENTICATED, "etcdserver: invalid auth token", Unauthenticated),
        (
            StatusCode.INVALID_ARGUMENT,
            "etcdserver: authentication failed, invalid user ID or password",
            Unauthenticated,
        ),
        (StatusCode.UNIMPLEMENTED, "unknown service", NotSupported),
        (StatusCode.FAILED_PRECONDITION, "etcdserver: user name already exists", AlreadyExists),
        (StatusCode.FAILED_PRECONDITION, "etcdserver: role name not found", NotFound),
        (StatusCode.NOT_FOUND, "etcdserver: member not found", NotFound),
        (StatusCode.FAILED_PRECONDITION, "etcdserver: role is not granted to the user", NotFound),
        (StatusCode.FAILED_PRECONDITION, "etcdserver: root user does not exist", FailedPrecondition),
        (StatusCode.UNAVAILABLE, "etcdserver: unhealthy cluster", FailedPrecondition),
        (
            StatusCode.UNKNOWN,
            "etcdserver: re-configuration failed due to not enough started members",
            FailedPrecondition,
        ),
        (StatusCode.UNKNOWN, "auth: permission denied", PermissionDenied),
        (StatusCode.DATA_LOSS, "etcdserver: corrupt cluster", ResponseError),
    ],
)
def test_which_error_a_refusal_is(code: StatusCode, details: str, error: type[EtcdAeroError]) -> None:
    found = translate(code, details)
    assert type(found) is error
    assert details.removeprefix("etcdserver: ") in str(found)


def test_descriptions_are_short_and_never_empty() -> None:
    assert describe(StatusCode.UNAVAILABLE, "x" * 1000) == "UNAVAILABLE: " + "x" * 300
    assert describe(None, "") == "no details"


FROZEN = (
    "DEADLINE_EXCEEDED: Deadline Exceeded",
    "UNAVAILABLE: failed to connect to all addresses; connection attempt timed out before receiving SETTINGS frame",
    "UNAVAILABLE: keepalive watchdog timeout",
    "UNAVAILABLE: ping timeout",
)
"""What gRPC says of a server that is stopped: with a connection, while it makes one, and when it gives one up."""
DEAD = (
    "UNAVAILABLE: failed to connect to all addresses; Failed to connect to remote host: Connection refused (111)",
    "UNAVAILABLE: DNS resolution failed for nope:2379",
)


@pytest.mark.parametrize("text", FROZEN)
def test_a_server_that_is_silent_is_a_timeout_however_that_shows(text: str) -> None:
    error = unanswered("Range", {"10.0.0.1:2379": text})
    assert isinstance(error, TimeoutError)
    assert isinstance(error, ClusterError)
    assert isinstance(unanswered("Range", {"10.0.0.2:2379": DEAD[0], "10.0.0.1:2379": text}), DeadlineExceeded)


def test_servers_that_cannot_be_reached_are_no_timeout() -> None:
    error = unanswered("Range", dict(enumerate(DEAD)))  # type: ignore[arg-type]
    assert type(error) is ClusterError
    assert error.code == "UNAVAILABLE"
