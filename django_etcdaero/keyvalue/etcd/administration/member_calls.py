"""Calls to particular members, where it matters which one answers.

One call to one member is made as all others are, only that there is no other member to move to: a read is repeated
until its time is over. Questions to many members at the same time are put twice at most: whoever asks wants to know how
each of them does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from functools import partial
from typing import Any, TypeAlias

import grpc

from django_etcdaero.exceptions import Cancelled, ClusterError, ConfigurationError, DeadlineExceeded, EtcdAeroError
from django_etcdaero.keyvalue.administration.asking import Answer, Fields, Members, Question
from django_etcdaero.keyvalue.administration.values import EndpointState
from django_etcdaero.keyvalue.etcd.calls.unary import UnaryCalls
from django_etcdaero.keyvalue.etcd.connection.balancer import Balancer, Choice
from django_etcdaero.keyvalue.etcd.connection.gate import Enter, Entry, Gate, Send
from django_etcdaero.keyvalue.etcd.connection.member import MemberClient
from django_etcdaero.keyvalue.etcd.connection.tokens import Tokens
from django_etcdaero.keyvalue.etcd.messages.calling import ChannelClosed
from django_etcdaero.keyvalue.etcd.messages.classes import REQUESTS
from django_etcdaero.keyvalue.etcd.messages.faults import CallFault, classify, describe, translate, unanswered
from django_etcdaero.stores.endpoint import Endpoint
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.pool import InThread, Pool
from django_etcdaero.system.steps import Step, adrive, drive
from django_etcdaero.system.threads import Background

_GRACE = 1.0
"""Seconds after the deadline in which gRPC has said so itself, unless something is very wrong."""

_Asking: TypeAlias = Callable[[], Coroutine[Any, Any, Answer]]
"""Returns the protocol of one question."""


class _Pinned(Balancer):
    """One endpoint and no choice."""

    def __init__(self, balancer: Balancer, endpoint: Endpoint) -> None:
        super().__init__([endpoint], balancer.open)

    def pick(self, tried: Collection[Choice] = ()) -> tuple[Choice, MemberClient]:
        return self._current, self._connect(self._current.endpoint)  # anew: a fork closes channels between two tries


class MemberCalls(Members):
    """Calls to particular members, for one engine. All methods are protocols."""

    def __init__(self, balancer: Balancer, tokens: Tokens, gate: Gate, *, threads: Callable[[], Pool]) -> None:
        """``threads`` returns those that receive streams for event loops."""
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
        calls = UnaryCalls(_Pinned(self._balancer, endpoint), self._tokens, self._gate)
        return await calls.ask(method, REQUESTS[method](**fields), deadline, repeat=repeat, leader=False)

    async def ask_all(
        self, endpoints: Sequence[Endpoint], questions: Sequence[Question], *, deadline: float
    ) -> dict[Endpoint, list[Answer]]:
        asked = [(endpoint, question) for endpoint in dict.fromkeys(endpoints) for question in questions]
        answers = await _Together([partial(self._ask_twice, *each, deadline) for each in asked], deadline + _GRACE)
        found: dict[Endpoint, list[Answer]] = {}
        for (endpoint, _), answer in zip(asked, answers, strict=True):
            if isinstance(answer.error, Cancelled | ConfigurationError):
                raise answer.error
            found.setdefault(endpoint, []).append(answer)
        return found

    async def _ask_twice(self, endpoint: Endpoint, question: Question, deadline: float) -> Answer:
        """Ask, and once more if the token was refused, or the answer lost: the leader may have just changed."""
        method, fields = question
        entry, tokens = Entry(self._gate), self._tokens
        token: str | None = None
        refused = False
        sent = monotonic()
        for last in (False, True):
            try:
                await Enter(entry, deadline)
                member = self._balancer.open(endpoint)
                if refused:
                    await tokens.renew(entry, token, member, deadline)
                token, sent = tokens.current, monotonic()
                # A member without a leader is to say so at once where that is the question, and to answer all else.
                metadata, left = tokens.metadata[method == "Range"], max(0.001, deadline - sent)
                value = await Send(
                    entry, member.calls[method], REQUESTS[method](**fields), left, metadata, movable=True
                )
                return Answer(value, None, monotonic() - sent)
            except grpc.RpcError as error:
                trouble = self._error(endpoint, error)
                fault = self._fault(error, token)
                refused = fault is CallFault.TOKEN and tokens.needed
                if last or not (refused or fault is CallFault.LOST):
                    break
            except ChannelClosed:
                trouble = self._interrupted(endpoint)
                break
            except EtcdAeroError as error:
                trouble = error
                break
            finally:
                entry.leave()
        return Answer(None, trouble, monotonic() - sent)

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
                    left = max(0.001, deadline - monotonic())
                    stream = member.calls[method](REQUESTS[method](), left, metadata=tokens.metadata[False])
                    refused = await self._receive(entry, stream, take, left)
                    break
                except grpc.RpcError as error:
                    if self._fault(error, token) is CallFault.TOKEN and stale is None and token is not None:
                        stale = token  # refused before the first message
                        await Enter(entry, deadline)
                        continue
                    raise self._error(endpoint, error) from error
                except ChannelClosed as error:
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

    def _fault(self, error: Any, token: str | None) -> CallFault:
        return classify(error.code(), error.details() or "", stranger=self._tokens.needed and not token)

    def _error(self, endpoint: Endpoint, error: Any) -> EtcdAeroError:
        """Return the error for a failed call to one member."""
        if self._gate.is_shut:
            return self._interrupted(endpoint)
        code, details = error.code(), error.details() or ""
        fault = classify(code, details)
        if fault is CallFault.LATE:
            return DeadlineExceeded(f"{endpoint}: no answer in time: {describe(code, details)}")
        if fault in (CallFault.ANSWERED, CallFault.TOKEN, CallFault.BUSY):
            return translate(code, details)
        return _unreachable(endpoint, describe(code, details))

    def _interrupted(self, endpoint: Endpoint) -> EtcdAeroError:
        if self._gate.is_shut:
            return Cancelled("the engine was closed")
        return _unreachable(endpoint, "the connection was closed for a fork of this process")


def _unreachable(endpoint: Endpoint, text: str) -> ClusterError:
    return unanswered(f"{endpoint}: {text}", {str(endpoint): text})


class _Together(Step[list[Answer]]):
    """Ask several questions at the same time; the answers are in their order."""

    def __init__(self, questions: Sequence[_Asking], deadline: float) -> None:
        self._questions = questions
        self._deadline = deadline

    def block(self) -> list[Answer]:
        answers = [Answer(None, DeadlineExceeded("no answer"), 0.0)] * len(self._questions)

        def ask(number: int) -> None:
            answers[number] = drive(self._questions[number]())

        threads = [Background(partial(ask, number), name="etcdaero-ask") for number in range(1, len(answers))]
        for thread in threads:
            thread.start()
        ask(0)
        for thread in threads:
            thread.join(max(0.0, self._deadline - monotonic()))
        return answers

    async def suspend(self) -> list[Answer]:
        return await asyncio.gather(*(adrive(question()) for question in self._questions))
