"""Moving an announcement that older code has written to where it is read now.

It stood under ``current``, among the dataset's other keys. The first publisher that holds the lock puts it under
``announcements/`` and deletes the old key, in one transaction that holds only if both are still what was read and the
lock is ours. So it happens once, whoever else tries, and a publisher that is killed leaves one or the other. Nothing
else moves: keys and records of both codes are the same.

Publishers of older code that still run find nothing announced, load at once and announce under ``current`` again, in a
new epoch. Then that one is newer and counts (:mod:`django_etcdaero.datasets.state.reading`), and the next publisher
moves it likewise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_etcdaero.keyvalue.txn import delete, put

from .commit import as_read

if TYPE_CHECKING:
    from django_etcdaero.datasets.layout import Layout
    from django_etcdaero.datasets.state.stored_state import StoredState
    from django_etcdaero.keyvalue.facade import KV
    from django_etcdaero.keyvalue.queue.lock import Lock
    from django_etcdaero.keyvalue.values import Operation


def move_announcement(kv: KV, layout: Layout, state: StoredState, lock: Lock) -> None:
    """Move the announcement unless somebody was faster or the lock was lost. Raises what the store raises."""
    steps = drop_former(layout, state)
    if state.current is not None and state.current_revision == state.former_revision:
        steps.append(put(layout.announcement, state.current.encode()))
    kv.txn().when(*as_read(layout, state), lock.compare()).then(*steps).commit()


def drop_former(layout: Layout, state: StoredState) -> list[Operation]:
    """Return what whoever announces has to do besides: nothing, once the announcement was moved."""
    return [delete(layout.former_announcement)] if state.former_revision else []
