"""What is to be looked at now."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from django_etcdaero.datasets.read.timetable import Timetable


def test_what_is_woken_is_taken_once() -> None:
    timetable: Timetable[str] = Timetable()
    assert (timetable.take(0.0), timetable.next_at) == (set(), math.inf)
    timetable.wake("a")
    timetable.wake("a")
    assert timetable.take(0.0) == {"a"}
    assert timetable.take(0.0) == set()


def test_what_is_noted_is_taken_when_its_time_has_come_and_not_at_an_earlier_note() -> None:
    timetable: Timetable[str] = Timetable()
    timetable.note("a", 5.0)
    timetable.note("b", 7.0)
    timetable.note("a", 9.0)
    assert timetable.take(4.0) == set()
    assert timetable.next_at == 5.0
    assert timetable.take(6.0) == set()
    assert timetable.take(8.0) == {"b"}
    assert timetable.take(9.0) == {"a"}
    timetable.note("a", math.inf)
    assert (timetable.take(1e9), timetable.next_at) == (set(), math.inf)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50))), st.integers(0, 60))
def test_it_is_as_one_that_goes_through_all(notes: list[tuple[int, int]], now: int) -> None:
    timetable: Timetable[int] = Timetable()
    for thing, at in notes * 30:
        timetable.note(thing, float(at))
    expected = dict(notes)
    assert timetable.take(now) == {thing for thing, at in expected.items() if at <= now}
    assert len(timetable._heap) <= 4 * 4 + 65
