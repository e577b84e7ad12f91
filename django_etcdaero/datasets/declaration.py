"""Declaring a dataset: the class form, the decorator form, and what is checked at once."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from django_etcdaero.exceptions import ConfigurationError

from .declared import OPTIONS
from .host import host
from .read.live import LiveDataset
from .registry import datasets

if TYPE_CHECKING:
    from .publish.history import Version
    from .state.status import RefreshResult
    from .validators import Validator

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D", bound="Dataset[Any, Any]")

_NAME = re.compile(r"[a-z0-9_.-]+")


class Dataset(LiveDataset[K, V]):
    """A dataset: subclass it, give it a ``name`` and a ``load()``, and it is registered.

    A subclass that sets no ``name`` of its own is a base for others and is not registered. The live object of a class
    ``Prices`` with ``name = "prices"`` is ``datasets["prices"]``; with ``@dataset`` above the class ``Prices`` itself
    becomes the live object. Nobody else makes an instance: no reader would fill it.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            return
        cls.origin = f"{cls.__module__}.{cls.__qualname__}"
        _check(cls)
        live = super().__new__(cls)
        live.__init__()  # type: ignore[misc] # what cls() would do, if it were allowed
        datasets.register(live)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Refuse to make a second object, which no reader would fill. Raises ``TypeError``."""
        if not _is_declaration(cls):
            raise TypeError(
                f"{cls.__qualname__} is a base for datasets: a subclass with a name is registered by itself"
            )
        raise TypeError(f"{cls.__qualname__}() would be a dataset that no reader fills: {_use_instead(cls)}")

    def __class_getitem__(cls, item: Any, /) -> Any:
        """Make ``Dataset[str, Row]`` a type. Raises ``TypeError`` where a declared class is read like its dataset."""
        if _is_declaration(cls):
            raise TypeError(f"{cls.__qualname__} is the class that declares the dataset: {_use_instead(cls)}")
        return super().__class_getitem__(item)  # type: ignore[misc] # Mapping has it when it runs

    # --- acting ------------------------------------------------------------------------------------------------------

    def refresh(self, *, force: bool = False, wait: float = 0.0) -> RefreshResult:
        """Load and publish if it is due and nobody else does; return what happened, and raise nothing of it.

        ``force`` loads even when it is not due. ``wait`` is how many seconds to wait for another process that is
        refreshing.
        """
        from .publish.refresh import Refresh

        result = Refresh(self, host(), force=force, wait=wait).run()
        host().wake_reader()
        return result

    def request_refresh(self) -> None:
        """Ask whoever refreshes this dataset for a new load, and return at once.

        It is answered by the next load that begins from now on: by a running ``etcdaero_refresh --loop`` at once,
        otherwise by the next scheduled run.
        """
        from .state.requests import request_load

        request_load(self, host().stores(self.using), repair=False)

    def history(self) -> list[Version]:
        """Return the kept versions, the newest first."""
        from .publish.history import versions

        return versions(self, host().stores(self.using))

    def rollback(self, version: int) -> None:
        """Make every process serve a kept version again and hold it there: refreshes go to the history only.

        Raises ``KeyNotFound`` when the version is not kept, ``CorruptBlock`` when parts of it are gone, ``Fenced`` when
        another publication came in between.
        """
        from .publish.history import rollback

        rollback(self, host().stores(self.using), version)

    def unpin(self) -> bool:
        """End a rollback's hold and ask for a load; return whether there was one."""
        from .publish.history import unpin

        return unpin(self, host().stores(self.using))

    def __repr__(self) -> str:
        loaded = self._loaded
        return f"<Dataset {self.name}: {f'version {loaded.version}' if loaded else 'not loaded'}>"


def _is_declaration(cls: type[Dataset[Any, Any]]) -> bool:
    """Tell whether this class declares a dataset, and is not a base for such classes."""
    return cls is not Dataset and "name" in cls.__dict__


def _use_instead(cls: type[Dataset[Any, Any]]) -> str:
    return f"use datasets[{cls.name!r}], or put @dataset above the class to make {cls.__qualname__} the dataset itself"


def _refuse_coroutines(load: Callable[..., Any], origin: str) -> None:
    """Refuse a ``load()`` whose result nobody would await. Raises ``ConfigurationError``."""
    if inspect.iscoroutinefunction(load) or inspect.isasyncgenfunction(load):
        raise ConfigurationError(
            f"dataset {origin}: load() is asynchronous, and a refresh does not await it: write a plain function, "
            "which may call asyncio.run()"
        )


def _check(cls: type[Dataset[Any, Any]]) -> None:
    """Refuse a wrong declaration, naming the attribute. Raises ``ConfigurationError``."""

    def need(attribute: str, ok: Callable[[Any], bool], expected: str) -> None:
        value: Any = getattr(cls, attribute)
        if not ok(value):
            raise ConfigurationError(f"dataset {cls.origin}: {attribute} = {value!r}, expected {expected}")

    def number(value: Any, *kinds: type) -> bool:
        return isinstance(value, kinds) and not isinstance(value, bool)

    def duration(value: Any) -> bool:
        return value is None or (isinstance(value, timedelta) and value > timedelta(0))

    def named(value: Any) -> bool:
        return isinstance(value, str) and len(value) <= 100 and _NAME.fullmatch(value) is not None

    name: Any = cls.name
    lower = name.lower() if isinstance(name, str) else None
    need("name", named, f"1 to 100 of the characters a-z 0-9 _ . -{f', such as {lower!r}' if named(lower) else ''}")
    need("refresh_every", duration, "a positive timedelta or None")
    need("max_stale", duration, "a positive timedelta or None")
    need("schema", lambda value: number(value, int) and value >= 0, "a whole number of at least 0")
    need("keep", lambda value: number(value, int) and value >= 1, "a whole number of at least 1")
    need("using", lambda value: isinstance(value, str) and value != "", "the name of an alias in settings.ETCDAERO")
    need("required", lambda value: isinstance(value, bool), "True or False")
    need(
        "first_read_timeout",
        lambda value: number(value, int, float) and 0 <= value < float("inf"),
        "a number of seconds, 0 or more",
    )
    if cls.rows != "plain":
        from .blocks.row_types import check_rows  # here: declaring must be cheap, for it is a part of each start

        try:
            check_rows(cls.rows)
        except ConfigurationError as error:
            raise ConfigurationError(f"dataset {cls.origin}: {error}") from None
    need(
        "validators",
        lambda value: isinstance(value, Iterable) and not isinstance(value, str),
        "a list of callables (old, new)",
    )
    cls.validators = tuple(cls.validators)  # once: it may be a generator
    for validator in cls.validators:
        if isinstance(validator, type) or not callable(validator):
            raise ConfigurationError(
                f"dataset {cls.origin}: validators has {validator!r}, expected a callable (old, new), not a class"
            )
    if cls.load is Dataset.load:
        raise ConfigurationError(f"dataset {cls.origin}: has no load()")
    for method in ("load", "prepare"):
        need(method, callable, "a method")
    _refuse_coroutines(cls.load, cls.origin)


@overload
def dataset(target: type[D], /) -> D: ...
@overload
def dataset(target: Callable[[], Mapping[K, V]], /) -> Dataset[K, V]: ...
@overload
def dataset(target: Callable[[], Iterable[tuple[K, V]]], /) -> Dataset[K, V]: ...
@overload
def dataset(
    *,
    name: str = ...,
    refresh_every: timedelta | None = ...,
    schema: int = ...,
    using: str = ...,
    keep: int = ...,
    required: bool = ...,
    first_read_timeout: float = ...,
    max_stale: timedelta | None = ...,
    rows: Any = ...,
    validators: Iterable[Validator] = ...,
    prepare: Callable[[Mapping[Any, Any]], Any] = ...,
) -> Callable[[Callable[[], Mapping[K, V] | Iterable[tuple[K, V]]]], Dataset[K, V]]: ...
def dataset(target: Any = None, /, **options: Any) -> Any:
    """Make a dataset of a function that returns a mapping or yields ``(key, row)`` pairs; the name becomes the object.

    Bare or with the options of :class:`Dataset` plus ``prepare=``. ``name`` defaults to the function's name. Above a
    :class:`Dataset` subclass it takes no options and returns the live object. Raises ``ConfigurationError``.
    """
    if target is None:
        return lambda function: _from_function(function, options)
    if isinstance(target, type) and issubclass(target, Dataset):
        if "name" not in target.__dict__:
            raise ConfigurationError(f"dataset {target.__module__}.{target.__qualname__}: sets no name")
        return datasets[target.name]
    return _from_function(target, options)


def _from_function(function: Any, options: dict[str, Any]) -> Dataset[Any, Any]:
    if not callable(function) or isinstance(function, type) or not hasattr(function, "__qualname__"):
        hint = f"; write @dataset(name={function!r}) to give it a name" if isinstance(function, str) else ""
        raise ConfigurationError(f"@dataset is for a function or a Dataset subclass, not for {function!r}{hint}")
    _refuse_coroutines(function, f"{function.__module__}.{function.__qualname__}")
    for option in options:
        if option not in (*OPTIONS, "name", "prepare"):
            known = ", ".join(sorted((*OPTIONS, "name", "prepare")))
            raise ConfigurationError(f"@dataset({option}=…): unknown option; known: {known}")
    attributes: dict[str, Any] = {
        "name": function.__name__,
        **options,
        "__module__": function.__module__,
        "__qualname__": function.__qualname__,
        "__doc__": function.__doc__,
        "load": lambda self: function(),
    }
    if "prepare" in options:
        prepare = options["prepare"]
        if not callable(prepare):
            raise ConfigurationError(f"@dataset(prepare={prepare!r}): expected a function of the rows")
        attributes["prepare"] = lambda self, rows: prepare(rows)
    types.new_class(function.__name__, (Dataset,), exec_body=lambda body: body.update(attributes))
    live: Dataset[Any, Any] = datasets[attributes["name"]]
    return live
