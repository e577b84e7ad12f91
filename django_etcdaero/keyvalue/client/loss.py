"""Why something that was held is held no more."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable
from typing import TypeAlias, TypeVar

T = TypeVar("T")


class LossReason(enum.Enum):
    """Why a lease, a lock or a leadership was lost."""

    EXPIRED = "expired"
    """The lease ran out: it was not renewed in time, because this process was stopped or the store was away."""
    REVOKED = "revoked"
    """The store does not know the lease any more: it was revoked, or the store was replaced by another one."""
    REMOVED = "removed"
    """Somebody removed the key (``force_release()``, a delete, the end of its lease) or put it on another lease."""
    CLOSED = "closed"
    """The client was closed here, which gives up all that it holds."""
    FORKED = "forked"
    """This is the child of a fork; what was held is the parent's."""


ToldOfLoss: TypeAlias = "Callable[[T, LossReason], object] | Callable[[T], object] | Callable[[], object]"
"""A function of a user's that is called with what was lost and why, or with as many of the two as it requires."""


def required(function: Callable[..., object]) -> int:
    """Return how many of two arguments ``function`` is to be given: those that it cannot be called without.

    All of them if it takes any number. Of what cannot be asked, some functions written in C, the answer is 1.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    if any(each.kind is each.VAR_POSITIONAL for each in parameters):
        return 2
    positional = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    return min(2, sum(each.default is each.empty for each in positional))
