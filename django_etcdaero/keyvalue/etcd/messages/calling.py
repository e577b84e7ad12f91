"""Calls of gRPC that may be interrupted: what an exception from outside leaves behind in its channel.

gRPC waits for answers in the calling thread, and lets handlers of signals run meanwhile. What a handler raises goes
through gRPC's own code, which is not made for that: it leaves locks taken that all calls of the channel share, and
calls that nobody ends. So

* the conditions of a channel and of its streams are made such that ``with`` takes and gives them back in one step
  (:class:`~django_etcdaero.system.conditions.Condition`), and no thread that uses the channel at that moment hangs;
* the channel is given up: who made it is told, and makes its next call on another one;
* who waits for an answer that a thread of gRPC's brings does not rely on that thread. A channel has it started by the
  call that finds none under way, and if the exception comes then it never runs: neither an answer nor the end of the
  time allowed is told to any call on the channel, of whatever thread.

gRPC knows nothing of this: :func:`secure` looks for the conditions among the objects that its own hold.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from django_etcdaero.system.conditions import Condition
from django_etcdaero.system.interruption import interrupts

from .deadlines import in_real_time

GRACE = 1.0
"""Seconds after the end of its time in which gRPC has told a call of it, unless something is very wrong."""

_MODULES = ("grpc", "contextlib", "threading")
"""Code whose frames may hold a lock for as long as the traceback of an exception is kept."""


class ChannelClosed(Exception):
    """The channel was closed in another thread; never leaves this package."""


def secure(owner: Any, depth: int = 3) -> int:
    """Let no exception leave conditions taken that ``owner``, an object of gRPC's, holds; return how many there are.

    ``depth``: through so many objects it looks for them.
    """
    found, objects = 0, [owner]
    for _ in range(depth):
        objects = [each for one in objects for each in gc.get_referents(one) if _is_of_grpc(each)]
        found += sum(_secure(each) for each in objects)
    return found


def _secure(condition: Any) -> bool:
    if type(condition) is threading.Condition:
        condition.__class__ = Condition
    return isinstance(condition, threading.Condition)


def _is_of_grpc(something: Any) -> bool:
    kind = type(something)
    return kind is dict or isinstance(something, threading.Condition) or kind.__module__.startswith("grpc")


class Unanswered(grpc.RpcError):  # type: ignore[misc] # gRPC has no types
    """A call that has got no answer, as it is told here, and not by gRPC."""

    def __init__(self, code: Any, details: str) -> None:
        super().__init__(details)
        self._code = code
        self._details = details

    def code(self) -> Any:
        """Return the status, one of gRPC's."""
        return self._code

    def details(self) -> str:
        """Return what has happened."""
        return self._details


class GuardedChannel:
    """A channel of gRPC, and who is told when an exception from outside went through a call on it."""

    def __init__(self, channel: Any, interrupted: Callable[[], object]) -> None:
        """``interrupted()`` is called in the thread of the call, before the exception goes on; once."""
        secure(channel)
        self._tell = interrupted
        self._told = False
        self.is_left = False
        """No call is to be made on it any more."""
        self.movable: set[Callable[[], object]] = set()
        """What wakes up those who wait on it for an answer that they can have on another channel as well."""
        self.unary_unary = channel.unary_unary
        self.unary_stream = channel.unary_stream
        self.stream_unary = channel.stream_unary
        self.stream_stream = channel.stream_stream

    def interrupted(self) -> None:
        """Have it left by all. Allowed more than once."""
        self.is_left = True
        if not self._told:
            self._tell()
            self._told = True
        for wake in tuple(self.movable):
            wake()

    def silent(self) -> Unanswered:
        """Have it left, and return the error for a call to which gRPC has not even told that its time is over."""
        self.interrupted()
        return Unanswered(grpc.StatusCode.DEADLINE_EXCEEDED, "gRPC has not told the end of the call")


class UnreadableAnswer(grpc.RpcError):  # type: ignore[misc] # gRPC has no types
    """What the server has sent is no answer."""

    def code(self) -> Any:
        """Return what gRPC says in such a case."""
        return grpc.StatusCode.INTERNAL

    def details(self) -> str:
        """Return what is wrong with it."""
        return str(self)


class UnaryCall:
    """A call of gRPC with one answer, which takes what that takes. Raises ``grpc.RpcError`` and ``ChannelClosed``.

    It turns messages into bytes and back by itself: what a signal handler raises while gRPC does so is lost.
    """

    __slots__ = ("_call", "_channel", "_parse", "_send", "_serialize")

    def __init__(
        self,
        call: Any,
        channel: Any,
        serialize: Callable[[Any], Any] = bytes,
        parse: Callable[[Any], Any] = bytes,
        send: Any = None,
    ) -> None:
        """``call`` takes and returns bytes; ``send`` is the same call for messages, whose answer is not waited for."""
        self._call = call
        self._serialize = serialize
        self._parse = parse
        self._send = send
        self._channel = channel

    def __call__(self, message: Any, timeout: float | None = None, metadata: Any = None, **options: Any) -> Any:
        try:
            answer = self._call(self._serialize(message), in_real_time(timeout), metadata, **options)
            return answer if answer is None else self._parse(answer)
        except grpc.RpcError:
            raise
        except DecodeError as error:
            raise UnreadableAnswer(f"the answer cannot be read: {error}") from error
        except BaseException as error:
            self._judge(error)
            raise

    def future(self, message: Any, timeout: float | None = None, metadata: Any = None, **options: Any) -> Any:
        """Send without waiting for the answer. What is returned has the channel as its ``guarded``."""
        return self._start(self._send.future, message, timeout, metadata, options)

    def _start(self, call: Any, message: Any, timeout: float | None, metadata: Any, options: dict[str, Any]) -> Any:
        try:
            under_way = call(message, in_real_time(timeout), metadata, **options)
            _secure(under_way._state.condition)
            under_way.guarded = self._channel
        except grpc.RpcError:
            raise
        except BaseException as error:
            self._judge(error)
            raise
        return under_way

    def _judge(self, error: BaseException) -> None:
        if isinstance(error, ValueError) and not interrupts(error):
            raise ChannelClosed(str(error)) from error
        if isinstance(self._channel, GuardedChannel):
            self._channel.interrupted()
        let_go(error.__traceback__)


def let_go(step: TracebackType | None) -> None:
    """Let go of what gRPC holds in the frames of a traceback: whoever keeps an exception would keep its locks."""
    while step is not None:
        if step.tb_frame.f_globals.get("__name__", "").partition(".")[0] in _MODULES:
            with suppress(RuntimeError):  # it still runs
                step.tb_frame.clear()
        step = step.tb_next
