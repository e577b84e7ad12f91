"""Forks: what holds a store open comes to rest before one, goes on in the parent, and is forgotten in the child.

A native client (SQLite, gRPC, Aerospike) must not be inside a call when the process forks, or the child inherits locks
that nobody will ever release, and its connections must not be used or closed by a process that did not open them.
SQLite's are worse: a connection that is open at the fork makes the child believe that it holds file locks of which the
kernel knows nothing (https://www.sqlite.org/howtocorrupt.html, section 2.6), so they are closed before.

Engines and record stores call :func:`protect` when they are made; the rest happens by itself. ``subprocess`` does not
run these hooks and needs none.

A module that another thread is importing when the process forks stays half imported in the child for ever, and a lock
that a native client takes while it is opened or closed stays taken there. So threads of this package import, open and
close inside :func:`postponed`.

A library may have handlers of its own, which must find everything at rest. :func:`surround` is called when it has
registered them.

A server in C may fork without running any hook of Python. Its child is found out by its process id (:func:`catch_up`).
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol

from .clocks import monotonic
from .conditions import Bell, Condition

LIMIT = 10.0
"""Longest time in seconds that a fork waits in all."""
PATIENCE = 1.0
"""Longest time in seconds that a fork waits for the calls of one resource."""
_LEAST = 0.02
"""Seconds that it waits for each of the others when calls have hung in so many that the time has run out."""
_FOR_BLOCKS = LIMIT - 2 * PATIENCE
"""Longest time in seconds that it waits for the end of :func:`postponed` blocks."""
_GIVE_WAY = 0.5
"""Longest time in seconds that a block lets a fork go first that waits for other blocks. It must begin at last: a
thread that is in one of those may be waiting for it."""


class Resource(Protocol):
    """Something that must not cross a fork. The methods are those of the two waists; they never raise."""

    def before_fork(self, timeout: float) -> None: ...

    def after_fork_in_parent(self) -> None: ...

    def abandon(self) -> None: ...


_resources: dict[int, tuple[int, weakref.ref[Resource]]] = {}
"""By identity: the process that opened the resource, and the resource."""


def protect(resource: Resource) -> None:
    """See to ``resource`` at every fork for as long as it lives."""
    key = id(resource)
    _resources[key] = (os.getpid(), weakref.ref(resource, lambda _: _resources.pop(key, None)))


def let_go() -> None:
    """End the threads of resources that outlive the closing of stores: those that have a method ``let_go()``.

    For forks that run none of Python's hooks (:mod:`.unseen_forks`); the resource is as good as new afterwards.
    """
    for resource in _living():
        end: Callable[[], object] | None = getattr(resource, "let_go", None)
        if end is not None:
            end()


def _living(*, inherited: bool = False) -> list[Resource]:
    """Return the resources that this process opened, or those that it inherited."""
    # One C call on a dict of its own is atomic: no lock here that a fork could leave held.
    entries, pid = list(_resources.values()), os.getpid()
    return [
        resource
        for opener, reference in entries
        if (opener != pid) is inherited and (resource := reference()) is not None
    ]


class _Blocks:
    def __init__(self) -> None:
        self.changed = Condition()
        self.inside: dict[object, int] = {}
        """The blocks that threads are in, with the thread."""
        self.awaited = 0
        """Forks that wait for the end of blocks."""
        self.passed = Bell()
        """Rung when one does not wait any more."""


_blocks = _Blocks()

_forking: int | None = None
"""The thread in which Python is about to fork this process."""
_resting: list[Resource] = []
"""What has come to rest for that fork."""
_at_rest: list[Callable[[], object]] = []
_rounds = 0
"""How often the handlers are registered."""
_in_child: list[Callable[[], object]] = []
_pid = os.getpid()
"""The process that these modules are settled in."""
_settling = 0
"""The process that is being settled."""
_catching = threading.RLock()


def in_child(call: Callable[[], object]) -> None:
    """Have ``call()`` called in the child of each fork, after inherited resources were abandoned; the last one first.

    Unlike a function given to :func:`os.register_at_fork` it is also called where no hook of Python was run.
    """
    _in_child.append(call)


def at_rest(call: Callable[[], object]) -> None:
    """Have ``call()`` called before each fork when all resources have come to rest. It must not take long."""
    _at_rest.append(call)


def in_progress() -> bool:
    """Tell whether Python itself is about to fork this process."""
    return _forking is not None


def catch_up() -> None:
    """In the child of a fork that ran no hooks: do what they would have done. Elsewhere it costs next to nothing."""
    if os.getpid() == _pid:
        return
    with _catching:
        if os.getpid() not in (_pid, _settling):
            _after_in_child()


@contextmanager
def postponed() -> Iterator[None]:
    """Let forks of other threads wait for the end of the block, for some seconds at most.

    Any number of threads may be in such blocks; one that wants to enter waits while another forks.
    """
    blocks, thread, mark = _blocks, threading.get_ident(), object()
    if blocks.awaited and thread not in blocks.inside.values():
        # Otherwise threads that open stores all the time could make it wait for ever.
        blocks.passed.wait_for(lambda: not blocks.awaited, _GIVE_WAY)
    try:
        with blocks.changed:
            blocks.inside[mark] = thread
        yield
    finally:
        with blocks.changed:
            blocks.inside.pop(mark, None)
            blocks.changed.notify_all()


def surround() -> None:
    """Have resources rest before the handlers are called that were registered until now, and go on after them.

    For libraries that register handlers with :func:`os.register_at_fork` at their first use.
    """
    global _rounds
    os.register_at_fork(before=_before, after_in_parent=partial(_after_in_parent, _rounds + 1))
    _rounds += 1  # not before: if another thread forks meanwhile, the last ones so far end its rest


def _before() -> None:
    global _forking
    thread, blocks = threading.get_ident(), _blocks
    if _forking == thread:
        return  # the handlers that were registered later have done it
    until = monotonic() + LIMIT
    blocks.changed.acquire()  # until after the fork: nobody enters a block meanwhile
    blocks.awaited += 1
    try:
        blocks.changed.wait_for(lambda: all(other == thread for other in blocks.inside.values()), _FOR_BLOCKS)
    finally:
        blocks.awaited -= 1
        blocks.passed.ring()
    _forking = thread
    for resource in _living():
        _resting.append(resource)
        resource.before_fork(max(_LEAST, min(PATIENCE, until - monotonic())))
    for call in _at_rest:
        call()


def _after_in_parent(round_: int) -> None:
    global _forking
    if round_ < _rounds or _forking != threading.get_ident():
        return  # libraries whose handlers were registered later are not ready yet; or it is done
    _forking = None
    # Not those that other threads have made meanwhile: they have not been told to rest.
    while _resting:
        _resting.pop().after_fork_in_parent()
    _blocks.changed.release()


def _after_in_child() -> None:
    global _blocks, _forking, _pid, _settling
    _settling, _forking = os.getpid(), None
    _blocks = _Blocks()  # those who were inside are not in the child, or leave what they entered
    for resource in _living(inherited=True):
        _resources.pop(id(resource), None)
        resource.abandon()  # which may protect it again, as one of this process
    _resting.clear()
    for call in reversed(_in_child):
        call()
    _pid, _settling = _settling, 0


os.register_at_fork(after_in_child=_after_in_child)
surround()
