"""A sink of a watch that remembers what it was given."""

from __future__ import annotations

from django_etcdaero.keyvalue.values import Event, EventType, WatchBatch, WatchLost
from tests.waiting import wait_until


class Recording:
    """Give it to ``engine.watch``; ask it for what came, waiting for so many events or for the end."""

    def __init__(self) -> None:
        self.batches: list[WatchBatch] = []

    def __call__(self, batch: WatchBatch) -> None:
        self.batches.append(batch)

    @property
    def events(self) -> list[Event]:
        """All events so far, in order."""
        return [event for batch in self.batches for event in batch.events]

    @property
    def lost(self) -> WatchLost | None:
        """Why the watch ended."""
        return self.batches[-1].lost if self.batches else None

    def wait(self, count: int, timeout: float = 10.0) -> list[Event]:
        """Return all events once there are at least ``count``."""
        wait_until(lambda: len(self.events) >= count, timeout, f"{count} events")
        return self.events

    def wait_lost(self) -> WatchLost:
        """Return why the watch ended, once it has."""
        wait_until(lambda: self.lost, what="the end of the watch")
        assert self.lost is not None
        return self.lost


def short(events: list[Event]) -> list[str]:
    """Return ``+name=value`` for a put and ``-name`` for a deletion."""
    return [
        ("+" if event.type is EventType.PUT else "-")
        + event.kv.key.decode().rpartition("/")[2]
        + (f"={event.kv.value.decode()}" if event.kv.value else "")
        for event in events
    ]
