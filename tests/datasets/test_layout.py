"""Which key says what: announcements stand together, and no key of one dataset is one of another."""

from __future__ import annotations

from typing import Any

import pytest

from django_etcdaero.datasets.layout import ANNOUNCEMENTS, DATASETS, RESERVED, Layout, dataset_of
from tests.datasets.hosting import FakeHost, publish


@pytest.mark.parametrize("name", ["prices", "a.b-c_d", "s1", "..", "announcements", "0"])
@pytest.mark.parametrize("schema", [0, 1, 10, 2**40])
def test_the_keys_that_stand_side_by_side_tell_whose_they_are(name: str, schema: int) -> None:
    layout = Layout(prefix="t", name=name, schema=schema)
    assert layout.announcement == f"announcements/{name}/s{schema}"
    assert layout.checked == f"loads/{name}/s{schema}"
    assert dataset_of(layout.announcement.encode()) == dataset_of(layout.checked.encode()) == (name, schema)


@pytest.mark.parametrize(
    "key",
    [
        b"announcements/prices",
        b"announcements/prices/1",
        b"announcements/prices/s",
        b"announcements/prices/s01",
        b"announcements/prices/s1/",
        b"announcements/prices/s1\n",
        b"announcements//s1",
        b"announcements/a/b/s1",
        b"datasets/prices/s1",
        b"loads/prices",
        b"loads/prices/s1/x",
        b"announcements/\xff/s1",
        "announcements/prices/s\u0661".encode(),
    ],
)
def test_other_keys_are_nobodys(key: bytes) -> None:
    assert dataset_of(key) is None


def test_all_that_the_package_writes_begins_with_a_reserved_part(host: FakeHost, declare: Any) -> None:
    prices = declare()
    publish(prices, {"a": 1})
    publish(prices, {"a": 2})
    prices.rollback(1)
    prices.source.error = RuntimeError("down")
    publish(prices)
    prices.request_refresh()
    keys = [item.key.decode() for item in host.kv.range("", prefix=True).kvs]
    assert all(key.startswith(RESERVED) for key in keys), keys
    layout = prices.layout("t")
    assert [key for key in keys if not key.startswith(DATASETS)] == [layout.announcement, layout.checked]
    assert not any(one.startswith(other) for one in RESERVED for other in RESERVED if one != other)
    assert ANNOUNCEMENTS in RESERVED
