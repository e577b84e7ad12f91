"""Several questions asked at once: one that is not answered in time costs the others nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TypeVar

from django_etcdaero.exceptions import DeadlineExceeded
from django_etcdaero.project_code import close_connections
from django_etcdaero.system.call_limit import calls_end_within
from django_etcdaero.system.clocks import monotonic
from django_etcdaero.system.threads import join

K = TypeVar("K")
T = TypeVar("T")


def within(timeout: float) -> float:
    """Return the seconds for a call in a question that has ``timeout``: the rest is for saying why it failed."""
    return timeout * 0.9


def together(questions: Mapping[K, Callable[[], T]], *, timeout: float) -> dict[K, T | Exception]:
    """Call each function in a thread of its own, for ``timeout`` seconds at most; return what it returned or raised.

    One that has not ended by then is a ``DeadlineExceeded``; its thread goes on, and ends by the deadlines of the calls
    in it. These are a little earlier: what a call says of a server that does not answer is worth more than that the
    time is over. Database connections of the threads are closed.
    """
    limit = monotonic() + timeout
    answers: dict[K, T | Exception] = {}
    found: dict[K, T | Exception] = {}
    threads = {}
    for name, function in questions.items():
        found[name] = DeadlineExceeded(f"no answer within {timeout:g} s")
        asking = (answers, name, function, within(timeout))
        thread = threading.Thread(target=_answer, args=asking, name="etcdaero-asking", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads to be had
            found[name] = error
        else:
            threads[name] = thread
    for name, thread in threads.items():
        if join(thread, max(0.0, limit - monotonic())):
            found[name] = answers[name]
    return found


def _answer(answers: dict[K, T | Exception], name: K, function: Callable[[], T], calls: float) -> None:
    try:
        with calls_end_within(calls):
            answers[name] = function()
    except Exception as error:  # whoever asked decides what to make of it
        answers[name] = error
    except BaseException as error:  # a thread that ends without an answer would be an answer that nobody finds
        answers[name] = RuntimeError(f"{type(error).__name__}: {error}")
    finally:
        close_connections()
