"""A list that Django's change list takes for a queryset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any, Self, overload

from django.db.models import Q
from django.utils.text import smart_split, unescape_string_literal


class Rows:
    """Things that were read, as far as a change list asks a queryset.

    Which members it uses was measured on Django 5.2 to 6.1. A field is an attribute of the thing or of its ``value``;
    things without it come first.
    """

    ordered = totally_ordered = True
    db = None

    def __init__(self, model: type, things: Iterable[Any] = ()) -> None:
        self.model = model
        self._things = list(things)
        self.query = SimpleNamespace(order_by=(), select_related=False)

    def __len__(self) -> int:
        return len(self._things)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._things)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self._with(self._things[index]) if isinstance(index, slice) else self._things[index]

    def _with(self, things: Iterable[Any]) -> Self:
        return type(self)(self.model, things)

    def _clone(self) -> Self:
        return self._with(self._things)

    def all(self) -> Self:
        """Return the same."""
        return self._clone()

    def count(self) -> int:
        """Return how many there are."""
        return len(self._things)

    def distinct(self) -> Self:
        """Return the same: nothing is in here twice."""
        return self._clone()

    def select_related(self, *fields: str) -> Self:
        """Return the same: there are no relations."""
        return self._clone()

    def filter(self, *conditions: Q, **fields: Any) -> Self:
        """Return those with these fields, compared as text; ``__in`` takes several. Conditions hold such pairs."""
        pairs = [*fields.items(), *(each for condition in conditions for each in _pairs(condition))]
        return self._with(thing for thing in self._things if all(_matches(thing, *pair) for pair in pairs))

    def order_by(self, *fields: str) -> Self:
        """Return them ordered by the fields, the most important first; ``-`` before one turns it round.

        Where Django adds ``-pk`` so that the order is certain, they stay as they were read.
        """
        things = list(self._things)
        for name in reversed([each for each in fields if each != "-pk"]):
            things.sort(key=lambda thing: _order(field(thing, name.removeprefix("-"))), reverse=name.startswith("-"))
        return self._with(things)

    def search(self, words: str, fields: Iterable[str]) -> Self:
        """Return those that have each of the words in one of the fields, whatever the case."""
        wanted = [_word(each).casefold() for each in smart_split(words)]
        texts = ((thing, "\n".join(str(field(thing, name)) for name in fields).casefold()) for thing in self._things)
        return self._with(thing for thing, text in texts if all(word in text for word in wanted))


def field(thing: Any, name: str) -> Any:
    """Return a field of a thing or of its ``value``; ``None`` where there is none."""
    found = getattr(thing, name, None)
    return found if found is not None else getattr(thing.value, name, None)


def _pairs(condition: Q) -> Iterator[tuple[str, Any]]:
    for each in condition.children:
        if isinstance(each, Q):
            yield from _pairs(each)
        elif isinstance(each, tuple):
            yield each


def _matches(thing: Any, name: str, wanted: Any) -> bool:
    name, _, lookup = name.partition("__")
    value = str(field(thing, name))
    match lookup:
        case "" | "exact":
            texts = wanted if isinstance(wanted, list) else [wanted]
            return value in map(str, texts)
        case "in":
            return value in map(str, wanted)
    raise ValueError(f"things that are in no table cannot be asked for {name}__{lookup}")


def _order(value: Any) -> tuple[int, Any]:
    return (0, 0) if value is None else (1, value)


def _word(text: str) -> str:
    quoted = text.startswith(('"', "'")) and len(text) > 1 and text[0] == text[-1]
    return unescape_string_literal(text) if quoted else text
