"""Questions that are put to many members at the same time, each of them twice at most."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import grpc

from django_etcdaero.exceptions import ClusterError, DeadlineExceeded, EtcdAeroError
from django_etcdaero.keyvalue.administration.asking import Answer, Question
from django_etcdaero.keyvalue.etcd.connection.balancer import Balancer
from django_etcdaero.keyvalue.etcd.connection.gate import Gate
from django_etcdaero.keyvalue.etcd.connection.tokens import Tokens
from django_etcdaero.keyvalue.etcd.connection.waiting import Enter, Entry, waker
from django_etcdaero.keyvalue.etcd.messages.classes import REQUESTS
from django_etcdaero.keyvalue.etcd.messages.faults import CallFault, classify, describe, translate
from django_etcdaero.stores.endpoint import Endpoint
from django_etcdaero.system.steps import Step

_GRACE = 1.0
"""Seconds after the deadline in which gRPC has said so itself, unless something is very wrong."""


class _Ended(NamedTuple):
    """One question whose call has ended."""

    endpoint: Endpoint
    number: int
    token: str | None
    call: Any
    seconds: float


class _Arrivals:
    """What threads of gRPC put in and one caller takes out."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[_Ended] = queue.SimpleQueue()
        self._mutex = threading.Lock()
        self._tell: Callable[[], object] | None = None

    def put(self, ended: _Ended) -> None:
        self._queue.put(ended)
        with self._mutex:
            tell, self._tell = self._tell, None
        if tell is not None:
            tell()

    def get(self, seconds: float) -> _Ended:
        """Raises ``queue.Empty``."""
        return self._queue.get(timeout=seconds)

    def call_at_next(self, tell: Callable[[], object]) -> None:
        """Call ``tell()`` when the next one is put in."""
        with self._mutex:
            self._tell = tell


class _Next(Step[_Ended | None]):
    """Wait for the next question that has ended; the answer is ``None`` if there is none in time."""

    def __init__(self, arrivals: _Arrivals, deadline: float) -> None:
        self._arrivals = arrivals
        self._deadline = deadline

    def block(self) -> _Ended | None:
        with suppress(queue.Empty):
            return self._arrivals.get(self._left())
        return None

    async def suspend(self) -> _Ended | None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._left()):
                while True:
                    arrived, tell = waker()
                    self._arrivals.call_at_next(tell)
                    with suppress(queue.Empty):
                        return self._arrivals.get(0)
                    await arrived
        return None

    def _left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())


class Questions:
    """One set of questions, under way until ``deadline`` (of ``time.monotonic``)."""

    def __init__(
        self,
        balancer: Balancer,
        tokens: Tokens,
        gate: Gate,
        questions: Sequence[Question],
        deadline: float,
    ) -> None:
        self._balancer = balancer
        self._tokens = tokens
        self._gate = gate
        self._questions = questions
        self._deadline = deadline
        self._arrivals = _Arrivals()
        self._again: set[tuple[Endpoint, int]] = set()
        """What has been asked twice."""

    async def ask(self, endpoints: Sequence[Endpoint]) -> dict[Endpoint, list[Answer]]:
        """Ask all of it of all ``endpoints``; return the answers in the order of the questions. A protocol."""
        # What is never answered, not even by gRPC itself, stays like this.
        silence = Answer(None, DeadlineExceeded("no answer"), 0.0)
        answers = {endpoint: [silence] * len(self._questions) for endpoint in endpoints}
        waiting = 0
        for endpoint in answers:
            for number in range(len(self._questions)):
                waiting += await self._send(endpoint, number)
        while waiting:
            ended = await _Next(self._arrivals, self._deadline + _GRACE)
            if ended is None:
                break
            waiting -= 1
            endpoint, number, token, call, seconds = ended
            try:
                answer = Answer(call.result(timeout=0), None, seconds)
            except grpc.RpcError as error:
                found = read_error(endpoint, error)
                if (endpoint, number) not in self._again:
                    self._again.add((endpoint, number))
                    stranger = self._tokens.needed and not token
                    fault = classify(error.code(), error.details() or "", stranger=stranger)
                    refused = fault is CallFault.TOKEN and self._tokens.needed
                    trouble = await self._log_in(endpoint, token) if refused else None
                    # What was lost may be so because the leader has just changed.
                    if trouble is None and (refused or fault is CallFault.LOST):
                        waiting += await self._send(endpoint, number)
                        continue
                    found = trouble or found
                answer = Answer(None, found, seconds)
            except grpc.FutureCancelledError:
                answer = Answer(None, unreachable(endpoint, "the connection was closed"), seconds)
            answers[endpoint][number] = answer
        return answers

    async def _send(self, endpoint: Endpoint, number: int) -> int:
        """Ask, and see to it that the end is noted; return 1, or 0 if it cannot be asked."""
        method, fields = self._questions[number]
        entry = Entry(self._gate)
        await Enter(entry, self._deadline)
        try:
            member = self._balancer.open(endpoint)
            token = self._tokens.current
            sent = time.monotonic()
            # A member without a leader is to say so at once where that is the question, and to answer all else.
            metadata = self._tokens.metadata[method == "Range"]
            call = member.calls[method].future(REQUESTS[method](**fields), max(0.001, self._deadline - sent), metadata)
        except ValueError:  # the channel was closed in another thread
            entry.leave()
            return 0
        except BaseException:
            entry.leave()
            raise

        def done(_: Any) -> None:
            entry.leave()
            self._arrivals.put(_Ended(endpoint, number, token, call, time.monotonic() - sent))

        call.add_done_callback(done)
        return 1

    async def _log_in(self, endpoint: Endpoint, stale: str | None) -> EtcdAeroError | None:
        entry = Entry(self._gate)
        try:
            await Enter(entry, self._deadline)
            await self._tokens.renew(entry, stale, self._balancer.open(endpoint), self._deadline)
        except grpc.RpcError as error:
            return read_error(endpoint, error)
        except ValueError:
            return unreachable(endpoint, "the connection was closed")
        except DeadlineExceeded as error:
            return error
        finally:
            entry.leave()
        return None


def unreachable(endpoint: Endpoint, text: str) -> ClusterError:
    """Return the error for a member that could not answer."""
    return ClusterError(f"{endpoint}: {text}", {str(endpoint): text})


def read_error(endpoint: Endpoint, error: Any) -> EtcdAeroError:
    """Return the error for a failed question to one member."""
    code, details = error.code(), error.details() or ""
    fault = classify(code, details)
    if fault is CallFault.LATE:
        return DeadlineExceeded(f"{endpoint}: no answer in time: {describe(code, details)}")
    if fault in (CallFault.ANSWERED, CallFault.TOKEN, CallFault.BUSY):
        return translate(code, details)
    return unreachable(endpoint, describe(code, details))
