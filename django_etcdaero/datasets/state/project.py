"""Whose data stands under a prefix: two projects that share one by mistake are told.

Each announcement says which project published it. It is a hint and no identity, and it must not cry wolf: processes of
one project have different hosts, paths, settings and versions of the code. So two are taken for different projects
only if they say so by name (the setting ``PROJECT``), or, where neither has one, if both the package of their URLs and
the place of the dataset's declaration differ: services that share a declaration share the data on purpose.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.stores import Stores

from .announcement import Announcement

logger = logging.getLogger("django_etcdaero.datasets")

_NAMED: Final = "="
_told: set[tuple[str, str, str]] = set()
"""Prefix, dataset and the other project, of what has been told."""


def project_of(dataset: Declared[Any, Any], stores: Stores) -> str:
    """Return what announcements of this process say: ``=name``, or package and origin; empty: nothing is known."""
    if stores.project:
        return f"{_NAMED}{stores.project}"
    return f"{stores.package} {dataset.origin}" if stores.package and dataset.origin else ""


def differ(one: str, other: str) -> bool:
    """Tell whether two values of :func:`project_of` are certainly of two projects."""
    if not one or not other or one.startswith(_NAMED) != other.startswith(_NAMED):
        return False
    if one.startswith(_NAMED):
        return one != other
    return all(part != of_other for part, of_other in zip(one.split(" "), other.split(" "), strict=False))


def other_project(dataset: Declared[Any, Any], stores: Stores, announced: Announcement | None) -> str | None:
    """Return the other project that published what is announced; ``None``: it was this one, as far as is known."""
    if announced is None or not differ(project_of(dataset, stores), announced.project):
        return None
    return announced.project.removeprefix(_NAMED)


def tell_of_other_project(dataset: Declared[Any, Any], stores: Stores, announced: Announcement | None) -> None:
    """Warn, once in each process, when what is announced was published by another project."""
    other = other_project(dataset, stores, announced)
    if other is None or announced is None or (stores.prefix, dataset.name, other) in _told:
        return
    _told.add((stores.prefix, dataset.name, other))
    logger.warning(
        "dataset %s: version %d was published by another project (%s, on %s; this is %s): two that share stores need "
        "different PREFIXes; if they are one, give both the same PROJECT",
        dataset.name,
        announced.version,
        other,
        announced.host,
        project_of(dataset, stores).removeprefix(_NAMED),
    )
