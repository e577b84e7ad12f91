"""The embedded engine: etcd's semantics on SQLite, in the memory of one process or in a file of one host."""

from .compaction import Retention
from .engine import EmbeddedEngine
from .store import drop_memory

__all__ = ["EmbeddedEngine", "Retention", "drop_memory"]
