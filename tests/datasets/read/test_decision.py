"""What a reader decides, from what it sees and remembers: no store, no clock."""

from __future__ import annotations

from typing import Any

import pytest

from django_etcdaero.datasets.read.decision import (
    FIRST_RETRY,
    REPAIR_PAUSE,
    Action,
    Load,
    Memory,
    Nothing,
    ReadCopy,
    Seen,
    WaitUntil,
    WriteCopy,
    asks_for_repair,
    decide,
    failed,
    loaded,
    remember,
)
from django_etcdaero.datasets.state.announcement import Announcement, Copy

NOW = 1000.0


def version(name: str, revision: int, epoch: int = 1) -> Copy:
    announcement = Announcement(
        id=name, version=revision, epoch=epoch, root="00", rows=1, stored_bytes=1, load_started=0.0, load_seconds=0.0,
        published_at=0.0, host="h", pid=1,
    )  # fmt: skip
    return Copy(mod_revision=revision, announcement=announcement)


ONE, TWO, TWO_AGAIN = version("one", 1), version("two", 2), version("two", 5)
NEXT_LIFE = version("reset", 1, epoch=2)
"""Announced after the coordination store was emptied."""

NEW = Memory()
HOLDS_ONE = loaded(NEW, ONE, reached=True)
HOLDS_TWO = loaded(HOLDS_ONE, TWO, reached=True)


def announced(what: Copy | None) -> Seen:
    return Seen(reached=True, announced=what)


def compared(what: Copy, copy: Copy | None) -> Seen:
    return Seen(reached=True, announced=what, copy=copy, copy_read=True)


def away(copy: Copy | None) -> Seen:
    return Seen(reached=False, copy=copy, copy_read=True)


def lately(memory: Memory, failed: str, retry_at: float) -> Memory:
    """Return the memory of a reader that could not load the announcement ``failed``."""
    return Memory(
        held=memory.held, order=memory.order, failed=failed, retry_at=retry_at, failures=3, told=(True, "Error: x")
    )


TABLE: dict[str, tuple[Memory, Seen, Action]] = {
    "nothing is announced": (NEW, announced(None), Nothing()),
    "nothing is announced any more": (HOLDS_ONE, announced(None), Nothing()),
    "the first version": (NEW, announced(ONE), Load(ONE)),
    "a newer version": (HOLDS_ONE, announced(TWO), Load(TWO)),
    "an older version, after a rollback": (HOLDS_TWO, announced(version("one", 3)), Load(version("one", 3))),
    "a version of an emptied store": (HOLDS_TWO, announced(NEXT_LIFE), Load(NEXT_LIFE)),
    "what failed, too early": (lately(HOLDS_ONE, "two", NOW + 1), announced(TWO), WaitUntil(NOW + 1)),
    "what failed, in time": (lately(HOLDS_ONE, "two", NOW), announced(TWO), Load(TWO)),
    "a newer one than what failed": (lately(NEW, "one", NOW + 9), announced(TWO), Load(TWO)),
    "what is held, after another one failed": (lately(HOLDS_ONE, "two", NOW + 9), announced(ONE), ReadCopy()),
    "what is held": (HOLDS_TWO, announced(TWO), ReadCopy()),
    "what is held, and no copy": (HOLDS_TWO, compared(TWO, None), WriteCopy(TWO)),
    "what is held, and an old copy": (HOLDS_TWO, compared(TWO, ONE), WriteCopy(TWO)),
    "what is held, and its copy": (HOLDS_TWO, compared(TWO, TWO), Nothing()),
    "what is held, and a newer copy": (HOLDS_TWO, compared(TWO, version("new", 9)), Nothing()),
    "what is held, announced again": (HOLDS_TWO, compared(TWO_AGAIN, TWO), WriteCopy(TWO_AGAIN)),
    "away": (HOLDS_ONE, Seen(reached=False), ReadCopy()),
    "away, no copy": (HOLDS_ONE, away(None), Nothing()),
    "away, the first version": (NEW, away(ONE), Load(ONE)),
    "away, a newer copy": (HOLDS_ONE, away(TWO), Load(TWO)),
    "away, an older copy": (HOLDS_TWO, away(ONE), Nothing()),
    "away, the copy of what is held": (HOLDS_TWO, away(TWO), Nothing()),
    "away, a copy of what is held, announced again": (HOLDS_TWO, away(TWO_AGAIN), Nothing()),
    "away, the copy of what failed, too early": (lately(HOLDS_ONE, "two", NOW + 1), away(TWO), WaitUntil(NOW + 1)),
    "away, a copy of the next life": (HOLDS_TWO, away(NEXT_LIFE), Load(NEXT_LIFE)),
    "away, a copy of a life that is gone": (Memory(held="one", order=(1, 1), overruled=(1, 9)), away(version("x", 9)),
                                           Nothing()),
}  # fmt: skip


@pytest.mark.parametrize(("memory", "seen", "action"), TABLE.values(), ids=TABLE)
def test_what_is_done(memory: Memory, seen: Seen, action: Action) -> None:
    assert decide(remember(memory, seen), seen, NOW) == action


def test_a_copy_is_overruled_by_an_older_announcement_that_is_read_after_it() -> None:
    newer = version("lost", 9)
    memory = remember(HOLDS_ONE, compared(ONE, newer))
    assert (memory.newest_copy, memory.overruled) == ((1, 9), (0, 0))
    assert decide(memory, away(newer), NOW) == Load(newer)  # it may be announced by now
    memory = remember(memory, announced(ONE))
    assert memory.overruled == (1, 9)
    assert decide(memory, away(newer), NOW) == Nothing()
    assert decide(memory, away(version("later", 10)), NOW) == Load(version("later", 10))


@pytest.mark.parametrize("seen", [announced(None), announced(ONE), compared(ONE, ONE)])
def test_a_look_with_nothing_wrong_ends_the_failures(seen: Seen) -> None:
    memory = remember(lately(HOLDS_ONE, "two", NOW + 9), seen)
    assert (memory.failed, memory.failures, memory.told) == (None, 0, None)
    assert (memory.held, memory.order) == ("one", (1, 1))


def test_what_a_copy_gives_does_not_end_the_failures() -> None:
    before = lately(HOLDS_ONE, "two", NOW)
    for memory in (remember(before, away(version("one", 4))), loaded(before, TWO, reached=False)):
        assert (memory.failed, memory.failures, memory.told) == (None, 3, (True, "Error: x"))
    assert (loaded(before, TWO, reached=True).failures, loaded(before, TWO, reached=True).told) == (0, None)


def test_a_look_that_wants_something_else_leaves_the_memory_of_failures() -> None:
    before = lately(HOLDS_ONE, "two", NOW + 9)
    for seen in (announced(TWO), away(TWO), away(None)):
        assert remember(before, seen) == before


def test_retries_come_later_and_later_up_to_the_longest() -> None:
    memory, delays = NEW, []
    for _ in range(8):
        memory, _ = failed(memory, "Error: x", reached=True, now=NOW, longest=30.0, jitter=1.0)
        delays.append(memory.retry_at - NOW)
    assert delays == [FIRST_RETRY * 2**number for number in range(6)] + [30.0, 30.0]
    assert memory.failures == 8
    late, _ = failed(NEW, "Error: x", reached=True, now=NOW, longest=30.0, jitter=1.2)
    assert late.retry_at == NOW + FIRST_RETRY * 1.2


@pytest.mark.parametrize(
    ("told", "reached", "text", "news"),
    [
        (None, True, "Error: x", True),
        ((True, "Error: x"), True, "Error: x", False),
        ((True, "Error: x"), True, "Error: y", True),
        ((False, "ClusterError: a"), False, "DeadlineExceeded: b", False),
        ((False, "ClusterError: a"), True, "ClusterError: a", True),
    ],
)
def test_a_failure_is_told_once_for_each_reason(told: Any, reached: bool, text: str, news: bool) -> None:
    after, tell = failed(Memory(told=told), text, reached=reached, now=NOW, longest=30.0, jitter=1.0)
    assert tell is news
    assert after.told == (reached, text)


def test_a_repair_is_asked_for_once_in_a_while() -> None:
    asked = Memory(repair=("two", NOW))
    assert asks_for_repair(NEW, "two", 0.0)
    assert not asks_for_repair(asked, "two", NOW + REPAIR_PAUSE - 1)
    assert asks_for_repair(asked, "two", NOW + REPAIR_PAUSE)
    assert asks_for_repair(asked, "three", NOW)
