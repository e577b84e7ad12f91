"""The embedded engine: etcd's semantics on SQLite, in the memory of one process or in a file of one host."""

from django_etcdaero.kv.embedded.compaction import Retention
from django_etcdaero.kv.embedded.engine import EmbeddedEngine
from django_etcdaero.kv.embedded.store import drop_memory

__all__ = ["EmbeddedEngine", "Retention", "drop_memory"]
