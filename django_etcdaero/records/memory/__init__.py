"""The record store in the memory of one process, which is imported when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .store import MemoryStore, drop_memory

__all__ = ["MemoryStore", "drop_memory"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .store import MemoryStore, drop_memory

    globals().update(MemoryStore=MemoryStore, drop_memory=drop_memory)
    return globals()[name]
