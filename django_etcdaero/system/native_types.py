"""Two things that CPython offers to extension modules, taken through ``ctypes``; both are about speed only.

Rows are read far more often than anything else is done with them, and a million of them may be held, so what the
interpreter spends on each counts (the figures are those of 8 fields, CPython 3.11 to 3.13):

* A subclass of ``dict`` made by a ``class`` statement does ``row[key]`` and ``key in row`` by a look-up of the method,
  which takes two to three times as long. One made by ``PyType_FromSpec``, as extension modules do it, takes over the
  functions of ``dict`` themselves and reads like one. The call and its structures are in the stable ABI.
* The garbage collector visits every object of a subclass, with all that it holds, in each full pass: five times as long
  as for a plain dict of scalars, which it leaves out. Read-only rows of stored values cannot be part of a cycle, so
  they are taken from its lists, as ``PyObject_GC_UnTrack`` is for.

Both are used in the versions of CPython in which they were tried. In others, in a build without the global lock, and
where there is no ``ctypes``, subclasses are ordinary ones and all is tracked: nothing differs but the speed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

_TP_BASE = 48
"""``Py_tp_base`` of ``typeslots.h``."""


_TRIED = sys.implementation.name == "cpython" and (3, 11) <= sys.version_info < (3, 14) and "t" not in sys.abiflags

_UNAVAILABLE = (ImportError, AttributeError, MemoryError, OSError)
"""What an interpreter raises that has no ``ctypes``, no such function, or may not use it."""


_BASES: dict[type, type] = {}
"""What :func:`subclass` has made, and of what."""


def native_class(kind: type) -> type:
    """Return the built-in class of which ``kind`` is a subclass made here; any other class as it is."""
    return _BASES.get(kind, kind)


def subclass(name: str, base: type, methods: Mapping[str, Any]) -> type:
    """Return a subclass of a built-in class whose objects have no attributes of their own.

    ``methods`` has ``__module__``, which the name is not in.
    """
    made = _native(f"{methods['__module__']}.{name}", base) if _TRIED else None
    if made is None:
        made = type(name, (base,), {"__slots__": (), **methods})
        _BASES[made] = base
        return made
    _BASES[made] = base
    for method, function in methods.items():
        setattr(made, method, function)
    return made


def _native(name: str, base: type) -> type | None:
    try:
        return _from_spec(name, base)
    except _UNAVAILABLE:
        return None


def _from_spec(name: str, base: type) -> type:
    import ctypes

    class Slot(ctypes.Structure):
        _fields_ = [("slot", ctypes.c_int), ("value", ctypes.c_void_p)]

    class Spec(ctypes.Structure):
        _fields_ = [
            ("name", ctypes.c_char_p),
            ("basicsize", ctypes.c_int),
            ("itemsize", ctypes.c_int),
            ("flags", ctypes.c_uint),
            ("slots", ctypes.POINTER(Slot)),
        ]

    make = ctypes.pythonapi.PyType_FromSpec
    make.argtypes, make.restype = [ctypes.POINTER(Spec)], ctypes.py_object
    slots = (Slot * 2)(Slot(_TP_BASE, id(base)), Slot(0, None))
    made: type = make(Spec(name.encode(), 0, 0, 0, slots))  # sizes are those of the base
    return made


def _untracking() -> Callable[[Any], None]:
    if not _TRIED:
        return lambda value: None
    try:
        import ctypes

        untrack = ctypes.pythonapi.PyObject_GC_UnTrack
    except _UNAVAILABLE:
        return lambda value: None
    untrack.argtypes, untrack.restype = [ctypes.py_object], None
    return untrack


untrack: Callable[[Any], None] = _untracking()
"""Let the garbage collector leave out an object that cannot be part of a cycle."""
