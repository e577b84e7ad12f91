"""Which dataset the refresh service looks at next, and when."""

from __future__ import annotations

import itertools

import pytest

from django_etcdaero.management.agenda import ASKING, IN_LINE, Agenda

HERE = {"a": "here", "b": "here", "c": "here"}
BOTH = {"a1": "one", "a2": "one", "a3": "one", "b1": "two", "b2": "two"}


def begun(agenda: Agenda, now: float = 0.0) -> list[str]:
    """Begin all that can be begun."""
    return list(iter(lambda: agenda.begin_next(now), None))


def test_all_are_due_in_the_beginning_and_no_more_are_at_work_than_there_are_places() -> None:
    agenda = Agenda(HERE, 2)
    assert begun(agenda) == ["a", "b"]
    assert agenda.pause(0.0) is None
    agenda.end("a", 10.0)
    assert begun(agenda) == ["c"]


def test_the_next_is_the_one_that_is_due_first() -> None:
    agenda = Agenda(HERE, 3)
    begun(agenda)
    for name, due in (("a", 30.0), ("b", 10.0), ("c", 20.0)):
        agenda.end(name, due)
    assert agenda.begin_next(9.0) is None
    assert agenda.pause(9.0) == 1.0
    assert begun(agenda, 40.0) == ["b", "c", "a"]


def test_who_is_woken_is_due_and_once_more_if_it_is_looked_at() -> None:
    agenda = Agenda(HERE, 3)
    begun(agenda)
    agenda.end("a", 100.0)
    agenda.wake("a")
    agenda.wake("b")
    assert begun(agenda) == ["a"]
    agenda.end("b", 100.0)
    assert begun(agenda) == ["b"]
    agenda.end("b", 100.0)
    assert begun(agenda) == []


def test_an_alias_is_woken_as_a_whole_but_for_one() -> None:
    agenda = Agenda(BOTH, 9)
    for name in begun(agenda):
        agenda.end(name, 100.0)
    agenda.wake_alias("one", but="a2")
    assert begun(agenda) == ["a1", "a3"]


def test_who_waits_in_line_makes_room_and_comes_back_only_if_there_is_some() -> None:
    agenda = Agenda(HERE, 1)
    assert begun(agenda) == ["a"]
    assert agenda.wait_in_line("a")
    assert begun(agenda) == ["b"]
    assert not agenda.go_on("a")
    agenda.end("b", 100.0)
    assert agenda.go_on("a")
    assert begun(agenda) == []
    agenda.end("a", 100.0)
    assert begun(agenda) == ["c"]


def test_only_some_wait_in_line() -> None:
    names = [f"d{number}" for number in range(IN_LINE + 1)]
    agenda = Agenda(dict.fromkeys(names, "here"), 1)
    waiting = [agenda.wait_in_line(name) for name in itertools.chain.from_iterable(begun(agenda) for _ in names)]
    assert waiting == [True] * IN_LINE + [False]


def test_a_lock_that_becomes_free_wakes_who_met_it() -> None:
    agenda = Agenda(HERE, 3)
    begun(agenda)
    agenda.end("a", 100.0, locked=True)
    agenda.end("b", 100.0)
    for name in ("a", "b", "c"):
        agenda.unlock(name)
    assert begun(agenda) == ["a"]
    agenda.end("a", 100.0)
    agenda.unlock("a")
    assert begun(agenda) == []


def test_places_are_shared_between_the_aliases() -> None:
    agenda = Agenda(BOTH, 4)
    assert begun(agenda) == ["a1", "b1", "a2", "b2"]


def test_an_alias_that_is_away_is_asked_by_one_at_a_time_after_a_while() -> None:
    agenda = Agenda(BOTH, 9)
    for name in begun(agenda):
        agenda.end(name, 1.0)
    agenda.is_away("one", 5.0)
    assert begun(agenda, 2.0) == ["b1", "b2"]
    assert agenda.pause(2.0) == 3.0
    assert begun(agenda, 5.0) == ["a1"]
    agenda.is_away("one", 10.0)
    agenda.end("a1", 6.0)
    assert begun(agenda, 9.0) == []
    assert begun(agenda, 10.0) == ["a2"]
    agenda.answers("one")
    agenda.end("a2", 100.0)
    assert begun(agenda, 10.0) == ["a3", "a1"]


@pytest.mark.parametrize("places", [1, 4])
def test_nothing_to_do_has_no_end_of_its_own(places: int) -> None:
    assert Agenda({}, places).pause(0.0) is None


def test_who_was_at_work_before_its_store_went_away_holds_up_no_other() -> None:
    agenda = Agenda(HERE, 3)
    assert begun(agenda) == ["a", "b", "c"]
    for name in ("b", "c"):
        agenda.is_away("here", 5.0)
        agenda.end(name, 1.0)
    assert agenda.begin_next(4.0) is None
    assert agenda.pause(4.0) == 1.0
    assert begun(agenda, 5.0) == ["b"]  # which finds out; "a" is still loading
    agenda.answers("here")
    assert begun(agenda, 5.0) == ["c"]


def test_who_finds_out_and_then_loads_for_long_does_not_keep_the_others_waiting_for_ever() -> None:
    agenda = Agenda(HERE, 3)
    for name in begun(agenda):
        agenda.is_away("here", 5.0)
        agenda.end(name, 1.0)
    assert begun(agenda, 5.0) == ["a"]
    assert agenda.pause(6.0) == ASKING - 1.0
    assert begun(agenda, 5.0 + ASKING) == ["b"]
    agenda.end("a", 100.0)
    assert begun(agenda, 5.0 + ASKING) == []
    agenda.end("b", 100.0)
    assert begun(agenda, 5.0 + ASKING) == ["c"]
