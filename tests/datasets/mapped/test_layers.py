"""A change of a shared dataset costs what has changed: it is laid over the file of rows, and folded into it later."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date
from typing import Any, NamedTuple

import pytest

from django_etcdaero.datasets.mapped import making
from django_etcdaero.datasets.publish import base as publishing
from django_etcdaero.datasets.read.live import live_state
from django_etcdaero.datasets.state.status import State
from django_etcdaero.exceptions import ClusterError
from tests.datasets.hosting import FakeHost, Following

from .conftest import is_mapped
from .layers import (
    ROWS,
    Files,
    changing,
    check,
    fold_all,
    fold_at,
    loading,
    small_files_have_layers,
    stack_of,
)

__all__ = ["small_files_have_layers"]

Declare = Callable[..., Any]
Follow = Callable[..., Following]


def change(dataset: Any, *gone: Any, **rows: Any) -> None:
    dataset.table.put(**rows)
    dataset.table.remove(*gone)
    assert dataset.refresh(force=True).ok


def counting(host: FakeHost) -> list[int]:
    """Return a list of how many records were fetched each time."""
    fetched: list[int] = []
    host.records.before["get_many"] = lambda keys, **options: fetched.append(len(keys))
    return fetched


def test_a_change_fetches_and_writes_what_has_changed(
    declare: Declare, host: FakeHost, following: Follow, files: Files
) -> None:
    prices = changing(declare)
    follower, other = following(prices), following(prices)
    follower.step()
    before, held = prices.snapshot(), stack_of(prices)
    change(prices, "key-3", "never there", **{"key-1": {"id": -1}, "new": {"id": 5}})
    fetched = counting(host)
    follower.step()
    assert fetched == [2, 1]  # two roots, and a delta
    check(prices)
    stack = stack_of(prices)
    assert stack.base is held.base
    assert stack.layer_bytes < held.size / 50
    (rows,), (layer,) = files(".rows"), files(".changes")
    assert is_mapped(rows)
    assert is_mapped(layer)
    assert layer.stat().st_mode & 0o777 == 0o400
    # Who holds the version before takes the layer, and who comes then maps both; nobody fetches anything.
    fetched.clear()
    live_state(prices).forget()
    other.step()
    check(prices)
    assert not fetched
    assert dict(before) == ROWS
    assert before["key-3"] == ROWS["key-3"]
    assert "new" not in before


def test_there_are_few_layers_and_none_is_left_behind(declare: Declare, following: Follow, files: Files) -> None:
    prices = changing(declare)
    follower, other = following(prices), following(prices)
    follower.step()
    most = 0
    for number in range(24):
        change(prices, **{f"key-{(number * 31 + each) % 2000}": {"id": number} for each in range(4)})
        (follower, other)[number % 2].step()
        check(prices)
        most = max(most, len(stack_of(prices).layers))
        assert len(files(".changes")) <= 2 * most  # of the version before too
    assert 1 < most <= 5
    change(prices, "key-9")
    for each in (follower, other, follower):
        each.step()
        live_state(prices).forget()  # and its snapshot
    assert len(files(".rows")) == 1
    assert len(files(".changes")) <= most


def test_layers_are_folded_beside_what_is_read(
    declare: Declare, host: FakeHost, following: Follow, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold_at(0.02, monkeypatch)
    prices = changing(declare)
    follower = following(prices)
    follower.step()
    (old,) = files(".rows")
    for number in range(6):
        change(
            prices, f"key-{number}", **{f"key-{each}": {"id": number} for each in range(number * 40, 50 + number * 40)}
        )
        follower.step()
        check(prices)
    held = stack_of(prices)
    fetched = counting(host)
    fold_all(follower, files)
    assert not fetched
    assert stack_of(prices) is held
    assert old.exists()
    assert len(files(".rows")) == 2
    change(prices, **{"key-77": {"id": 77}})
    follower.step()
    check(prices)
    stack = stack_of(prices)
    assert stack.base.head.root in [layer.head.root for layer in held.layers]
    assert stack.layer_bytes < held.layer_bytes
    del held, stack
    assert not is_mapped(old)
    change(prices, **{"key-78": {"id": 78}})
    follower.step()
    fold_all(follower, files)
    assert not old.exists()
    live_state(prices).forget()
    following(prices).step()
    check(prices)


def test_a_change_comes_while_layers_are_folded(
    declare: Declare, following: Follow, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold_at(0.02, monkeypatch)
    prices = changing(declare)
    follower = following(prices)
    follower.step()
    change(prices, "key-9", **{f"key-{each}": {"id": -each} for each in range(100, 300)})
    follower.step()
    assert files(".part")  # it has begun
    folded = stack_of(prices).root
    for number in range(3):
        change(prices, f"key-{number}", **{"key-5": {"id": number}})
        follower.step()
        check(prices)
    assert folded in [layer.head.root for layer in stack_of(prices).layers]
    fold_all(follower, files)
    change(prices, "key-8")
    follower.step()
    check(prices)
    assert stack_of(prices).base.head.root == folded
    assert not files(".part")


def test_a_full_load_with_few_changes_makes_a_layer_too(declare: Declare, host: FakeHost, following: Follow) -> None:
    prices = changing(declare)
    follower = following(prices)
    follower.step()
    base = stack_of(prices).base
    for number in range(3):
        prices.table.rows["key-7"] = {"id": -number}
        prices.table.rows.pop(f"key-{500 + number}")
        prices.table.rows[f"new-{number}"] = {"id": number}
        assert prices.refresh(full=True).ok
        fetched = counting(host)
        follower.step()
        check(prices)
        assert stack_of(prices).base is base
        assert sum(fetched) <= 8  # two roots, a page, blocks of the rows that changed


def test_blocks_that_deltas_were_folded_into_are_not_fetched(
    declare: Declare, host: FakeHost, following: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = changing(declare)
    follower = following(prices)
    follower.step()
    for number in range(5):
        change(prices, **{f"key-{each}": {"id": -each} for each in range(number * 100, number * 100 + 50)})
        follower.step()
    monkeypatch.setattr(publishing, "IDLE", 0.0)
    assert prices.refresh(force=True).version == 7  # nothing has changed: so they are
    fetched = counting(host)
    follower.step()
    check(prices)
    assert sum(fetched) == 4  # two roots, and the one page (with its root)
    change(prices, **{"key-3": {"id": 3}})
    fetched.clear()
    follower.step()
    check(prices)
    assert fetched == [2, 1]


def test_a_rollback_takes_back_what_layers_say(declare: Declare, following: Follow) -> None:
    prices = changing(declare)
    follower = following(prices)
    follower.step()
    versions = [dict(prices.table.rows)]
    for number in range(3):
        change(prices, f"key-{number}", **{f"new-{number}": {"id": number}, "key-99": {"id": number}})
        follower.step()
        versions.append(dict(prices.table.rows))
    for version in (2, 1, 3):
        prices.rollback(version)
        follower.step()
        assert dict(prices) == versions[version - 1]


def test_a_change_of_very_many_rows_makes_the_file_of_rows_anew(
    declare: Declare, following: Follow, files: Files
) -> None:
    prices = changing(declare)
    follower = following(prices)
    follower.step()
    for changed in (30, 1500, 40):
        change(prices, "key-1999", **{f"key-{each}": {"id": -changed, "text": "y" * 99} for each in range(changed)})
        follower.step()
        check(prices)
        assert bool(stack_of(prices).layers) == (changed < 100)
    assert len(files(".rows")) == 1


@pytest.mark.parametrize("seed", range(3))
def test_any_changes_are_read_as_they_were_made(
    seed: int, declare: Declare, following: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold_at(0.05, monkeypatch)
    monkeypatch.setattr(making, "MOST_SHARE", 0.5)
    chance = random.Random(seed)
    keys: list[Any] = [*range(400), *(f"k{n}" for n in range(200)), *(date.fromordinal(n) for n in range(1, 99))]
    keys += [(n, "a") for n in range(100)]
    prices = changing(declare, {key: {"n": 0} for key in chance.sample(keys, 500)})
    table = prices.table
    followers = [following(prices) for _ in range(2)]
    for number in range(25):
        some = chance.sample(keys, chance.choice((1, 3, 20, 60)))
        for key in some:
            if chance.random() < 0.3:
                table.remove(key)
            else:
                table.rows[key] = {"n": number}
                table.log.append(key)
        what = chance.random()
        assert prices.refresh(force=True, full=what < 0.15).ok
        if what > 0.9:
            continue  # the next one takes two at once
        for follower in followers[:: chance.choice((1, -1))]:
            follower.step()
            check(prices)
            for _ in range(chance.randrange(6)):
                follower.follower.step()
        assert not any(key in prices for key in keys if key not in table.rows)


def test_keys_that_are_equal_in_another_form_are_found(declare: Declare, following: Follow) -> None:
    rows: dict[Any, Any] = {float(number): number for number in range(3000)}
    prices = loading(declare, rows)
    follower = following(prices)
    follower.step()
    for gone, rows_put in (((7.0,), {7: "seven"}), ((), {8.0: "eight"}), ((7, 9.0), {700.0: 1}), ((), {7.0: "again"})):
        for key in gone:
            del prices.table.rows[key]
        prices.table.rows.update(rows_put)
        assert prices.refresh(full=True).ok
        follower.step()
        assert stack_of(prices).layers
        check(prices)
        for number in range(6, 701):
            assert prices.get(number) == prices.get(float(number)) == prices.table.rows.get(number)


def test_rows_of_a_type_and_indexes_are_those_of_the_change(declare: Declare, following: Follow) -> None:
    class Row(NamedTuple):
        id: int
        group: int

    rows = {key: Row(row["id"], row["group"]) for key, row in ROWS.items()}
    prices = changing(declare, rows, row_type=Row, indexes=("id", "group"))
    follower = following(prices)
    follower.step()
    change(prices, "key-3", **{"key-1": Row(5000, 1), "new": Row(5001, 99)})
    follower.step()
    check(prices)
    assert type(prices["key-1"]) is type(prices["new"]) is type(prices["key-2"]) is Row
    assert prices.by("id").one(5000) == Row(5000, 1)
    assert prices.by("id").one(1, None) is prices.by("id").one(3, None) is None
    assert prices.by("group")[99] == (Row(5001, 99),)
    assert sorted(prices.by("group")[3]) == sorted(row for row in prices.table.rows.values() if row.group == 3)


@pytest.mark.parametrize("moved", [False, True])
def test_an_order_is_that_of_the_version(moved: bool, declare: Declare, following: Follow) -> None:
    rows = dict(reversed(ROWS.items()))
    prices = loading(declare, rows, ordered=True)
    follower = following(prices)
    follower.step()
    table = prices.table
    table.rows["key-1000"] = {"id": -1}
    if moved:
        table.rows = {"first": {"id": 0}, **table.rows}
    assert prices.refresh(full=True).ok
    follower.step()
    check(prices)
    assert list(prices) == list(table.rows)
    assert bool(stack_of(prices).layers) != moved


def test_rows_that_are_kept_decoded_are_those_of_their_version(declare: Declare, following: Follow) -> None:
    prices = changing(declare, shared_cache=10)
    follower = following(prices)
    follower.step()
    before = [prices["key-1"], prices["key-2"], prices["key-3"]]
    assert prices["key-1"] is before[0]
    change(prices, "key-3", **{"key-2": {"id": -2}})
    follower.step()
    assert prices["key-1"] is before[0]  # it has not changed
    assert prices["key-2"] == {"id": -2}
    assert prices.get("key-3") is None
    check(prices)


def test_a_process_starts_from_layers_while_both_stores_are_away(
    declare: Declare, host: FakeHost, following: Follow
) -> None:
    prices = changing(declare)
    follower = following(prices)
    follower.step()
    change(prices, "key-3", **{"key-1": {"id": -1}})
    follower.step()
    live_state(prices).forget()
    host.records.broken = ClusterError("nobody is there")
    host.engine.break_("range", host.records.broken)
    following(prices).step()
    check(prices)
    assert prices.status().version == 2
    assert prices.status().state is State.INTERRUPTED
