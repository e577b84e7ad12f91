"""Logging in: the token that each call carries when there is a user and a password."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import grpc

from django_etcdaero.exceptions import DeadlineExceeded
from django_etcdaero.kv.etcd.member import Member
from django_etcdaero.kv.etcd.messages import rpc

Metadata = tuple[tuple[str, str], ...]

_LEADER = (("hasleader", "true"),)
"""Makes a member that has lost the cluster refuse at once instead of keeping us waiting."""


class Tokens:
    """The token of one user, shared by all calls and all members, and renewed once for all who find it stale."""

    def __init__(self, user: str | None, password: str | None) -> None:
        self.needed = user is not None
        """There is a user to log in."""
        self._request: Callable[[], Any] = lambda: rpc.AuthenticateRequest(name=user, password=password)
        self._lock = threading.Lock()
        self._token: str | None = None

    @property
    def current(self) -> str | None:
        """The token; ``None`` before the first log-in, empty where the server asks for none."""
        return self._token

    def metadata(self, *, leader: bool) -> Metadata:
        """Return what a call carries along. ``leader``: it is to fail where there is none."""
        if not self._token:
            return _LEADER if leader else ()
        token = (("token", self._token),)
        return token + _LEADER if leader else token

    def renew(self, stale: str | None, member: Member, deadline: float) -> None:
        """Log in, unless somebody has replaced the token ``stale`` already.

        Raises ``grpc.RpcError`` and ``DeadlineExceeded``.
        """
        if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise DeadlineExceeded("another thread is logging in and gets no answer")
        try:
            if self._token == stale:
                self._token = self._log_in(member, deadline)
        finally:
            self._lock.release()

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
