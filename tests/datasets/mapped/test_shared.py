"""Datasets whose rows the processes of a host read from one file."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from django_etcdaero.datasets.mapped import versions
from django_etcdaero.datasets.mapped.rows import MappedRows
from django_etcdaero.datasets.read.live import live_state
from django_etcdaero.datasets.snapshot import rows_of
from django_etcdaero.datasets.state.status import State
from django_etcdaero.exceptions import ClusterError, ConfigurationError, CorruptBlock, DuplicateKey, KeyNotFound
from tests.datasets.hosting import Following, publish

from .conftest import is_mapped

Declare = Callable[..., Any]
Follow = Callable[..., Following]
Files = Callable[[str], list[Path]]

ROWS = {f"product-{number}": {"id": number, "tags": ["a", number % 7], "price": number / 4} for number in range(3000)}


@pytest.fixture
def prices(declare: Declare, shared_dir: Path) -> Any:
    dataset = declare(ROWS, shared=True)
    publish(dataset)
    return dataset


def test_rows_are_read_from_a_file_as_from_memory(prices: Any, following: Follow, files: Files) -> None:
    following(prices).step()
    snapshot = prices.snapshot()
    assert isinstance(rows_of(snapshot), MappedRows)
    (path,) = files(".rows")
    assert is_mapped(path)
    assert prices["product-7"] == ROWS["product-7"]
    assert prices.get("nothing") is None
    assert prices.get("nothing", 5) == 5
    assert "product-8" in prices
    assert "nothing" not in prices
    assert len(prices) == len(ROWS)
    assert dict(snapshot) == dict(snapshot.items()) == ROWS
    assert dict(zip(prices.keys(), prices.values(), strict=True)) == ROWS
    assert set(prices) == set(ROWS)
    assert prices.get_many(["product-2", "nothing", "product-1"]) == {
        "product-2": ROWS["product-2"],
        "product-1": ROWS["product-1"],
    }
    with pytest.raises(KeyError, match="has no key 'nothing'"):
        prices["nothing"]
    with pytest.raises(TypeError, match="unhashable"):
        prices[[1]]
    with pytest.raises(TypeError, match="read-only"):
        prices["product-7"]["id"] = 5
    assert prices.status().state is State.VALID


def test_a_snapshot_is_copied_as_it_is_and_pickled_with_its_rows(prices: Any, following: Follow) -> None:
    following(prices).step()
    snapshot = prices.snapshot()
    assert copy.copy(snapshot) is copy.deepcopy(snapshot) is snapshot
    assert copy.deepcopy(rows_of(snapshot)) is rows_of(snapshot)
    again = pickle.loads(pickle.dumps(snapshot))
    assert again == ROWS
    assert type(rows_of(again)) is dict


class Row(NamedTuple):
    id: int
    tags: list[Any]
    price: float


@dataclass
class Plain:
    id: int
    tags: list[Any]
    price: float


@pytest.mark.parametrize("options", [{"row_type": Row}, {"row_type": Plain, "rows": "plain"}, {"rows": "plain"}])
def test_rows_are_in_the_form_that_is_declared(options: dict[str, Any], declare: Declare, following: Follow) -> None:
    dataset = declare({"a": ROWS["product-3"]}, shared=True, **options)
    publish(dataset)
    following(dataset).step()
    kind = options.get("row_type", dict)
    assert type(dataset["a"]) is kind
    assert [dataset["a"]] == list(dataset.values())
    assert dict(dataset.items()) == {"a": kind(**ROWS["product-3"])}


def test_an_ordered_dataset_keeps_its_order(declare: Declare, following: Follow) -> None:
    rows = dict(reversed(ROWS.items()))
    dataset = declare(rows, shared=True, ordered=True)
    publish(dataset)
    follower = following(dataset)
    follower.step()
    assert list(dataset) == list(rows)
    assert dataset.sequence()[:2] == tuple(rows.values())[:2]
    changed = {"first": {"id": -1}, **rows, "product-5": {"id": 55}}
    publish(dataset, changed)
    follower.step()
    assert list(dataset.items()) == list(changed.items())


def test_prepare_gets_the_mapping(declare: Declare, following: Follow) -> None:
    dataset = declare(ROWS, shared=True, prepare=lambda self, rows: sum(row["id"] for row in rows.values()))
    publish(dataset)
    following(dataset).step()
    assert dataset.index == sum(range(3000))


@pytest.mark.parametrize("ordered", [False, True])
def test_rows_are_found_by_a_field(ordered: bool, declare: Declare, following: Follow) -> None:
    rows = {number: {"slug": f"s{number}", "group": number % 5, "lone": number or None} for number in range(300)}
    dataset = declare(rows, shared=True, ordered=ordered, indexes=("slug", "group", "lone"))
    publish(dataset)
    following(dataset).step()
    assert dataset.by("slug").one("s7") == rows[7]
    assert dataset.by("slug")["s8"] == (rows[8],)
    assert dataset.by("slug")["s300"] == dataset.by("slug").get("s300") == ()
    assert dataset.by("slug").one("s300", None) is None
    assert dataset.by("lone").one(None) == rows[0]
    with pytest.raises(KeyNotFound, match="index 'slug' of dataset 'prices': no row has the value 's300'"):
        dataset.by("slug").one("s300")
    with pytest.raises(DuplicateKey, match="60 rows have the value 3"):
        dataset.by("group").one(3)
    group = dataset.by("group")[3]
    assert len(dataset.by("group")) == 5
    assert list(group) == [row for row in dataset.values() if row["group"] == 3]
    if ordered:
        assert list(group) == [row for row in rows.values() if row["group"] == 3]
    again = pickle.loads(pickle.dumps(dataset.snapshot()))
    assert again.by("group")[3] == group
    assert again.by("slug").one("s7") == rows[7]


def test_an_index_that_does_not_fit_the_rows_is_told(declare: Declare, host: Any, following: Follow) -> None:
    dataset = declare({"a": {"slug": 1}, "b": {}}, shared=True)
    publish(dataset)
    type(dataset).indexes = ("slug",)
    following(dataset).step()
    assert "index 'slug' of dataset 'prices': row 'b' has no 'slug'" in str(dataset.status().error)


def test_what_was_read_last_is_kept_decoded_if_that_is_wished(declare: Declare, following: Follow) -> None:
    dataset = declare(ROWS, shared=True, shared_cache=2)
    publish(dataset)
    following(dataset).step()
    first = dataset["product-1"]
    assert dataset["product-1"] is first
    assert dataset["product-2"] is dataset["product-2"]
    assert dataset["product-3"] is dataset["product-3"]
    assert dataset["product-1"] is not first
    assert dataset["product-1"] == first


def test_options_that_do_not_fit_are_refused(declare: Declare) -> None:
    with pytest.raises(ConfigurationError, match="shared = 'yes', expected True or False"):
        declare(shared="yes")
    with pytest.raises(ConfigurationError, match="shared_cache = 5, expected 0 for a dataset that is not shared"):
        declare(shared_cache=5)
    with pytest.raises(ConfigurationError, match="shared_cache = -1, expected a whole number of at least 0"):
        declare(shared=True, shared_cache=-1)


# --- a new version ----------------------------------------------------------------------------------------------------


def test_a_new_version_takes_what_did_not_change_from_the_file(
    prices: Any, host: Any, following: Follow, files: Files
) -> None:
    follower = following(prices)
    follower.step()
    (old,) = files(".rows")
    changed = {**ROWS, "product-3": {"id": -3}, "new": {"id": 1}}
    del changed["product-4"]
    publish(prices, changed)
    fetched: list[Any] = []
    host.records.before["get_many"] = lambda keys, *rest: fetched.extend(keys)
    follower.step()
    assert dict(prices) == changed
    assert 0 < len(fetched) < 8  # the root, its page, and three blocks of more than sixty
    (new,) = files(".rows")
    assert new != old
    assert not is_mapped(old)


def test_a_file_is_there_as_long_as_somebody_uses_it(prices: Any, following: Follow, files: Files) -> None:
    follower = following(prices)
    follower.step()
    snapshot = prices.snapshot()
    publish(prices, {"a": 1})
    follower.step()
    assert len(files(".rows")) == 2
    assert dict(snapshot) == ROWS
    del snapshot
    publish(prices, {"a": 2})
    follower.step()
    assert dict(prices) == {"a": 2}
    assert len(files(".rows")) == 1


def test_files_are_private(prices: Any, shared_dir: Path, following: Follow) -> None:
    following(prices).step()
    for path in [shared_dir, *shared_dir.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_process_that_comes_later_fetches_nothing(prices: Any, host: Any, following: Follow) -> None:
    following(prices).step()
    rows = rows_of(prices.snapshot())
    calls = host.records.calls["get_many"]
    live_state(prices).forget()
    following(prices).step()
    assert host.records.calls["get_many"] == calls
    assert rows_of(prices.snapshot()) is not rows
    assert dict(prices) == ROWS


def test_the_process_that_has_made_a_file_makes_the_next_one_too(
    prices: Any, host: Any, following: Follow, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker, other = following(prices), following(prices)
    maker.step()
    live_state(prices).forget()
    other.step()
    (first,) = files(".rows")
    publish(prices, {"a": 1})
    other.step()
    assert dict(prices) == ROWS
    maker.step()
    assert dict(prices) == {"a": 1}
    publish(prices, {"a": 2})
    other.step()
    assert dict(prices) == {"a": 1}
    monkeypatch.setattr(versions, "PATIENCE", 0.0)  # the maker has had its turn
    other.step()
    assert dict(prices) == {"a": 2}
    assert not first.exists()


# --- damage -----------------------------------------------------------------------------------------------------------


def test_a_file_that_is_no_good_is_made_anew(prices: Any, following: Follow, files: Files) -> None:
    following(prices).step()
    (path,) = files(".rows")
    whole = path.read_bytes()
    for damaged in (b"", whole[:50], whole[:-1], whole + b"x", whole[:-9] + b"12345678" + whole[-1:]):
        live_state(prices).forget()
        other = path.with_suffix(".other")
        other.write_bytes(damaged)
        os.chmod(other, 0o600)
        os.replace(other, path)
        following(prices).step()
        assert dict(prices) == ROWS
        assert path.read_bytes() == whole


def test_a_row_that_is_damaged_raises_and_has_the_file_made_anew(
    prices: Any, host: Any, following: Follow, files: Files
) -> None:
    follower = following(prices)
    follower.step()
    (path,) = files(".rows")
    whole = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(whole.index(b"product-77"))
        file.write(b"product-7X")
    woken = host.woken
    with pytest.raises(CorruptBlock, match="the mapped file is damaged"):
        list(prices)
    assert host.woken == woken + 1
    follower.step()
    assert dict(prices) == ROWS
    assert prices.status().state is State.VALID
    assert path.read_bytes() == whole
    assert host.state(prices).pending is None  # nothing is wrong in the record store


# --- without the stores -----------------------------------------------------------------------------------------------


def test_a_process_starts_from_the_file_while_both_stores_are_away(prices: Any, host: Any, following: Follow) -> None:
    following(prices).step()
    live_state(prices).forget()
    host.records.broken = ClusterError("nobody is there")
    host.engine.break_("range", host.records.broken)
    follower = following(prices)
    follower.step()
    status = prices.status()
    assert dict(prices) == ROWS
    assert status.state is State.INTERRUPTED
    assert status.version == 1
    assert status.age is not None
    assert "version 1 is that of a file of this host" in str(status.error)
    assert "nobody is there" in str(status.error)
    follower.step()
    assert prices.status().error == status.error
    host.records.broken = None
    host.engine.mend()
    follower.step()
    assert prices.status().state is State.VALID
    assert dict(prices) == ROWS
