"""Reading the source: what ``load()`` gave, made into one ``dict`` of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.snapshot import one_version
from django_etcdaero.exceptions import DuplicateKey, EncodeError
from django_etcdaero.system.error_text import text_of
from django_etcdaero.system.interruption import interrupts

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Called as ``progress(phase, done, total)``; ``total`` is ``None`` where it is not known."""

STEP = 1000
"""Rows between two calls of a progress function."""


def load_rows(dataset: Declared[Any, Any], progress: Progress | None = None) -> dict[Any, Any]:
    """Call ``load()`` and return its rows.

    Raises what it raises, as a ``RuntimeError`` what is no ``Exception`` (a source that exits must not end whoever
    loads); ``EncodeError`` for something that is neither a mapping nor an iterable of pairs, and ``DuplicateKey``.
    """
    tell = progress or (lambda phase, done, total: None)
    with telling("load()"):
        tell("load", 0, None)
        return rows_in(dataset, dataset.load(), f"load() of dataset {dataset.name!r}", tell)


@contextmanager
def telling(call: str) -> Iterator[None]:
    """Raise as a ``RuntimeError`` what code of the project raises in the block and is no ``Exception``."""
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        if interrupts(error):
            raise
        raise RuntimeError(f"{call} raised {text_of(error)}") from error


def rows_in(dataset: Declared[Any, Any], source: object, call: str, tell: Progress) -> dict[Any, Any]:
    """Return the rows of a mapping or of pairs; ``call`` is what gave them. Raises as :func:`load_rows` does."""
    if isinstance(source, Mapping):
        given = source if type(source) is dict else dict(one_version(source))
        tell("load", len(given), len(given))
        return given
    if not isinstance(source, Iterable) or isinstance(source, str | bytes):
        raise EncodeError(f"{call} returned {_named(source)}; expected a mapping or an iterable of (key, row) pairs")
    rows: dict[Any, Any] = {}
    for item in source:
        if not isinstance(item, tuple) or len(item) != 2:
            raise EncodeError(
                f"{call} gave {_named(item)} as item {len(rows) + 1}; expected a (key, row) pair{_example(item)}"
            )
        key, row = item
        try:
            if key in rows:
                first = next(each for each in rows if each == key or each is key)
                twice = "twice" if repr(first) == repr(key) else f"and {first!r}, which are equal"
                raise DuplicateKey(f"{call} gave {dataset._named_key(key)} {twice}")
        except TypeError as error:
            raise EncodeError(f"{call} gave the key {key!r}: {error}") from error
        rows[key] = row
        if len(rows) % STEP == 0:
            tell("load", len(rows), None)
    tell("load", len(rows), len(rows))
    return rows


_USUAL_KEYS = ("id", "pk", "uuid", "key", "code", "slug", "sku", "name")


def _example(item: object) -> str:
    """Show how rows that come as dicts are given keys, by the field that is most likely one."""
    kind = type(item)
    if hasattr(kind, "_meta") and hasattr(kind, "pk"):
        return " of plain values, as a ModelDataset makes them of a model's objects"
    if not isinstance(item, Mapping):
        return ""
    names = [name for name in item if isinstance(name, str)]
    likely = next((name for name in _USUAL_KEYS if name in names), None) or next(iter(names), None)
    return "" if likely is None else f', for example by {{row["{likely}"]: row for row in rows}}'


def _named(value: object) -> str:
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return "None" if value is None else f"{type(value).__module__}.{type(value).__qualname__}"
