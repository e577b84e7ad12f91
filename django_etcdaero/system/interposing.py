"""Functions that stand on an object before the methods of its class, for all who hold the object already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

Around: TypeAlias = Callable[[str, Any], AbstractContextManager[object]]
"""``around(call, argument)``: the name of a call, and what it is about. The call runs inside what is returned."""


def put_up(
    target: object, around: Around, make: Callable[[Around], Mapping[str, Callable[..., Any]]]
) -> Callable[[], None]:
    """Put functions before methods of ``target``; return what takes them away.

    ``make`` makes them, by the names of the methods, from what they run their calls in: ``around`` as long as they
    stand, and nothing after that. Of several that stand before one method the last one is called first. They may be
    taken away in any order: one that others stand before stays there, and passes on.
    """
    standing = True
    functions = make(lambda call, argument: around(call, argument) if standing else nullcontext())
    attributes = vars(target)
    stood_before = dict(attributes)
    attributes.update(functions)

    def remove() -> None:
        nonlocal standing
        standing = False
        for name, function in functions.items():
            if attributes.get(name) is not function:
                continue  # somebody stands before it, and passes on to what has no effect any more
            if name in stood_before:
                attributes[name] = stood_before[name]
            else:
                del attributes[name]

    return remove
