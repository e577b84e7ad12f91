"""Logging in, with members of the test's own making: who asks whom, and who waits for whom."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from django_etcdaero.keyvalue.etcd.calls.unary import UnaryCalls
from django_etcdaero.keyvalue.etcd.connection.balancer import Balancer
from django_etcdaero.keyvalue.etcd.connection.gate import Entry, Gate
from django_etcdaero.keyvalue.etcd.connection.tokens import Tokens
from django_etcdaero.keyvalue.etcd.messages.classes import rpc
from django_etcdaero.stores.etcd import address_of
from django_etcdaero.system.steps import drive


class Refused(grpc.RpcError):  # type: ignore[misc] # gRPC has no types
    def __init__(self, code: Any, details: str) -> None:
        super().__init__(details)
        self._code, self._details = code, details

    def code(self) -> Any:
        return self._code

    def details(self) -> str:
        return self._details


SILENCE = Refused(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")


class FakeMember:
    """A member whose answer to a log-in is what ``answer`` returns or raises."""

    def __init__(self, answer: Callable[[], str]) -> None:
        self.logins = 0
        self._answer = answer
        self.calls: dict[str, Any] = {"Authenticate": self._authenticate}

    def _authenticate(self, message: Any, timeout: float, metadata: Any) -> Any:
        self.logins += 1
        return rpc.AuthenticateResponse(token=self._answer())


class HangingMember(FakeMember):
    """A member that gives no answer until :attr:`silence` ends."""

    def __init__(self) -> None:
        super().__init__(self._hang)
        self.asked, self.silence = threading.Event(), threading.Event()

    def _hang(self) -> str:
        self.asked.set()
        assert self.silence.wait(30)
        raise SILENCE


@pytest.fixture
def hanging() -> Iterator[Any]:
    member = HangingMember()
    yield member
    member.silence.set()


def renew(tokens: Tokens, stale: str | None, member: Any, deadline: float, **options: float) -> None:
    """Log in, blocking."""
    entry = Entry(Gate("nowhere"))
    entry.enter(deadline)
    drive(tokens.renew(entry, stale, member, deadline, **options))


def in_two_minutes() -> float:
    return time.monotonic() + 120


def test_who_logs_in_to_another_member_does_not_wait_for_one_that_hangs(hanging: Any) -> None:
    tokens = Tokens("user", "secret")
    prompt: Any = FakeMember(lambda: "token")

    def log_in() -> None:
        with pytest.raises(Refused):
            renew(tokens, None, hanging, in_two_minutes())

    waiting = threading.Thread(target=log_in)
    waiting.start()
    assert hanging.asked.wait(30)
    renew(tokens, None, prompt, time.monotonic() + 30)
    assert tokens.current == "token"
    hanging.silence.set()
    waiting.join(30)
    assert not waiting.is_alive()


def test_a_member_that_gave_one_thread_no_answer_is_not_asked_by_those_who_waited(hanging: Any) -> None:
    tokens = Tokens("user", "secret")
    codes: list[Any] = []
    all_want_it = threading.Barrier(9)

    def log_in() -> None:
        since = time.monotonic()
        all_want_it.wait(30)
        try:
            renew(tokens, None, hanging, in_two_minutes(), since=since)
        except grpc.RpcError as error:
            codes.append((error.code(), error.details()))

    threads = [threading.Thread(target=log_in) for _ in range(8)]
    for thread in threads:
        thread.start()
    all_want_it.wait(30)
    hanging.silence.set()
    for thread in threads:
        thread.join(30)
    assert codes == [(SILENCE.code(), SILENCE.details())] * 8
    assert hanging.logins == 1
    with pytest.raises(Refused):
        renew(tokens, None, hanging, in_two_minutes(), since=time.monotonic())
    assert hanging.logins == 2  # who comes later asks anew


def test_a_refusal_is_not_taken_for_silence() -> None:
    def refuse() -> str:
        raise Refused(
            grpc.StatusCode.INVALID_ARGUMENT, "etcdserver: authentication failed, invalid user ID or password"
        )

    tokens = Tokens("user", "wrong")
    member: Any = FakeMember(refuse)
    since = time.monotonic()
    for _ in range(2):
        with pytest.raises(Refused):
            renew(tokens, None, member, in_two_minutes(), since=since)
    assert member.logins == 2


class UnconnectedMember(FakeMember):
    """A member that no connection is made to before somebody waits for one, as gRPC before 1.80 does it."""

    is_outdated = False

    def __init__(self) -> None:
        super().__init__(self._log_in)
        self.connected = False
        self.calls["Range"] = self._range

    def _log_in(self) -> str:
        if not self.connected:
            raise Refused(grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses")
        return "token"

    def _range(self, message: Any, timeout: float, metadata: Any, wait_for_ready: bool | None = None) -> Any:
        self.connected = self.connected or bool(wait_for_ready)
        return rpc.RangeResponse()


def test_a_login_that_finds_no_connection_waits_for_one() -> None:
    member: Any = UnconnectedMember()
    balancer = Balancer(address_of(["one:1"]).endpoints, lambda endpoint: member)
    tokens = Tokens("user", "secret")
    UnaryCalls(balancer, tokens, Gate("one:1")).run("Range", rpc.RangeRequest(key=b"a"), timeout=20, repeat=True)
    assert tokens.current == "token"
