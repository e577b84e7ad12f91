"""From a declaration to its queryset, and from the queryset to keys and rows.

What is called ``dataset`` here is a :class:`.dataset.ModelDataset`, which imports this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist, ObjectDoesNotExist
from django.db.models import BinaryField, Model, QuerySet

from django_etcdaero.exceptions import ConfigurationError

CHUNK = 2000
"""Objects that are fetched together."""


def model_of(named: type[Any] | str) -> type[Model]:
    """Return the model that is named by its class or by ``"app.Model"``. Raises ``ConfigurationError``."""
    if isinstance(named, str):
        try:
            return apps.get_model(named)
        except (LookupError, ValueError) as error:
            raise ConfigurationError(f"there is no model {named!r}: {error}") from None
    given: Any = named  # not all use a type checker
    if not isinstance(given, type):
        kind = type(given)  # its repr may run a query
        raise ConfigurationError(
            f"an object of {kind.__module__}.{kind.__qualname__} is not a model: expected the class, or 'app.Model'"
        )
    if not issubclass(named, Model):
        raise ConfigurationError(f"{named.__module__}.{named.__qualname__} is not a model")
    return named


def declared_queryset(cls: Any) -> QuerySet[Any]:
    """Return the queryset that the attributes of a class declare, never evaluated. Raises ``ConfigurationError``."""
    if cls.queryset is not None:
        return cls.queryset.all()  # type: ignore[no-any-return]
    if cls.model is None:
        raise ConfigurationError("has no model, no queryset and no get_queryset()")
    return model_of(cls.model)._default_manager.all()


def checked(dataset: Any, queryset: object) -> QuerySet[Any]:
    """Return what ``get_queryset()`` gave. Raises ``ConfigurationError`` for something else than a queryset."""
    if isinstance(queryset, QuerySet):
        return queryset
    kind = type(queryset)
    raise ConfigurationError(
        f"get_queryset() of dataset {dataset.name!r} returned {kind.__module__}.{kind.__qualname__}, expected a "
        "QuerySet; load() may return anything else"
    )


def in_order(dataset: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
    """Return the queryset in an order that two loads of equal tables have in common.

    What ``order_by``, the queryset or the model leave open is decided by the key: otherwise rows would change places
    from load to load, and each of them would be a new version.
    """
    if dataset.order_by:
        queryset = queryset.order_by(*dataset.order_by)
    query = queryset.query
    if not dataset.ordered or query.is_sliced or query.combinator or query.extra_order_by:
        return queryset
    given: Any = query.order_by or (query.get_meta().ordering if queryset.ordered else query.distinct_fields)
    if dataset.key_field in given or f"-{dataset.key_field}" in given:
        return queryset
    return queryset.order_by(*given, dataset.key_field)


def rows_of(dataset: Any, queryset: QuerySet[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the key and the row of each object."""
    return values(dataset, queryset) if dataset.fields else serialized(dataset, queryset)


def values(dataset: Any, queryset: QuerySet[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield key and row of each object; no instances are made."""
    key, fields = dataset.key_field, tuple(dataset.fields)
    if queryset._prefetch_related_lookups:  # type: ignore[attr-defined] # a view's queryset may bring some along
        queryset = queryset.prefetch_related(None)
    binary = [name for name in fields if _is_binary(queryset.model, name)]
    take: Callable[[dict[str, Any]], Any] = (lambda row: row[key]) if key in fields else (lambda row: row.pop(key))
    for row in queryset.values(*dict.fromkeys((*fields, key))).iterator(chunk_size=CHUNK):
        for name in binary:  # some databases give a memoryview
            row[name] = None if row[name] is None else bytes(row[name])
        yield take(row), row


def serialized(dataset: Any, queryset: QuerySet[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the key of each object and what ``serialize()`` makes of it."""
    if dataset.select_related:
        queryset = queryset.select_related(*dataset.select_related)
    if dataset.prefetch_related:
        queryset = queryset.prefetch_related(*dataset.prefetch_related)
    path = dataset.key_field.split("__")
    for instance in queryset.iterator(chunk_size=CHUNK):
        yield reduce(_part, path, instance), dataset.serialize(instance)


def _part(instance: Any, name: str) -> Any:
    """Return an attribute, ``None`` of what is not there: as ``values()`` does where no object is related."""
    try:
        return None if instance is None else getattr(instance, name)
    except ObjectDoesNotExist:  # of the other side of a one-to-one relation
        return None


def _is_binary(model: type[Model], name: str) -> bool:
    current: Any = model
    field: Any = None
    try:
        for part in name.split("__"):
            field = current._meta.pk if part == "pk" else current._meta.get_field(part)
            current = field.related_model
    except (FieldDoesNotExist, AttributeError):  # an annotation, or a part of a value
        return False
    return isinstance(field, BinaryField)
