"""The epoch of an announcement: it tells the lives of the coordination store apart."""

from __future__ import annotations

from django_etcdaero.datasets.state.announcement import Copy
from django_etcdaero.datasets.state.stored_state import StoredState


def next_epoch(state: StoredState, copy: Copy | None) -> int:
    """Return the epoch of the next announcement.

    It stays as long as the coordination store lives on. It is raised when the announcement copy in the record store
    belongs to a life of the store that is gone: a later epoch, or a revision that the store has not reached.
    """
    epoch = state.current.epoch if state.current is not None else 0
    if copy is None:
        return max(1, epoch)
    if state.current is None or copy.order > (epoch, state.current_revision):
        return max(epoch, copy.announcement.epoch) + 1
    return max(1, epoch)
