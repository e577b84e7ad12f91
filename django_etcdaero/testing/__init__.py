"""For the tests of projects that use this package.

With pytest a plugin is active by itself; with Django's runner mix :class:`.runner.EtcdAeroRunnerMixin` into it. Either
way every alias is served from memory for as long as the tests run, whatever the settings say, and each test starts with
empty stores. :class:`override_dataset` gives a dataset rows without a source or a store; :class:`failing_kv` and
:func:`interruptible_watches` make a key-value store fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ContextDecorator, contextmanager
from functools import wraps
from inspect import iscoroutinefunction
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .. import datasets
from ..datasets.blocks import decode_block, partition
from ..datasets.snapshot import Snapshot
from .faults import failing_kv, interruptible_watches

if TYPE_CHECKING:
    from ..datasets.definition import Dataset

__all__ = ["failing_kv", "interruptible_watches", "override_dataset", "real_stores", "reset"]

F = TypeVar("F", bound=Callable[..., Any])

MAX_ROW_BYTES = 1_000_000
"""What a row may take here: as much as the record stores allow."""


class override_dataset(ContextDecorator):  # noqa: N801 - named like Django's override_settings
    """Make a dataset hold ``rows`` inside a ``with`` block or a decorated function, whatever is published.

    ``target`` is the dataset or its name. The rows are encoded and decoded as published rows are, so a row that
    production would refuse is refused here, and the dataset's ``rows`` option and ``prepare()`` apply. Blocks nest.
    Raises ``KeyNotFound`` for an unknown name, and what encoding and ``prepare()`` raise.
    """

    def __init__(self, target: Dataset[Any, Any] | str, rows: Mapping[Any, Any]) -> None:
        self._target = target
        self._rows = rows
        self._before: list[Snapshot | None] = []

    def __enter__(self) -> Dataset[Any, Any]:
        dataset = datasets[self._target] if isinstance(self._target, str) else self._target
        rows: dict[Any, Any] = {}
        for block in partition(self._rows, max_value_bytes=MAX_ROW_BYTES):
            decoded = decode_block(block.digest, block.stored(), rows=dataset.rows)
            rows.update(zip(decoded.keys, decoded.rows, strict=True))
        self._before.append(dataset.overridden)
        dataset.override(Snapshot(dataset.name, rows, dataset.prepare(MappingProxyType(rows)), None))
        return dataset

    def __exit__(self, *exc_info: object) -> None:
        dataset = datasets[self._target] if isinstance(self._target, str) else self._target
        dataset.override(self._before.pop())

    def __call__(self, function: F) -> F:
        """Decorate a function, or a coroutine function."""
        if not iscoroutinefunction(function):
            return super().__call__(function)

        @wraps(function)
        async def overridden(*args: Any, **kwargs: Any) -> Any:
            with self:
                return await function(*args, **kwargs)

        return cast(F, overridden)


@contextmanager
def real_stores() -> Iterator[None]:
    """Use the stores of the settings inside the block. For a test that is about them, and brings its own."""
    from ..runtime import runtime

    before, runtime.memory_only = runtime.memory_only, False
    try:
        yield
    finally:
        runtime.restart()
        runtime.memory_only = before


def reset() -> None:
    """Empty the stores in memory and let every dataset be not loaded; called after each test."""
    from ..runtime import runtime

    runtime.forget_memory()
