"""Making the file of a version: a layer over what is mapped where little has changed, or else a file of rows.

Nothing is fetched before it is known how much it will be, but for two roots, and the pages where those do not tell.
"""

from __future__ import annotations

from typing import Final

from django_etcdaero.datasets.blocks.block_store import BlockStore
from django_etcdaero.datasets.blocks.manifest import Manifest
from django_etcdaero.datasets.blocks.manifest_records import Root
from django_etcdaero.datasets.state.announcement import Announcement

from . import changes
from .building import Block, Plan, blocks_of, build
from .changes import Change
from .changes_form import FLAG_BITS
from .form import HEADER_BYTES
from .layering import FLAGS_PER_ROW, write_layer
from .place import Place
from .stack import Stack

LEAST: Final = 1 << 20
"""Bytes of a file of rows over which layers are laid; a smaller one is made anew."""
MOST_SHARE: Final = 1 / 4
"""Part of the size of the file of rows that its layers, and the changes for another one, may have. Beyond that the file
of rows is made anew: they should have been folded long ago."""
_ROW_BYTES: Final = 24
"""What a row takes beside its data, at most."""


class Making:
    """The making of the file of one version, over ``stack`` if there is one; ``same``: that has the same rows.

    Raises ``CorruptBlock``, what the record store raises, ``StoreFull``, and ``ConfigurationError``.
    """

    def __init__(
        self, place: Place, announcement: Announcement, blocks: BlockStore, stack: Stack | None, *, same: bool
    ) -> None:
        self._place = place
        self._announcement = announcement
        self._root = bytes.fromhex(announcement.root)
        self._fetch = blocks.fetch
        self._stack = stack
        self._same = same
        self._held: Root | None = None
        self._wanted: Root | None = None
        self._plan: Plan | None = None
        self._manifest: Manifest | None = None
        self._deltas: tuple[tuple[bytes, int], ...] | None = None
        self._looked = False

    @property
    def stored_bytes(self) -> float:
        """How many bytes are to be fetched, about."""
        self._look()
        if self._deltas is not None:
            return sum(size for _, size in self._deltas)
        assert self._plan is not None
        return 0.0 if self._same else self._plan.share * self._announcement.stored_bytes

    def make(self, *, least: int = 0) -> None:
        """Make it; the lowest ``least`` layers stay apart."""
        self._look()
        change = self._change()
        if change is None:
            self._make_rows()
        else:
            self._make_layer(change, least)

    def _look(self) -> None:
        """Find out what is to be fetched."""
        if self._looked:
            return
        stack, fetch = self._stack, self._fetch
        if stack is not None and not self._may_be_layered(stack):
            self._same = False
        elif stack is not None:
            self._held, self._wanted = changes.roots_of(stack.root, self._root, fetch)
            if self._held is not None:
                self._deltas = self._wanted.deltas_since(self._held)
            if self._deltas is not None and not self._fits(sum(size for _, size in self._deltas)):
                self._deltas = None
        if self._deltas is None:
            self._manifest = Manifest.load(fetch, self._root)
            wanted = blocks_of(self._manifest, fetch)
            self._plan = self._planned(wanted)
        self._looked = True

    def _planned(self, wanted: list[Block]) -> Plan:
        stack = self._stack
        if stack is None or stack.base.head.blocks != len(wanted):
            return Plan.of(wanted, None)
        names = stack.names_of_blocks()
        return Plan(wanted, stack.base, [block.name != name for block, name in zip(wanted, names, strict=True)])

    def _may_be_layered(self, stack: Stack) -> bool:
        return stack.base.size >= LEAST and self._fits(0) and self._place.has(stack)

    def _fits(self, size: float) -> bool:
        stack = self._stack
        return stack is not None and stack.layer_bytes + size <= MOST_SHARE * stack.base.size

    def _change(self) -> Change | None:
        """Return what changes, if it is little; ``None``: the file of rows is to be made anew."""
        stack, root, plan = self._stack, self._wanted, self._plan
        if stack is None or root is None:
            return None
        if self._deltas is not None:
            return changes.by_deltas(stack, [digest for digest, _ in self._deltas], root, self._fetch)
        assert plan is not None
        held = self._held
        if plan.base is None or (root.order and (not stack.ordered or held is None or held.order != root.order)):
            return None  # another number of blocks, or another order
        differ = [block for block, new in zip(plan.blocks, plan.new, strict=True) if new]
        if self._same:
            return changes.the_same(stack, differ, root)
        if plan.share > changes.MOST_SHARE or not self._fits(plan.share * stack.base.size):
            return None
        return changes.by_blocks(stack, differ, root, self._fetch)

    def _make_layer(self, change: Change, least: int) -> None:
        stack = self._stack
        assert stack is not None
        # If the host fails before it is on the disk, its checks tell, and it is made anew: that is not waited for.
        with self._place.new(self._place.changes_of(self._root), _size_of(change, stack), durable=False) as file:
            write_layer(file, self._root, stack, change, least=least)

    def _make_rows(self) -> None:
        manifest, plan = self._manifest, self._plan
        if manifest is None or plan is None:
            self._manifest = manifest = Manifest.load(self._fetch, self._root)
            plan = self._planned(blocks_of(manifest, self._fetch))
        if plan.base is not None and self._stack is not None:
            plan = Plan.of(plan.blocks, plan.base, changed=self._stack.blocks_in_layers())
        size = HEADER_BYTES + manifest.plain_bytes + _ROW_BYTES * (manifest.rows + manifest.count)
        with self._place.new(self._place.of(self._root), size) as file:
            build(file, manifest, plan, self._fetch)


def _size_of(change: Change, stack: Stack) -> int:
    """Return what a layer takes at most, about."""
    data = sum(len(key) + len(row or b"") + _ROW_BYTES for key, row in change.rows.items())
    rows = len(change.rows) + sum(layer.head.entries for layer in stack.layers)
    flags = max(1 << FLAG_BITS.start, 4 * FLAGS_PER_ROW * rows) // 8
    return HEADER_BYTES + data + stack.layer_bytes + flags + _ROW_BYTES * len(change.names)
