"""Pins and going back by the pages, while another process publishes without a pause."""

from __future__ import annotations

import random
import re
import threading
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from django_etcdaero import kvs
from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.state.reading import read_state

PAGE = "/admin/django_etcdaero/dataset/goods/"
ROUNDS = 60

pytestmark = pytest.mark.slow


@pytest.fixture
def goods(registry: dict[str, Any], closing: None) -> Any:
    """A dataset whose source changes with each load, and of which three versions are kept."""
    number = iter(range(10**9))
    members = {"name": "goods", "keep": 3, "load": lambda self: {"a": next(number)}}
    made: Any = type("Goods", (Dataset,), members)
    for _ in range(3):
        assert made.live.refresh(force=True).ok
    return made.live


class Publisher(threading.Thread):
    """Publishes until it is told to end."""

    def __init__(self, dataset: Any) -> None:
        super().__init__(name="publisher")
        self.dataset = dataset
        self.over = threading.Event()
        self.published = 0

    def run(self) -> None:
        while not self.over.is_set():
            self.published += self.dataset.refresh(force=True).ok

    def __enter__(self) -> Publisher:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.over.set()
        self.join()


def state_of(dataset: Any) -> Any:
    return read_state(kvs["default"], dataset.layout("tests"))


def test_pages_and_a_publisher(goods: Any, root: Client) -> None:
    choose, refused, done = random.Random(1), 0, 0
    with Publisher(goods) as publisher:
        for round_ in range(ROUNDS):
            act = choose.choice(["pin", "unpin", "rollback"])
            before = state_of(goods)
            form: dict[str, Any] = {"reason": f"round {round_}", "seen": before.pin_revision}
            if act == "rollback":
                form["version"] = choose.choice(goods.history()).version
            answer = root.post(f"{PAGE}{act}/", form)
            after = state_of(goods)
            if answer.status_code == 302:
                done += 1
                told = LogEntry.objects.latest("pk").get_change_message()
                assert f"round {round_}" in told
                version = re.search(r"to version (\d+)", told)
                if act == "unpin":
                    assert after.pin is None
                else:
                    assert version is not None, told
                    assert (after.pin.version, after.pin.reason) == (int(version[1]), f"round {round_}")
                    assert after.current.version == after.pin.version
            else:
                refused += 1
                assert answer.status_code in (200, 409)
                assert (after.pin, after.pin_revision) == (before.pin, before.pin_revision), "nothing was done"
                if after.pin is not None:
                    assert after.current.version == after.pin.version
    assert done > 5
    assert publisher.published > 5
