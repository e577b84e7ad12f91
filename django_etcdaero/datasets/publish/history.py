"""Kept versions: listing them, holding readers on one, and letting go again.

That needs no lock. It is one transaction that holds only if the announcement, ``pin`` and the entry of the
history are still what was looked at, so that it cannot cross a publication: a publisher that comes second finds another
announcement and is refused, and a version that a publisher has retired meanwhile cannot be gone back to.
"""

from __future__ import annotations

import dataclasses
import secrets
import time
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django_etcdaero.datasets.blocks.assembly import FETCH
from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.blocks.compression import verified
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.layout import Layout
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.state.reading import read_state
from django_etcdaero.datasets.state.schedule import request_load
from django_etcdaero.datasets.state.stored_state import Pin, StoredState
from django_etcdaero.datasets.state.validations import RefusedLoad, changes_in, phases_in, refused_loads, results_in
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.datasets.validators import ValidatorResult
from django_etcdaero.exceptions import CorruptBlock, Fenced, InvalidRequest, KeyNotFound
from django_etcdaero.keyvalue.ops import delete, mod_revision, put
from django_etcdaero.keyvalue.values import Compare
from django_etcdaero.records.store import batches

from .commit import as_read, drop_former
from .expiry import kept

MOST_TEXT = 1000
"""Characters of a reason and of who gives it."""
PHASES = ("load", "validate", "store", "try")
"""Of a refresh, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One kept version."""

    announcement: Announcement
    current: bool
    """Whether readers are to hold it."""
    results: tuple[ValidatorResult, ...] = ()
    """What validators said of it when it was published."""
    pin: Pin | None = None
    """If it is pinned: since when, by whom and why."""
    phases: dict[str, float] = field(default_factory=dict)
    """Seconds that each phase of its refresh took, in their order: ``load``, ``validate``, ``store`` (encode, compress,
    write), ``try`` (load it as readers do). Empty if its publisher did not tell."""
    changes: bool = False
    """Whether only changes were loaded for it, or the rows of some keys."""
    drift: int | None = None
    """Of a full load: rows that were not what changes had told; ``None``: it is not known."""

    @property
    def pinned(self) -> bool:
        """Whether readers are held on it."""
        return self.pin is not None

    @property
    def version(self) -> int:
        """Its number."""
        return self.announcement.version

    @property
    def rows(self) -> int:
        """How many."""
        return self.announcement.rows

    @property
    def stored_bytes(self) -> int:
        """Stored bytes of its blocks."""
        return self.announcement.stored_bytes

    @property
    def published_at(self) -> float:
        """When it was published, seconds since the epoch."""
        return self.announcement.published_at

    @property
    def load_seconds(self) -> float:
        """How long its load took."""
        return self.announcement.load_seconds

    @property
    def who(self) -> str:
        """The process that published it, as ``host/pid``."""
        return f"{self.announcement.host}/{self.announcement.pid}"


def versions(dataset: Declared[Any, Any], stores: Stores) -> list[Version]:
    """Return the kept versions, the newest first."""
    layout = dataset.layout(stores.prefix)
    return _versions(stores, layout, read_state(stores.kv, layout))


def _versions(stores: Stores, layout: Layout, state: StoredState) -> list[Version]:
    found = []
    for entry, item in reversed(kept(stores.kv.range(layout.history(), prefix=True).kvs)):
        pin = state.pin if state.pin is not None and state.pin.version == entry.version else None
        changes, drift = changes_in(item)
        found.append(
            Version(
                announcement=entry,
                current=state.current is not None and state.current.version == entry.version,
                results=results_in(item),
                pin=pin,
                phases=_ordered(phases_in(item)),
                changes=changes,
                drift=drift,
            )
        )
    return found


def _ordered(phases: dict[str, float]) -> dict[str, float]:
    return {name: phases[name] for name in PHASES if name in phases}


def refused(dataset: Declared[Any, Any], stores: Stores) -> list[RefusedLoad]:
    """Return the last loads that validators refused, the newest first."""
    return refused_loads(stores.kv, dataset.layout(stores.prefix))


def find_one(dataset: Declared[Any, Any], stores: Stores, version: int | None) -> Announcement:
    """Return a kept version, by default the one that is current. Raises ``KeyNotFound``."""
    known, current = _known(dataset, stores)
    return _one_of(dataset, known, current if version is None else version)


def find_two(
    dataset: Declared[Any, Any], stores: Stores, old: int | None, new: int | None
) -> tuple[Announcement, Announcement]:
    """Return two kept versions: by default the one that is current, and the one that was published before ``new``.

    Raises ``KeyNotFound``.
    """
    known, current = _known(dataset, stores)
    second = _one_of(dataset, known, current if new is None else new)
    if old is None:
        old = max((version for version in known if version < second.version), default=None)
        if old is None:
            raise KeyNotFound(f"dataset {dataset.name!r}: no version before {second.version} is kept")
    return _one_of(dataset, known, old), second


def _known(dataset: Declared[Any, Any], stores: Stores) -> tuple[dict[int, Announcement], int | None]:
    """Return the kept versions and which is current."""
    layout = dataset.layout(stores.prefix)
    state = read_state(stores.kv, layout)
    known = {each.version: each.announcement for each in _versions(stores, layout, state)}
    if state.current is None:
        return known, None
    return known | {state.current.version: state.current}, state.current.version


def _one_of(dataset: Declared[Any, Any], known: dict[int, Announcement], version: int | None) -> Announcement:
    if version is None or version not in known:
        raise _not_kept(dataset, known, version)
    return known[version]


def _not_kept(dataset: Declared[Any, Any], known: Iterable[int], version: int | None) -> KeyNotFound:
    if version is None:
        return KeyNotFound(f"dataset {dataset.name!r}: nothing has been published yet")
    listed = ", ".join(map(str, sorted(known, reverse=True))) or "none"
    return KeyNotFound(f"dataset {dataset.name!r} has no kept version {version}; kept: {listed}")


def rollback(
    dataset: Declared[Any, Any],
    stores: Stores,
    version: int | None,
    *,
    reason: str = "",
    by: str = "",
    seen: int | None = None,
) -> int:
    """Go back and hold, see :meth:`django_etcdaero.datasets.dataset.Dataset.rollback`; ``seen``: as in :func:`pin`."""
    if version is None:
        version = find_two(dataset, stores, None, None)[0].version
    return pin(dataset, stores, version, reason=reason, by=by, seen=seen)


def pin(
    dataset: Declared[Any, Any],
    stores: Stores,
    version: int | None,
    *,
    reason: str = "",
    by: str = "",
    seen: int | None = None,
) -> int:
    """Hold readers on a version: see :meth:`django_etcdaero.datasets.dataset.Dataset.pin`.

    ``seen``: the mod revision of the pin that the caller knows of, 0 for none. If there is another one, it is
    ``Fenced``; without ``seen`` that one is replaced.
    """
    for what, text in (("reason", reason), ("by", by)):
        # Surrogates cannot be stored, and control characters act on the terminal of whoever looks at the status.
        if len(text) > MOST_TEXT or not {"Cs", "Cc"}.isdisjoint(map(unicodedata.category, text)):
            raise InvalidRequest(f"{what}: expected one line of text of at most {MOST_TEXT} characters")
    layout = dataset.layout(stores.prefix)
    state = read_state(stores.kv, layout)
    if seen is not None and state.pin_revision != seen:
        raise Fenced(_PINNED.format(dataset.name))
    if state.current is None:
        raise _not_kept(dataset, (), version)
    held = Pin(version=state.current.version if version is None else version, at=time.time(), reason=reason, by=by)
    if version is not None:  # also if it is current: in a store that was restored readers may hold another one
        _go_to(dataset, stores, state, held)
        return held.version
    done = stores.kv.txn().when(*_unmoved(layout, state)).then(put(layout.pin, held.encode())).commit()
    if not done.succeeded:
        raise Fenced(_MOVED.format(dataset.name))
    return held.version


_MOVED = "dataset {!r}: something was published meanwhile; look again and repeat"
_PINNED = "dataset {!r}: somebody pinned or unpinned it meanwhile; look again and repeat"


def _unmoved(layout: Layout, state: StoredState) -> list[Compare]:
    return [*as_read(layout, state), mod_revision(layout.pin) == state.pin_revision]


def _go_to(dataset: Declared[Any, Any], stores: Stores, state: StoredState, pin: Pin) -> None:
    """Announce a kept version again, and pin it."""
    layout, version = dataset.layout(stores.prefix), pin.version
    item = stores.kv.get(layout.history(version))
    entry = Announcement.believe(item)
    if item is None or entry is None:
        raise _not_kept(dataset, [each.version for each in _versions(stores, layout, state)], version)
    blocks = BlockStore(stores.records, layout)
    manifest = Manifest.load(blocks.fetch, bytes.fromhex(entry.root))
    names = set(manifest.digests())
    found = blocks.exists(names)
    mortal = {digest for digest, meta in found.items() if meta.ttl is not None}
    gone = (names - found.keys()) | (mortal - blocks.keep_forever(mortal))
    if gone:
        raise CorruptBlock(f"dataset {dataset.name!r}: {len(gone)} parts of version {version} are gone from the store")
    content = manifest.kinds()
    for batch in batches(content, FETCH):  # nobody could repair a damaged one: the source has other rows now
        for digest, stored in blocks.fetch(batch).items():
            verified(content[digest], digest, stored)
    epoch = state.next_epoch(blocks.read_copy())
    announced = dataclasses.replace(entry, id=secrets.token_hex(8), epoch=epoch)
    done = (
        stores.kv.txn()
        .when(*_unmoved(layout, state), mod_revision(layout.history(version)) == item.mod_revision)
        .then(put(layout.announcement, announced.encode()), put(layout.pin, pin.encode()), *drop_former(layout, state))
        .commit()
    )
    if not done.succeeded:
        raise Fenced(_MOVED.format(dataset.name))
    blocks.write_copy(announced, done.revision)


def unpin(dataset: Declared[Any, Any], stores: Stores, *, seen: int | None = None) -> bool:
    """Remove the pin and ask for a load; return whether there was a pin.

    ``seen`` is as in :func:`pin`: raises ``Fenced`` if there is another one.
    """
    layout = dataset.layout(stores.prefix)
    if seen is None:
        if not stores.kv.delete(layout.pin).deleted:
            return False
    elif not stores.kv.txn().when(mod_revision(layout.pin) == seen).then(delete(layout.pin)).commit().succeeded:
        if stores.kv.get(layout.pin) is None:
            return False
        raise Fenced(_PINNED.format(dataset.name))
    request_load(dataset, stores, repair=False)
    return True
