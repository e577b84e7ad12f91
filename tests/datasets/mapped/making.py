"""Files of rows, made and mapped without any store."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django_etcdaero.datasets.blocks.encoded_rows import encoded_pairs
from django_etcdaero.datasets.blocks.partition import partition
from django_etcdaero.datasets.mapped.form import MappedFile
from django_etcdaero.datasets.mapped.rows import MappedRows
from django_etcdaero.datasets.mapped.stack import Stack
from django_etcdaero.datasets.mapped.writing import Writer

ROOT = b"r" * 20


def write(path: Path, rows: Mapping[Any, Any], *, root: bytes = ROOT) -> None:
    """Write the file of these rows."""
    parted = partition(rows, max_value_bytes=1 << 20)
    with path.open("w+b") as file:
        writer = Writer(file, root=root, blocks=parted.count)
        for block in parted:
            pairs = encoded_pairs(block.plain)
            writer.add(block.index, block.digest, [key for key, _ in pairs], [row for _, row in pairs])
        writer.finish()


def mapped(path: Path, **options: Any) -> MappedRows[Any, Any]:
    """Map a file. Raises what that raises."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return MappedRows(Stack(MappedFile(descriptor)), **options)
    finally:
        os.close(descriptor)
