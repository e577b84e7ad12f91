"""Versions go to files and come from files: :mod:`.version_file` says what such a file is.

What is imported is published like what a source gives: rows take the same way, under the same lock, past the same
validators, into the same guarded transaction. Only nobody's request is answered by it, and nobody backs off if it
fails.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

from django_etcdaero.datasets.blocks.assembly import FETCH, assemble
from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.blocks.compression import verified
from django_etcdaero.datasets.blocks.digests import MissingRecords
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.host import Host
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.datasets.state.status import RefreshResult
from django_etcdaero.datasets.stores import Stores
from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.records.store import batches
from django_etcdaero.system.new_file import NewFile, is_replaceable

from .history import find_one
from .refresh import Refresh
from .source import Progress
from .version_file import Header, VersionFile, kinds_of, write_record


def export_version(
    dataset: Declared[Any, Any], stores: Stores, target: str | PathLike[str] | BinaryIO, version: int | None
) -> Announcement:
    """Write a version to a file: see :meth:`django_etcdaero.datasets.dataset.Dataset.export_version`."""
    entry = find_one(dataset, stores, version)
    blocks = BlockStore(stores.records, dataset.layout(stores.prefix))
    manifest = Manifest.load(blocks.fetch, bytes.fromhex(entry.root))
    if not isinstance(target, str | PathLike):
        _write(target, entry, manifest, blocks)
    elif is_replaceable(Path(target)):
        with NewFile(Path(target)) as new:
            _write(new.file, entry, manifest, blocks)
            new.commit()
    else:
        with open(target, "wb") as stream:
            _write(stream, entry, manifest, blocks)
    return entry


def _write(file: BinaryIO, entry: Announcement, manifest: Manifest, blocks: BlockStore) -> None:
    kinds = kinds_of(manifest)
    header = Header(
        name=manifest.name,
        schema=manifest.schema,
        version=entry.version,
        root=entry.root,
        rows=manifest.rows,
        records=len(kinds),
        stored_bytes=manifest.stored_bytes,
        published_at=entry.published_at,
        load_started=entry.load_started,
        project=entry.project,
        codec=manifest.codec,
    )
    file.write(header.encode())
    for batch in batches(kinds, FETCH):
        found = blocks.fetch(batch)
        for digest in batch:
            if digest not in found:
                raise MissingRecords(f"a part of version {entry.version} is missing: {digest.hex()}", (digest,))
            verified(kinds[digest], digest, found[digest])
            write_record(file, digest, found[digest])


def import_version(
    dataset: Declared[Any, Any],
    host: Host,
    source: str | PathLike[str] | BinaryIO,
    *,
    force: bool,
    skip_validators: bool,
    wait: float,
) -> RefreshResult:
    """Publish what is in a file: see :meth:`django_etcdaero.datasets.dataset.Dataset.import_version`."""
    with _seekable(source) as file:
        found = VersionFile(file)
        header = found.header
        if (header.name, header.schema) != (dataset.name, dataset.schema) and not force:
            raise InvalidRequest(
                f"the file holds {header.name!r} with schema {header.schema}, not {dataset.name!r} with schema"
                f" {dataset.schema}; to import it all the same say so (force)"
            )

        def read(progress: Progress | None) -> dict[Any, Any]:
            rows = dict(assemble(header.version, found.manifest, found.fetch, rows="plain").rows)
            if progress is not None:
                progress("load", len(rows), len(rows))
            return rows

        return Refresh(dataset, host, force=True, wait=wait, read=read, skip_validators=skip_validators).run()


@contextmanager
def _seekable(source: str | PathLike[str] | BinaryIO) -> Iterator[BinaryIO]:
    with ExitStack() as stack:
        file: Any = stack.enter_context(open(source, "rb")) if isinstance(source, str | PathLike) else source
        if not file.seekable():  # a pipe
            copy = stack.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(file, copy)
            copy.seek(0)
            file = copy
        yield file
