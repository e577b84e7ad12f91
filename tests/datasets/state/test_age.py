"""How old a load is, as a process finds out that compares no clocks where it can compare durations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_etcdaero.datasets.state.age import PROOF, SKEW, Age, AgeMemory, Load, Sighting
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.state.stored_state import Checked
from django_etcdaero.system.clocks import elapsed

NOW = 1_000_000.0
"""Of the wall clock of this process, when its other clock is at 0."""


def load(name: str = "a", *, ago: float = 0.0, took: float = 0.0) -> Load:
    return Load(name, NOW - ago, took)


def at(memory: AgeMemory, clock: float) -> Age:
    age = memory.age(now=NOW + clock, clock=clock)
    assert age is not None
    return age


def look(memory: AgeMemory, seen: Load | None, revision: int, clock: float) -> None:
    memory.look(seen, revision, asked=clock, answered=clock)


def test_nothing_is_known_at_first() -> None:
    memory = AgeMemory()
    assert memory.age(now=NOW, clock=0.0) is None
    look(memory, None, 0, 1.0)
    assert memory.age(now=NOW, clock=1.0) is None


def test_a_process_that_has_just_started_believes_the_clocks_and_allows_for_their_difference() -> None:
    memory = AgeMemory()
    look(memory, load(ago=100), 5, 0.0)
    assert at(memory, 10.0) == Age(seconds=110.0, at_least=110.0 - SKEW, skew=0.0, arrived=False, began=NOW - 100)


def test_what_a_process_has_seen_for_itself_counts_more_than_a_beginning_in_the_future() -> None:
    memory = AgeMemory()
    look(memory, load(ago=-30 * 86400, took=4), 5, 0.0)
    assert at(memory, 0.0) == Age(seconds=4.0, at_least=4.0, skew=30 * 86400 + 4.0, arrived=False, began=NOW - 4)
    assert at(memory, 100.0)[:2] == (104.0, 104.0)


def test_a_load_that_was_seen_to_arrive_is_no_older_than_the_look_before() -> None:
    memory = AgeMemory()
    look(memory, load("old", ago=7000), 5, 0.0)
    look(memory, load("new", ago=600 - 30, took=3), 6, 30.0)  # by a host whose clock is ten minutes behind
    assert at(memory, 30.0) == Age(seconds=33.0, at_least=33.0, skew=33.0 - 600.0, arrived=True, began=NOW - 3)
    assert at(memory, 90.0)[:2] == (93.0, 93.0)


def test_within_what_was_seen_the_clocks_tell() -> None:
    memory = AgeMemory()
    look(memory, load("old", ago=7000), 5, 0.0)
    look(memory, load("new", ago=-90, took=3), 6, 100.0)
    assert at(memory, 100.0) == Age(seconds=10.0, at_least=3.0, skew=0.0, arrived=True, began=NOW + 90)


def test_the_first_load_of_all_is_seen_to_arrive_too() -> None:
    memory = AgeMemory()
    look(memory, None, 0, 0.0)
    look(memory, load(ago=9999, took=1), 3, 2.0)
    assert at(memory, 2.0).seconds == 3.0


def test_a_store_that_is_an_older_state_of_itself_makes_nothing_look_younger() -> None:
    memory = AgeMemory()
    look(memory, load("new", ago=10), 50, 0.0)
    look(memory, load("restored", ago=9000), 20, 5.0)
    assert at(memory, 5.0) == Age(seconds=9005.0, at_least=9005.0 - SKEW, skew=0.0, arrived=False, began=NOW - 9000)
    look(memory, None, 0, 6.0)
    look(memory, load("restored later", ago=9000), 30, 7.0)
    assert not at(memory, 7.0).arrived


def test_an_answer_that_was_overtaken_is_left_out() -> None:
    memory = AgeMemory()
    look(memory, load("old", ago=50), 5, 0.0)
    memory.look(load("new", ago=0), 6, asked=10.0, answered=11.0)
    memory.look(load("old", ago=50), 5, asked=9.0, answered=12.0)
    assert memory.sighting == Sighting(load("new"), 11.0, 0.0)


def test_the_same_load_seen_again_is_not_seen_anew() -> None:
    memory = AgeMemory()
    look(memory, load(ago=-500), 5, 0.0)
    look(memory, load(ago=-500), 5, 40.0)
    assert at(memory, 40.0).seconds == 40.0


def test_the_same_load_with_other_times_proves_no_arrival() -> None:
    memory = AgeMemory()
    look(memory, load(ago=10), 5, 0.0)
    look(memory, load(ago=4000), 6, 1.0)
    assert at(memory, 1.0) == Age(seconds=4001.0, at_least=4001.0 - SKEW, skew=0.0, arrived=False, began=NOW - 4000)


def test_of_its_own_load_a_process_knows_the_age_though_its_clock_is_set() -> None:
    memory = AgeMemory()
    look(memory, load("old", ago=50), 5, 0.0)
    memory.noted(load("own", took=3, ago=3), after=0.5, before=1.0)
    look(memory, load("own", took=3, ago=3), 6, 2.0)
    for step in (0.0, 1e6, -1e6):
        age = memory.age(now=NOW + 7 + step, clock=7.0)
        assert age is not None
        assert age.seconds == pytest.approx(9.0, abs=1.0)
        assert age.skew == pytest.approx(-step, abs=2)
    look(memory, load("other", ago=-8), 7, 8.0)
    assert at(memory, 8.0)[:4] == (0.0, 0.0, 0.0, True)


def test_an_announcement_counts_until_the_next_look_if_its_load_began_later() -> None:
    memory = AgeMemory()
    memory.announced(load("announced", ago=20), answered=0.0)
    assert at(memory, 0.0).seconds == 20.0
    look(memory, load("noted", ago=10), 5, 0.0)
    memory.announced(load("rolled back", ago=500), answered=1.0)
    assert at(memory, 1.0).seconds == 11.0
    memory.announced(load("copy", ago=-1), answered=2.0)
    assert at(memory, 2.0) == Age(seconds=1.0, at_least=0.0, skew=0.0, arrived=False, began=NOW + 1)
    look(memory, load("noted", ago=10), 5, 3.0)
    assert at(memory, 3.0).seconds == 13.0


@given(
    true_age=st.floats(0, 1e6),
    skew=st.floats(-1e7, 1e7),
    gap=st.floats(0, 1e4),
    later=st.floats(0, 1e6),
    took=st.floats(0, 1e4),
)
def test_who_sees_a_load_arrive_knows_its_age_whatever_the_clocks(
    true_age: float, skew: float, gap: float, later: float, took: float
) -> None:
    # Noted at some moment between two looks, by a host whose clock is ahead by ``skew``.
    noted_at = gap * (true_age / 1e6)
    memory = AgeMemory()
    look(memory, None, 0, 0.0)
    look(memory, Load("a", NOW + noted_at - took + skew, took), 1, gap)
    age, true = at(memory, gap + later), gap + later - noted_at + took
    assert true - gap - 1e-3 <= age.at_least <= age.seconds + PROOF
    assert abs(age.seconds - true) <= gap + PROOF + 1e-3
    assert age.skew == 0.0 or abs(age.skew - skew) <= gap + PROOF + 1e-3


@given(true_age=st.floats(0, 1e6), skew=st.floats(-SKEW, SKEW), later=st.floats(0, 1e6))
def test_rows_are_not_too_old_early_while_the_clocks_differ_by_no_more_than_is_stated(
    true_age: float, skew: float, later: float
) -> None:
    memory = AgeMemory()
    look(memory, load(ago=true_age - skew), 1, 0.0)
    age, true = at(memory, later), true_age + later
    assert age.at_least <= true + 1e-3
    assert age.at_least >= min(later, true - 2 * SKEW) - 1e-3


@pytest.mark.parametrize("seconds", [2.0, -2.0])
def test_the_load_of_what_is_stored(seconds: float) -> None:
    checked = Checked(
        id="c", load_started=5.0, load_seconds=seconds, noted_after=1.5, version=1, request_revision=0, host="h", pid=1
    )
    assert Load.of_checked(checked) == ("c", 5.0, max(1.5, seconds))
    announcement = Announcement(
        id="a", version=1, epoch=1, root="00", rows=1, stored_bytes=1, load_started=5.0, load_seconds=seconds,
        published_at=6.5, host="h", pid=1,
    )  # fmt: skip
    assert Load.of_announcement(announcement) == ("a", 5.0, max(1.5, seconds))


def test_the_clock_of_durations_goes_on() -> None:
    first = elapsed()
    assert elapsed() >= first


def test_who_reads_does_not_unlearn_when_the_rows_were_loaded() -> None:
    memory, publisher = AgeMemory(unlearns=False), AgeMemory()
    for each in (memory, publisher):
        look(each, load("a", ago=10), 5, 0.0)
        look(each, None, 0, 20.0)
    assert publisher.sighting is None
    assert at(memory, 30.0).seconds == 40.0
    for each in (memory, publisher):
        look(each, load("of before", ago=3600), 3, 40.0)
    assert at(publisher, 40.0).seconds == 3640.0
    assert at(memory, 40.0).seconds == 50.0
    look(memory, load("b", ago=-45), 9, 50.0)
    assert at(memory, 50.0).seconds == 5.0
