"""A channel through which an exception of a signal handler has gone is left by everybody, and nothing is missed."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from django_etcdaero.exceptions import ClusterTimeout, EtcdAeroError, OutcomeUnknown
from django_etcdaero.keyvalue import KV
from django_etcdaero.keyvalue.etcd import EtcdEngine
from django_etcdaero.keyvalue.etcd.calls.outage import PROBE
from django_etcdaero.keyvalue.etcd.connection import gate
from django_etcdaero.keyvalue.etcd.connection.interrupted import InterruptedChannels
from django_etcdaero.keyvalue.etcd.messages import streams
from django_etcdaero.keyvalue.etcd.messages.calling import ChannelClosed, UnaryCall, secure
from django_etcdaero.keyvalue.etcd.watches import hub
from django_etcdaero.keyvalue.values import PutRequest, RangeRequest, WatchRequest
from django_etcdaero.system.conditions import Condition
from tests.keyvalue.etcd.servers import Server
from tests.keyvalue.recording import Recording, short
from tests.waiting import wait_until

Connect = Callable[..., EtcdEngine]
At = Callable[[str], bytes]


class TimeLimitExceeded(Exception):
    pass


class WrongValue(ValueError):
    pass


@contextmanager
def limit(seconds: float, kind: type[BaseException] = TimeLimitExceeded) -> Iterator[None]:
    """Have a signal handler raise in the block, in the main thread, as Celery's soft time limit does."""

    def handle(*_: object) -> None:
        raise kind

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.5)
    try:
        yield
    except kind:
        pass
    else:
        raise AssertionError("the handler has not raised")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def interrupt(engine: EtcdEngine, server: Server, kind: type[BaseException] = TimeLimitExceeded) -> None:
    """Let a handler raise while a call waits for an answer."""
    server.signal(signal.SIGSTOP)
    try:
        with limit(0.1, kind):
            engine.range(RangeRequest(b"a"), timeout=30)
    finally:
        server.signal(signal.SIGCONT)


def member(engine: EtcdEngine) -> Any:
    return engine._balancer.pick()[1]


def test_the_conditions_of_a_channel_are_found_and_secured() -> None:
    channel = grpc.insecure_channel("127.0.0.1:1")
    assert secure(channel) >= 1
    state = next(each for each in gc.get_referents(channel._channel) if type(each).__name__ == "_ChannelState")
    assert [type(each) for each in gc.get_referents(state) if isinstance(each, threading.Condition)] == [Condition]
    channel.close()


@pytest.mark.parametrize("kind", [TimeLimitExceeded, WrongValue, KeyboardInterrupt, SystemExit])
def test_an_interrupted_call_ends_as_the_handler_wants_and_the_next_one_is_made_on_another_channel(
    server: Server, connect: Connect, kind: type[BaseException]
) -> None:
    engine = connect([server.endpoint])
    engine.put(PutRequest(b"a", b"1"))
    before = member(engine)
    interrupt(engine, server, kind)
    assert before.interrupted
    assert engine.range(RangeRequest(b"a")).kvs[0].value == b"1"
    assert member(engine) is not before


def test_a_watch_goes_on_on_the_other_channel_and_sees_each_event_once(server: Server, connect: Connect) -> None:
    engine = connect([server.endpoint])
    seen = Recording()
    engine.watch(WatchRequest(b"a"), seen)
    wanted = []
    for number in range(5):
        stream = engine._hub._stream
        assert stream is not None
        engine.put(PutRequest(b"a", f"{number} before".encode()))
        interrupt(engine, server)
        engine.put(PutRequest(b"a", f"{number} after".encode()))
        wait_until(lambda old=stream: engine._hub._stream not in (None, old), what="another stream")
        wanted += [f"+a={number} before", f"+a={number} after"]
    assert short(seen.wait(10, 20)) == wanted


def test_calls_of_other_threads_on_the_channel_are_answered(server: Server, connect: Connect) -> None:
    engine = connect([server.endpoint])
    engine.put(PutRequest(b"a", b"1"))
    answers: list[Any] = []

    def read() -> None:
        try:
            answers.append(engine.range(RangeRequest(b"a"), timeout=30).kvs[0].value)
        except EtcdAeroError as error:
            answers.append(error)

    server.signal(signal.SIGSTOP)
    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(engine._gate.inside) == 3, what="the calls")
    interrupt(engine, server)
    for thread in threads:
        thread.join(30)
    assert answers == [b"1"] * 3


def test_an_interrupted_write_in_a_loop_of_the_main_thread_leaves_the_lease_renewed(
    server: Server, connect: Connect
) -> None:
    engine = connect([server.endpoint])
    kv = KV(engine)
    lease = kv.lease(2)
    for _ in range(3):
        interrupt(engine, server)
        renewed = lease.deadline
        wait_until(lambda renewed=renewed: lease.deadline > renewed, what="a renewal")
    assert lease.alive
    kv.close()


def test_left_channels_are_closed_in_time(server: Server, connect: Connect) -> None:
    engine = connect([server.endpoint])
    engine.range(RangeRequest(b"a"))
    before = member(engine)
    left: list[Any] = []
    channels = InterruptedChannels(left.append, life=0.05)
    channels.add(before)
    wait_until(lambda: left == [before], what="being left")

    def closed() -> bool:
        try:
            before.calls["Range"](PROBE, 1)
        except ChannelClosed:
            return True
        except grpc.RpcError:
            pass
        return False

    wait_until(closed, what="the end of the channel")
    channels.stop()


def test_left_channels_are_gone_before_a_fork(server: Server, connect: Connect) -> None:
    engine = connect([server.endpoint])
    engine.range(RangeRequest(b"a"))
    before = member(engine)
    interrupt(engine, server)
    child = os.fork()
    if not child:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    with pytest.raises(ChannelClosed):
        before.calls["Range"](PROBE, 1)
    assert engine.range(RangeRequest(b"a")).kvs == ()


def test_what_a_kept_exception_holds_of_grpc_is_let_go() -> None:
    lock = threading.Lock()
    kept: list[BaseException] = []

    def within_grpc() -> None:
        def holding() -> Iterator[None]:
            with lock:
                yield

        generator = holding()
        next(generator)
        raise TimeLimitExceeded

    namespace = {"__name__": "grpc._observability", "TimeLimitExceeded": TimeLimitExceeded, "lock": lock}
    call = type(within_grpc)(within_grpc.__code__, namespace, closure=within_grpc.__closure__)
    try:
        UnaryCall(lambda *_, **__: call(), None)(b"")
    except TimeLimitExceeded as error:
        kept.append(error)
    assert kept
    assert not lock.locked()


class Silent:
    """Keeps gRPC's thread that brings answers from starting, where that is tried next."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object] = lambda: None) -> None:
        """``meanwhile()`` is called in its place."""
        start = grpc._channel._run_channel_spin_thread
        self.channels: list[Any] = []

        def once(state: Any) -> None:
            if self.channels:
                start(state)
            else:
                self.channels.append(state)
                meanwhile()

        monkeypatch.setattr(grpc._channel, "_run_channel_spin_thread", once)
        for module in (gate, streams):
            monkeypatch.setattr(module, "GRACE", 0.1)


class Told:
    """A call that tells when it is about to be sent."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.sent = threading.Event()

    def future(self, *arguments: Any, **options: Any) -> Any:
        self.sent.set()
        return self._call.future(*arguments, **options)


def interrupt_a_start(
    engine: EtcdEngine, monkeypatch: pytest.MonkeyPatch, method: str, call: Callable[[], Coroutine[Any, Any, Any]]
) -> Any:
    """Let a handler raise while gRPC starts its thread; return how ``call()`` of another thread's loop ends, which is
    sent at this moment, by ``method``.
    """
    leases = [engine.lease_grant(60).id for _ in range(2)]
    told = member(engine).calls[method] = Told(member(engine).calls[method])
    ends: list[Any] = []

    def run() -> None:
        try:
            ends.append(asyncio.run(call()))
        except EtcdAeroError as error:
            ends.append(error)

    thread = threading.Thread(target=run)

    def meanwhile() -> None:
        thread.start()
        assert told.sent.wait(20)
        raise TimeLimitExceeded

    Silent(monkeypatch, meanwhile)
    with pytest.raises(TimeLimitExceeded):
        engine.lease_keep_alive_many(leases, lambda _: None)
    thread.join(20)
    assert ends, "the call has not ended"
    return ends[0]


def test_an_awaited_read_on_a_channel_whose_answers_nobody_brings_is_answered_on_another_one(
    server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = connect([server.endpoint])
    engine.put(PutRequest(b"a", b"1"))
    answer = interrupt_a_start(engine, monkeypatch, "Range", lambda: engine.arange(RangeRequest(b"a"), timeout=30))
    assert answer.kvs[0].value == b"1"


def test_an_awaited_write_on_a_channel_whose_answers_nobody_brings_ends_in_its_time(
    server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = connect([server.endpoint])
    end = interrupt_a_start(engine, monkeypatch, "Put", lambda: engine.aput(PutRequest(b"a", b"1"), timeout=0.2))
    assert isinstance(end, OutcomeUnknown)
    wait_until(lambda: not engine._gate.inside, what="the end of all calls")
    assert asyncio.run(engine.aput(PutRequest(b"a", b"2"))).revision


def test_a_channel_on_which_a_call_does_not_end_in_its_time_is_left(
    server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = connect([server.endpoint])
    engine.put(PutRequest(b"a", b"1"))
    silent, before = Silent(monkeypatch), member(engine)
    with pytest.raises(ClusterTimeout):
        asyncio.run(engine.arange(RangeRequest(b"a"), timeout=0.1))
    assert silent.channels
    assert before.interrupted
    assert asyncio.run(engine.arange(RangeRequest(b"a"))).kvs[0].value == b"1"


def test_a_watch_leaves_a_channel_whose_answers_nobody_brings(
    server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = connect([server.endpoint])
    engine.put(PutRequest(b"a", b"1"))
    silent, before, seen = Silent(monkeypatch), member(engine), Recording()
    monkeypatch.setattr(hub, "FIRST_TRY", 0.3)
    engine.watch(
        WatchRequest(b"a"), seen, timeout=30
    )  # accepted on the next stream, because nothing is heard on the first one
    assert silent.channels
    assert before.interrupted
    engine.put(PutRequest(b"a", b"2"))
    assert short(seen.wait(1, 20)) == ["+a=2"]


@pytest.mark.slow  # a round has half of its time
def test_renewals_leave_a_channel_whose_answers_nobody_brings(
    server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = connect([server.endpoint])
    leases = [engine.lease_grant(60).id for _ in range(2)]
    silent, before, renewed = Silent(monkeypatch), member(engine), []
    engine.lease_keep_alive_many(leases, lambda renewal: renewed.append(renewal.id), timeout=4)
    assert silent.channels
    assert before.interrupted
    assert sorted(renewed) == sorted(leases)
