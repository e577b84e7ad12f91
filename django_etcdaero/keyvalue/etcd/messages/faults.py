"""What went wrong with a call, from the status that gRPC or the server gave.

Two questions are answered apart: whether the request may have been applied, which decides if it can be sent again
(:func:`classify`), and which of our errors tells it to the caller (:func:`translate`). The texts are etcd's own
(``api/v3rpc/rpctypes/error.go``), stable since 3.0; they are the only thing that tells some errors apart.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from grpc import StatusCode

from django_etcdaero import exceptions
from django_etcdaero.exceptions import (
    AlreadyExists,
    ClusterError,
    ClusterTimeout,
    Compacted,
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


class CallFault(enum.Enum):
    """What a failed call means for the next try."""

    ANSWERED = "answered"
    """The server has refused it: the caller's to handle, any member would say the same."""
    UNCONNECTED = "unconnected"
    """There was no connection to send it on: another member may do."""
    UNSENT = "unsent"
    """It was certainly not applied, though the member is there: another one may do."""
    BUSY = "busy"
    """The server turned it away because it has too much to do: later."""
    TOKEN = "token"  # noqa: S105 - a kind of fault
    """The token is missing, too old or unknown: after logging in anew it can be sent again."""
    LATE = "late"
    """No answer within the time of the try; it may have been applied."""
    LOST = "lost"
    """The connection or the cluster failed under it; it may have been applied."""


_LOST_CODES = {
    StatusCode.UNAVAILABLE,
    StatusCode.UNKNOWN,
    StatusCode.INTERNAL,
    StatusCode.CANCELLED,
    StatusCode.ABORTED,
}

_TOKEN_TEXTS = ("invalid auth token", "revision of auth store is old", "user name is empty")

_STRANGER_TEXTS = ("permission denied", "user name not found")

_UNCONNECTED_TEXTS = ("failed to connect to all addresses", "DNS resolution failed")

_UNSENT_TEXTS = ("etcdserver: no leader", "rpc not supported for learner")
"""Our requests demand a leader; a member without one refuses them before it looks at them. So does a learner."""

_REFUSAL_TEXTS = (
    "etcdserver: unhealthy cluster",
    "re-configuration failed due to not enough started members",
    "auth: authentication failed",
    "auth: permission denied",
)
"""Refusals under the code of a lost connection, or none: of changes of members, of a password for a user without one,
of a snapshot for a user who may not have it."""

_BY_TEXT: tuple[tuple[str, type[EtcdAeroError]], ...] = (
    ("has been compacted", Compacted),
    ("required revision is a future revision", FutureRevision),
    ("key not found", KeyNotFound),
    ("requested lease not found", LeaseNotFound),
    ("lease already exists", LeaseExists),
    ("database space exceeded", StoreFull),
    ("too many requests", StoreBusy),
    ("authentication failed", Unauthenticated),
    ("auth: permission denied", PermissionDenied),
    ("user name is empty", Unauthenticated),
    ("revision of auth store is old", Unauthenticated),
    ("already exist", AlreadyExists),
    (" not found", NotFound),
    (" is not granted to ", NotFound),
    ("unhealthy cluster", FailedPrecondition),
    ("not enough started members", FailedPrecondition),
)

_BY_CODE: dict[Any, type[EtcdAeroError]] = {
    StatusCode.INVALID_ARGUMENT: InvalidRequest,
    StatusCode.OUT_OF_RANGE: InvalidRequest,
    StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    StatusCode.PERMISSION_DENIED: PermissionDenied,
    StatusCode.UNAUTHENTICATED: Unauthenticated,
    StatusCode.UNIMPLEMENTED: NotSupported,
}


def classify(code: Any, details: str, *, stranger: bool = False) -> CallFault:
    """Tell what a status means for the next try. A status that proves nothing counts as perhaps applied.

    ``stranger``: there is a user to log in, and the request had no token. A server that asks clients for certificates
    then takes the name in ours for the user, and refuses what that one may not do, or whom it does not know.
    """
    if code is StatusCode.DEADLINE_EXCEEDED or "context deadline exceeded" in details:
        return CallFault.LATE
    if any(text in details for text in _TOKEN_TEXTS):
        return CallFault.TOKEN
    if stranger and any(text in details for text in _STRANGER_TEXTS):
        return CallFault.TOKEN
    if "too many requests" in details:
        return CallFault.BUSY
    if code not in _LOST_CODES or any(text in details for text in _REFUSAL_TEXTS):
        return CallFault.ANSWERED
    if code is StatusCode.UNAVAILABLE:
        if any(text in details for text in _UNCONNECTED_TEXTS):
            return CallFault.UNCONNECTED
        if any(text in details for text in _UNSENT_TEXTS):
            return CallFault.UNSENT
    return CallFault.LOST


_SILENCE = re.compile(r"DEADLINE_EXCEEDED|tim(ed out|e-?out)|no answer", re.IGNORECASE)
"""In gRPC's texts of what went wrong: nothing has come back. Of a server that is frozen the system takes connections,
and it depends on the moment whether it is the call, the connection or the making of one that ends."""


def unanswered(message: str, errors: Mapping[str, str], *, since: datetime | None = None) -> ClusterError:
    """Return the error for a call that no endpoint has answered; ``errors``: what was wrong, as :func:`describe` says.

    It is a ``ClusterTimeout`` if any of them was silent.
    """
    silent = any(map(_SILENCE.search, errors.values()))
    return (ClusterTimeout if silent else ClusterError)(message, errors, since=since)


def status_of(code: Any) -> exceptions.StatusCode | None:
    """Return gRPC's status as one of our own; ``None``: there is none."""
    return exceptions.StatusCode.__members__.get(getattr(code, "name", ""))


def translate(code: Any, details: str) -> EtcdAeroError:
    """Return the error for a refusal, with the server's text and its status."""
    return _refusal(code, details).with_code(status_of(code))


def _refusal(code: Any, details: str) -> EtcdAeroError:
    message = details.removeprefix("etcdserver: ") or f"the server answered {code}"
    if code is StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
        return InvalidRequest(f"request is too large: {message}")
    for text, error in _BY_TEXT:
        if text in details:
            return error(message)
    return _BY_CODE.get(code, ResponseError)(message)


def name_request(refusal: EtcdAeroError, method: str, message: Any, user: str | None) -> EtcdAeroError:
    """Say in a refusal for lack of permission who was refused what; return it, or any other one as it is.

    Of a transaction the first key is named: the server does not tell which one it was.
    """
    if not isinstance(refusal, PermissionDenied):
        return refusal
    key = first_key(message)
    on = "" if key is None else f" of {key!r}"
    by = "nobody" if user is None else f"user {user!r}"
    return PermissionDenied(f"{refusal}: {method}{on} by {by}").with_code(refusal.code)


def first_key(message: Any) -> bytes | None:
    """Return the first key that a request names; ``None``: it names none."""
    return next(_keys(message), None)


def _keys(message: Any) -> Iterator[bytes]:
    fields = message.DESCRIPTOR.fields_by_name
    if "key" in fields:
        yield message.key
    elif "compare" in fields:
        for part in (*message.compare, *message.success, *message.failure):
            kind = part.WhichOneof("request") if "request_put" in part.DESCRIPTOR.fields_by_name else None
            yield from _keys(part if kind is None else getattr(part, kind))


def describe(code: Any, details: str) -> str:
    """Return one line for people about a fault that is no refusal."""
    text = details or "no details"
    return f"{code.name}: {text[:300]}" if isinstance(code, StatusCode) else text[:300]
