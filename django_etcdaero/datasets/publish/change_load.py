"""What has changed is loaded, and published beside the version before: stages 2 to 5 of :mod:`.publication`."""

from __future__ import annotations

import logging
import time
from contextvars import Context
from datetime import timedelta

from django_etcdaero.datasets.blocks.delta import EncodedDelta, cut
from django_etcdaero.datasets.blocks.partition import block_count
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.state.status import Outcome
from django_etcdaero.datasets.state.stored_state import Checked
from django_etcdaero.exceptions import CorruptBlock
from django_etcdaero.system.clocks import elapsed

from .announcing import Load
from .base import Base, base_of, fits, forget, is_to_fold, known_rows, remember
from .changing import Difference, difference, read_changes, read_keys, with_keys
from .expiry import Expiry
from .folding import Fold, begin, begun, drop
from .position import Position, keys_in, position_of
from .publishing import Published, Publishing
from .storing import Storing
from .validation import OldRowsGone, trial_of_changes

logger = logging.getLogger("django_etcdaero.datasets")


def publish_changes(work: Publishing) -> Published | None:
    """Load what has changed, and publish it; ``None``: everything is to be loaded."""
    going_on = _to_change(work)
    if going_on is None:
        return None
    latest, position, base = going_on
    # 2. Load and validate.
    started, began, work.loading = time.time(), elapsed(), True
    if work.keys is None:
        given = Context().run(read_changes, work.dataset, position)
        asked = keys_in(work.state.pending.keys or ()) if work.state.pending is not None else []
        if given is not None and asked and work.dataset._loads_keys():
            given = Context().run(with_keys, work.dataset, given, asked, position)
    else:
        given = Context().run(read_keys, work.dataset, work.keys, position)
    work.permission.check()
    work.loading = False
    if given is None:
        return None
    load = Load(started, began, elapsed() - began, latest, given.cursor, position.full_load, whole=False)
    work.phases["load"] = load.seconds
    try:
        with work.phase("store"):
            known = known_rows(base, position.content, work.layout)
            found = difference(given, base, position, work.blocks, work.dataset.row_type, known)
        load = load._replace(content=found.content.hex())
        if not found and not _is_folded(work, base):
            checked = work.end.note(load, latest.version)
            remember(base, work.layout)
            return Published(Outcome.UNCHANGED, None, checked, latest.rows, 0, latest.stored_bytes, changes=True)
        work.loading = True
        work.validate(latest, {}, changed=(base, found))
        work.loading = False
        # 3. Store what is missing.
        storing = work.storing(None)
        with work.phase("store"):
            after = _store_change(work, base, found, storing)
    except (CorruptBlock, OldRowsGone) as error:
        logger.warning("dataset %s: changes cannot go on, so everything is loaded: %s", work.dataset.name, error)
        work.verify = work.verify or isinstance(error, CorruptBlock)
        work.loading = False
        work.results.clear()
        work.phases.clear()
        return None
    if after is None:
        return None
    # 4. Announce.
    manifest, total = after.manifest, storing.bytes_total or latest.stored_bytes + storing.bytes_written
    announcement, expiry = work.end.prepare(manifest, load, total)
    after.assembled = work.on_trial(
        lambda: trial_of_changes(work.dataset, announcement, manifest, storing.fetch, base=base, found=found)
    )
    checked = _announce_change(work, announcement, load, storing, expiry)
    after.net.update(found.net if after.manifest.deltas else {})
    remember(after, work.layout)
    if known is not None:
        for key in found.net:
            known.put(key, found.digests.get(key))
    # 5. Expire.
    expiry.run(work.state.condemned)
    return Published(
        Outcome.REFRESHED, announcement.version, checked, manifest.rows, storing.bytes_written, total, changes=True
    )


def _to_change(work: Publishing) -> tuple[Announcement, Position, Base] | None:
    """Return the version that a change can go on from; ``None``: everything is to be loaded."""
    wanted = work.state.pending
    full = work.full or (wanted is not None and wanted.full and work.keys is None)
    if work.lock is None or not work.changeable or full or work.verify:
        return None
    if work.keys is None and not work.dataset._loads_changes():
        return None
    latest, checked = work.latest(), work.state.checked
    position = position_of(latest, checked)
    if latest is None or position is None or checked is None or work.restored():
        return None
    if work.keys is None and (not position.cursor or _full_load_is_due(work, position)):
        return None
    base = base_of(bytes.fromhex(latest.root), work.blocks, work.layout)
    return None if base is None else (latest, position, base)


def _full_load_is_due(work: Publishing, position: Position) -> bool:
    period: timedelta | None = work.dataset.full_load_every
    return period is not None and not 0 <= time.time() - position.full_load < period.total_seconds()


def _announce_change(
    work: Publishing, announcement: Announcement, load: Load, storing: Storing, expiry: Expiry
) -> Checked:
    lock = work.lock
    assert lock is not None, "without a lock everything is loaded"
    forget(work.layout)  # what its deltas come to is about to go beyond the version
    return work.end.announce(lock, announcement, load, storing, expiry)


def _store_change(work: Publishing, base: Base, found: Difference, storing: Storing) -> Base | None:
    """Write a change as deltas, or the blocks that it and the deltas before it change, and return what comes of it.

    ``None``: so many more or fewer rows need another number of blocks, or all blocks need another form.
    """
    manifest, longest = base.manifest, work.blocks.max_value_bytes
    # A file that processes share holds rows one by one: to make these of fields takes longer than reading them.
    rows = found.upserts if work.allowed.deltas_by_fields and not work.dataset.shared else None
    deltas = cut(found.change, rows, max_value_bytes=longest, row_type=work.dataset.row_type)
    if work.allowed.deltas and deltas and fits(manifest, deltas):
        return _with_deltas(base, deltas, found, storing)
    if block_count(found.rows, manifest.count) != manifest.count or manifest.codec > work.allowed.forms.codec:
        return None
    by_fields = work.allowed.by_fields
    under_way = begun(work.layout, manifest, by_fields=by_fields) if work.allowed.deltas else None
    if under_way is not None:
        while not under_way.step(storing):
            pass
        drop(work.layout)
        after = under_way.then(base, storing)
        if fits(after.manifest, deltas):
            return _with_deltas(after, deltas, found, storing)
    net = base.net | found.net
    fold = Fold(manifest, net, rows=found.rows, by_fields=by_fields, max_value_bytes=longest)
    while not fold.step(storing):
        pass
    return fold.then(Base(manifest), storing)


def _with_deltas(base: Base, deltas: list[EncodedDelta], found: Difference, storing: Storing) -> Base:
    """Return a version with further deltas, which are stored; with none if there are none at all."""
    if deltas or base.manifest.deltas:
        total = storing.bytes_total
        manifest = storing.store_deltas(base.manifest, deltas, rows=found.rows, content=found.content)
        storing.bytes_total = total and total + sum(manifest.delta_sizes[len(base.manifest.deltas) :])
        return Base(manifest, base.net)
    return base


def _is_folded(work: Publishing, base: Base) -> bool:
    """Tell whether a version in which nothing has changed is to be announced anew, without its deltas.

    A process that serves has folded them before, or does so after this. Another one does it here, and lets whoever
    comes for the lock go first.
    """
    manifest = base.manifest
    if not work.may_stay(manifest):
        return True  # whoever cannot read it is waiting
    if work.keys is not None or not is_to_fold(manifest):
        return False
    by_fields, longest = work.allowed.by_fields, work.blocks.max_value_bytes
    if block_count(manifest.rows, manifest.count) != manifest.count:
        return True
    fold = begun(work.layout, manifest, by_fields=by_fields)
    if fold is None and work.serving:
        return False
    if fold is None:
        fold = begin(work.layout, base, by_fields=by_fields, max_value_bytes=longest)
    while fold.manifest is None:
        if work.serving or (work.lock is not None and len(work.lock.queue()) > 1):
            return False
        fold.step(work.storing(None))
    return True
