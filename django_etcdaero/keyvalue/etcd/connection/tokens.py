"""Logging in: the token that each call carries when there is a user and a password."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import grpc

from django_etcdaero.exceptions import DeadlineExceeded
from django_etcdaero.keyvalue.etcd.messages.classes import rpc

from .member import Member

Metadata = tuple[tuple[str, str], ...]

_UNANSWERED = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)

_LEADER = (("hasleader", "true"),)
"""Makes a member that has lost the cluster refuse at once instead of keeping us waiting."""


class _Login:
    """Logging in to one member, which one thread does at a time."""

    __slots__ = ("code", "details", "failed", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.failed = -math.inf
        """When the member last gave no answer, by ``time.monotonic``; what gRPC said then is ``code`` and ``details``.

        Not its exception, which would keep the member alive, and its channel over forks.
        """
        self.code: Any = None
        self.details = ""


class _Unanswered(grpc.RpcError):  # type: ignore[misc] # gRPC has no types
    """What somebody else's login came to."""

    def __init__(self, code: Any, details: str) -> None:
        super().__init__(details)
        self._code = code
        self._details = details

    def code(self) -> Any:
        return self._code

    def details(self) -> str:
        return self._details


class Tokens:
    """The token of one user, shared by all calls and all members, and renewed once for all who find it stale."""

    def __init__(self, user: str | None, password: str | None) -> None:
        self.user = user
        self.needed = user is not None
        """There is a user to log in."""
        self._request: Callable[[], Any] = lambda: rpc.AuthenticateRequest(name=user, password=password)
        self._lock = threading.Lock()
        self._logins: WeakKeyDictionary[Member, _Login] = WeakKeyDictionary()
        self.current: str | None = None
        """The token; ``None`` before the first log-in, empty where the server asks for none."""
        self.metadata: Mapping[bool, Metadata] = {False: (), True: _LEADER}
        """What a call carries along; ``True``: one that is to fail where there is no leader."""
        self.unanswered = 0
        """How many requests with this token in a row have got no answer in time."""

    def renew(self, stale: str | None, member: Member, deadline: float, *, since: float = math.inf) -> None:
        """Log in to ``member``, unless somebody has replaced the token ``stale`` already.

        Only those who want the same member wait for each other. Who has another one to turn to says ``since`` when (by
        ``time.monotonic``) it wants this one: if the member gave somebody no answer after that, it is not asked again.

        Raises ``grpc.RpcError`` and ``DeadlineExceeded``.
        """
        with self._lock:
            login = self._logins.setdefault(member, _Login())
        if not login.lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise DeadlineExceeded("another thread is logging in and gets no answer")
        try:
            if login.failed >= since:
                raise _Unanswered(login.code, login.details)
            if self.current == stale:
                try:
                    token = self._log_in(member, deadline)
                except grpc.RpcError as error:
                    if error.code() in _UNANSWERED:
                        login.code, login.details = error.code(), error.details() or ""
                        login.failed = time.monotonic()
                    raise
                carried: Metadata = (("token", token),) if token else ()
                self.metadata = {False: carried, True: carried + _LEADER}
                self.current = token
                self.unanswered = 0
        finally:
            login.lock.release()

    def _log_in(self, member: Member, deadline: float) -> str:
        left = max(0.001, deadline - time.monotonic())
        try:
            answer = member.calls["Authenticate"](self._request(), left)
        except grpc.RpcError as error:
            # A cluster whose authentication is not enabled (yet) needs no token; it tells when it does.
            if "authentication is not enabled" in (error.details() or ""):
                return ""
            raise
        return str(answer.token)
