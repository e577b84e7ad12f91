"""``@dataset``: a function that reads a source becomes the dataset of what it read.

What a type checker sees: keys and rows are those that the function returns, with ``row_type=Row`` the rows are of type
``Row``, and with ``prepare=`` the index is what that returns.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from django_etcdaero.exceptions import ConfigurationError

from .dataset import Dataset
from .declaration import refuse_coroutines, refuse_parameters
from .declared import OPTIONS
from .registry import datasets

K = TypeVar("K")
V = TypeVar("V")
Index = TypeVar("Index")
Row = TypeVar("Row")
D = TypeVar("D", bound=Dataset[Any, Any])


class IndexedDataset(Dataset[K, V], Generic[K, V, Index]):
    """What ``@dataset(prepare=…)`` makes of a function: its ``index`` has the type that ``prepare`` returns."""

    if TYPE_CHECKING:  # when it runs each has the prepare() that was given

        def prepare(self, rows: Mapping[K, V]) -> Index: ...


if TYPE_CHECKING:
    from datetime import timedelta
    from typing import Literal, Protocol, TypedDict, Unpack

    from .changes import Changes
    from .validators import Validator

    class _Options(TypedDict, total=False):
        name: str
        refresh_every: timedelta | None
        request_every: timedelta | None
        load_timeout: timedelta | Literal["auto"] | None
        schema: int
        using: str
        keep: int
        required: bool
        first_read_timeout: float
        max_stale: timedelta | None
        rows: Literal["frozen", "plain"]
        validators: Iterable[Validator]
        ordered: bool
        indexes: Sequence[str]
        shared: bool
        shared_cache: int
        refresh_on: Iterable[type[Any] | str]
        full_load_every: timedelta | None
        changes_overlap: timedelta | None
        load_changes: Callable[[Any], Changes[Any] | None]
        change_cursor: Callable[[], Any]
        load_keys: Callable[[Collection[Any]], Mapping[Any, Any] | Iterable[tuple[Any, Any]]]

    class _Decorator(Protocol):
        @overload
        def __call__(self, load: Callable[[], Mapping[K, V]], /) -> Dataset[K, V]: ...
        @overload
        def __call__(self, load: Callable[[], Iterable[tuple[K, V]]], /) -> Dataset[K, V]: ...

    class _RowDecorator(Protocol[Row]):
        @overload
        def __call__(self, load: Callable[[], Mapping[K, Any]], /) -> Dataset[K, Row]: ...
        @overload
        def __call__(self, load: Callable[[], Iterable[tuple[K, Any]]], /) -> Dataset[K, Row]: ...

    class _IndexDecorator(Protocol[Index]):
        @overload
        def __call__(self, load: Callable[[], Mapping[K, V]], /) -> IndexedDataset[K, V, Index]: ...
        @overload
        def __call__(self, load: Callable[[], Iterable[tuple[K, V]]], /) -> IndexedDataset[K, V, Index]: ...

    class _RowIndexDecorator(Protocol[Row, Index]):
        @overload
        def __call__(self, load: Callable[[], Mapping[K, Any]], /) -> IndexedDataset[K, Row, Index]: ...
        @overload
        def __call__(self, load: Callable[[], Iterable[tuple[K, Any]]], /) -> IndexedDataset[K, Row, Index]: ...


@overload
def dataset(target: type[D], /) -> D: ...
@overload
def dataset(target: Callable[[], Mapping[K, V]], /) -> Dataset[K, V]: ...
@overload
def dataset(target: Callable[[], Iterable[tuple[K, V]]], /) -> Dataset[K, V]: ...
@overload
def dataset(
    *, row_type: type[Row], prepare: Callable[[Mapping[Any, Row]], Index], **options: Unpack[_Options]
) -> _RowIndexDecorator[Row, Index]: ...
@overload
def dataset(*, row_type: type[Row], **options: Unpack[_Options]) -> _RowDecorator[Row]: ...
@overload
def dataset(
    *, row_type: None = ..., prepare: Callable[[Mapping[Any, Any]], Index], **options: Unpack[_Options]
) -> _IndexDecorator[Index]: ...
@overload
def dataset(*, row_type: None = ..., **options: Unpack[_Options]) -> _Decorator: ...
def dataset(target: Any = None, /, **options: Any) -> Any:
    """Make a dataset of a function that returns a mapping or yields ``(key, row)`` pairs; the name becomes the object.

    Bare or with the options of :class:`Dataset`, plus functions that take the place of its methods: ``prepare=``,
    ``load_changes=``, ``change_cursor=`` and ``load_keys=``. ``name`` defaults to the function's name. Given a
    :class:`Dataset` subclass it takes no options and returns the dataset, as ``.live`` of the class is. Above a class
    mypy takes the name for the class all the same (it ignores what a class decorator returns), so projects that use it
    write ``Prices.live``. Raises ``ConfigurationError``.
    """
    if target is None:
        return lambda function: _from_function(function, options)
    if isinstance(target, type) and issubclass(target, Dataset):
        if "name" not in target.__dict__:
            raise ConfigurationError(f"dataset {target.__module__}.{target.__qualname__}: sets no name")
        return target.live
    return _from_function(target, options)


_FUNCTIONS = {
    "prepare": " of the rows",
    "load_changes": " of a cursor",
    "change_cursor": " without parameters",
    "load_keys": " of some keys",
}
"""Methods that a function may take the place of, and what it is a function of."""


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *args: function(*args)


def _from_function(function: Any, options: dict[str, Any]) -> Dataset[Any, Any]:
    if not callable(function) or isinstance(function, type) or not hasattr(function, "__qualname__"):
        hint = f"; write @dataset(name={function!r}) to give it a name" if isinstance(function, str) else ""
        raise ConfigurationError(f"@dataset is for a function or a Dataset subclass, not for {function!r}{hint}")
    origin = f"{function.__module__}.{function.__qualname__}"
    refuse_coroutines(function, origin)
    refuse_parameters(function, origin)
    for option in options:
        if option not in (*OPTIONS, *_FUNCTIONS, "name"):
            known = ", ".join(sorted((*OPTIONS, *_FUNCTIONS, "name")))
            raise ConfigurationError(f"@dataset({option}=…): unknown option; known: {known}")
    attributes: dict[str, Any] = {
        "name": function.__name__,
        **options,
        "__module__": function.__module__,
        "__qualname__": function.__qualname__,
        "__doc__": function.__doc__,
        "load": lambda self: function(),
    }
    for name in options.keys() & _FUNCTIONS.keys():
        if not callable(options[name]):
            raise ConfigurationError(f"@dataset({name}={options[name]!r}): expected a function{_FUNCTIONS[name]}")
        if name != "prepare":
            refuse_coroutines(options[name], origin, name)
        attributes[name] = _method(options[name])
    base = IndexedDataset if "prepare" in options else Dataset
    types.new_class(function.__name__, (base,), exec_body=lambda body: body.update(attributes))
    live: Dataset[Any, Any] = datasets[attributes["name"]]
    return live
