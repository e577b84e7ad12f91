"""One protocol for threads and event loops alike: written as a coroutine, and completed without a loop by threads.

Code that must exist in a blocking and in an awaitable form is written once with ``async def``, over an object whose
methods do the waiting. With one whose methods block, nothing is ever suspended, and :func:`complete` is all it takes.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def complete(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine whose awaits all block instead of suspending it; return its result or raise its error."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        coroutine.close()  # a signal handler that raises may have left it in the middle
    raise AssertionError("the coroutine was suspended")
