"""All checks, in the order in which they are told."""

from __future__ import annotations

from typing import Final

from .aerospike import cluster as aerospike_cluster
from .aerospike import space as aerospike_space
from .aerospike import work as aerospike_work
from .checking import Check
from .etcd import history, members, safety, size
from .etcd import work as etcd_work
from .project import datasets, locks, processes, settings
from .stores import database, files, keys, records

_MODULES: Final = (
    *(settings, keys, members, size, history, safety, etcd_work),
    *(records, aerospike_cluster, aerospike_space, aerospike_work, database, files),
    *(datasets, processes, locks),
)

CHECKS: Final[tuple[Check, ...]] = tuple(
    value for module in _MODULES for value in vars(module).values() if isinstance(value, Check)
)
"""Each has an id of its own."""
