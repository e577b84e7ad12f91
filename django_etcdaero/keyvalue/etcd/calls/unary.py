"""Unary calls: tried on one member after the other until one answers, the time is over, or repeating could do harm.

A call that may be repeated (a read; anything whose second time changes nothing more) is tried again after every fault,
and each try has a time of its own, so that a member which hangs does not take the time of the whole call. A call that
must not be repeated is tried again only if the try was certainly not applied; its one real try may take all the time
there is, because an answer is worth more than an early ``OutcomeUnknown``. The login before it is like a read.
"""

from __future__ import annotations

from typing import Any

import grpc

from django_etcdaero.exceptions import ClusterError, DeadlineExceeded, EtcdAeroError, OutcomeUnknown
from django_etcdaero.keyvalue.etcd.connection.balancer import Balancer, Choice
from django_etcdaero.keyvalue.etcd.connection.gate import Enter, Entry, Gate, Send
from django_etcdaero.keyvalue.etcd.connection.member import MemberClient
from django_etcdaero.keyvalue.etcd.connection.tokens import Tokens
from django_etcdaero.keyvalue.etcd.messages.calling import ChannelClosed
from django_etcdaero.keyvalue.etcd.messages.faults import CallFault, classify, name_request, translate
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.steps import Pause, drive

from .outage import PROBE, Outage
from .retries import FIRST_TRY, Failure, Retries

_monotonic = monotonic

_FAILURES = (grpc.RpcError, ChannelClosed)
"""What calls of gRPC raise."""

_DOUBTS = 2
"""After so many requests in a row without an answer the token is taken for the reason.

The simple tokens of etcd end in a number of its log, and a member judges one when it has got as far. A cluster that was
emptied or restored begins again with low numbers, and leaves requests with an older token without an answer.
"""

_ENOUGH = 1.0
"""Seconds after which a request without an answer counts; logging in takes a tenth of one."""


class UnaryCalls:
    """Makes the unary calls of one engine."""

    def __init__(self, balancer: Balancer, tokens: Tokens, gate: Gate, outage: Outage | None = None) -> None:
        """``outage`` is asked whether to try at all, and told when no endpoint could answer."""
        self._balancer = balancer
        self._tokens = tokens
        self._gate = gate
        self._outage = outage

    def run(self, method: str, message: Any, timeout: float, repeat: bool, leader: bool = True) -> Any:
        """Return the answer to ``message``, blocking, within ``timeout`` seconds: :meth:`ask`, by a shorter way.

        The first try is made without the machinery for all others, which is a third of our own part of a call.
        """
        deadline = _monotonic() + timeout
        failed: Failure | None = None
        tokens, token = self._tokens, self._tokens.current
        if not tokens.needed or (token is not None and not self._doubted()):
            gate, mark = self._gate, object()
            try:
                gate.inside.add(mark)
                if not gate.is_open:
                    gate.wait(mark, deadline)
                choice, member = self._balancer.pick()
                left = deadline - _monotonic()
                if left > 0 and not (choice.failures and self._outage is not None and self._outage.is_known):
                    if repeat and len(self._balancer) > 1:
                        left = min(left, FIRST_TRY)
                    try:
                        answer = member.calls[method](message, left, tokens.metadata[leader])
                    except _FAILURES as error:
                        failed = self._failure(error, choice, member, token, repeat=repeat, sent=left)
                    else:
                        if choice.failures or tokens.unanswered:
                            self._answered(choice)
                        return answer
            finally:
                gate.inside.discard(mark)
                if not gate.is_open:
                    gate.left()
        return drive(self.ask(method, message, deadline, repeat=repeat, leader=leader, failed=failed))

    async def ask(
        self,
        method: str,
        message: Any,
        deadline: float,
        *,
        repeat: bool,
        leader: bool = True,
        done: type[EtcdAeroError] | None = None,
        failed: Failure | None = None,
    ) -> Any:
        """Return the answer to ``message``. A protocol.

        ``deadline`` (of ``time.monotonic``) is for all tries together. ``repeat``: doing it twice is as good as once.
        ``leader``: only a member that is in touch with the leader may answer. ``done``: the refusal that, after a try
        which may have been applied, says that it was; ``None`` is returned then. ``failed``: a first try that was made
        already. When the task that awaits it is cancelled the try under way is cancelled; a write may have been applied
        all the same.

        Raises what :func:`translate` makes of a refusal, ``OutcomeUnknown`` (only without ``repeat``),
        ``ClusterError``, ``DeadlineExceeded``, ``StoreBusy`` and ``Cancelled``.
        """
        retries: Retries | None = None
        if failed is None and self._outage is not None and self._outage.is_known:
            await self._outage.check(method, deadline)
        while True:
            if failed is None:
                answer, failed = await self._try(method, message, deadline, retries, repeat=repeat, leader=leader)
                if failed is None:
                    return answer
            if failed.fault is CallFault.ANSWERED:
                self._balancer.worked(failed.choice)
                refusal = translate(failed.code, failed.details)
                refusal = name_request(refusal, method, message, self._tokens.user)
                if done is not None and retries is not None and retries.perhaps_applied and isinstance(refusal, done):
                    return None
                raise refusal from failed.cause
            retries = retries or Retries(self._balancer, repeat)
            if self._gate.is_shut and repeat:
                raise self._gate.refused()
            try:
                pause = retries.failed(failed, with_user=self._tokens.needed)
            except EtcdAeroError as error:
                if isinstance(error, OutcomeUnknown) and self._outage is not None:
                    self._outage.suspect()
                raise error from failed.cause
            if pause:
                await self._pause(failed, min(pause, max(0.0, deadline - _monotonic())))
            failed = None
            if self._outage is not None and self._outage.is_known and (repeat or not retries.perhaps_applied):
                await self._outage.check(method, deadline)  # another call has waited in vain to its end meanwhile

    async def _try(
        self, method: str, message: Any, deadline: float, retries: Retries | None, *, repeat: bool, leader: bool
    ) -> tuple[Any, Failure | None]:
        """Ask one member; return its answer, or what went wrong."""
        entry = Entry(self._gate)
        if not entry.try_enter():
            await Enter(entry, deadline)
        try:
            choice, member = self._balancer.pick(retries.tried if retries else ())
            tokens = self._tokens
            token = tokens.current
            left = deadline - _monotonic()
            if left <= 0:
                raise self._over(method, retries)
            share = left
            if len(self._balancer) > 1:
                share = min(left, FIRST_TRY if retries is None else retries.share())
            if tokens.needed and (
                token is None or (retries is not None and retries.stale_token == token) or self._doubted()
            ):
                now = _monotonic()
                try:
                    await tokens.renew(entry, token, member, now + share, since=now)
                except (*_FAILURES, DeadlineExceeded) as error:
                    return None, self._failure(error, choice, member, token, repeat=repeat)
                token = tokens.current
                left = deadline - _monotonic()
                if left <= 0:
                    raise self._over(method, retries)
            try:
                seconds = min(left, share) if repeat else left
                answer = await Send(
                    entry, member.calls[method], message, seconds, tokens.metadata[leader], movable=repeat
                )
            except _FAILURES as error:
                return None, self._failure(error, choice, member, token, repeat=repeat, sent=seconds)
            if choice.failures or tokens.unanswered:
                self._answered(choice)
            return answer, None
        finally:
            entry.leave()

    def _over(self, method: str, retries: Retries | None) -> EtcdAeroError:
        """Return the error for a call whose time is over."""
        if retries is None:
            return Retries(self._balancer, repeat=False).over(method)
        error = retries.over(method)
        if self._outage is not None and isinstance(error, ClusterError | DeadlineExceeded):
            self._outage.suspect()
        return error

    def _doubted(self) -> bool:
        return bool(self._tokens.current) and self._tokens.unanswered >= min(_DOUBTS, len(self._balancer))

    def _answered(self, choice: Choice) -> None:
        self._balancer.worked(choice)
        self._tokens.unanswered = 0

    def _failure(
        self,
        error: Exception,
        choice: Choice,
        member: MemberClient,
        token: str | None,
        *,
        repeat: bool,
        sent: float | None = None,
    ) -> Failure:
        """Judge ``error``. ``sent``: the seconds that the request had; ``None``: it was the login before it."""
        tokens = self._tokens
        code, details = None, str(error)
        if isinstance(error, DeadlineExceeded):  # while waiting for another thread to log in
            fault = CallFault.LATE if repeat else CallFault.UNSENT
        elif isinstance(error, ChannelClosed):
            fault = CallFault.UNCONNECTED
        else:
            assert isinstance(error, grpc.RpcError)
            code, details = error.code(), error.details() or ""
            fault = classify(code, details, stranger=sent is not None and tokens.needed and not token)
            if sent is None and fault not in (CallFault.ANSWERED, CallFault.TOKEN, CallFault.UNCONNECTED):
                fault = CallFault.LATE if fault is CallFault.LATE and repeat else CallFault.UNSENT
        if sent is None or fault is CallFault.ANSWERED:
            tokens.unanswered = 0  # where logging in anew is impossible the old token may be as good as ever
        elif fault is CallFault.LATE and sent >= _ENOUGH and token == tokens.current:
            tokens.unanswered += 1
        return Failure(choice, member, token, error, code, details, fault)

    async def _pause(self, failed: Failure, seconds: float) -> None:
        """Wait ``seconds``, or less if the member, which could not be connected to, can be talked to before.

        gRPC before 1.80 makes connections only while some call is waiting, so sleeping would not do: calls that fail
        at once, again and again, would never see the server come back.
        """
        if failed.fault is not CallFault.UNCONNECTED:
            await Pause(seconds)
            return
        entry = Entry(self._gate)
        try:
            await Enter(entry, _monotonic() + seconds)
        except DeadlineExceeded:
            return
        try:
            await Send(entry, failed.member.calls["Range"], PROBE, seconds, movable=True, wait=True)
        except _FAILURES:  # any answer will do
            return
        finally:
            entry.leave()
