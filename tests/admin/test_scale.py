"""Pages ask the stores as often when there is much as when there is little."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.test import Client

from django_etcdaero import kv
from django_etcdaero.keyvalue import ops
from django_etcdaero.keyvalue.interception import interpose
from django_etcdaero.runtime import runtime
from tests.management.running import declare, register

from .every_page import addresses, names_of_sections

THINGS = {"dataset": "shop00", "lock": "default:locks/000", "key": "default/data/000", "cache": "default"}


SOME = 2
"""Calls more that do not count: a level of keys that has folders asks once more, for instance."""


def fill(numbers: range) -> None:
    """Make datasets, processes, keys and locks with these numbers."""
    lease = kv.lease(600, keep_alive=False).id
    for number in numbers:
        declare(f"shop{number:02}").refresh()
    names = {f"shop{number:02}": 1 for number in range(numbers.stop)}
    puts = []
    for number in numbers:
        register(number, dict(names), {})
        puts += [ops.put(f"data/{number:03}", "x"), ops.put(f"locks/{number:03}/{lease:x}", "{}", lease=lease)]
    kv.txn().then(*puts).commit()


def counted(client: Client) -> dict[str, int]:
    """Return by page how many ranges it asks for."""
    asked: Counter[str] = Counter()
    at = ""

    @contextmanager
    def count(call: str, argument: Any) -> Iterator[None]:
        asked[at] += call == "range"
        yield

    end = interpose(runtime.stores("default").kv.engine, count)
    try:
        for page in addresses(dict.fromkeys(names_of_sections(), "default:x") | THINGS):
            if not page.acts:
                at = page.path
                asked[at] += 0
                client.get(page.path)
    finally:
        end()
    return dict(asked)


@pytest.mark.slow
def test_ten_times_as_much_costs_no_page_more_calls(root: Client, registry: Any, closing: None) -> None:
    runtime.forget_memory()
    fill(range(3))
    little = counted(root)
    assert len(little) > 20
    assert sum(little.values()) > 30
    fill(range(3, 30))
    more = {page: (little[page], calls) for page, calls in counted(root).items() if calls > little[page] + SOME}
    assert more == {}
    runtime.forget_memory()
