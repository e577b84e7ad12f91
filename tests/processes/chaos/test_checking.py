"""Each check of the chaos finds what it is there for, and nothing in a history that is right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.processes.chaos.checking import (
    Announced,
    Line,
    Pinned,
    answered,
    as_loaded,
    followed,
    nothing_missed,
    pins_respected,
    published_once,
    recovered,
)


def announced(revision: int, version: int, **changes: Any) -> Announced:
    """An announcement; of the same version, it says the same unless ``changes`` do."""
    fields = {"published_at": float(version), "load_started": version - 0.5, "root": f"{version:040x}", "rows": 3}
    return Announced(**{"revision": revision, "version": version, "publisher": "h/1", **fields, **changes})


def seen(version: int, **changes: Any) -> Line:
    """A line of a reader: version 2 is of number 20, with the digest "d20"."""
    line = {"name": "x", "pid": 7, "version": version, "published_at": float(version), "rows": 3}
    return {**line, "number": 10 * version, "digest": f"d{10 * version}", **changes}


HISTORY = {"x": [announced(11, 1), announced(12, 2), announced(15, 1), announced(17, 3), announced(18, 4)]}
"""Version 1 was rolled back to, at revision 15, and held until 16."""
PINS = {"x": [Pinned(15, 1), Pinned(16, None)]}
SEEN = [seen(1), seen(2), seen(2), seen(1), seen(4), seen(3, pid=8), seen(4, pid=8)]
LOADS = [{"name": "x", "number": 10 * number, "digest": f"d{10 * number}", "bad": False} for number in range(1, 5)]
BACK = Counter({("x", 1): 1})


def test_nothing_is_wrong_with_a_history_that_is_right() -> None:
    assert followed(SEEN, HISTORY, BACK) == []
    assert as_loaded(SEEN, LOADS) == []
    assert published_once(HISTORY) == []
    assert pins_respected(HISTORY, PINS) == []
    assert nothing_missed([{"drift": None}, {"drift": 0}, {}]) == []
    assert answered([("x", 40), ("x", 10)], SEEN) == []
    assert recovered([3.0, 30.0], 30.0) == []


RESTORED = {"x": [*HISTORY["x"], announced(12, 2, era=1), announced(13, 3, published_at=5.0, root="05", era=1)]}
"""The store is as it was after version 2, and another version 3 is made."""


def test_nothing_is_wrong_with_a_store_that_was_restored() -> None:
    read = [seen(4), seen(2), seen(3, published_at=5.0, number=50, digest="d50")]
    assert followed(read, RESTORED, Counter()) == []
    assert published_once(RESTORED) == []
    assert pins_respected(RESTORED, {"x": [Pinned(15, 1), Pinned(16, None), Pinned(11, None, era=1)]}) == []


def _bad(number: int) -> list[Line]:
    return [{**load, "bad": load["number"] == number} for load in LOADS]


@pytest.mark.parametrize(
    ("check", "told"),
    [
        (lambda: followed([seen(5)], HISTORY, BACK), "never announced"),
        (lambda: followed([seen(2, published_at=9.0)], HISTORY, BACK), "never announced"),
        (lambda: followed([seen(2, rows=2)], HISTORY, BACK), "announced with {3} rows"),
        (lambda: followed([seen(2), seen(1)], HISTORY, Counter()), "rolled back to it 0 times"),
        (lambda: followed([seen(2), seen(1), seen(2), seen(1)], HISTORY, BACK), "back to 1 2 times"),
        (lambda: followed([seen(4), seen(3)], HISTORY, Counter({("x", 3): 1})), "was not announced after"),
        (lambda: followed([seen(4), seen(3), seen(2)], RESTORED, Counter()), "was not announced after"),
        (lambda: followed([seen(2), seen(1), seen(4), seen(2)], RESTORED, Counter()), "rolled back to it 0 times"),
        (lambda: as_loaded([seen(2, digest="d30")], LOADS), "not what was loaded of number 20"),
        (lambda: as_loaded([seen(2, number=25, digest="d25")], LOADS), "not what was loaded of number 25"),
        (lambda: as_loaded([seen(2)], _bad(20)), "not what was loaded"),
        (lambda: as_loaded([seen(2), seen(2, pid=8, number=30, digest="d30")], LOADS), "had several contents"),
        (lambda: published_once({"x": [announced(1, 1), announced(2, 1, publisher="h/2")]}), "version 1 was made as"),
        (lambda: published_once({"x": [announced(1, 1), announced(2, 1, root="00")]}), "version 1 was made as"),
        (lambda: published_once({"x": [*RESTORED["x"], announced(14, 3, era=1)]}), "version 3 was made as"),
        (lambda: published_once({"x": [*RESTORED["x"], announced(14, 4, root="00", era=1)]}), "version 4 was made as"),
        (lambda: pins_respected(RESTORED, {"x": [Pinned(11, None), Pinned(12, 2, era=1)]}), "while 2 was pinned"),
        (lambda: pins_respected({"x": [announced(12, 2)]}, {"x": [Pinned(11, 1)]}), "while 1 was pinned"),
        (lambda: nothing_missed([{"drift": 2}]), "changes were missed"),
        (lambda: answered([("x", 41)], SEEN), "nothing was loaded after number 41"),
        (lambda: recovered([3.0, 31.0], 30.0), "recovered only after 31 s"),
        (lambda: answered([("y", 1)], SEEN), "nothing was loaded after number 1"),
    ],
)
def test_what_is_wrong_is_found(check: Callable[[], list[str]], told: str) -> None:
    assert any(told in each for each in check()), check()
