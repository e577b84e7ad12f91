"""The classes ``date`` and ``datetime`` themselves, also where a test has put others in their place.

While freezegun stops the clock these names mean classes of its own, in every module, and for good in a module that is
imported then. What such a class makes is stored, and read again, as what it stands for. No name of a module is a safe
place for one of the two classes: it is replaced as well. So what is needed of them is kept as a bound method, or as a
key of a dict.
"""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")


def real_class(cls: type[T]) -> type[T]:
    """Return the class of ``datetime`` that ``cls``, one of freezegun's, stands for; else ``cls`` itself."""
    if cls.__module__ != "freezegun.api":
        return cls
    found: Any = next((base for base in cls.__mro__ if base.__module__ == "datetime"), cls)
    return found  # type: ignore[no-any-return]
