"""Freeing rows (:mod:`.held`) a slice at a time."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from django_etcdaero.system.giving_way import GivingWay

from .held import SLICE, InSequence, Sharded


def _references(rows: object) -> int:
    return sys.getrefcount(rows)


def _references_of_one_holder() -> int:
    rows: dict[Any, Any] = {}
    return _references(rows)


_ALONE = _references_of_one_holder()
"""What ``getrefcount`` says in a function whose caller is the only holder; it differs between Python versions."""


def free_rows(rows: Mapping[Any, Any]) -> None:
    """Empty rows that nobody else uses, a slice at a time.

    Dropping a million rows at once would stop every other thread for as long as that takes (the interpreter frees them
    without a break). Nothing is done when somebody still holds the rows: then the last holder drops them. Shards that
    are in another version as well are only let go.
    """
    if sys.getrefcount(rows) > _ALONE:
        return
    give_way = GivingWay()
    if isinstance(rows, Sharded):
        if isinstance(rows, InSequence):
            free_list(rows.chunks, SLICE)
        free_list(rows._shards, rows._count // max(1, len(rows._shards)))
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


def free_list(values: list[Any], size: int = 0) -> None:
    """Empty a list of things with ``size`` entries each, a slice at a time."""
    give_way, some = GivingWay(), max(1, SLICE // max(1, size))
    while values:
        del values[-some:]
        give_way()
