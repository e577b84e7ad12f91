"""Methods that act, which no template may call.

A template of Django calls whatever can be called without arguments: ``{{ prices.refresh }}`` would load a source, and
``{{ lock.release }}`` would let a lock go. Of what has ``alters_data`` it leaves its hands.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def acts(method: F) -> F:
    """Mark a method that does something, or that has to be awaited: for a template it is as if it were not there."""
    with suppress(AttributeError):  # of C, or a bound method
        method.alters_data = True  # type: ignore[attr-defined]
    return method


def overrides_act(cls: type) -> None:
    """Mark the methods of ``cls`` that override one that acts."""
    for name, member in vars(cls).items():
        function = getattr(member, "__func__", member)  # of a static or class method
        if isinstance(function, type) or not callable(function):
            continue
        if any(getattr(vars(base).get(name), "alters_data", False) for base in cls.__mro__[1:]):
            acts(function)
