"""The same watch on both sides, and what it must have delivered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from django_etcdaero.keyvalue.values import Event, EventType, WatchLost, WatchRequest
from tests.keyvalue.etcd.differential.sides import Side
from tests.keyvalue.recording import Recording
from tests.keyvalue.store_model import inside
from tests.waiting import wait_until


class Pair:
    """A watch on each side; ``request`` is in common revisions."""

    def __init__(
        self, request: WatchRequest, sides: Sequence[Side], client: int, *, newest: int, compacted: int
    ) -> None:
        self.request = request
        self.start = request.start_revision if request.start_revision > 0 else newest + 1
        # A fault of the server, mended in 3.5.19: a deletion at the very revision that a compaction has stopped at is
        # not delivered any more, or is, as long as the compaction goes on in the background
        # (https://github.com/etcd-io/etcd/issues/19179).
        self._unsure = compacted if self.start == compacted else None
        self._sides = sides
        self.recordings = [Recording() for _ in sides]
        self._handles = [
            side.clients[client].watch(side.outward(request), recording)
            for side, recording in zip(sides, self.recordings, strict=True)
        ]

    @property
    def has_delivered(self) -> bool:
        """Both have delivered something."""
        return all(recording.events for recording in self.recordings)

    def wait_lost(self) -> WatchLost:
        """Return why both have ended."""
        reasons = [recording.wait_lost() for recording in self.recordings]
        assert reasons[0] is reasons[1], (self.request, reasons)
        return reasons[0]

    def check(self, history: Sequence[Event]) -> None:
        """Wait until both have delivered what they must of ``history`` and compare it, event for event."""
        expected = [event for event in history if self._wants(event)]
        for side, recording in zip(self._sides, self.recordings, strict=True):
            wait_until(
                lambda side=side, recording=recording: len(self._seen(side, recording)) >= len(expected),
                what=f"{expected} from {side.name}, which has delivered {self._seen(side, recording)}",
            )
        first, second = (self._seen(*each) for each in zip(self._sides, self.recordings, strict=True))
        assert first == second, self.request
        assert [event._replace(prev_kv=None) for event in first] == [event._replace(prev_kv=None) for event in expected]
        for side, recording in zip(self._sides, self.recordings, strict=True):
            assert recording.lost is None, (side.name, self.request)
            batches = [{event.kv.mod_revision for event in batch.events} for batch in recording.batches]
            torn = [revision for revision, times in Counter(r for batch in batches for r in batch).items() if times > 1]
            assert not torn, (side.name, self.request)

    def cancel(self) -> None:
        for handle in self._handles:
            handle.cancel()

    def _seen(self, side: Side, recording: Recording) -> list[Event]:
        return [event for event in map(side.event_in, recording.events) if not self._is_unsure(event)]

    def _wants(self, event: Event) -> bool:
        request = self.request
        if request.no_put if event.type is EventType.PUT else request.no_delete:
            return False
        in_range = inside(event.kv.key, request.key or b"\0", request.range_end)
        return in_range and event.kv.mod_revision >= self.start and not self._is_unsure(event)

    def _is_unsure(self, event: Event) -> bool:
        return event.type is EventType.DELETE and event.kv.mod_revision == self._unsure


class Journal:
    """All that has happened on both sides since a revision, as one of the clients sees it."""

    def __init__(self, sides: Sequence[Side], client: int, start: int) -> None:
        self._sides = sides
        everything = WatchRequest(b"\0", b"\0", start_revision=start, prev_kv=True)
        self._pair = Pair(everything, sides, client, newest=start, compacted=-1)

    def upto(self, revision: int) -> list[Event]:
        """Return all events so far once both sides have delivered those of ``revision``, the newest one."""
        for side, recording in zip(self._sides, self._pair.recordings, strict=True):
            wait_until(
                lambda side=side, recording=recording: self._reached(side, recording, revision),
                what=f"the events of revision {revision} from {side.name}",
            )
        history = [self._sides[0].event_in(event) for event in self._pair.recordings[0].events]
        self._pair.check(history)
        return history

    @staticmethod
    def _reached(side: Side, recording: Recording, revision: int) -> bool:
        if revision <= 1:  # that of a store that was never written to
            return True
        events = recording.events
        return bool(events) and side.revision_in(events[-1].kv.mod_revision) >= revision

    def cancel(self) -> None:
        self._pair.cancel()
