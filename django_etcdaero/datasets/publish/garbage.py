"""Which records are needed no more when versions go: those that no version that stays names.

Versions of one dataset have most pages in common, so pages are compared first. Only those that differ are read: what
this costs is what has changed, and one read of all the roots.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.blocks.manifest_records import deltas_of, pages_of, sizes_of
from django_etcdaero.datasets.state.announcement import Announcement
from django_etcdaero.exceptions import ResponseError
from django_etcdaero.records.store import batches

logger = logging.getLogger("django_etcdaero.datasets")

PAGES = 64
"""Pages that are held in memory together: about 2 MB."""


class Garbage(NamedTuple):
    """What goes with some versions."""

    sizes: dict[bytes, int]
    """Stored bytes of the records that no version needs that stays, as far as those can be read."""
    unreadable: list[int]
    """Versions that stay and cannot be read: what they need is not known."""


def collect(
    blocks: BlockStore, gone: Collection[Announcement], staying: Collection[Announcement], new: Manifest
) -> Garbage:
    """Compare the versions that are ``gone`` with those that stay, ``new`` included. Raises what the store raises."""
    wanted = {bytes.fromhex(entry.root) for entry in (*gone, *staying)}
    stored = blocks.fetch(wanted)
    roots = {root: _pages(root, stored.get(root, b"")) for root in wanted}
    unreadable = {entry.version for entry in staying if roots[bytes.fromhex(entry.root)] is None}
    new_pages = set(new.pages)
    of_staying = {
        page: entry.version
        for entry in staying
        for page in roots[bytes.fromhex(entry.root)] or ()
        if page not in new_pages
    }
    kept = {digest for entry in staying for digest in _deltas(bytes.fromhex(entry.root), stored)} | set(new.deltas)
    found: dict[bytes, int] = {}
    of_gone: dict[bytes, None] = {}
    for entry in gone:
        root = bytes.fromhex(entry.root)
        pages = roots[root]
        if pages is None:
            logger.warning("version %d cannot be read; its records are left as they are", entry.version)
            continue
        found[root] = len(stored[root])
        found.update(_deltas(root, stored))
        of_gone.update(dict.fromkeys(page for page in pages if page not in of_staying and page not in new_pages))
    for batch in batches(of_gone, PAGES):
        for page, (size, sizes) in _read(blocks, batch).items():
            found[page] = size
            found.update(sizes)
    if found:
        # Where no page goes nothing but roots and deltas does: then the blocks of the new version need no look.
        for digest in new.digests() if of_gone else (new.root_digest,):
            found.pop(digest, None)
        for digest in (*kept, *(bytes.fromhex(entry.root) for entry in staying)):
            found.pop(digest, None)
        unreadable |= _keep_what_pages_name(blocks, of_staying, found)
    return Garbage(found, sorted(unreadable))


def _keep_what_pages_name(blocks: BlockStore, pages: dict[bytes, int], found: dict[bytes, int]) -> set[int]:
    """Take out of ``found`` what the pages name; return the versions of those that cannot be read."""
    unreadable = set()
    for batch in batches(pages, PAGES):
        read = _read(blocks, batch)
        for page in batch:
            found.pop(page, None)
            if page not in read:
                unreadable.add(pages[page])
                continue
            for digest in read[page][1].keys() & found.keys():
                del found[digest]
    return unreadable


def _read(blocks: BlockStore, pages: Iterable[bytes]) -> dict[bytes, tuple[int, dict[bytes, int]]]:
    """Return the stored size of each page that can be read, and those of its blocks."""
    found = {}
    for page, stored in blocks.fetch(pages).items():
        try:
            found[page] = (len(stored), sizes_of(page, stored))
        except ResponseError as error:
            logger.warning("a page of the manifest of a version cannot be read: %s", error)
    return found


def _deltas(root: bytes, stored: Mapping[bytes, bytes]) -> dict[bytes, int]:
    """Return the stored size of each delta that a root names; none if it cannot be read."""
    try:
        return deltas_of(root, stored.get(root, b""))
    except ResponseError:
        return {}


def _pages(root: bytes, stored: bytes) -> tuple[bytes, ...] | None:
    try:
        return pages_of(root, stored)
    except ResponseError:
        return None
