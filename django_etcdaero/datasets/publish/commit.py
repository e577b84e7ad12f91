"""The guarded transaction that ends a refresh: stage 4 of the protocol of :mod:`.publication` says what guards it.

Whoever slept, was stopped or lost the network in between is refused here, whatever it believes, if anything happened to
the dataset meanwhile: ``announcement``, ``pin`` and ``checked`` must be what they were when the refresh read them.
(``checked`` is among them because while readers are pinned a publication leaves the announcement as it is, and because
a load that found nothing new makes an older load of somebody else worthless all the same.)

**The lock is no part of the guard.** A load that keeps the process from renewing its lease (it does not let go of the
interpreter for longer than ``LOCK_TTL``) loses the lock to the next in the queue, which begins to load as well. If the
first were refused for that, the second would be refused next for the same reason, and so on, and nobody would ever
publish. So who is through first announces, and the other one finds ``checked`` moved. Why that is right:

* Every load that succeeds writes ``checked``. So of all loads that overlap one is announced, and the others are refused
  in full; and a load is only ever refused because another one came through, so somebody always does.
* What is announced was compared with, and is stored beside, what was announced when its refresh began; both are still
  true, because the comparison says so. Blocks that a retired version leaves are given a time to live by generation
  (:mod:`.expiry`), so one that another publisher has taken into use meanwhile stays.
* The rows may be older than those that the other one is about to have. They are not older than they are noted to be: a
  request that came after this refresh read its state is not answered by it and stays, and when the next load is due
  counts from the beginning of this one. So the one that is refused loads again at once where anybody waits for that.

Older code kept the announcement under ``current``, among the dataset's other keys. The first publisher that holds the
lock moves it: it puts it under ``announcements/`` and deletes the old key, in one transaction that holds only if both
are still what was read and the lock is ours. So it happens once, whoever else tries, and a publisher that is killed
leaves one or the other. Nothing else moves: keys and records of both codes are the same. Publishers of older code that
still run find nothing announced, load at once and announce under ``current`` again, in a new epoch. Then that one is
newer and counts (:mod:`django_etcdaero.datasets.state.reading`), and the next publisher moves it likewise.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

from django_etcdaero.datasets.layout import Layout
from django_etcdaero.datasets.state.reading import read_state
from django_etcdaero.datasets.state.stored_state import Checked, StoredState
from django_etcdaero.exceptions import Fenced, LockLost, OutcomeUnknown
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.keyvalue.ops import Txn, delete, found, get, mod_revision, put
from django_etcdaero.keyvalue.queue.lock import Lock
from django_etcdaero.keyvalue.values import Compare, Operation

logger = logging.getLogger("django_etcdaero.datasets")

TRIES = 3
"""How often it is tried when the outcome is unknown."""


class GuardedCommit:
    """The end of one refresh that began from ``state`` under ``lock``; ``on_lost`` is called if the lock was lost."""

    def __init__(self, kv: KV, layout: Layout, state: StoredState, lock: Lock, on_lost: Callable[[], None]) -> None:
        self._kv = kv
        self._layout = layout
        self._state = state
        self._lock = lock
        self._on_lost = on_lost

    def run(self, checked: Checked, operations: Sequence[Operation] = ()) -> int:
        """Note the load in ``checked``, drop ``attempt``, and run ``operations``; return the revision.

        Raises ``Fenced`` when that may not be done any more: then nothing of it has happened. Raises ``OutcomeUnknown``
        when the store kept the outcome to itself to the end.
        """
        value = checked.encode()
        token, held = self._lock.token, get(self._lock.compare().key, keys_only=True)
        steps = [put(self._layout.checked, value), delete(self._layout.attempt), *operations]
        if self._state.former_checked_revision:
            steps.append(delete(self._layout.former_checked))
        steps.append(held)
        unknown: OutcomeUnknown | None = None
        for _ in range(TRIES):
            try:
                done = self._guarded().then(*steps).commit()
            except OutcomeUnknown as error:
                unknown = error
            else:
                if done.succeeded:
                    if [each.create_revision for each in found(done.responses[-1])] != [token]:
                        logger.info("the lock %s was lost; nothing else has happened meanwhile", self._layout.lock)
                        self._on_lost()
                    return done.revision
                unknown = None
            stored = self._kv.get(self._layout.checked)
            if stored is not None and stored.value == value:  # it has a random id: this try or one before was applied
                return stored.mod_revision
            if unknown is None:
                self._refuse()
        raise unknown or Fenced("what is stored of the dataset has changed again and again while announcing")

    def _guarded(self) -> Txn:
        return self._kv.txn().when(
            *as_read(self._layout, self._state),
            mod_revision(self._layout.pin) == self._state.pin_revision,
            *loaded_as_read(self._layout, self._state),
        )

    def _refuse(self) -> None:
        """Raise ``Fenced`` with what has happened to the dataset since the refresh began."""
        overtaken = self._overtaken()
        if overtaken is None:  # it looks as it did: a key was deleted and is back, or a store answered out of order
            return
        if self._lock.lost:
            self._on_lost()
        raise Fenced(overtaken)

    def _overtaken(self) -> str | None:
        """Say what has happened to the dataset since the refresh began, if anything."""
        now, began = read_state(self._kv, self._layout), self._state
        if now.pin_revision != began.pin_revision:
            return "readers were pinned to a version, or released, while this load was under way"
        if now.current_revision != began.current_revision:
            who = f"version {now.current.version} by {now.current.host}/{now.current.pid}" if now.current else "nothing"
            return f"another version was announced while this load was under way: {who}"
        if now.checked_revision != began.checked_revision:
            who = f"{now.checked.host}/{now.checked.pid}" if now.checked else "nobody"
            return f"another load was finished while this one was under way: by {who}"
        return None


def give_back(lock: Lock) -> None:
    """Release a lock that may have been lost meanwhile, or lost and not got again.

    That is no error of its own: the announcement was guarded, and says how it ended.
    """
    if lock.held or lock.lost:
        with suppress(LockLost):
            lock.release()


def as_read(layout: Layout, state: StoredState) -> list[Compare]:
    """Return the conditions that nothing was announced since ``state`` was read, by older code either."""
    return [
        mod_revision(layout.announcement) == state.announcement_revision,
        mod_revision(layout.former_announcement) == state.former_revision,
    ]


def loaded_as_read(layout: Layout, state: StoredState) -> list[Compare]:
    """Return the conditions that no load was finished since ``state`` was read, by older code either."""
    return [
        mod_revision(layout.checked) == state.own_checked_revision,
        mod_revision(layout.former_checked) == state.former_checked_revision,
    ]


def move_announcement(kv: KV, layout: Layout, state: StoredState, lock: Lock) -> None:
    """Move the announcement unless somebody was faster or the lock was lost. Raises what the store raises."""
    steps = drop_former(layout, state)
    if state.current is not None and state.current_revision == state.former_revision:
        steps.append(put(layout.announcement, state.current.encode()))
    kv.txn().when(*as_read(layout, state), lock.compare()).then(*steps).commit()


def drop_former(layout: Layout, state: StoredState) -> list[Operation]:
    """Return what whoever announces has to do besides: nothing, once the announcement was moved."""
    return [delete(layout.former_announcement)] if state.former_revision else []
