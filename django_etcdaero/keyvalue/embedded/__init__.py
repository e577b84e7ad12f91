"""The embedded engine: etcd's semantics on SQLite, in the memory of one process or in a file of one host.

The names are imported on first use: reading a URL does not need them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_etcdaero.system.lazy_names import lazy_names

if TYPE_CHECKING:
    from .compaction import Retention
    from .database import drop_memory
    from .engine import EmbeddedEngine

__all__ = ["EmbeddedEngine", "Retention", "drop_memory"]

__getattr__, __dir__ = lazy_names(
    __name__, {"compaction": ["Retention"], "database": ["drop_memory"], "engine": ["EmbeddedEngine"]}
)
