"""Which key says what: announcements stand together, and no key of one dataset is one of another."""

from __future__ import annotations

from typing import Any

import pytest

from django_etcdaero.datasets.layout import ANNOUNCEMENTS, DATASETS, RESERVED, Layout, announced_by
from tests.datasets.hosting import FakeHost, publish


@pytest.mark.parametrize("name", ["prices", "a.b-c_d", "s1", "..", "announcements", "0"])
@pytest.mark.parametrize("schema", [0, 1, 10, 2**40])
def test_the_key_of_an_announcement_tells_whose_it_is(name: str, schema: int) -> None:
    layout = Layout(prefix="t", name=name, schema=schema)
    assert layout.announcement == f"announcements/{name}/s{schema}"
    assert announced_by(layout.announcement.encode()) == (name, schema)


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
        b"announcements/\xff/s1",
        "announcements/prices/s\u0661".encode(),
    ],
)
def test_other_keys_are_nobodys_announcement(key: bytes) -> None:
    assert announced_by(key) is None


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
    assert [key for key in keys if not key.startswith(DATASETS)] == [prices.layout("t").announcement]
    assert not any(one.startswith(other) for one in RESERVED for other in RESERVED if one != other)
    assert ANNOUNCEMENTS in RESERVED
