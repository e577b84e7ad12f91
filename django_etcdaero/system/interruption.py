"""Whether an exception is the fault of the code that it came out of, or was raised from outside into it."""

from __future__ import annotations

import signal
from functools import partial
from types import CodeType
from typing import Any


def interrupts(error: BaseException) -> bool:
    """Tell whether ``error`` came from outside: from Ctrl-C, from a handler of signals, by the end of a greenlet.

    A handler runs in the main thread between any two steps, and what it raises goes through whatever was running then:
    Celery's soft time limit does that, and SIGTERM in many programs. Its frame stands in the traceback. Whoever takes
    such an exception for a failure of the code that was running lets a program go on that was told to stop.
    """
    if isinstance(error, KeyboardInterrupt | GeneratorExit) or type(error).__name__ == "GreenletExit":
        return True
    handlers = {_code_of(signal.getsignal(number)) for number in signal.valid_signals()}
    step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code in handlers:
            return True
        step = step.tb_next
    return False


def _code_of(handler: Any) -> CodeType | None:
    while isinstance(handler, partial):
        handler = handler.func
    handler = getattr(handler, "__func__", handler)
    if callable(handler) and not hasattr(handler, "__code__"):
        handler = getattr(type(handler), "__call__", None)  # noqa: B004 - an object that can be called
    code: CodeType | None = getattr(handler, "__code__", None)
    return code
