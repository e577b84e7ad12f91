"""What has changed in a model's table since a moment, by a field that says when each object changed.

What is called ``dataset`` here is a :class:`.dataset.ModelDataset`, which imports this module.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final

from django.db.models import Max, QuerySet

from django_etcdaero.datasets.changes import Changes
from django_etcdaero.exceptions import ConfigurationError

from .queries import checked, model_of, rows_of

OVERLAP: Final = timedelta(minutes=1)
"""How much earlier than the cursor changes are read from, where the dataset does not say: an object's time is set when
it is saved, and seen by others when its transaction is committed."""
AT_ONCE: Final = 500
"""Keys in one condition: databases limit the number of parameters."""


def cursor(dataset: Any) -> Any:
    """Return the latest time, or greatest number, that an object or a tombstone has; ``None``: there is none."""
    queryset = _queryset(dataset)
    found = [_latest(_all_of(queryset), dataset.changes_by)]
    if dataset.tombstones:
        model, _, when = dataset.tombstones
        found.append(_latest(_tombstones(model, queryset), when))
    return max((each for each in found if each is not None), default=None)


def changes(dataset: Any, since: Any) -> Changes[Any]:
    """Return the rows of objects that changed since a cursor, and the keys of those that are gone.

    Gone are objects that changed and that the queryset does not have any more, and keys of tombstones.
    """
    queryset, following = _queryset(dataset), cursor(dataset)
    if isinstance(since, datetime) and dataset.changes_overlap is None:
        since -= OVERLAP
    changed, tombstones = queryset, None
    everything = _all_of(queryset)
    if dataset.tombstones:
        model, key, when = dataset.tombstones
        tombstones = _tombstones(model, queryset).values_list(key, flat=True)
    if since is not None:
        changed = changed.filter(**{f"{dataset.changes_by}__gte": since})
        everything = everything.filter(**{f"{dataset.changes_by}__gte": since})
        if tombstones is not None:
            tombstones = tombstones.filter(**{f"{when}__gte": since})
    gone = dict.fromkeys(everything.values_list(dataset.key_field, flat=True))
    if tombstones is not None:
        dead = dict.fromkeys(tombstones)
        gone.update(dict.fromkeys(dead.keys() - _living(dataset, queryset, dead)))
    upserts = dict(rows_of(dataset, changed))
    return Changes(upserts, [key for key in gone if key not in upserts and key is not None], following)


def of_keys(dataset: Any, keys: Collection[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield key and row of the objects with some keys."""
    queryset = _queryset(dataset)
    for some in _parts(keys):
        yield from rows_of(dataset, queryset.filter(**{f"{dataset.key_field}__in": some}))


def _queryset(dataset: Any) -> QuerySet[Any]:
    queryset = checked(dataset, dataset.get_queryset())
    if queryset.query.is_sliced or queryset.query.combinator:
        raise ConfigurationError(
            f"dataset {dataset.name!r}: changes_by needs a queryset that can be filtered, not a slice or a union"
        )
    return queryset.order_by()


def _all_of(queryset: QuerySet[Any]) -> QuerySet[Any]:
    """Return all objects of the model, also those that the queryset leaves out."""
    return queryset.model._base_manager.using(queryset.db).all()  # type: ignore[no-any-return]


def _tombstones(model: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
    return model_of(model)._base_manager.using(queryset.db).all()


def _latest(queryset: QuerySet[Any], field: str) -> Any:
    return queryset.aggregate(latest=Max(field))["latest"]


def _living(dataset: Any, queryset: QuerySet[Any], keys: Collection[Any]) -> set[Any]:
    """Return those of the keys that objects have: again, or still, if the deletion was undone."""
    found: set[Any] = set()
    for some in _parts(keys):
        living = queryset.filter(**{f"{dataset.key_field}__in": some})
        found.update(living.values_list(dataset.key_field, flat=True))
    return found


def _parts(keys: Collection[Any]) -> Iterator[list[Any]]:
    rest = iter(keys)
    while some := list(islice(rest, AT_ONCE)):
        yield some
