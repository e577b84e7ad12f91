"""A change costs what changed, and what is published by changes is what everything would have been."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from django_etcdaero import Changes
from django_etcdaero.datasets.blocks.assembly import assemble
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.publish import base as bases
from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.datasets.state.status import Outcome, RefreshResult
from django_etcdaero.datasets.validators import MaxChanged, MaxShrink, MinRows
from django_etcdaero.exceptions import ConfigurationError
from tests.datasets.hosting import FakeHost, drop_lock, follow, history, many

from .changing import declared


def refresh(dataset: Any, **options: Any) -> RefreshResult:
    result: RefreshResult = dataset.refresh(force=True, **options)
    return result


def manifest_of(host: FakeHost, dataset: Any) -> Manifest:
    current = host.state(dataset).current
    assert current is not None
    return Manifest.load(host.blocks(dataset).fetch, bytes.fromhex(current.root))


def stored(host: FakeHost, dataset: Any) -> dict[Any, Any]:
    """The rows of the version that is announced, as the record store has them."""
    return assemble(1, manifest_of(host, dataset), host.blocks(dataset).fetch, rows="plain").rows


@pytest.fixture
def prices(host: FakeHost, declare: Any) -> Any:
    dataset = declared(declare, many(2000))
    assert refresh(dataset).outcome is Outcome.REFRESHED
    assert dataset.table.calls == ["all"]
    return dataset


def test_a_change_is_loaded_stored_and_read_as_such(host: FakeHost, prices: Any) -> None:
    following = follow(prices, host)
    following.step()
    same = prices["k7"]
    prices.table.put(k1={"n": "other"}, new={"n": 1})
    prices.table.remove("k2", "never")
    result = refresh(prices)
    assert (result.outcome, result.changes, result.version, result.rows) == (Outcome.REFRESHED, True, 2, 2000)
    assert prices.table.calls == ["all", "changes"]
    assert 0 < result.bytes_written < 600
    assert stored(host, prices) == prices.table.rows
    assert len(manifest_of(host, prices).deltas) == 1
    following.step()
    assert dict(prices) == prices.table.rows
    assert prices["k7"] is same
    assert None not in {host.ttls(prices).get(digest, None) is None for digest in manifest_of(host, prices).digests()}
    following.close()


def test_what_a_change_reads_and_writes_follows_the_change(host: FakeHost, declare: Any) -> None:
    dataset = declared(declare, many(20_000))
    refresh(dataset)
    touched: list[int] = []
    for method in ("get_many", "exists_many", "touch_many", "put_many"):
        host.records.before[method] = lambda keys, *args, **options: touched.append(len(keys))
    for number in range(3):  # the first one reads the manifest
        touched.clear()
        dataset.table.put(k5={"n": -number}, k6={"n": number + 0.5})
        refresh(dataset)
    assert sum(touched) < 30
    assert stored(host, dataset) == dataset.table.rows


def test_a_change_that_changes_nothing_publishes_nothing_and_is_not_read_again(host: FakeHost, prices: Any) -> None:
    prices.table.put(k1={"n": 1})  # as it was
    prices.table.remove("never")
    result = refresh(prices)
    assert (result.outcome, result.changes, result.version) == (Outcome.UNCHANGED, True, 1)
    assert result.bytes_written == 0
    seen: list[Any] = []
    prices.table.during = lambda: None
    load = prices.table.load_changes
    prices.table.load_changes = lambda dataset, since: seen.append(since) or load(dataset, since)
    refresh(prices)
    assert seen == [2]


def test_everything_is_loaded_where_changes_cannot_be_told(host: FakeHost, prices: Any) -> None:
    prices.table.everything = True
    prices.table.put(k1={"n": -1})
    assert not refresh(prices).changes
    assert prices.table.calls[-3:-1] == ["changes", "all"]  # and once more for the drift
    assert stored(host, prices) == prices.table.rows


def test_full_asks_for_everything_and_other_ways_are_taken_when_due(host: FakeHost, declare: Any) -> None:
    dataset = declared(declare, many(50), full_load_every=timedelta(hours=1))
    refresh(dataset)
    assert refresh(dataset).changes
    assert not dataset.refresh(full=True).changes
    state = host.state(dataset)
    assert state.current is not None
    assert state.checked is not None
    assert state.checked.full_load > state.current.full_load
    assert refresh(dataset).changes
    old = dataclasses.replace(state.current, full_load=state.current.full_load - 4000)
    host.kv.put(dataset.layout("t").announcement, old.encode())
    host.kv.put(dataset.layout("t").checked, dataclasses.replace(state.checked, full_load=0.0).encode())
    assert not refresh(dataset).changes


def test_a_full_load_corrects_what_changes_have_missed_and_says_how_much(
    host: FakeHost, prices: Any, caplog: pytest.LogCaptureFixture
) -> None:
    prices.table.put(k1={"n": "told"})
    refresh(prices)
    prices.table.silent = True
    prices.table.put(k2={"n": "missed"}, extra={"n": 0})
    prices.table.remove("k3")
    prices.table.silent = False
    prices.table.put(k4={"n": "since"})
    result = prices.refresh(full=True)
    assert result.drift == 3
    assert "3 rows were not what load_changes() had told" in caplog.text
    assert prices.history()[0].drift == 3
    assert stored(host, prices) == prices.table.rows
    assert manifest_of(host, prices).deltas == ()
    assert prices.refresh(full=True).drift == 0


def test_a_full_load_of_what_changes_have_made_leaves_the_version_as_it_is(host: FakeHost, prices: Any) -> None:
    prices.table.put(k1={"n": "other"})
    refresh(prices)
    root = manifest_of(host, prices).root_digest
    result = prices.refresh(full=True)
    assert (result.outcome, result.drift, result.bytes_written) == (Outcome.UNCHANGED, 0, 0)
    assert manifest_of(host, prices).root_digest == root


def test_many_changes_are_folded_into_the_blocks_that_they_concern(
    host: FakeHost, declare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bases, "MOST_DELTAS", 3)
    dataset = declared(declare, many(2000))
    refresh(dataset)
    first = manifest_of(host, dataset)
    following = follow(dataset, host)
    lengths = []
    for number in range(8):
        dataset.table.put(**{f"k{number}": {"n": -1}, f"x{number}": {"n": number}})
        dataset.table.remove(f"k{number + 100}")
        assert refresh(dataset).changes
        lengths.append(len(manifest_of(host, dataset).deltas))
        following.step()
        assert dict(dataset) == dataset.table.rows
    assert lengths == [1, 2, 3, 0, 1, 2, 3, 0]
    folded = manifest_of(host, dataset)
    assert 0 < len(set(folded.blocks) - set(first.blocks)) <= 24
    assert dataset.refresh(full=True).outcome is Outcome.UNCHANGED  # to the byte what everything gives
    following.close()


def test_many_changes_are_folded_when_nothing_has_changed(
    host: FakeHost, prices: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bases, "MOST_DELTAS", 4)
    for number in range(3):
        prices.table.put(k1={"n": -number - 1})
        assert refresh(prices).version == number + 2
    assert len(manifest_of(host, prices).deltas) == 3
    result = refresh(prices)
    assert (result.outcome, result.changes, result.version) == (Outcome.REFRESHED, True, 5)
    assert manifest_of(host, prices).deltas == ()
    assert stored(host, prices) == prices.table.rows
    assert refresh(prices).outcome is Outcome.UNCHANGED


def test_changes_that_take_much_room_are_folded(host: FakeHost, declare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bases, "LEAST_BYTES", 0)
    dataset = declared(declare, many(2000))
    refresh(dataset)
    dataset.table.put(**{f"k{number}": {"n": -number} for number in range(1000)})
    assert refresh(dataset).changes
    assert manifest_of(host, dataset).deltas == ()
    dataset.table.remove(*[f"k{number}" for number in range(1990)])
    result = refresh(dataset)  # another number of blocks
    assert not result.changes
    assert stored(host, dataset) == dataset.table.rows


def test_a_process_that_did_not_publish_the_version_goes_on_from_it(host: FakeHost, prices: Any) -> None:
    prices.table.put(k1={"n": "a"}, k2={"n": "a"})
    refresh(prices)
    bases.forget(prices.layout("t"))
    prices.table.put(k1={"n": "b"})
    prices.table.remove("k2")
    assert refresh(prices).changes
    assert stored(host, prices) == prices.table.rows
    assert prices.refresh(full=True).drift == 0


# --- the promises of a publication -----------------------------------------------------------------------------------


def test_a_rollback_takes_the_cursor_back(host: FakeHost, prices: Any) -> None:
    prices.table.put(k1={"n": "a"})
    refresh(prices)
    prices.table.put(k2={"n": "b"})
    refresh(prices)
    prices.rollback(2)
    assert stored(host, prices)["k2"] == {"n": 2}
    prices.table.put(k3={"n": "c"})
    assert refresh(prices).pinned  # to the history, from what the last load gave
    prices.unpin()
    result = refresh(prices)
    assert result.changes
    assert stored(host, prices) == prices.table.rows
    assert history(host, prices) == [5, 4, 3, 2, 1]


def test_while_pinned_changes_go_on_in_the_history(host: FakeHost, prices: Any) -> None:
    prices.pin()
    prices.table.put(k1={"n": "a"})
    assert refresh(prices).pinned
    prices.table.put(k2={"n": "b"})
    assert refresh(prices).changes
    assert len(manifest_of(host, prices).deltas) == 0
    newest = prices.history()[0].announcement
    manifest = Manifest.load(host.blocks(prices).fetch, bytes.fromhex(newest.root))
    assert len(manifest.deltas) == 2


def test_of_two_publishers_one_announces_and_the_other_is_refused(host: FakeHost, prices: Any) -> None:
    other = host.other()

    def overtake() -> None:
        drop_lock(host, prices)
        prices.table.put(k9={"n": "other"})
        assert Refresh(prices, other, force=True).run().changes  # type: ignore[arg-type]

    prices.table.put(k1={"n": "a"})
    prices.table.during = overtake
    assert refresh(prices).outcome is Outcome.FENCED
    assert stored(host, prices) == prices.table.rows
    prices.table.put(k2={"n": "b"})
    assert refresh(prices).changes
    assert stored(host, prices) == prices.table.rows


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize(("call", "times"), [("put_many", 1), ("put_many", 2), ("touch_many", 1)])
def test_a_publisher_that_dies_before_it_announces_leaves_what_was(
    host: FakeHost, prices: Any, call: str, times: int
) -> None:
    def die(*args: Any, **options: Any) -> None:
        nonlocal times
        times -= 1
        if times == 0:
            raise Killed

    root, before = manifest_of(host, prices).root_digest, set(host.ttls(prices))
    prices.table.put(k1={"n": "a"})
    host.records.before[call] = die
    with pytest.raises(Killed):
        refresh(prices)
    host.records.before.clear()
    assert manifest_of(host, prices).root_digest == root
    assert all(ttl is not None for digest, ttl in host.ttls(prices).items() if digest not in before)
    prices.table.put(k2={"n": "b"})
    assert refresh(prices).changes
    assert stored(host, prices) == prices.table.rows


@pytest.mark.parametrize("lost", ["delta", "block of a changed key", "root"])
def test_what_was_lost_is_repaired_by_loading_everything(
    host: FakeHost, prices: Any, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bases, "_rows", {})  # a process that has not loaded everything reads blocks
    prices.table.put(k1={"n": "a"})
    refresh(prices)
    manifest = manifest_of(host, prices)
    records = {"delta": manifest.deltas, "block of a changed key": manifest.blocks, "root": (manifest.root_digest,)}
    for digest in records[lost]:
        host.records.inner.delete(prices.layout("t").record(digest))
    if lost == "delta":
        following = follow(prices, host)
        following.step()
        request = host.state(prices).pending
        assert request is not None
        assert request.repair
        following.close()
    prices.table.put(k2={"n": "b"})
    result = refresh(prices)
    assert (result.outcome, result.changes) == (Outcome.REFRESHED, False)
    assert stored(host, prices) == prices.table.rows
    prices.table.put(k3={"n": "c"})
    assert refresh(prices).changes
    assert stored(host, prices) == prices.table.rows


def test_deltas_expire_with_the_versions_that_needed_them(host: FakeHost, declare: Any) -> None:
    dataset = declared(declare, many(200), keep=2)
    refresh(dataset)
    for number in range(4):
        dataset.table.put(k1={"n": -number})
        refresh(dataset)
    assert all(host.ttls(dataset)[digest] is None for digest in manifest_of(host, dataset).digests())
    deltas = manifest_of(host, dataset).deltas
    dataset.table.everything = True
    for number in range(3):
        dataset.table.put(k2={"n": -number})
        refresh(dataset)
    assert all(host.ttls(dataset)[digest] is not None for digest in deltas)


# --- validators, rows and indexes ------------------------------------------------------------------------------------


def test_validators_get_old_and_new_rows_and_the_counts(host: FakeHost, declare: Any) -> None:
    seen: list[Any] = []

    def look(old: Any, new: Any) -> None:
        if old is not None:
            seen.append((len(old), len(new), new["k1"], old["k1"], "k2" in new, "gone" in new, dict(new)))

    dataset = declared(declare, many(50), validators=[MinRows(49), MaxShrink(0.05), MaxChanged(0.05), look])
    refresh(dataset)
    fetched = host.records.calls["get_many"]
    dataset.table.put(k1={"n": [1, 2]})
    dataset.table.remove("k2")
    assert refresh(dataset).changes
    assert seen == [(50, 49, {"n": [1, 2]}, {"n": 1}, False, False, dataset.table.rows)]
    assert host.records.calls["get_many"] > fetched
    dataset.table.put(**{f"k{number}": {"n": 0} for number in range(3, 20)})
    result = refresh(dataset)
    assert result.outcome is Outcome.FAILED
    assert "17 rows changed" in (result.error or "")
    assert [each.name for each in result.validators] == ["MinRows", "MaxShrink", "MaxChanged"]


def test_rows_that_no_process_could_load_are_refused(host: FakeHost, declare: Any) -> None:
    dataset = declared(declare, many(50), indexes=["n"])
    refresh(dataset)
    dataset.table.put(k1={"other": 1})
    result = refresh(dataset)
    assert (result.outcome, "no 'n'" in (result.error or "")) == (Outcome.FAILED, True)


@dataclasses.dataclass(frozen=True, slots=True)
class Price:
    amount: Decimal
    at: datetime
    note: str = ""


def price(number: int) -> Price:
    return Price(Decimal(number) / 4, datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number))


def test_rows_of_a_class_change_and_are_folded_to_the_byte(
    host: FakeHost, declare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bases, "MOST_DELTAS", 2)
    dataset = declared(declare, {f"k{number}": price(number) for number in range(300)}, row_type=Price)
    refresh(dataset)
    following = follow(dataset, host)
    for number in range(3):
        dataset.table.put(**{f"k{number}": price(1000 + number), f"x{number}": price(number)})
        assert refresh(dataset).changes
        following.step()
        assert dict(dataset) == dataset.table.rows
    assert manifest_of(host, dataset).deltas == ()
    assert dataset.refresh(full=True).outcome is Outcome.UNCHANGED
    dataset.table.put(k1=Price("much", datetime(2026, 1, 1, tzinfo=UTC)))  # type: ignore[arg-type]
    result = refresh(dataset)
    assert result.outcome is Outcome.FAILED
    assert "'k1'" in (result.error or "")
    assert "amount" in (result.error or "")
    following.close()


def test_prepare_is_tried_with_all_rows(host: FakeHost, declare: Any) -> None:
    given: list[int] = []

    def prepare(self: Any, rows: Any) -> None:
        given.append(len(rows))
        if "bad" in rows:
            raise ValueError("bad")

    dataset = declared(declare, many(50), prepare=prepare)
    refresh(dataset)
    dataset.table.put(k50={"n": 50})
    refresh(dataset)
    dataset.table.put(k51={"n": 51})
    refresh(dataset)
    assert given == [50, 51, 52]
    dataset.table.put(bad={"n": 1})
    assert "prepare() raised ValueError: bad" in (refresh(dataset).error or "")


# --- some keys -------------------------------------------------------------------------------------------------------


def test_the_rows_of_some_keys_are_loaded_alone(host: FakeHost, prices: Any) -> None:
    before = host.state(prices).checked
    assert before is not None
    prices.table.silent = True
    prices.table.put(k1={"n": "a"}, k2={"n": "a"})
    prices.table.remove("k3")
    result = prices.refresh(keys=["k1", "k3", "k1"])
    assert (result.outcome, result.changes, prices.table.calls[-1]) == (Outcome.REFRESHED, True, "keys")
    assert stored(host, prices) == {**prices.table.rows, "k2": {"n": 2}}
    after = host.state(prices).checked
    assert after is not None
    assert (after.load_started, after.cursor) == (before.load_started, before.cursor)
    prices.table.silent = False
    prices.table.put(k4={"n": "b"})
    assert refresh(prices).changes
    assert stored(host, prices) == {**prices.table.rows, "k2": {"n": 2}}


def test_some_keys_answer_no_request_and_their_failure_holds_nobody_back(host: FakeHost, prices: Any) -> None:
    prices.request_refresh()
    prices.table.rows["k1"] = object()
    assert prices.refresh(keys=["k1"]).outcome is Outcome.FAILED
    assert host.state(prices).attempt is None
    prices.table.rows["k1"] = {"n": "a"}
    assert prices.refresh(keys=["k1"]).outcome is Outcome.REFRESHED
    assert host.state(prices).pending is not None
    assert refresh(prices).changes
    assert host.state(prices).pending is None


def test_everything_is_loaded_for_some_keys_where_nothing_is_published(host: FakeHost, declare: Any) -> None:
    dataset = declared(declare, many(50))
    assert dataset.refresh(keys=["k1"]).outcome is Outcome.REFRESHED
    assert stored(host, dataset) == dataset.table.rows


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda: {"k1": 1}, "load_changes() of dataset 'prices' returned builtins.dict; expected Changes or None"),
        (lambda: Changes([("k1", 1), ("k1", 2)], [], 1), "in upserts, gave the key 'k1' twice"),
        (lambda: Changes(5, [], 1), "in upserts, returned builtins.int"),  # type: ignore[arg-type]
        (lambda: Changes({}, "k1", 1), "in deletions, gave builtins.str; expected keys"),
        (lambda: Changes({}, [["k1"]], 1), "in deletions, gave something that is no key"),
        (lambda: Changes({"k1": 1}, ["k1"], 1), "'k1' is among the upserts and the deletions"),
        (lambda: Changes({1.5: 1}, [], 1), "row 1.5: a dataset with load_changes() has keys of the types"),
        (lambda: Changes({"k1": object()}, [], 1), "row 'k1': object cannot be stored"),
        (lambda: Changes({}, [], object()), "gave a cursor that cannot be stored"),
        (lambda: Changes({}, [], "x" * 600), "gave a cursor of 603 bytes; at most 512"),
    ],
)
def test_changes_that_make_no_sense_are_refused_by_name(host: FakeHost, prices: Any, answer: Any, said: str) -> None:
    root = manifest_of(host, prices).root_digest
    prices.table.load_changes = lambda dataset, since: answer()
    result = refresh(prices)
    assert result.outcome is Outcome.FAILED
    assert said in (result.error or "")
    assert manifest_of(host, prices).root_digest == root


def test_keys_that_cannot_be_changed_are_refused_by_the_full_load(host: FakeHost, declare: Any) -> None:
    dataset = declared(declare, {1: "a", True + 1.5: "b"})
    assert "row 2.5: a dataset with load_changes() has keys of the types" in (refresh(dataset).error or "")


def test_the_overlap_is_taken_from_cursors_that_are_dates(host: FakeHost, declare: Any) -> None:
    dataset = declared(declare, many(5), changes_overlap=timedelta(seconds=5))
    refresh(dataset)
    assert "changes_overlap needs cursors that are datetimes, and this one is a int" in (refresh(dataset).error or "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ordered": True}, r"has load_changes\(\) and ordered = True"),
        ({"change_cursor": None}, "change_cursor = None, expected a method"),
        ({"changes_overlap": timedelta(0)}, "changes_overlap = .*, expected a positive timedelta or None"),
        ({"full_load_every": 5}, "full_load_every = 5, expected a positive timedelta or None"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(declare: Any, options: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        declared(declare, {}, **options)


def test_what_belongs_to_changes_needs_them(declare: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"has load_changes\(\) and no change_cursor\(\)"):
        declare(load_changes=lambda self, since: None)
    with pytest.raises(ConfigurationError, match=r"has changes_overlap and no load_changes\(\)"):
        declare(name="other", changes_overlap=timedelta(1))
