"""Calls to particular members, where it matters which one answers.

One call to one member is made as all others are, only that there is no other member to move to: a read is repeated
until its time is over. Questions to many members at once are not: whoever asks wants to know how each of them does.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from django_etcdaero.exceptions import Cancelled, ClusterError, DeadlineExceeded, EtcdAeroError
from django_etcdaero.keyvalue.etcd.calls.unary import Calls
from django_etcdaero.keyvalue.etcd.connection.balancer import Balancer, Seat
from django_etcdaero.keyvalue.etcd.connection.gate import Gate
from django_etcdaero.keyvalue.etcd.connection.member import Member
from django_etcdaero.keyvalue.etcd.connection.tokens import Tokens
from django_etcdaero.keyvalue.etcd.messages.faults import Fault, classify, describe, translate
from django_etcdaero.stores.endpoint import Endpoint

_GRACE = 1.0
"""Seconds after the deadline in which gRPC has said so itself, unless something is very wrong."""


class Call(Protocol):
    """A call to whatever member answers, with the engine's default for ``timeout``."""

    def __call__(self, method: str, message: Any, timeout: float | None, *, repeat: bool) -> Any:
        """Return the answer; see :meth:`Calls.run <django_etcdaero.keyvalue.etcd.calls.unary.Calls.run>`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one question to one member: ``value`` or ``error``, which is not ``None`` then."""

    value: Any
    error: EtcdAeroError | None
    seconds: float
    """Between asking and answer."""


class _Pinned(Balancer):
    """One endpoint and no choice."""

    def __init__(self, balancer: Balancer, endpoint: Endpoint) -> None:
        super().__init__([endpoint], balancer.open)

    def pick(self, tried: Collection[Seat] = ()) -> tuple[Seat, Member]:
        return self._current, self._connect(self._current.endpoint)  # anew: a fork closes channels between two tries


class Direct:
    """Asks particular members, for one engine."""

    def __init__(self, calls: Calls, balancer: Balancer, tokens: Tokens, gate: Gate) -> None:
        self._calls = calls
        self._balancer = balancer
        self._tokens = tokens
        self._gate = gate

    def run(self, endpoint: Endpoint, method: str, message: Any, *, timeout: float, repeat: bool) -> Any:
        """Return the answer of one member; raises what :meth:`Calls.run` does."""
        calls = self._calls.on(_Pinned(self._balancer, endpoint))
        return calls.run(method, message, timeout=timeout, repeat=repeat, leader=False)

    def ask(
        self, endpoints: Sequence[Endpoint], questions: Sequence[tuple[str, Any]], *, timeout: float
    ) -> dict[Endpoint, list[Answer]]:
        """Ask all ``endpoints`` all ``questions`` (method and message) at the same time; return what each answered.

        Raises ``DeadlineExceeded``, ``Cancelled`` and ``ConfigurationError``; all else is part of the answers.
        """
        deadline = time.monotonic() + timeout
        self._gate.enter(deadline)
        try:
            return _Round(self._balancer, self._tokens, questions, deadline).ask(endpoints)
        finally:
            self._gate.leave()

    def stream(self, endpoint: Endpoint, method: str, message: Any, *, deadline: float) -> Iterator[Any]:
        """Yield the messages with which one member answers, until ``deadline`` (of ``time.monotonic``).

        Raises ``ClusterError``, ``DeadlineExceeded``, ``Cancelled``, ``ConfigurationError``, and what the server
        refuses with.
        """
        self._gate.enter(deadline)
        try:
            member = self._balancer.open(endpoint)
            tokens = self._tokens
            stale: str | None = None
            while True:
                token = tokens.current
                call: Any = None
                try:
                    if tokens.needed and (token is None or token == stale):
                        tokens.renew(token, member, deadline)
                        token = tokens.current
                    left = max(0.001, deadline - time.monotonic())
                    call = member.calls[method](message, left, metadata=tokens.metadata[False])
                    yield from call
                    return
                except grpc.RpcError as error:
                    stranger = tokens.needed and not token
                    fault = classify(error.code(), error.details() or "", stranger=stranger)
                    if fault is Fault.TOKEN and stale is None and token is not None:
                        stale = token  # refused before the first message
                        continue
                    raise self._error(endpoint, error) from error
                except ValueError as error:  # the channel was closed in another thread
                    raise self._interrupted(endpoint) from error
                finally:
                    if call is not None:
                        call.cancel()
        finally:
            self._gate.leave()

    def _error(self, endpoint: Endpoint, error: Any) -> EtcdAeroError:
        return self._interrupted(endpoint) if self._gate.is_shut else read_error(endpoint, error)

    def _interrupted(self, endpoint: Endpoint) -> EtcdAeroError:
        if self._gate.is_shut:
            return Cancelled("the engine was closed")
        return unreachable(endpoint, "the connection was closed for a fork of this process")


class _Round:
    """One set of questions, under way."""

    def __init__(
        self, balancer: Balancer, tokens: Tokens, questions: Sequence[tuple[str, Any]], deadline: float
    ) -> None:
        self._balancer = balancer
        self._tokens = tokens
        self._questions = questions
        self._deadline = deadline
        self._done: queue.SimpleQueue[tuple[Endpoint, int, str | None, Any, float]] = queue.SimpleQueue()
        self._again: set[tuple[Endpoint, int]] = set()
        """What has been asked twice."""

    def ask(self, endpoints: Sequence[Endpoint]) -> dict[Endpoint, list[Answer]]:
        # What is never answered, not even by gRPC itself, stays like this.
        silence = Answer(None, DeadlineExceeded("no answer"), 0.0)
        answers = {endpoint: [silence] * len(self._questions) for endpoint in endpoints}
        waiting = sum(self._send(endpoint, number) for endpoint in answers for number in range(len(self._questions)))
        while waiting:
            try:
                left = self._deadline - time.monotonic() + _GRACE
                endpoint, number, token, future, seconds = self._done.get(timeout=max(0.0, left))
            except queue.Empty:
                break
            waiting -= 1
            try:
                answer = Answer(future.result(timeout=0), None, seconds)
            except grpc.RpcError as error:
                found = read_error(endpoint, error)
                if (endpoint, number) not in self._again:
                    self._again.add((endpoint, number))
                    stranger = self._tokens.needed and not token
                    fault = classify(error.code(), error.details() or "", stranger=stranger)
                    refused = fault is Fault.TOKEN and self._tokens.needed
                    trouble = self._log_in(endpoint, token) if refused else None
                    # What was lost may be so because the leader has just changed.
                    if trouble is None and (refused or fault is Fault.LOST):
                        waiting += self._send(endpoint, number)
                        continue
                    found = trouble or found
                answer = Answer(None, found, seconds)
            except grpc.FutureCancelledError:
                answer = Answer(None, unreachable(endpoint, "the connection was closed"), seconds)
            answers[endpoint][number] = answer
        return answers

    def _send(self, endpoint: Endpoint, number: int) -> int:
        """Ask, and see to it that the end is noted; return 1, or 0 if it cannot be asked."""
        method, message = self._questions[number]
        member = self._balancer.open(endpoint)
        token = self._tokens.current
        sent = time.monotonic()
        # A member without a leader is to say so at once where that is the question, and to answer all else.
        metadata = self._tokens.metadata[method == "Range"]
        try:
            future = member.calls[method].future(message, max(0.001, self._deadline - sent), metadata)
        except ValueError:  # the channel was closed in another thread
            return 0
        future.add_done_callback(
            lambda done: self._done.put((endpoint, number, token, done, time.monotonic() - sent)),
        )
        return 1

    def _log_in(self, endpoint: Endpoint, stale: str | None) -> EtcdAeroError | None:
        try:
            self._tokens.renew(stale, self._balancer.open(endpoint), self._deadline)
        except grpc.RpcError as error:
            return read_error(endpoint, error)
        except DeadlineExceeded as error:
            return error
        return None


def unreachable(endpoint: Endpoint, text: str) -> ClusterError:
    """Return the error for a member that could not answer."""
    return ClusterError(f"{endpoint}: {text}", {str(endpoint): text})


def read_error(endpoint: Endpoint, error: Any) -> EtcdAeroError:
    """Return the error for a failed question to one member."""
    code, details = error.code(), error.details() or ""
    fault = classify(code, details)
    if fault is Fault.LATE:
        return DeadlineExceeded(f"{endpoint}: no answer in time: {describe(code, details)}")
    if fault in (Fault.ANSWERED, Fault.TOKEN, Fault.BUSY):
        return translate(code, details)
    return unreachable(endpoint, describe(code, details))
