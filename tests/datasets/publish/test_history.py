"""Going back to a kept version, being held there, and letting go."""

from __future__ import annotations

from typing import Any

import pytest

from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.publish.refresh import Refresh
from django_etcdaero.datasets.state.status import Outcome
from django_etcdaero.exceptions import CorruptBlock, Fenced, InvalidRequest, KeyNotFound, OutcomeUnknown
from tests.datasets.hosting import FakeHost, follow, publish


@pytest.fixture
def prices(host: FakeHost, declare: Any) -> Any:
    """A dataset with versions 1, 2 and 3, whose row ``a`` is the version's number."""
    made = declare(keep=5)
    for value in (1, 2, 3):
        publish(made, {"a": value})
    return made


def served(dataset: Any, host: FakeHost) -> Any:
    follower = follow(dataset, host)
    follower.step()
    follower.close()
    return dataset["a"]


def test_versions_come_newest_first(prices: Any) -> None:
    listed = prices.history()
    assert [each.announcement.version for each in listed] == [3, 2, 1]
    assert [each.current for each in listed] == [True, False, False]
    assert not any(each.pinned for each in listed)


def test_nothing_published_is_an_empty_history(declare: Any, host: FakeHost) -> None:
    assert declare().history() == []


def test_a_rollback_is_what_readers_follow(host: FakeHost, prices: Any) -> None:
    before = host.state(prices).current
    prices.rollback(1)
    state, copy = host.state(prices), host.blocks(prices).read_copy()
    assert state.current is not None
    assert state.pin is not None
    assert before is not None
    assert (state.current.version, state.pin.version) == (1, 1)
    assert state.current.id != before.id
    assert copy is not None
    assert (copy.announcement, copy.mod_revision) == (state.current, state.current_revision)
    assert [(each.announcement.version, each.current, each.pinned) for each in prices.history()] == [
        (3, False, False),
        (2, False, False),
        (1, True, True),
    ]
    assert served(prices, host) == 1
    prices.rollback(2)
    assert served(prices, host) == 2


def test_while_pinned_refreshes_go_to_the_history_only(host: FakeHost, prices: Any) -> None:
    prices.rollback(1)
    copy = host.blocks(prices).read_copy()
    result = publish(prices, {"a": 4})
    assert (result.outcome, result.version, result.pinned) == (Outcome.REFRESHED, 4, True)
    assert host.blocks(prices).read_copy() == copy
    assert served(prices, host) == 1
    assert [each.announcement.version for each in prices.history()] == [4, 3, 2, 1]
    unchanged = publish(prices, {"a": 4})
    assert (unchanged.outcome, unchanged.version, unchanged.pinned) == (Outcome.UNCHANGED, 1, True)
    assert publish(prices, {"a": 1}).version == 5


def test_letting_go_asks_for_a_load_that_is_followed(host: FakeHost, prices: Any) -> None:
    prices.rollback(1)
    assert prices.unpin() is True
    assert served(prices, host) == 1
    result = prices.refresh()
    assert (result.outcome, result.version, result.pinned) == (Outcome.REFRESHED, 4, False)
    assert served(prices, host) == 3


def test_letting_go_without_a_pin_does_nothing(host: FakeHost, prices: Any) -> None:
    assert prices.unpin() is False
    assert host.state(prices).request is None


def test_letting_go_publishes_what_came_in_meanwhile(host: FakeHost, prices: Any) -> None:
    prices.rollback(1)
    publish(prices, {"a": 4})
    prices.unpin()
    assert prices.refresh().version == 5
    assert served(prices, host) == 4


def test_a_version_that_is_not_kept_is_named_with_those_that_are(prices: Any, declare: Any) -> None:
    with pytest.raises(KeyNotFound, match="dataset 'prices' has no kept version 7; kept: 3, 2, 1"):
        prices.rollback(7)
    with pytest.raises(KeyNotFound, match="kept: none"):
        declare(name="empty").rollback(1)


def test_a_version_with_lost_parts_is_refused(host: FakeHost, prices: Any) -> None:
    before = host.state(prices)
    host.records.inner.truncate()
    with pytest.raises(CorruptBlock):
        prices.rollback(1)
    assert host.state(prices) == before


def test_a_version_with_one_lost_block_is_refused(host: FakeHost, declare: Any) -> None:
    prices = declare({"a": 1})
    publish(prices, {"a": 1})
    known = set(host.ttls(prices))
    publish(prices, {"a": 2})
    manifest_root = bytes.fromhex(prices.history()[1].announcement.root)
    manifest = Manifest.load(host.blocks(prices).fetch, manifest_root)
    assert set(manifest.digests()) == known
    host.records.inner.delete(prices.layout("t").record(manifest.blocks[0]))
    with pytest.raises(CorruptBlock, match="1 parts of version 1 are gone"):
        prices.rollback(1)
    assert host.state(prices).pin is None


def test_parts_about_to_expire_are_kept(host: FakeHost, prices: Any) -> None:
    layout = prices.layout("t")
    host.records.inner.touch_many({layout.record(digest): None for digest in host.ttls(prices)}, 60)
    prices.rollback(1)
    host.aliases["default"].now += 61
    assert served(prices, host) == 1


def test_a_publication_in_between_refuses_the_rollback(host: FakeHost, prices: Any) -> None:
    other = host.other()

    def publish_first(*args: Any, **options: Any) -> None:
        host.records.after.pop("exists_many")
        prices.source.rows = {"a": 4}
        assert Refresh(prices, other, force=True).run().outcome is Outcome.REFRESHED

    host.records.after["exists_many"] = publish_first
    with pytest.raises(Fenced, match="look again"):
        prices.rollback(1)
    assert host.state(prices).pin is None
    assert served(prices, host) == 4


MEDDLING: dict[str, Any] = {
    "another rollback": lambda host, prices: prices.rollback(2),
    "a pin that goes": lambda host, prices: prices.unpin(),
    "a retirement": lambda host, prices: host.kv.delete(prices.layout("t").history(1)),
}


@pytest.mark.parametrize("meddle", MEDDLING.values(), ids=MEDDLING)
def test_what_comes_in_between_refuses_the_rollback(host: FakeHost, prices: Any, meddle: Any) -> None:
    prices.rollback(3)

    def come_in_between(*args: Any, **options: Any) -> None:
        host.records.after.pop("exists_many")
        meddle(host, prices)

    host.records.after["exists_many"] = come_in_between
    with pytest.raises(Fenced):
        prices.rollback(1)
    assert "exists_many" not in host.records.after
    assert host.state(prices).current.version != 1  # type: ignore[union-attr]


def test_an_unknown_outcome_is_told(host: FakeHost, prices: Any) -> None:
    def arm(*args: Any, **options: Any) -> None:
        host.engine.fail("txn", OutcomeUnknown("?"), applied=True)

    host.records.after["exists_many"] = arm
    with pytest.raises(OutcomeUnknown):
        prices.rollback(1)
    assert served(prices, host) == 1


def test_a_pin_holds_what_is_served_and_changes_nothing(host: FakeHost, prices: Any) -> None:
    before = host.state(prices).current
    assert prices.pin(reason="stocktaking", by="anna") == 3
    state = host.state(prices)
    assert state.current == before
    assert state.pin is not None
    assert (state.pin.version, state.pin.reason, state.pin.by) == (3, "stocktaking", "anna")
    assert publish(prices, {"a": 4}).pinned
    assert served(prices, host) == 3
    newest, held, *_ = prices.history()
    assert (newest.pin, newest.pinned, held.pin, held.pinned) == (None, False, state.pin, True)


def test_a_pin_to_a_version_goes_there(host: FakeHost, prices: Any) -> None:
    assert prices.pin(1, by="anna") == 1
    assert served(prices, host) == 1
    assert prices.pin(3) == 3
    assert served(prices, host) == 3
    for wrong in (9, 0, -1):
        with pytest.raises(KeyNotFound, match=f"no kept version {wrong}; kept: 3, 2, 1"):
            prices.pin(wrong)


def test_a_pin_gets_another_reason(host: FakeHost, prices: Any) -> None:
    prices.rollback(1, reason="one", by="anna")
    prices.pin(reason="two", by="ben")
    pin = host.state(prices).pin
    assert pin is not None
    assert (pin.version, pin.reason, pin.by) == (1, "two", "ben")


def test_a_rollback_without_a_version_goes_to_the_one_before(host: FakeHost, prices: Any) -> None:
    assert [prices.rollback(reason="wrong prices"), prices.rollback()] == [2, 1]
    with pytest.raises(KeyNotFound, match="no version before 1 is kept"):
        prices.rollback()
    assert served(prices, host) == 1


@pytest.mark.parametrize("wrong", [{"reason": "x" * 1001}, {"by": "\ud800"}, {"reason": "\x1b[2J"}, {"by": "a\nb"}])
def test_a_text_that_could_not_be_read_again_is_refused(host: FakeHost, prices: Any, wrong: Any) -> None:
    with pytest.raises(InvalidRequest, match="1000 characters"):
        prices.pin(**wrong)
    assert host.state(prices).pin is None


def test_nothing_can_be_pinned_before_something_is_published(host: FakeHost, declare: Any) -> None:
    with pytest.raises(KeyNotFound, match="nothing has been published yet"):
        declare().pin()


def test_a_pin_does_not_cross_a_publication(host: FakeHost, prices: Any) -> None:
    other = host.other()

    def publish_first(*args: Any, **options: Any) -> None:
        host.engine.before.pop("txn")
        prices.source.rows = {"a": 4}
        assert Refresh(prices, other, force=True).run().outcome is Outcome.REFRESHED

    host.engine.before["txn"] = publish_first
    with pytest.raises(Fenced, match="look again"):
        prices.pin()
    assert host.state(prices).pin is None


def test_a_version_tells_what_is_known_of_it(host: FakeHost, prices: Any) -> None:
    version = prices.history()[0]
    announced = version.announcement
    assert (version.version, version.rows, version.stored_bytes) == (3, 1, announced.stored_bytes)
    assert (version.published_at, version.load_seconds) == (announced.published_at, announced.load_seconds)
    assert version.who == f"{announced.host}/{announced.pid}"
