"""Freeing rows (:mod:`.held`) a slice at a time."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from django_etcdaero.system.giving_way import GivingWay

from .held import SLICE, InSequence, Sharded


def _references(rows: object) -> int:
    return sys.getrefcount(rows)


def _references_of_one_holder() -> int:
    rows: dict[Any, Any] = {}
    return _references(rows)


_NOTHING: Final[dict[Any, Any]] = {}

_ALONE = _references_of_one_holder()
"""What ``getrefcount`` says in a function whose caller is the only holder; it differs between Python versions."""


def free_rows(rows: Mapping[Any, Any] | list[Any]) -> None:
    """Empty rows, or a list, that nobody else uses, a slice at a time.

    Dropping a million rows at once would stop every other thread for as long as that takes (the interpreter frees them
    without a break). Nothing is done when somebody still holds the rows: then the last holder drops them. Shards that
    are in another version as well are only let go.
    """
    if sys.getrefcount(rows) > _ALONE:
        return
    if isinstance(rows, list):
        free_list(rows)
        return
    give_way = GivingWay()
    if isinstance(rows, Sharded):
        if isinstance(rows, InSequence):
            free_list(rows.chunks, SLICE)
        _free_shards(rows)
        return
    assert isinstance(rows, dict)
    pop = rows.popitem
    try:
        while True:
            for _ in range(SLICE):
                pop()
            give_way()
    except KeyError:
        return


def _free_shards(rows: Sharded[Any, Any]) -> None:
    shards, size = rows._shards, max(1, rows._count // max(1, rows._number))
    if rows._replaced is None:
        free_list(shards, size)
        return
    give_way, some = GivingWay(), max(1, SLICE // size)
    for number, at in enumerate(rows._replaced):
        shards[at] = _NOTHING
        if number % some == 0:
            give_way()
    free_list(shards)  # the others are in the version that was made of this one, and only let go


def free_list(values: list[Any], size: int = 0) -> None:
    """Empty a list of things with ``size`` entries each, a slice at a time."""
    give_way, some = GivingWay(), max(1, SLICE // max(1, size))
    while values:
        del values[-some:]
        give_way()
