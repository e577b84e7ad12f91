"""Everything is loaded, and published if it is not what is announced: stages 2 to 5 of :mod:`.publication`."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from contextvars import Context
from typing import Any

from django_etcdaero.datasets.blocks.delta import check_keys
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.blocks.row_digests import RowDigests
from django_etcdaero.datasets.blocks.row_stream import RowStream, StreamedRows
from django_etcdaero.datasets.state.status import Outcome
from django_etcdaero.datasets.state.stored_state import Checked
from django_etcdaero.system.clocks import elapsed
from django_etcdaero.system.error_text import text_of
from django_etcdaero.system.interruption import interrupts
from django_etcdaero.system.temporary_bytes import TemporaryBytes

from .announcing import Load
from .base import Base, remember, remember_rows
from .drift import drift_of
from .position import Position, position_of, read_cursor
from .publishing import Published, Publishing
from .source import stream_rows
from .storing import Storing, load_manifest
from .validation import trial_load

logger = logging.getLogger("django_etcdaero.datasets")


def publish_all(work: Publishing) -> Published:
    """Load everything and publish it. Raises as :meth:`.publication.Publication.run` does."""
    work.end.answers = work.from_source
    with ExitStack() as stack:
        return _publish(work, stack)


def _publish(work: Publishing, stack: ExitStack) -> Published:
    # 2. Load and validate.
    rows, load = _load_and_validate(work, stack)
    position = position_of(load.latest, work.state.checked) if work.changeable else None
    # 3. Store what is missing.
    base = load_manifest(work.blocks, load.latest)
    storing = work.storing(base)
    with work.phase("store"):
        same = position.content if position is not None and base is not None and work.may_stay(base) else b""
        manifest = storing.store(rows, contents=work.changeable, by_fields=work.allowed.by_fields, same=same)
    del rows
    stack.close()
    load = load._replace(content=storing.content.hex(), drift=_drift(work, base, position, manifest, storing))
    version: int | None = None
    checked: Checked | None = None
    known = position is not None or not work.changeable
    if known and _is_announced(work, manifest, base, storing):
        checked = work.end.note(load, load.latest.version if load.latest is not None else 0, storing)
    else:
        # 4. Announce.
        announcement, expiry = work.end.prepare(manifest, load, storing.bytes_total)
        work.on_trial(lambda: trial_load(work.dataset, announcement, manifest, storing.fetch))
        version = announcement.version
        if work.lock is not None:
            checked = work.end.announce(work.lock, announcement, load, storing, expiry)
            # 5. Expire.
            expiry.run(work.state.condemned)
    if work.lock is not None and storing.digests is not None:
        remember_rows(storing.digests, work.layout)
        if not manifest.deltas:
            remember(Base(manifest), work.layout)
    outcome = Outcome.UNCHANGED if version is None else Outcome.REFRESHED
    written, total = storing.bytes_written, storing.bytes_total
    return Published(outcome, version, checked, manifest.rows, written, total, drift=load.drift)


def _load_and_validate(work: Publishing, stack: ExitStack) -> tuple[dict[Any, Any] | StreamedRows, Load]:
    started, began, work.loading = time.time(), elapsed(), True
    cursor = ""
    if work.from_source and work.dataset._loads_changes():
        cursor = Context().run(read_cursor, work.dataset)
    rows = Context().run(_read, work)
    if isinstance(rows, StreamedRows):
        stack.callback(rows.close)
    work.permission.check()
    if work.changeable and not isinstance(rows, StreamedRows):
        check_keys(rows)
    load = Load(started, began, elapsed() - began, work.latest(), cursor, started if work.changeable else 0.0)
    work.phases["load"] = load.seconds
    work.validate(load.latest, rows)
    work.loading = False
    return rows, load


def _read(work: Publishing) -> dict[Any, Any] | StreamedRows:
    """Read the source: rows that are streamed are encoded as they come."""
    if work.read is not None:
        return work.read(work.progress)

    by_fields = work.allowed.by_fields
    del work.allowed  # a load may take long: who reads is looked at anew before blocks are written

    def stream() -> RowStream:
        return RowStream(
            TemporaryBytes(work.stores.temporary_dir, setting="TEMPORARY_DIR"),
            max_value_bytes=work.blocks.max_value_bytes,
            ordered=work.dataset.ordered,
            digests=RowDigests() if work.changeable else None,
            by_fields=None if by_fields else False,
            row_type=work.dataset.row_type,
            check=check_keys if work.changeable else None,
        )

    before = work.state.current.rows if work.state.current is not None else 0
    return stream_rows(work.dataset, work.progress, stream, before=before)


def _drift(
    work: Publishing, base: Manifest | None, position: Position | None, manifest: Manifest, storing: Storing
) -> int | None:
    """Return how many rows were not what changes had told, now that everything was loaded."""
    if base is None or position is None or not position.cursor or not work.dataset._loads_changes():
        return None
    if position.content == storing.content:
        return 0
    try:
        drift = Context().run(drift_of, work.dataset, position, base, manifest, work.blocks, storing.fetch)
    except Exception as error:  # code of the project, which has just given all rows
        if interrupts(error):
            raise
        said = text_of(error)
        logger.warning("dataset %s: how far changes had drifted is not known: %s", work.dataset.name, said)
        return None
    if drift:
        logger.warning(
            "dataset %s: %d rows were not what load_changes() had told; this full load has corrected them",
            work.dataset.name,
            drift,
        )
    return drift


def _is_announced(work: Publishing, manifest: Manifest, base: Manifest | None, storing: Storing) -> bool:
    """Tell whether the source gave what is announced already, and every record of it was there."""
    same = base is not None and base.root_digest == manifest.root_digest
    return same and not storing.bytes_written and not work.restored()
