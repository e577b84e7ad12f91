"""Ways of reading a dataset."""

from __future__ import annotations

from typing import Any

import pytest

from django_etcdaero.datasets.snapshot import Snapshot
from django_etcdaero.datasets.state.announcement import Announcement
from tests.datasets.hosting import FakeHost


def snapshot(rows: dict[Any, Any], version: int = 1, index: Any = None) -> Snapshot:
    announcement = Announcement(
        id=str(version), version=version, epoch=1, root="00", rows=len(rows), stored_bytes=1, load_started=0.0,
        load_seconds=0.0, published_at=5.0, host="h", pid=1,
    )  # fmt: skip
    return Snapshot("prices", rows, index, announcement)


class Reading:
    """A reader that is there and has nothing to say, until it is told to load."""

    alive = True

    def __init__(self, host: FakeHost) -> None:
        host.reader = self  # type: ignore[assignment]
        self.woken = 0

    def wake(self, dataset: Any) -> None:
        self.woken += 1

    def stop(self, timeout: float) -> None:
        pass


ACCESSES: dict[str, Any] = {
    "[]": lambda dataset: dataset["a"],
    "get": lambda dataset: dataset.get("a", 1),
    "in": lambda dataset: "a" in dataset,
    "len": len,
    "iter": lambda dataset: list(dataset),
    "keys": lambda dataset: list(dataset.keys()),
    "values": lambda dataset: list(dataset.values()),
    "items": lambda dataset: list(dataset.items()),
    "snapshot": lambda dataset: dataset.snapshot(),
    "index": lambda dataset: dataset.index,
}


each_access = pytest.mark.parametrize("access", ACCESSES.values(), ids=ACCESSES)
