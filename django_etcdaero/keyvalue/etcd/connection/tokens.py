"""Logging in: the token that each call carries when there is a user and a password."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import grpc

from django_etcdaero.exceptions import DeadlineExceeded
from django_etcdaero.keyvalue.etcd.messages.calling import Unanswered
from django_etcdaero.keyvalue.etcd.messages.classes import Metadata, rpc
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.steps import Step
from django_etcdaero.system.turns import Claim, Turn

from .gate import Enter, Entry, Send
from .member import MemberClient

_UNANSWERED = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)

_LEADER = (("hasleader", "true"),)
"""Makes a member that has lost the cluster refuse at once instead of keeping us waiting."""

_GRACE = 1.0
"""Seconds after its deadline in which a login has ended, unless something is very wrong."""

_POLL = 0.005
"""Seconds between two looks of a task at whether another one has logged in."""


class _Login:
    """Logging in to one member, which one caller does at a time."""

    __slots__ = ("code", "details", "failed", "turn")

    def __init__(self) -> None:
        self.turn = Turn()
        self.failed = -math.inf
        """When the member last gave no answer, by ``time.monotonic``; what gRPC said then is ``code`` and ``details``.

        Not its exception, which would keep the member's client alive, and its channel over forks.
        """
        self.code: Any = None
        self.details = ""


class _TakeTurn(Step[bool]):
    """Wait for the turn to log in; the answer is whether it was taken."""

    __slots__ = ("_claim", "_deadline", "_turn")

    def __init__(self, turn: Turn, claim: Claim, deadline: float) -> None:
        self._turn = turn
        self._claim = claim
        self._deadline = deadline

    def block(self) -> bool:
        if self._turn.take(self._claim):
            return True
        holder = self._turn.holder
        if holder is not None and holder.thread == self._claim.thread:
            return False  # a task of this thread's event loop has it, and cannot go on while this waits for it
        if not self._turn.wait(self._claim, self._deadline - monotonic()):
            raise self._late()
        return True

    async def suspend(self) -> bool:
        while not self._turn.take(self._claim):
            if monotonic() >= self._deadline:
                raise self._late()
            await asyncio.sleep(_POLL)
        return True

    def _late(self) -> DeadlineExceeded:
        return DeadlineExceeded("another caller is logging in and gets no answer")


class Tokens:
    """The token of one user, shared by all calls and all members, and renewed once for all who find it stale."""

    def __init__(self, user: str | None, password: str | None) -> None:
        self.user = user
        self.needed = user is not None
        """There is a user to log in."""
        self._request: Callable[[], Any] = lambda: rpc.AuthenticateRequest(name=user, password=password)
        self._lock = threading.Lock()
        self._logins: WeakKeyDictionary[MemberClient, _Login] = WeakKeyDictionary()
        self.current: str | None = None
        """The token; ``None`` before the first log-in, empty where the server asks for none."""
        self.metadata: Mapping[bool, Metadata] = {False: (), True: _LEADER}
        """What a call carries along; ``True``: one that is to fail where there is no leader."""
        self.unanswered = 0
        """How many requests with this token in a row have got no answer in time."""

    async def renew(
        self, entry: Entry, stale: str | None, member: MemberClient, deadline: float, *, since: float = math.inf
    ) -> None:
        """Log in to ``member``, unless somebody has replaced the token ``stale`` already. A protocol.

        Only those who want the same member wait for each other. Who has another one to turn to says ``since`` when (by
        ``time.monotonic``) it wants this one: if the member gave somebody no answer after that, it is not asked again.
        The caller is inside the gate by ``entry``, before and after.

        Raises ``grpc.RpcError``, ``ChannelClosed`` and ``DeadlineExceeded``.
        """
        with self._lock:
            login = self._logins.setdefault(member, _Login())
        claim = Claim(max(0.0, deadline - monotonic()) + _GRACE)
        try:
            await _TakeTurn(login.turn, claim, deadline)
            if login.failed >= since:
                raise Unanswered(login.code, login.details)  # as it came to somebody else
            if self.current == stale:
                try:
                    token = await self._log_in(entry, member, deadline)
                except grpc.RpcError as error:
                    if error.code() in _UNANSWERED:
                        login.code, login.details = error.code(), error.details() or ""
                        login.failed = monotonic()
                    raise
                carried: Metadata = (("token", token),) if token else ()
                self.metadata = {False: carried, True: carried + _LEADER}
                self.current = token
                self.unanswered = 0
        finally:
            login.turn.give_back(claim)
        if not entry.try_enter():  # an awaited call has left
            await Enter(entry, deadline)

    async def _log_in(self, entry: Entry, member: MemberClient, deadline: float) -> str:
        if not entry.try_enter():
            await Enter(entry, deadline)
        left = max(0.001, deadline - monotonic())
        try:
            answer = await Send(entry, member.calls["Authenticate"], self._request(), left, movable=True)
        except grpc.RpcError as error:
            # A cluster whose authentication is not enabled (yet) needs no token; it tells when it does.
            if "authentication is not enabled" in (error.details() or ""):
                return ""
            raise
        return str(answer.token)
