"""Reading what the coordination plane says about datasets.

The announcements of all datasets of an alias stand side by side: one range reads them all. The state of one dataset is
read in four ranges of one revision: the announcement, whose answer tells the revision, and then the other keys as they
were at that revision. (Not in a transaction: some etcd servers end when a transaction that only reads is cancelled.)

Where the announcement or the last load is still under the key where older code kept it, that one counts: so processes
that read find it before the first publisher has moved it. While publishers of older code still run, the newer of the
two counts.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from django_etcdaero.datasets.layout import ANNOUNCEMENTS, DATASETS, LOADS, Layout, dataset_of
from django_etcdaero.exceptions import Compacted, FutureRevision
from django_etcdaero.keyvalue.facade import KV
from django_etcdaero.keyvalue.values import KeyValue
from django_etcdaero.system.clocks import elapsed

from .announcement import Announcement
from .sightings import sightings
from .stored_state import Attempt, Checked, Condemned, LoadRequest, Pin, StoredState

_FORMER = re.compile(rb"%s([^/\x80-\xff]+)/s(0|[1-9][0-9]*)/(?:current|checked)" % DATASETS.encode())

TRIES = 5
"""How often a state is read when its revision vanishes meanwhile: the store was compacted, or replaced by another."""


class Announced(NamedTuple):
    """What stands under an announcement's key."""

    announcement: Announcement | None
    """``None``: there is none, or it makes no sense."""
    mod_revision: int
    """0: there is none."""


class Announcements(NamedTuple):
    """The announcements of one alias, all of one revision."""

    found: dict[tuple[str, int], Announced]
    """By name and schema of the dataset."""
    keys: int
    """How many keys there are, those included that were left out because they are older than what was asked for: fewer
    than before means that one was deleted."""
    revision: int
    """Revision of the store."""
    asked: float
    """When they were asked for, on the clock of :func:`.clocks.elapsed`."""


def read_announcements(kv: KV, *, min_mod_revision: int = 0, revision: int = 0) -> Announcements:
    """Read all announcements of the alias of ``kv``: those that have changed in ``min_mod_revision`` or later.

    ``revision``: as of that revision of the store; 0: now. Not those that older code has written and no publisher has
    moved yet: :func:`read_state` finds them. Raises what the store raises.
    """
    asked = elapsed()
    answer = kv.range(ANNOUNCEMENTS, prefix=True, min_mod_revision=min_mod_revision, revision=revision)
    found: dict[tuple[str, int], Announced] = {}
    for item in answer.kvs:
        dataset = dataset_of(item.key)
        if dataset is not None:
            found[dataset] = announced(item)
    return Announcements(found, answer.count, answer.revision, asked)


class Loaded(NamedTuple):
    """The last successful load of a dataset, as it is noted."""

    checked: Checked | None
    """``None``: there is none, or it makes no sense."""
    mod_revision: int
    """0: there is none."""


def read_loads(kv: KV, *, min_mod_revision: int = 0) -> dict[tuple[str, int], Loaded]:
    """Read the last load of each dataset of the alias of ``kv``, if it has changed in ``min_mod_revision`` or later.

    Not those that older code has written: :func:`read_state` finds them. Raises what the store raises.
    """
    found: dict[tuple[str, int], Loaded] = {}
    for item in kv.range(LOADS, prefix=True, min_mod_revision=min_mod_revision).kvs:
        dataset = dataset_of(item.key)
        if dataset is not None:
            found[dataset] = Loaded(Checked.believe(item), item.mod_revision)
    return found


def read_former(kv: KV) -> set[tuple[str, int]]:
    """Return name and schema of the datasets of which older code has left an announcement or a load in its place.

    Raises what the store raises.
    """
    found = (_FORMER.fullmatch(item.key) for item in kv.range(DATASETS, prefix=True, keys_only=True).kvs)
    return {(match[1].decode(), int(match[2])) for match in found if match}


def read_state(
    kv: KV, layout: Layout, *, announcements: Announcements | None = None, believe_pin: bool = True
) -> StoredState:
    """Read the state of a dataset, all of one revision; ``announcements``, if given, are not read again.

    A value that makes no sense counts as absent, so that the next refresh puts a good one in its place. A pin does not:
    somebody wanted readers to stay where they are, so ``ResponseError`` is raised for it, unless ``believe_pin`` is
    false: for who wants to know nothing of pins. Raises what the store raises.
    """
    tries = 0
    while True:
        if announcements is None:
            asked = elapsed()
            answer = kv.range(layout.announcement)
            found = announced(answer.kvs[0]) if answer.kvs else _NOT_ANNOUNCED
            revision = answer.revision
        else:
            found = announcements.found.get((layout.name, layout.schema), _NOT_ANNOUNCED)
            revision, asked = announcements.revision, announcements.asked
        try:
            others = [
                item
                for start, end in ((layout.checked, layout.checked + "\0"), *layout.state_ranges)
                for item in kv.range(start, end, revision=revision).kvs
            ]
        except (Compacted, FutureRevision):
            tries += 1
            if tries == TRIES:
                raise
            announcements = None
        else:
            if not believe_pin:
                others = [item for item in others if item.key != layout.pin.encode()]
            state = _state(layout, found, {item.key.decode(errors="replace"): item for item in others}, revision)
            sightings(kv, layout).look(state, asked=asked)
            return state


_NOT_ANNOUNCED = Announced(None, 0)


def announced(item: KeyValue) -> Announced:
    """Read what stands under an announcement's key."""
    return Announced(Announcement.believe(item), item.mod_revision)


def _state(layout: Layout, own: Announced, others: dict[str, KeyValue], read_at: int) -> StoredState:
    def revision(key: str) -> int:
        return others[key].mod_revision if key in others else 0

    former = others.get(layout.former_announcement)
    current = own
    if former is not None and (former.mod_revision > own.mod_revision or own.announcement is None):
        moving = announced(former)
        current = moving if moving.announcement is not None else own
    pin = others.get(layout.pin)
    loads = others.get(layout.checked), others.get(layout.former_checked)
    checked = max(filter(None, loads), key=lambda item: item.mod_revision, default=None)
    return StoredState(
        revision=read_at,
        current=current.announcement,
        current_revision=current.mod_revision,
        announcement_revision=own.mod_revision,
        former_revision=revision(layout.former_announcement),
        pin=Pin.decode(pin.value) if pin else None,
        pin_revision=revision(layout.pin),
        checked=Checked.believe(checked),
        checked_revision=0 if checked is None else checked.mod_revision,
        own_checked_revision=revision(layout.checked),
        former_checked_revision=revision(layout.former_checked),
        attempt=Attempt.believe(others.get(layout.attempt)),
        attempt_revision=revision(layout.attempt),
        condemned=Condemned.believe(others.get(layout.condemned)),
        request=LoadRequest.believe(others.get(layout.request)),
        request_revision=revision(layout.request),
    )
