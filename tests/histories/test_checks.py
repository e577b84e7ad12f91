"""The checks find what they are there for."""

from __future__ import annotations

import json

import pytest

from tests.histories import checks
from tests.histories.checks import Change, Record, Stay


def written(name: str, key: str = "registers/0", **facts: int) -> Record:
    return {"kind": "write", "name": name, "key": key, "outcome": "done", **facts}


def change(name: str, revision: int, key: str = "registers/0", **facts: int) -> Change:
    return Change(key, revision, json.dumps({"name": name, **facts}))


def test_a_lost_write_is_found() -> None:
    checks.acknowledged_writes_are_there([written("a", revision=2)], [change("a", 2)])
    with pytest.raises(AssertionError, match="is lost"):
        checks.acknowledged_writes_are_there([written("a", revision=2)], [change("b", 2)])
    with pytest.raises(AssertionError):
        checks.acknowledged_writes_are_there([written("a", revision=2)], [change("a", 3)])


def test_a_doubled_write_is_found() -> None:
    with pytest.raises(AssertionError, match="happened 2 times"):
        checks.nothing_else_is_there([written("a")], [change("a", 2), change("a", 3)])


@pytest.mark.parametrize("outcome", ["failed", "refused"])
def test_a_write_that_was_said_not_to_have_happened_is_found(outcome: str) -> None:
    sent = {**written("a"), "outcome": "sent"}
    checks.nothing_else_is_there([sent], [change("a", 2)])
    with pytest.raises(AssertionError, match=outcome):
        checks.nothing_else_is_there([sent, {**sent, "outcome": outcome}], [change("a", 2)])


def test_a_lost_update_is_found() -> None:
    checks.no_update_is_lost([change("a", 2, base=0), change("b", 4, base=2)])
    with pytest.raises(AssertionError):
        checks.no_update_is_lost([change("a", 2, base=0), change("b", 3, base=2), change("c", 4, base=2)])


def test_two_holders_at_once_are_found() -> None:
    key = "guarded/lock"
    one_by_one = [change("a", 2, key, token=1), change("b", 3, key, token=1), change("c", 5, key, token=4)]
    assert checks.one_holder_after_the_other(one_by_one, key) == 2
    with pytest.raises(AssertionError, match="token 1 wrote after one with token 4"):
        checks.one_holder_after_the_other([*one_by_one, change("d", 6, key, token=1)], key)


def test_one_holder_too_many_is_found() -> None:
    key = "guarded/permits"
    queue = [Stay("a", 1, 9), Stay("b", 2, 6), Stay("c", 3, 20)]
    good = [change("a", 4, key, token=1), change("b", 5, key, token=2), change("c", 7, key, token=3)]
    assert checks.only_the_first_hold(good, key, queue, fewer_than=2) == 3
    with pytest.raises(AssertionError, match="were before it"):
        checks.only_the_first_hold([change("c", 5, key, token=3)], key, queue, fewer_than=2)
    with pytest.raises(AssertionError):
        checks.only_the_first_hold([change("b", 7, key, token=2)], key, queue, fewer_than=2)


@pytest.mark.parametrize("seen", [[2, 4], [2, 3, 3, 4], [2, 4, 3], [2, 3]], ids=["gap", "twice", "order", "end"])
def test_a_missed_or_doubled_event_is_found(seen: list[int]) -> None:
    history = [change(str(revision), revision) for revision in (2, 3, 4)]
    events: dict[int, Record] = {
        each.revision: {"key": each.key, "revision": each.revision, "value": each.value} for each in history
    }
    checks.watch_saw_everything([events[2], events[3], events[4]], history, "worker")
    with pytest.raises(AssertionError, match="worker"):
        checks.watch_saw_everything([events[revision] for revision in seen], history, "worker")


def test_what_a_mirror_has_missed_is_found() -> None:
    history = [change(str(revision), revision) for revision in (2, 3, 4)]
    told: list[Record] = [{"key": each.key, "revision": each.revision, "value": each.value} for each in history]
    start = {"registers/0": history[0].value}
    assert checks.mirror_saw_everything({}, told, history, "worker") == []
    assert checks.mirror_saw_everything(start, told[1:], history, "worker") == []
    assert checks.mirror_saw_everything(start, told[1:2], history, "worker") == history[2:]
    with pytest.raises(AssertionError, match="worker"):
        checks.mirror_saw_everything(start, told[2:], history, "worker")
    with pytest.raises(AssertionError, match="at no moment"):
        checks.mirror_saw_everything({"registers/0": "something"}, told, history, "worker")
