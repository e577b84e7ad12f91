"""What kind of function a user has given."""

from __future__ import annotations

import inspect
from functools import partial
from types import FunctionType

from asgiref.sync import iscoroutinefunction


def is_coroutine_function(function: object) -> bool:
    """Tell whether calling ``function`` gives a coroutine, as far as that can be told without calling it."""
    if type(function) is FunctionType and not function.__dict__:  # not marked as one: the quick way
        return bool(function.__code__.co_flags & inspect.CO_COROUTINE)
    while isinstance(function, partial):
        function = function.func
    return iscoroutinefunction(function) or iscoroutinefunction(getattr(type(function), "__call__", None))  # noqa: B004
