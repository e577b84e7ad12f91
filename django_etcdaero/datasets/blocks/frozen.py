"""Rows that cannot be changed: a dict and a list, and tuples and frozensets as they are.

All reads of a process get the same objects, so a change would reach every other request. These two refuse it where it
is tried. They are a ``dict`` and a ``list`` for everybody who only reads (``json``, templates, serializers), equal to
ordinary ones, not hashable like them, and whatever copies them gives ordinary ones: ``copy``, ``deepcopy``, ``pickle``,
``|``, ``+``, slices, ``type(row)(…)``, by which many a function makes what it was given (Django's filters,
``dataclasses.asdict``), and :func:`thaw`.

What calls the methods of ``dict`` and ``list`` themselves (``dict.update(row, …)``, ``heapq.heappush(row, …)``) is not
kept from changing them; no subclass can prevent that.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar, overload
from uuid import UUID

from django_etcdaero.system.acting import acts
from django_etcdaero.system.native_types import subclass, untrack

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")

if TYPE_CHECKING:
    from collections.abc import ItemsView
    from typing import Protocol

    K_co = TypeVar("K_co", covariant=True)
    V_co = TypeVar("V_co", covariant=True)

    class _Rows(Protocol[K_co, V_co]):
        """A dataset or a snapshot."""

        @property
        def index(self) -> Any: ...
        def items(self) -> ItemsView[K_co, V_co]: ...


_UNCHANGEABLE: Final = frozenset(
    (type(None), bool, int, float, str, bytes, Decimal, UUID, date, time, datetime, timedelta, frozenset)
)
_CONTAINERS: Final = frozenset((dict, list, tuple, set))


@acts  # of a row without a field "update" a template shows nothing, as of any other field that is missing
def _refuse(self: Any, /, *args: Any, **kwargs: Any) -> NoReturn:
    raise TypeError(
        "rows of a dataset are read-only, because all requests of the process share them: change a copy, as "
        "thaw(row) of django_etcdaero makes it (or copy.deepcopy)"
    )


def _deepcopy(self: Any, memo: Any) -> Any:
    return thaw(self)


def _reduce_dict(self: Any) -> Any:
    return dict, (), None, None, iter(self.items())


def _reduce_list(self: Any) -> Any:
    return list, (), None, iter(self)


def _class(name: str, base: type, doc: str, changing: str, **methods: Any) -> Any:
    def made_of(cls: type, /, *args: Any, **kwargs: Any) -> Any:
        return base(*args, **kwargs)

    refused = dict.fromkeys(("__init__", *changing.split()), _refuse)
    # Code that makes another container "of the same class", as Django does with the list of an __in, gets a copy.
    about = {"__module__": __name__, "__doc__": doc, "__deepcopy__": _deepcopy, "__new__": staticmethod(made_of)}
    return subclass(name, base, {**about, **refused, **methods})


if TYPE_CHECKING:

    class FrozenDict(dict[K, V]):
        """A ``dict`` whose methods that change it raise ``TypeError``."""

    class FrozenList(list[T]):
        """A ``list`` whose methods that change it raise ``TypeError``."""

else:
    FrozenDict = _class(
        "FrozenDict",
        dict,
        "A ``dict`` whose methods that change it raise ``TypeError``.",
        "__setitem__ __delitem__ __ior__ clear pop popitem setdefault update",
        __reduce__=_reduce_dict,
        fromkeys=dict.fromkeys,
    )
    FrozenList = _class(
        "FrozenList",
        list,
        "A ``list`` whose methods that change it raise ``TypeError``.",
        "__setitem__ __delitem__ __iadd__ __imul__ append clear extend insert pop remove reverse sort",
        __reduce__=_reduce_list,
    )


def frozen_dict(
    content: dict[K, V],
    # Bound here, because this runs for each row that is read from a store.
    _new: Any = dict.__new__,
    _class: Any = FrozenDict,
    _fill: Any = dict.update,
    _untrack: Any = untrack,
) -> FrozenDict[K, V]:
    """Return a read-only dict of what ``content`` holds, which is read-only all the way down."""
    made: FrozenDict[K, V] = _new(_class)
    _fill(made, content)
    _untrack(made)
    return made


def _keep(value: object) -> None:
    """Stand for ``untrack`` where it is not known what is held."""


def frozen_list(
    content: list[T],
    _new: Any = list.__new__,
    _class: Any = FrozenList,
    _fill: Any = list.extend,
    _untrack: Any = untrack,
) -> FrozenList[T]:
    """Return a read-only list of what ``content`` holds, which is read-only all the way down."""
    made: FrozenList[T] = _new(_class)
    _fill(made, content)
    _untrack(made)
    return made


def freeze(value: Any) -> Any:
    """Return a value as reading gives it with ``rows="frozen"``: containers are read-only copies.

    A set becomes a frozenset. What cannot be stored stays what it is.
    """
    kind = type(value)
    if kind is dict:
        if _CONTAINERS.isdisjoint(map(type, value.values())):
            return frozen_dict(value, _untrack=_keep)
        return frozen_dict({key: freeze(item) for key, item in value.items()}, _untrack=_keep)
    if kind is list:
        return frozen_list([freeze(item) for item in value], _untrack=_keep)
    if kind is tuple:
        return tuple([freeze(item) for item in value])
    return frozenset(value) if kind is set else value


@overload
def thaw(value: _Rows[K, V]) -> dict[K, V]: ...
@overload
def thaw(value: T) -> T: ...
def thaw(value: Any) -> Any:
    """Return a copy that may be changed of a row, of part of a row, or of all rows of a dataset or snapshot.

    Dicts and lists in it are ordinary ones, all the way down; of any other mapping, such as a dataset, it makes a
    ``dict``. Instances of a ``row_type`` are copied with ``copy.deepcopy``. A set that was published comes back as the
    frozenset that it is when it is read.
    """
    kind = type(value)
    if kind in _UNCHANGEABLE:
        return value
    if isinstance(value, Mapping):
        return {key: thaw(item) for key, item in value.items()}
    if kind is list or kind is FrozenList:
        return [thaw(item) for item in value]
    return tuple([thaw(item) for item in value]) if kind is tuple else copy.deepcopy(value)
