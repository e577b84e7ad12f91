"""Calls to particular members, where it matters which one answers.

One call to one member is made as all others are, only that there is no other member to move to: a read is repeated
until its time is over. Questions to many members at once are not: whoever asks wants to know how each of them does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import grpc

from django_etcdaero.exceptions import Cancelled, EtcdAeroError
from django_etcdaero.keyvalue.administration.asking import Answer, Fields, Members, Question
from django_etcdaero.keyvalue.administration.values import EndpointState
from django_etcdaero.keyvalue.etcd.calls.unary import UnaryCalls
from django_etcdaero.keyvalue.etcd.connection.balancer import Balancer, Choice
from django_etcdaero.keyvalue.etcd.connection.gate import Gate
from django_etcdaero.keyvalue.etcd.connection.member import MemberClient
from django_etcdaero.keyvalue.etcd.connection.tokens import Tokens
from django_etcdaero.keyvalue.etcd.connection.waiting import Enter, Entry
from django_etcdaero.keyvalue.etcd.messages.classes import REQUESTS
from django_etcdaero.keyvalue.etcd.messages.faults import CallFault, classify
from django_etcdaero.stores.endpoint import Endpoint
from django_etcdaero.system.pool import InThread, Pool

from .questions import Questions, read_error, unreachable


class _Pinned(Balancer):
    """One endpoint and no choice."""

    def __init__(self, balancer: Balancer, endpoint: Endpoint) -> None:
        super().__init__([endpoint], balancer.open)

    def pick(self, tried: Collection[Choice] = ()) -> tuple[Choice, MemberClient]:
        return self._current, self._connect(self._current.endpoint)  # anew: a fork closes channels between two tries


class MemberCalls(Members):
    """Calls to particular members, for one engine. All methods are protocols."""

    def __init__(
        self, calls: UnaryCalls, balancer: Balancer, tokens: Tokens, gate: Gate, *, threads: Callable[[], Pool]
    ) -> None:
        """``threads`` returns those that receive streams for event loops."""
        self._calls = calls
        self._balancer = balancer
        self._tokens = tokens
        self._gate = gate
        self._threads = threads

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return self._balancer.endpoints

    def states(self) -> tuple[EndpointState, ...]:
        return self._balancer.states()

    async def ask(self, endpoint: Endpoint, method: str, fields: Fields, *, deadline: float, repeat: bool) -> Any:
        calls = self._calls.on(_Pinned(self._balancer, endpoint))
        return await calls.ask(method, REQUESTS[method](**fields), deadline, repeat=repeat, leader=False)

    async def ask_all(
        self, endpoints: Sequence[Endpoint], questions: Sequence[Question], *, deadline: float
    ) -> dict[Endpoint, list[Answer]]:
        return await Questions(self._balancer, self._tokens, self._gate, questions, deadline).ask(endpoints)

    async def receive(self, endpoint: Endpoint, method: str, take: Callable[[Any], object], *, deadline: float) -> None:
        entry = Entry(self._gate)
        await Enter(entry, deadline)
        tokens = self._tokens
        stale: str | None = None
        try:
            member = self._balancer.open(endpoint)
            while True:
                token = tokens.current
                try:
                    if tokens.needed and (token is None or token == stale):
                        await tokens.renew(entry, token, member, deadline)
                        token = tokens.current
                    left = max(0.001, deadline - time.monotonic())
                    stream = member.calls[method](REQUESTS[method](), left, metadata=tokens.metadata[False])
                    refused = await self._receive(entry, stream, take, left)
                    break
                except grpc.RpcError as error:
                    stranger = tokens.needed and not token
                    fault = classify(error.code(), error.details() or "", stranger=stranger)
                    if fault is CallFault.TOKEN and stale is None and token is not None:
                        stale = token  # refused before the first message
                        await Enter(entry, deadline)
                        continue
                    raise self._error(endpoint, error) from error
                except ValueError as error:  # the channel was closed in another thread
                    raise self._interrupted(endpoint) from error
        finally:
            entry.leave()
        if refused is not None:
            raise refused

    async def _receive(
        self, entry: Entry, stream: Any, take: Callable[[Any], object], timeout: float
    ) -> Exception | None:
        """Return what ``take`` has raised, if it has: no error of the stream's."""

        def receive() -> Exception | None:
            try:
                for part in stream:
                    try:
                        take(part)
                    except Exception as error:
                        return error
                return None
            finally:
                stream.cancel()
                entry.leave()  # not left to a task: its loop may be waiting for a fork, which waits for this

        return await InThread(self._threads, receive, timeout, give_up=stream.cancel)

    def _error(self, endpoint: Endpoint, error: Any) -> EtcdAeroError:
        return self._interrupted(endpoint) if self._gate.is_shut else read_error(endpoint, error)

    def _interrupted(self, endpoint: Endpoint) -> EtcdAeroError:
        if self._gate.is_shut:
            return Cancelled("the engine was closed")
        return unreachable(endpoint, "the connection was closed for a fork of this process")
