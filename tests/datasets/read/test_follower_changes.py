"""A reader pays for a change what the change is, and for anything else what it does not hold."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from django_etcdaero.datasets.blocks import held_making
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.field_index import build_index
from django_etcdaero.datasets.publish import base as bases
from django_etcdaero.datasets.state.status import State
from tests.datasets.hosting import FakeHost, many
from tests.datasets.publish.changing import declared


@pytest.fixture(params=["few rows", "many rows"])
def prices(host: FakeHost, declare: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "many rows":
        monkeypatch.setattr(held_making, "SMALL", 50)
    rows = {key: row | {"kind": row["n"] % 5} for key, row in many(300).items()}
    return declared(declare, rows, indexes=("n", "kind"), refresh_every=timedelta(hours=1))


@pytest.fixture
def look(prices: Any, step: Any) -> Any:
    """A follower that has the first version."""
    assert prices.refresh(force=True).ok
    made = step(prices)
    made()
    return made


def change(prices: Any, *gone: str, **rows: Any) -> None:
    prices.table.put(**{key: {"n": value, "kind": value % 5} for key, value in rows.items()})
    prices.table.remove(*gone)
    assert prices.refresh(force=True).changes


def manifest_of(host: FakeHost, dataset: Any) -> Manifest:
    newest = dataset.history()[0].announcement
    return Manifest.load(host.blocks(dataset).fetch, bytes.fromhex(newest.root))


def check(prices: Any) -> None:
    """What is served is what was loaded, and the indexes are those of it."""
    assert dict(prices) == prices.table.rows
    for field in ("n", "kind"):
        index, anew = prices.by(field), build_index("prices", field, prices.snapshot().rows)
        assert {value: sorted(map(id, rows)) for value, rows in index.items()} == {
            value: sorted(map(id, rows)) for value, rows in anew.items()
        }


def test_a_change_fetches_its_root_and_delta_and_leaves_all_other_rows(host: FakeHost, prices: Any, look: Any) -> None:
    before = prices.snapshot()
    change(prices, "k3", k1=1000, new=2)
    fetched: list[int] = []
    host.records.before["get_many"] = lambda keys, **options: fetched.append(len(keys))
    look()
    assert fetched == [1, 1]
    check(prices)
    assert all(prices[key] is row for key, row in before.items() if key not in ("k1", "k3"))
    assert before["k3"] == {"n": 3, "kind": 3}
    assert before.by("n")[1000] == ()
    assert before.by("kind")[3]


def test_changes_of_many_rows_come_field_by_field(host: FakeHost, prices: Any, look: Any, step: Any) -> None:
    codecs = []
    for number in range(4):
        change(
            prices,
            f"k{number}",
            **{f"k{at}": number + at + 500 for at in range(number + 4, 60, 1 + 50 * (number == 2))},
        )
        look()
        check(prices)
        codecs.append(manifest_of(host, prices).codec)
    assert codecs == [4, 4, 4, 4]
    assert prices.refresh(full=True, force=True).ok
    look()
    check(prices)
    prices._live_state.forget()
    step(prices)()
    check(prices)


def test_a_reader_that_is_behind_takes_all_deltas_and_a_new_one_blocks_before(
    host: FakeHost, prices: Any, look: Any, step: Any
) -> None:
    for number in range(3):
        change(prices, f"k{number}", k9=number + 500, **{f"new{number}": number})
    look()
    check(prices)
    assert len(manifest_of(host, prices).deltas) == 3
    prices._live_state.forget()
    step(prices)()
    check(prices)


def test_a_fold_changes_no_row(host: FakeHost, prices: Any, look: Any) -> None:
    change(prices, "k3", k1=1000, new=2)
    look()
    before = prices.snapshot()
    prices.table.everything = True  # what changed cannot be told: everything is loaded
    prices.table.rows["k5"] = {"n": 7000, "kind": 0}
    assert prices.refresh(force=True, full=True).ok
    look()
    check(prices)
    assert all(prices[key] is row for key, row in before.items() if key != "k5")


def test_deltas_that_are_folded_cost_a_reader_the_list_of_blocks(
    host: FakeHost, prices: Any, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bases, "MOST_DELTAS", 4)
    for number in range(3):
        change(prices, f"k{number + 20}", k1=number + 1000, **{f"new{number}": 2})
        look()
    before = prices.snapshot()
    assert prices.refresh(force=True).version == before.version + 1
    blocks = {prices.layout("t").record(digest) for digest in manifest_of(host, prices).blocks}
    assert not manifest_of(host, prices).deltas
    host.records.before["get_many"] = lambda keys, **options: fetched.update(blocks.intersection(keys))
    fetched: set[bytes] = set()
    look()
    assert prices.snapshot().version == before.version + 1
    assert not fetched
    assert all(prices[key] is row for key, row in before.items())
    check(prices)
    change(prices, "k5", k1=7)
    look()
    check(prices)


def test_a_rollback_brings_back_what_deltas_had_replaced(host: FakeHost, prices: Any, look: Any) -> None:
    first = dict(prices)
    for number in range(2):
        change(prices, "k3", k1=1000 + number, new=number)
        look()
    prices.rollback(2)
    look()
    assert prices["k1"]["n"] == 1000
    prices.rollback(1)
    look()
    assert dict(prices) == first
    assert prices.by("n").one(3) == prices["k3"]


@pytest.mark.parametrize("how", ["missing", "damaged", "another"])
def test_a_delta_that_is_lost_is_asked_for_and_the_old_version_served(
    host: FakeHost, prices: Any, look: Any, how: str
) -> None:
    before = dict(prices)
    change(prices, "k3", k1=1000)
    manifest = manifest_of(host, prices)
    key = prices.layout("t").record(manifest.deltas[0])
    if how == "missing":
        host.records.inner.delete(key)
    else:
        other = host.records.inner.get(prices.layout("t").record(manifest.blocks[0]))
        assert other is not None
        host.records.inner.put(key, other.value if how == "another" else b"\x10garbage")
    look()
    assert dict(prices) == before
    assert prices.status().state is State.INTERRUPTED
    assert manifest.deltas[0].hex() in str(prices.status().error)
    request = host.state(prices).pending
    assert request is not None
    assert request.repair
    assert prices.refresh().ok
    look()
    check(prices)
    assert prices.status().state is State.VALID
