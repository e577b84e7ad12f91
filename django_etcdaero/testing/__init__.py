"""For the tests of projects that use this package.

With pytest a plugin is active by itself; with Django's runner mix :class:`.runner.EtcdAeroRunnerMixin` into it. Either
way every alias is served from memory for as long as the tests run, whatever the settings say, and each test starts with
empty stores. :class:`override_dataset` gives a dataset rows without a source or a store; :class:`failing_kv` and
:class:`interruptible_watches` make a key-value store fail.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django_etcdaero import datasets
from django_etcdaero.datasets.blocks.partition import decode_block, partition
from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.read.live import live_state
from django_etcdaero.datasets.snapshot import Snapshot, make_snapshot, one_version

from .blocks import Block
from .faults import failing_kv, interruptible_watches

__all__ = ["failing_kv", "interruptible_watches", "override_dataset", "real_stores", "reset"]

MAX_ROW_BYTES = 1_000_000
"""What a row may take here: as much as the record stores allow."""


class override_dataset(Block):  # noqa: N801 - named like Django's override_settings
    """Make a dataset hold ``rows`` inside a ``with`` block or a decorated test or test class, whatever is published.

    ``target`` is the dataset or its name. The rows are encoded and decoded as published rows are, so a row that
    production would refuse is refused here, and the dataset's ``rows``, ``row_type``, ``ordered`` and ``indexes`` and
    its ``prepare()`` apply. Blocks nest. Raises ``TypeError`` for rows that are no mapping, ``KeyNotFound`` for an
    unknown name, and what encoding, ``prepare()`` and indexes raise.
    """

    def __init__(self, target: Dataset[Any, Any] | str, rows: Mapping[Any, Any]) -> None:
        if not isinstance(rows, Mapping):
            raise TypeError(f"the rows of override_dataset are a mapping of keys to rows, not {type(rows).__name__}")
        self._target = target
        self._rows = rows
        self._before: list[Snapshot[Any, Any] | None] = []

    def __enter__(self) -> Dataset[Any, Any]:
        dataset = datasets[self._target] if isinstance(self._target, str) else self._target
        rows: dict[Any, Any] = {}
        parts = partition(one_version(self._rows), max_value_bytes=MAX_ROW_BYTES, row_type=dataset.row_type)
        for block in parts:
            decoded = decode_block(block.digest, block.stored(), rows=dataset.rows, row_type=dataset.row_type)
            rows.update(zip(decoded.keys, decoded.rows, strict=True))
        if dataset.ordered:
            rows = {key: rows[key] for key in self._rows}
        self._before.append(live_state(dataset).overridden)
        live_state(dataset).override(make_snapshot(dataset, rows, None, ordered=dataset.ordered))
        return dataset

    def __exit__(self, *exc_info: object) -> None:
        dataset = datasets[self._target] if isinstance(self._target, str) else self._target
        live_state(dataset).override(self._before.pop())


class real_stores(Block):  # noqa: N801 - named like override_dataset
    """Use the stores of the settings inside the block. For a test that is about them, and brings its own."""

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> None:
        from django_etcdaero.runtime import runtime

        self._before.append(runtime.memory_only)
        runtime.memory_only = False

    def __exit__(self, *exc_info: object) -> None:
        from django_etcdaero.runtime import runtime

        runtime.restart()
        runtime.memory_only = self._before.pop()


def reset() -> None:
    """Empty the stores in memory and let every dataset be not loaded; called after each test."""
    from django_etcdaero.runtime import runtime

    runtime.forget_memory()
