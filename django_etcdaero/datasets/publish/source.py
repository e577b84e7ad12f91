"""Reading the source: what ``load()`` gave, made into one ``dict`` of rows, or streamed when there are many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import chain, islice
from operator import length_hint
from typing import Any, TypeAlias

from django_etcdaero.datasets.blocks.row_stream import EqualKeys, RowStream, StreamedRows
from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.snapshot import one_version
from django_etcdaero.exceptions import DuplicateKey, EncodeError
from django_etcdaero.system.error_text import text_of
from django_etcdaero.system.interruption import interrupts

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Called as ``progress(phase, done, total)``; ``total`` is ``None`` where it is not known."""

STEP = 1000
"""Rows between two calls of a progress function."""


STREAM_FROM = 20_000
"""Rows of an iterator that are held in memory; when there are more, all go to a file as they come."""


class About(int):
    """A total that is an estimate: as many rows as there were last time."""


def load_rows(dataset: Declared[Any, Any], progress: Progress | None = None) -> dict[Any, Any]:
    """Call ``load()`` and return its rows, all of them in memory.

    Raises what it raises, as a ``RuntimeError`` what is no ``Exception`` (a source that exits must not end whoever
    loads); ``EncodeError`` for something that is neither a mapping nor an iterable of pairs, and ``DuplicateKey``.
    """
    found = stream_rows(dataset, progress, None)
    assert isinstance(found, dict), "nothing is streamed"
    return found


def stream_rows(
    dataset: Declared[Any, Any],
    progress: Progress | None,
    stream: Callable[[], RowStream] | None,
    *,
    before: int = 0,
) -> dict[Any, Any] | StreamedRows:
    """Likewise; ``stream`` makes what takes the rows of an iterator where there are many, which must be closed then.

    ``before``: how many rows there were last time, for the progress. Raises as :meth:`.RowStream.add` does, too.
    """
    tell = progress or (lambda phase, done, total: None)
    with telling("load()"):
        tell("load", 0, None)
        return _rows_in(dataset, dataset.load(), f"load() of dataset {dataset.name!r}", tell, stream, before)


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
    found = _rows_in(dataset, source, call, tell, None, 0)
    assert isinstance(found, dict), "nothing is streamed"
    return found


def _rows_in(
    dataset: Declared[Any, Any],
    source: object,
    call: str,
    tell: Progress,
    stream: Callable[[], RowStream] | None,
    before: int,
) -> dict[Any, Any] | StreamedRows:
    if isinstance(source, Mapping):
        given = source if type(source) is dict else dict(one_version(source))
        tell("load", len(given), len(given))
        return given
    if not isinstance(source, Iterable) or isinstance(source, str | bytes):
        raise EncodeError(f"{call} returned {_named(source)}; expected a mapping or an iterable of (key, row) pairs")
    total = _total(source, before) if stream is not None else None
    rows: dict[Any, Any] = {}
    pairs = _pairs_in(source, call)
    for key, row in pairs:
        try:
            if key in rows:
                first = next(each for each in rows if each == key or each is key)
                raise _duplicate(dataset, call, first, key)
        except TypeError as error:
            raise EncodeError(f"{call} gave the key {key!r}: {error}") from error
        rows[key] = row
        if len(rows) % STEP == 0:
            tell("load", len(rows), total)
        if stream is not None and len(rows) == STREAM_FROM:
            return _streamed(dataset, chain(_emptied(rows), pairs), call, tell, stream(), total)
    tell("load", len(rows), len(rows))
    return rows


def _pairs_in(source: Iterable[Any], call: str) -> Iterator[tuple[Any, Any]]:
    for number, item in enumerate(source, 1):
        if not isinstance(item, tuple) or len(item) != 2:
            expected = f"expected a (key, row) pair{_example(item)}"
            raise EncodeError(f"{call} gave {_named(item)} as item {number}; {expected}")
        yield item


def _emptied(rows: dict[Any, Any]) -> Iterator[tuple[Any, Any]]:
    """Yield keys and rows; what was yielded is not held any more."""
    for key in list(rows):
        yield key, rows.pop(key)


def _streamed(
    dataset: Declared[Any, Any],
    pairs: Iterator[tuple[Any, Any]],
    call: str,
    tell: Progress,
    stream: RowStream,
    total: int | None,
) -> StreamedRows:
    with ExitStack() as stack:
        stack.callback(stream.close)
        while some := list(islice(pairs, stream.at_once)):
            keys, rows = [key for key, _ in some], [row for _, row in some]
            _refuse_unhashable(keys, call)
            before = stream.count
            stream.add(keys, rows)
            if stream.count // STEP != before // STEP:
                tell("load", stream.count, total)
        try:
            found = stream.done()
        except EqualKeys as error:
            raise _duplicate(dataset, call, error.first, error.second) from None
        tell("load", len(found), len(found))
        stack.pop_all()
        return found


def _total(source: Iterable[Any], before: int) -> int | None:
    """Return how many rows there will be, as far as that is known."""
    return length_hint(source) or (About(before) if before else None)


def _refuse_unhashable(keys: Iterable[Any], call: str) -> None:
    for key in keys:
        try:
            hash(key)
        except TypeError as error:
            raise EncodeError(f"{call} gave the key {key!r}: {error}") from error


def _duplicate(dataset: Declared[Any, Any], call: str, first: Any, key: Any) -> DuplicateKey:
    twice = "twice" if repr(first) == repr(key) else f"and {first!r}, which are equal"
    return DuplicateKey(f"{call} gave {dataset._named_key(key)} {twice}")


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
