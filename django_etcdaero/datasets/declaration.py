"""What is checked of a declaration, at once when it is made."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Final

from django_etcdaero.exceptions import ConfigurationError

from .declared import Declared

_NAME = re.compile(r"[a-z0-9_.-]+")


CHANGE_METHODS: Final = ("load_changes", "change_cursor", "load_keys")
"""Methods by which a part of the source is read."""


def refuse_coroutines(load: Callable[..., Any], origin: str, name: str = "load") -> None:
    """Refuse a function that loads and whose result nobody would await. Raises ``ConfigurationError``."""
    if inspect.iscoroutinefunction(load) or inspect.isasyncgenfunction(load):
        raise ConfigurationError(
            f"dataset {origin}: {name}() is asynchronous, and a refresh does not await it: write a plain function, "
            "which may call asyncio.run()"
        )


def refuse_parameters(load: Callable[..., Any], origin: str) -> None:
    """Refuse a function that cannot be called without arguments. Raises ``ConfigurationError``."""
    try:
        parameters = inspect.signature(load).parameters.values()
    except ValueError:  # some that are written in C do not tell
        return
    needed = [
        each.name
        for each in parameters
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    if needed:
        raise ConfigurationError(f"dataset {origin}: is called without arguments, and needs {', '.join(needed)}")


def _listed(value: Any, *kinds: type) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, kinds) and each != "" for each in value)


def check(cls: type[Declared[Any, Any]]) -> None:
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
    need("request_every", lambda value: value == timedelta(0) or duration(value), "a timedelta, not negative, or None")
    need("load_timeout", lambda value: value == "auto" or duration(value), "a positive timedelta, None or 'auto'")
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
    if cls.rows not in ("frozen", "plain") or cls.row_type is not None:
        from .blocks.row_types import check_form  # here: declaring must be cheap, for it is a part of each start

        try:
            check_form(cls.rows, cls.row_type)
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
    need("ordered", lambda value: isinstance(value, bool), "True or False")
    need("indexes", lambda value: _listed(value, str), "names of fields, such as ('slug', 'category')")
    cls.indexes = tuple(cls.indexes)
    need("refresh_on", lambda value: _listed(value, str, type), "models, such as [Product, 'shop.Category']")
    cls.refresh_on = tuple(cls.refresh_on)
    if "live" in cls.__dict__:
        raise ConfigurationError(f"dataset {cls.origin}: live is the dataset itself, give the attribute another name")
    if cls.load is Declared.load:
        raise ConfigurationError(f"dataset {cls.origin}: has no load()")
    for method in ("load", "prepare", *CHANGE_METHODS):
        need(method, callable, "a method")
    for method in ("load", *CHANGE_METHODS):
        refuse_coroutines(getattr(cls, method), cls.origin, method)
    need("full_load_every", duration, "a positive timedelta or None")
    need("changes_overlap", duration, "a positive timedelta or None")
    _check_changes(cls)


def _check_changes(cls: type[Declared[Any, Any]]) -> None:
    changes, keys = cls._loads_changes(), cls._loads_keys()
    if cls.ordered and (changes or keys):
        method = "load_changes" if changes else "load_keys"
        raise ConfigurationError(
            f"dataset {cls.origin}: has {method}() and ordered = True: a change does not say where its rows stand "
            "among the others; set ordered = False, or sort where you read"
        )
    if changes and cls.change_cursor is Declared.change_cursor:
        raise ConfigurationError(
            f"dataset {cls.origin}: has load_changes() and no change_cursor(), which tells where the source stands "
            "before a full load"
        )
    if cls.changes_overlap is not None and not changes:
        raise ConfigurationError(f"dataset {cls.origin}: has changes_overlap and no load_changes()")
