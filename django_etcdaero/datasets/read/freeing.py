"""Freeing the rows of an old version without stopping the process."""

from __future__ import annotations

import sys
from typing import Any

SLICE = 500
"""Rows that are freed before other threads get a chance to run."""


def _references(rows: dict[Any, Any]) -> int:
    return sys.getrefcount(rows)


def _references_of_one_holder() -> int:
    rows: dict[Any, Any] = {}
    return _references(rows)


_ALONE = _references_of_one_holder()
"""What ``getrefcount`` says in a function whose caller is the only holder; it differs between Python versions."""


def free_rows(rows: dict[Any, Any]) -> None:
    """Empty a dictionary that nobody else uses, a slice at a time.

    Dropping a million rows at once would stop every other thread for as long as that takes (the interpreter frees them
    without a break). Nothing is done when somebody still holds the rows: then the last holder drops them.
    """
    if sys.getrefcount(rows) > _ALONE:
        return
    pop = rows.popitem
    try:
        while True:
            for _ in range(SLICE):
                pop()
    except KeyError:
        return
