"""Which processes hold which version of a dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.state.presence import Process


@dataclass(frozen=True, slots=True, kw_only=True)
class Holders:
    """The processes that read a dataset, in its schema."""

    version: int | None
    """The version that they are to hold."""
    total: int
    current: int
    """Those that hold it."""
    counts: dict[int | None, int]
    """How many by the version that they hold (``None``: none yet), the newest first."""
    behind: list[Process]
    """Those that hold another one, or none."""
    other_schemas: dict[int, int]
    """How many read the dataset in another schema, by that."""

    @property
    def all_current(self) -> bool:
        """Whether there are any, and all hold it."""
        return self.total > 0 and self.current == self.total


def holders(declared: Declared[object, object], version: int | None, processes: Iterable[Process]) -> Holders:
    """Sort the processes that are registered under the dataset's alias."""
    name, schema = declared.name, declared.schema
    all_of_it = [each for each in processes if name in each.versions]
    readers = [each for each in all_of_it if each.schemas.get(name) == schema]
    counts = Counter(each.versions[name] for each in readers)
    others = Counter(each.schemas.get(name, 0) for each in all_of_it if each.schemas.get(name) != schema)
    return Holders(
        version=version,
        total=len(readers),
        current=counts.get(version, 0) if version is not None else 0,
        counts=dict(sorted(counts.items(), key=lambda item: -1 if item[0] is None else item[0], reverse=True)),
        behind=[each for each in readers if version is None or each.versions[name] != version],
        other_schemas=dict(sorted(others.items())),
    )
