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
    counts: Counter[int | None] = Counter()
    others: Counter[int] = Counter()
    behind = []
    for each in processes:  # once: there may be a thousand, for hundreds of datasets
        if name not in each.versions:
            continue
        if (read := each.schemas.get(name, 0)) != schema:
            others[read] += 1
            continue
        held = each.versions[name]
        counts[held] += 1
        if version is None or held != version:
            behind.append(each)
    return Holders(
        version=version,
        total=counts.total(),
        current=counts.get(version, 0) if version is not None else 0,
        counts=dict(sorted(counts.items(), key=lambda item: -1 if item[0] is None else item[0], reverse=True)),
        behind=behind,
        other_schemas=dict(sorted(others.items())),
    )
