"""All checks, in the order in which they are told."""

from __future__ import annotations

from typing import Final

from .aerospike import clients as aerospike_clients
from .aerospike import cluster as aerospike_cluster
from .aerospike import space as aerospike_space
from .aerospike import work as aerospike_work
from .checking import Check
from .etcd import growth, history, members, safety, size
from .etcd import work as etcd_work
from .project import agreement, datasets, locks, pages, processes, settings, sharing
from .stores import database, files, keys, records

_MODULES: Final = (
    *(settings, pages, keys, members, size, growth, history, safety, etcd_work),
    *(records, aerospike_cluster, aerospike_space, aerospike_work, aerospike_clients, database, files),
    *(datasets, sharing, processes, agreement, locks),
)

CHECKS: Final[tuple[Check, ...]] = tuple(
    value for module in _MODULES for value in vars(module).values() if isinstance(value, Check)
)
"""Each has an id of its own."""
