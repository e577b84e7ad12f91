"""Forks: what holds a store open comes to rest before one, goes on in the parent, and is forgotten in the child.

A native client (SQLite, gRPC, Aerospike) must not be inside a call when the process forks, or the child inherits locks
that nobody will ever release, and its connections must not be used or closed by a process that did not open them.
SQLite's are worse: a connection that is open at the fork makes the child believe that it holds file locks of which the
kernel knows nothing (https://www.sqlite.org/howtocorrupt.html, section 2.6), so they are closed before.

Engines and record stores call :func:`protect` when they are made; the rest happens by itself. ``subprocess`` does not
run these hooks and needs none.

A module that another thread is importing when the process forks stays half imported in the child for ever. So threads
of this package import inside :func:`postponed`.

A server in C may fork without running any hook of Python. Its child is found out by its process id (:func:`catch_up`).
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from .conditions import Condition

PATIENCE = 1.0
"""Longest time in seconds that a fork waits for the calls of one resource."""
IMPORT_PATIENCE = 10.0
"""Longest time in seconds that a fork waits for the end of :func:`postponed` blocks."""


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
        self.inside: list[int] = []
        """The threads that are in a block, once for each."""


_blocks = _Blocks()

_forking = False
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


def in_progress() -> bool:
    """Tell whether Python itself is about to fork this process."""
    return _forking


def catch_up() -> None:
    """In the child of a fork that ran no hooks: do what they would have done. Elsewhere it costs next to nothing."""
    if os.getpid() == _pid:
        return
    with _catching:
        if os.getpid() not in (_pid, _settling):
            _after_in_child()


@contextmanager
def postponed() -> Iterator[None]:
    """Let forks of other threads wait for the end of the block, for at most ``IMPORT_PATIENCE`` seconds.

    Any number of threads may be in such blocks; one that wants to enter waits while another forks.
    """
    blocks, thread = _blocks, threading.get_ident()
    with blocks.changed:
        blocks.inside.append(thread)
    try:
        yield
    finally:
        with blocks.changed:
            blocks.inside.remove(thread)
            blocks.changed.notify_all()


def _before() -> None:
    global _forking
    thread = threading.get_ident()
    _blocks.changed.acquire()  # until after the fork: nobody enters a block meanwhile
    _blocks.changed.wait_for(lambda: all(other == thread for other in _blocks.inside), IMPORT_PATIENCE)
    _forking = True
    for resource in _living():
        resource.before_fork(PATIENCE)


def _after_in_parent() -> None:
    global _forking
    _forking = False
    for resource in _living():
        resource.after_fork_in_parent()
    _blocks.changed.release()


def _after_in_child() -> None:
    global _blocks, _forking, _pid, _settling
    _settling, _forking = os.getpid(), False
    _blocks = _Blocks()  # those who were inside are not in the child, or leave what they entered
    for resource in _living(inherited=True):
        _resources.pop(id(resource), None)
        resource.abandon()  # which may protect it again, as one of this process
    for call in reversed(_in_child):
        call()
    _pid, _settling = _settling, 0


os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
