"""The embedded engine: etcd's semantics on SQLite, in the memory of one process or in a file of one host.

The names are imported on first use: reading a URL does not need them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .compaction import Retention
    from .database import drop_memory
    from .engine import EmbeddedEngine

__all__ = ["EmbeddedEngine", "Retention", "drop_memory"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .compaction import Retention
    from .database import drop_memory
    from .engine import EmbeddedEngine

    globals().update(EmbeddedEngine=EmbeddedEngine, Retention=Retention, drop_memory=drop_memory)
    return globals()[name]
