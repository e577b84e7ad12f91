"""Functions that stand on an object before the methods of its class, for all who hold the object already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def put_up(target: object, functions: Mapping[str, Callable[..., Any]]) -> Callable[[], None]:
    """Put ``functions`` before the methods of these names; return what takes them away.

    Of several that stand before one method the last one is called first. They may be taken away in any order: one that
    others stand before stays there, and passes on.
    """
    attributes = vars(target)
    stood_before = dict(attributes)
    attributes.update(functions)

    def remove() -> None:
        for name, function in functions.items():
            if attributes.get(name) is not function:
                continue  # somebody stands before it, and passes on to what has no effect any more
            if name in stood_before:
                attributes[name] = stood_before[name]
            else:
                del attributes[name]

    return remove
