"""The class of all datasets: what it offers, and how a declaring class gives its dataset."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from django_etcdaero import Dataset, dataset, datasets
from django_etcdaero.datasets.declared import OPTIONS
from django_etcdaero.datasets.snapshot import Snapshot
from django_etcdaero.datasets.state.status import RefreshResult
from django_etcdaero.exceptions import ConfigurationError, InvalidRequest

pytestmark = pytest.mark.usefixtures("host")

CHANGES = {"change_cursor", "load_changes", "load_keys"}
DECLARED = {*OPTIONS, *CHANGES, "name", "load", "prepare", "layout", "live", "origin"}
MAPPING = {"get", "items", "keys", "values"}
READING = {"aready", "by", "get_many", "index", "sequence", "snapshot", "status", "wait_ready", "wait_version"}
VERSIONS = {"diff", "export_version", "history", "import_version", "pin", "refused", "rollback", "unpin"}
ACTING = {"arequest_refresh", "refresh", "request_refresh"}


class Base(Dataset[str, int]):
    def load(self) -> dict[str, int]:
        return {"a": 1}


def test_completion_offers_what_users_call() -> None:
    @dataset
    def prices() -> dict[str, int]:
        return {}

    offered = {name for name in dir(prices) if not name.startswith("_")}
    assert offered == DECLARED | MAPPING | READING | VERSIONS | ACTING


def test_live_is_the_dataset_that_the_class_declares() -> None:
    class Prices(Base):
        name = "prices"

    assert Prices.live is datasets["prices"]
    assert isinstance(Prices.live, Prices)
    assert Prices.live.live is Prices.live
    assert dataset(Prices) is Prices.live


@pytest.mark.parametrize("inherits", [False, True])
def test_a_base_class_has_no_live_dataset(inherits: bool) -> None:
    class Prices(Base):
        name = "prices"

    class Heir(Prices):
        pass

    with pytest.raises(AttributeError, match=r"\.live: .* is a base for datasets: a subclass with a name is re"):
        (Heir if inherits else Base).live  # noqa: B018
    assert not hasattr(Dataset, "live")


def test_an_attribute_that_would_hide_the_dataset_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"Prices: live is the dataset itself"):
        type("Prices", (Base,), {"name": "prices", "live": True})
    assert not datasets


@pytest.mark.parametrize("types", [(str, int), (str, int, list), (str, int, Any)])
def test_snapshots_and_datasets_can_be_subscripted_with_types(types: Any) -> None:
    assert Snapshot[types].__origin__ is Snapshot
    assert Dataset[types[:2]].__origin__ is Dataset  # type: ignore[misc]


@pytest.mark.parametrize("allowed", ["", "true"])
def test_a_refresh_in_an_event_loop_is_refused_and_counts_as_no_failure(
    monkeypatch: pytest.MonkeyPatch, allowed: str
) -> None:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", allowed)

    class Prices(Base):
        name = "prices"

    async def view() -> RefreshResult:
        return Prices.live.refresh()

    if not allowed:
        with pytest.raises(InvalidRequest, match=r"block the event loop; .*arequest_refresh.*sync_to_async"):
            asyncio.run(view())
        assert Prices.live.history() == []
        assert Prices.live.refresh().outcome == "refreshed"  # and not held back by a failure
    else:
        assert asyncio.run(view()).outcome == "refreshed"
