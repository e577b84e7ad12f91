"""Validators in a refresh: what they fetch, thresholds that operators change, and what is kept of what they said."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Any

import pytest

from django_etcdaero import MaxAdded, MaxChanged, MaxRemoved, MaxShrink, MinRows, NoNulls
from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.datasets.validators import Accepted
from django_etcdaero.exceptions import PermissionDenied
from django_etcdaero.keyvalue.facade import KV
from tests.datasets.hosting import FakeHost, many, publish

HALF = {key: row for number, (key, row) in enumerate(many(10).items()) if number % 2}


def settings(host: FakeHost, dataset: Any, value: Any) -> None:
    host.kv.put(dataset.layout("t").validator_settings, value if isinstance(value, str) else json.dumps(value))


# --- what is compared ------------------------------------------------------------------------------------------------


def test_changes_are_counted_once_and_only_blocks_that_differ_are_fetched(host: FakeHost, declare: Any) -> None:
    prices = declare(many(3000), validators=[MaxAdded(0.5), MaxRemoved(0.5), MaxChanged(0.5)])
    publish(prices)
    fetched: list[int] = []
    host.records.before["get_many"] = lambda keys, **options: fetched.append(len(keys))
    result = publish(prices, many(3000, k1={"n": -1}))
    assert [each.text for each in result.validators] == [
        "0 rows added, 0% of 3,000", "0 rows removed, 0% of 3,000", "1 rows changed, 0.03333% of 3,000"
    ]  # fmt: skip
    assert sum(fetched) < 10


@pytest.mark.parametrize(("before", "after"), [(10, 4000), (4000, 10)])
def test_changes_are_counted_also_when_the_number_of_blocks_changes(
    host: FakeHost, declare: Any, before: int, after: int
) -> None:
    prices = declare(many(before, a=1, b=1), validators=[MaxAdded(1e9), MaxRemoved(1), MaxChanged(1)])
    publish(prices)
    result = publish(prices, many(after, b=2, c=1))
    counts = [each.figures[kind] for each, kind in zip(result.validators, ("added", "removed", "changed"), strict=True)]
    assert counts == [max(0, after - before) + 1, max(0, before - after) + 1, 1]


def test_without_the_old_rows_changes_are_not_judged(host: FakeHost, declare: Any) -> None:
    prices = declare(validators=[MaxChanged(0)])
    publish(prices)
    host.records.inner.truncate()
    assert publish(prices, {"a": 2}).ok
    assert not publish(prices, {"a": 3}).ok


def test_rows_that_cannot_be_stored_are_named_as_ever(host: FakeHost, declare: Any) -> None:
    prices = declare(validators=[MaxChanged(0.5)])
    publish(prices)
    assert "EncodeError: row 'a'" in (publish(prices, {"a": object()}).error or "")


# --- thresholds without a deployment ---------------------------------------------------------------------------------


def test_a_threshold_is_changed_in_the_store(host: FakeHost, declare: Any) -> None:
    prices = declare(many(10), validators=[MaxShrink(0.1), MinRows(1)])
    publish(prices)
    assert not publish(prices, HALF).ok
    settings(host, prices, {"MaxShrink": {"fraction": 0.9}})
    result = publish(prices, HALF)
    assert result.ok
    assert [(each.name, each.overridden, each.figures.get("fraction")) for each in result.validators] == [
        ("MaxShrink", True, 0.9), ("MinRows", False, None)
    ]  # fmt: skip
    assert prices.history()[0].results == result.validators
    host.kv.delete(prices.layout("t").validator_settings)
    assert not publish(prices, {"a": 1}).ok


def test_a_validator_is_left_out(host: FakeHost, declare: Any) -> None:
    prices = declare(validators=[NoNulls("name"), MinRows(1)])
    assert not publish(prices).ok
    settings(host, prices, {"NoNulls": None})
    result = publish(prices)
    assert (result.ok, result.validators[0].text) == (True, "left out by the settings")


@dataclass(frozen=True)
class NotMany:
    most: int = 1

    def __post_init__(self) -> None:
        if self.most == 0:
            raise SystemExit("none at all")

    def __call__(self, old: Any, new: Any) -> bool:
        return len(new) <= self.most


def test_a_validator_of_the_project_has_thresholds_too(host: FakeHost, declare: Any) -> None:
    prices = declare(many(3), validators=[NotMany()])
    assert not publish(prices).ok
    settings(host, prices, {"NotMany": {"most": 3}})
    assert publish(prices).ok


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (Accepted(7, 7), "7"),  # type: ignore[arg-type]
        (Accepted("\ud800", {1: "a", "b": float("nan")}), r"\ud800"),  # type: ignore[dict-item]
    ],
)
def test_whatever_a_validator_says_that_it_measured_publishing_goes_on(
    host: FakeHost, declare: Any, said: Accepted, told: str
) -> None:
    prices = declare(validators=[lambda old, new: said])
    assert publish(prices).ok
    assert [(each.text, each.figures) for each in prices.history()[0].results] == [(told, {})]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("nonsense", "the stored setting of validators is not JSON"),
        ("[]", "the stored setting of validators is not a JSON object"),
        ({"MinRows": {"minimum": -1}}, "MinRows: MinRows(minimum=-1): must be"),
        ({"MinRows": {"minimum": "1"}}, "MinRows: minimum is '1', expected a value of the type int"),
        ({"MinRows": {"maximum": 1}}, "unexpected keyword argument 'maximum'"),
        ({"MinRows": 7}, "MinRows: expected an object of fields, or null, not 7"),
        ({"NotMany": {"most": 0}}, "NotMany: none at all"),
        ({"judge": {"a": 1}}, "judge: the dataset has no such validator"),
        ({"function": {"a": 1}}, "function: is no dataclass"),
    ],
)
def test_a_setting_that_makes_no_sense_is_told_and_the_code_counts(
    host: FakeHost, declare: Any, caplog: pytest.LogCaptureFixture, value: Any, said: str
) -> None:
    prices = declare(validators=[MinRows(1), NotMany(), lambda old, new: True], name="odd")
    settings(host, prices, value)
    with caplog.at_level(logging.WARNING, logger="django_etcdaero.datasets"):
        result = publish(prices)
        publish(prices, {"a": 2})
    assert result.ok
    (note,) = [each for each in result.validators if each.name == "settings/odd/validators"]
    assert said in note.text
    assert sum(said in record.getMessage() for record in caplog.records) == 1
    assert not publish(prices, {}).ok
    caplog.clear()
    host.kv.delete(prices.layout("t").validator_settings)
    publish(prices)


def test_settings_that_may_not_be_read_stop_nobody(
    host: FakeHost, declare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices, get = declare(validators=[MinRows(1)]), KV.get

    def refuse(kv: KV, key: Any, **options: Any) -> Any:
        if str(key).startswith("settings/"):
            raise PermissionDenied("no right to read it")
        return get(kv, key, **options)

    monkeypatch.setattr(KV, "get", refuse)
    result = publish(prices)
    assert result.ok
    assert [each.text for each in result.validators] == ["ignored: no right to read it", "1 rows"]


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_results_are_kept_with_the_version_and_in_no_announcement(host: FakeHost, declare: Any) -> None:
    prices = declare(validators=[MinRows(1)])
    result = publish(prices)
    (version,) = prices.history()
    assert version.results == result.validators
    assert version.results[0].figures == {"rows": 1, "minimum": 1}
    announced = host.kv.get(prices.layout("t").announcement)
    assert announced is not None
    assert b"results" not in announced.value


def test_the_last_refused_loads_are_kept(host: FakeHost, declare: Any) -> None:
    prices = declare(validators=[MinRows(3)])
    assert prices.refused() == []
    for number in range(7):
        result = publish(prices, many(2, n=number) if number == 0 else {f"k{number}": 1})
    loads = prices.refused()
    assert len(loads) == 5
    assert loads[0].error == "MinRows: 1 rows, and at least 3 are required"
    assert loads[0].results == result.validators
    assert sorted((each.at for each in loads), reverse=True) == [each.at for each in loads]
    assert [each.version for each in prices.history()] == [1]
    assert host.state(prices).attempt is not None


def test_an_index_that_fails_is_a_refused_load(host: FakeHost, declare: Any) -> None:
    prices = declare(validators=[MinRows(1)], prepare=lambda self, rows: rows["missing"])
    publish(prices)
    (load,) = prices.refused()
    assert load.error == "prepare() raised KeyError: 'missing'"
    assert [each.ok for each in load.results] == [True]


def test_a_source_that_fails_is_none(host: FakeHost, declare: Any) -> None:
    prices = declare()
    prices.source.error = RuntimeError("down")
    publish(prices)
    assert prices.refused() == []


def test_what_is_kept_has_bounds(host: FakeHost, declare: Any) -> None:
    def wordy(old: Any, new: Any) -> str:
        return "x" * 100_000

    prices = declare(validators=[*[MinRows(0)] * 200, wordy])
    for _ in range(6):
        publish(prices)
    kept = host.kv.get(prices.layout("t").last_refused)
    assert kept is not None
    assert len(kept.value) < 50_000
    assert prices.refused()[0].results[-1].text.startswith("wordy: xxx")


@pytest.mark.parametrize(
    "value",
    ["nonsense", "[]", '{"loads": 7}', '{"loads": [1, {"at": "x"}]}', '{"loads": [{"at": 1, "host": "h"}]}'],
)
def test_what_makes_no_sense_there_is_left_out(host: FakeHost, declare: Any, value: str) -> None:
    prices = declare(validators=[MinRows(2)])
    host.kv.put(prices.layout("t").last_refused, value)
    assert prices.refused() == []
    publish(prices)
    assert len(prices.refused()) == 1


@pytest.mark.parametrize("results", [7, "text", [1, {"name": 2}], [{"name": "A", "ok": True}]])
def test_results_that_make_no_sense_cost_no_version(host: FakeHost, declare: Any, results: Any) -> None:
    prices = declare(validators=[MinRows(1)])
    publish(prices)
    key = prices.layout("t").history(1)
    item = host.kv.get(key)
    assert item is not None
    host.kv.put(key, json.dumps(json.loads(item.value) | {"results": results}))
    assert [(each.version, each.results) for each in prices.history()] == [(1, ())]


def test_validators_are_left_out_by_hand(host: FakeHost, declare: Any) -> None:
    prices = declare(validators=[MinRows(5)])
    assert prices.refresh(force=True, skip_validators=True).ok
    assert [each.text for each in prices.history()[0].results] == ["left out by hand"]
    assert not Refresh(prices, host, force=True).run().ok  # type: ignore[arg-type] # its listener is of a class of its own
