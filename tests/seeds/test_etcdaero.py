"""What etcdaero promises of its caches, where the tests of datasets and processes do not show it already."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from django_etcdaero import Dataset, dataset, datasets
from django_etcdaero.datasets.blocks.partition import decode_block, partition
from django_etcdaero.datasets.state.status import Outcome
from django_etcdaero.exceptions import ConfigurationError, CorruptBlock
from django_etcdaero.records.memory.store import MemoryStore, drop_memory
from django_etcdaero.runtime import runtime
from django_etcdaero.schemes import parse
from django_etcdaero.stores.address import Plane
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("closing")


@pytest.fixture
def source(registry: object) -> Callable[..., Any]:
    """Declare datasets that are read from a dict."""

    def declare(name: str, rows: dict[str, Any], **options: Any) -> Any:
        return dataset(name=name, first_read_timeout=20, **options)(lambda: dict(rows))

    return declare


def test_new_gives_the_parameters_of_a_load_with_the_declaration(registry: object) -> None:
    class Languages(Dataset[str, str]):
        codes = ("en", "ru")

        def load(self) -> dict[str, str]:
            return {code: code.upper() for code in self.codes}

    class MoreLanguages(Languages):
        name = "languages"
        codes = (*Languages.codes, "vi")
        first_read_timeout = 20

    datasets["languages"].refresh()
    assert dict(datasets["languages"]) == {"en": "EN", "ru": "RU", "vi": "VI"}


def test_get_aero_after_a_refresh_of_the_same_process_gives_the_new_rows_without_a_poll(
    source: Callable[..., Any],
) -> None:
    rows = {"a": 1}
    prices = source("prices", rows)
    for number in range(2, 5):
        result = prices.refresh(force=True)
        assert prices.wait_version(result.version, timeout=20)["a"] == rows["a"]
        rows["a"] = number


def test_get_aero_of_one_key_never_gives_the_rows_of_another(source: Callable[..., Any]) -> None:
    first, second = source("first", {"a": 1}), source("second", {"b": 2})
    for each in (second, first, second):
        each.refresh(force=True)
    assert (dict(first), dict(second)) == ({"a": 1}, {"b": 2})


def test_get_aero_of_a_projection_gives_what_is_asked_for_or_a_default(source: Callable[..., Any]) -> None:
    names = {"1": "ru", "2": "vi"}
    texts = source(
        "texts", {"1": "privet", "2": "xin chao"}, prepare=lambda rows: {names[key]: rows[key] for key in rows}
    )
    texts.refresh()
    texts.wait_ready(20)
    assert texts.index == {"ru": "privet", "vi": "xin chao"}
    assert texts.get("9", "none") == "none"


def test_set_ttl_of_a_declared_dataset_counts_from_the_next_look_on(source: Callable[..., Any]) -> None:
    prices = source("prices", {"a": 1}, refresh_every=timedelta(hours=1))
    assert prices.refresh().outcome is Outcome.REFRESHED
    assert prices.refresh().outcome is Outcome.FRESH
    type(prices).refresh_every = timedelta(microseconds=1)
    assert prices.refresh().outcome is Outcome.UNCHANGED
    type(prices).refresh_every = None
    assert prices.refresh().outcome is Outcome.FRESH


def test_re_load_aero_looks_at_once_for_all_keys(source: Callable[..., Any]) -> None:
    made = [source(f"dataset{number}", {"a": number}) for number in range(3)]
    runtime.ensure_reader()
    for each in made:
        each.refresh()
        runtime.wake_reader(each)
    for number, each in enumerate(made):
        wait_until(lambda each=each: each.status().version == 1, what="the version")  # type: ignore[misc]
        assert each["a"] == number


def test_put_aero_and_load_entry_keep_bytes_under_a_key_for_a_time() -> None:
    store = MemoryStore("seeds")
    store.put(b"key", b"body", ttl=60)
    found = store.get(b"key")
    assert found is not None
    assert (found.value, found.generation) == (b"body", 1)
    assert found.ttl is not None
    assert 0 < found.ttl <= 60
    assert store.get(b"other") is None
    store.close()
    drop_memory("seeds")


def test_import_of_a_body_that_is_none_is_an_error_and_no_miss() -> None:
    (block,) = partition({"a": 1}, max_value_bytes=1000)
    assert decode_block(block.digest, block.stored(), rows="plain").rows == [1]
    with pytest.raises(CorruptBlock):
        decode_block(block.digest, b"not a body", rows="plain")


@pytest.mark.parametrize("plane", Plane)
def test_config_takes_several_hosts_and_names_a_bad_one(plane: Plane) -> None:
    url = {Plane.KV: "etcd://{}", Plane.RECORDS: "aerospike://{}/namespace/set"}[plane]
    location = parse(url.format("h1:1,h2:2"), plane=plane)
    assert "h1:1" in location.safe
    assert "h2:2" in location.safe
    with pytest.raises(ConfigurationError, match="port"):
        parse(url.format("h1:1,h2:many"), plane=plane)
