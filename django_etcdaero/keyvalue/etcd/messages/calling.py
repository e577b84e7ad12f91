"""Calls of gRPC that may be interrupted: what an exception from outside leaves behind in its channel.

gRPC waits for answers in the calling thread, and lets handlers of signals run meanwhile. What a handler raises goes
through gRPC's own code, which is not made for that: it leaves locks taken that all calls of the channel share, and
calls that nobody ends. So

* the conditions of a channel and of its streams are made such that ``with`` takes and gives them back in one step
  (:class:`~django_etcdaero.system.conditions.Condition`), and no thread that uses the channel at that moment hangs;
* the channel is given up: who made it is told, and makes its next call on another one.

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


class GuardedChannel:
    """A channel of gRPC, and who is told when an exception from outside went through a call on it."""

    def __init__(self, channel: Any, interrupted: Callable[[], object]) -> None:
        """``interrupted()`` is called in the thread of the call, before the exception goes on."""
        secure(channel)
        self.interrupted = interrupted
        self.unary_unary = channel.unary_unary
        self.unary_stream = channel.unary_stream
        self.stream_unary = channel.stream_unary
        self.stream_stream = channel.stream_stream


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

    __slots__ = ("_call", "_interrupted", "_parse", "_send", "_serialize")

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
        self._interrupted: Callable[[], object] = getattr(channel, "interrupted", _ignore)

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
        """Send without waiting for the answer."""
        return self._start(self._send.future, message, timeout, metadata, options)

    def _start(self, call: Any, message: Any, timeout: float | None, metadata: Any, options: dict[str, Any]) -> Any:
        try:
            under_way = call(message, in_real_time(timeout), metadata, **options)
            _secure(under_way._state.condition)
        except grpc.RpcError:
            raise
        except BaseException as error:
            self._judge(error)
            raise
        return under_way

    def _judge(self, error: BaseException) -> None:
        if isinstance(error, ValueError) and not interrupts(error):
            raise ChannelClosed(str(error)) from error
        self._interrupted()
        let_go(error.__traceback__)


class StreamCall(UnaryCall):
    """A call of gRPC with many answers: an iterator of them."""

    __slots__ = ()

    def __call__(self, message: Any, timeout: float | None = None, metadata: Any = None, **options: Any) -> Any:
        return self._start(self._call, message, timeout, metadata, options)


def let_go(step: TracebackType | None) -> None:
    """Let go of what gRPC holds in the frames of a traceback: whoever keeps an exception would keep its locks."""
    while step is not None:
        if step.tb_frame.f_globals.get("__name__", "").partition(".")[0] in _MODULES:
            with suppress(RuntimeError):  # it still runs
                step.tb_frame.clear()
        step = step.tb_next


def _ignore() -> None:
    """Nobody wants to know."""
