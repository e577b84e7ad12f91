"""What has changed between two versions, page by page: for who looks at it in many short visits.

A place says where the next page begins, so that a page costs what is on it and not what comes before. Both functions
end when their time is over, with what they have found by then, and nothing is kept between two visits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, NamedTuple

from django_etcdaero.datasets.blocks.difference import FEW, Pair, Side, walk
from django_etcdaero.datasets.blocks.partition import decode_block
from django_etcdaero.datasets.validators import RowCounts

from .diff import Change, changes, kind_of

LOOK = 64
"""Differences between two looks at the clock."""


class DiffPlace(NamedTuple):
    """Where to go on."""

    group: int = 0
    """Of blocks: those before it were looked at."""
    seen: int = 0
    """Differences of the group that were looked at."""


class DiffPage(NamedTuple):
    """Some changes; rows are of the types in which they are stored."""

    changes: list[Change[Any, Any]]
    next: DiffPlace | None
    """Where the next page begins; ``None``: this is the last one."""
    in_time: bool
    """False: the time was over before the page was full."""


class Counted(NamedTuple):
    """How many rows differ."""

    counts: RowCounts
    whole: bool
    """False: the time was over, and there are more."""


def diff_page(
    sides: tuple[Side, Side], place: DiffPlace, *, kinds: Collection[str], limit: int, is_over: Callable[[], bool]
) -> DiffPage:
    """Return the changes of some kinds from a place on, at most ``limit``.

    ``is_over`` tells whether the time is. Raises ``CorruptBlock``, and what the record store raises.
    """
    found: list[Pair] = []
    at, looked = place, 0
    following: DiffPlace | None = None
    in_time = True
    for group, pair in walk(*sides, start=place.group, fetch=FEW):
        at = DiffPlace(group, at.seen if group == at.group and looked else 0)
        looked += 1
        if pair is not None:
            at = at._replace(seen=at.seen + 1)
            if group == place.group and at.seen <= place.seen:
                continue
            if kind_of(pair) in kinds:
                if len(found) == limit:
                    following = at._replace(seen=at.seen - 1)
                    break
                found.append(pair)
        if (pair is None or looked % LOOK == 0) and at > place and is_over():
            following, in_time = at, False
            break
    return DiffPage(list(changes(found, partial(decode_block, rows="plain"))), following, in_time)


def count_differences(sides: tuple[Side, Side], *, is_over: Callable[[], bool]) -> Counted:
    """Count the rows that differ, for as long as the time is not over. Raises as :func:`diff_page` does."""
    found: Counter[str] = Counter()
    whole = True
    for number, (_, pair) in enumerate(walk(*sides), 1):
        if pair is not None:
            found[kind_of(pair)] += 1
        if (pair is None or number % LOOK == 0) and is_over():
            whole = False
            break
    return Counted(RowCounts(found["added"], found["removed"], found["changed"]), whole)
