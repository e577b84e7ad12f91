"""The class of rows that have the fields of a model."""

from __future__ import annotations

import dataclasses
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.core.exceptions import FieldDoesNotExist
from django.db import models
from django.db.models import Model

from django_etcdaero.exceptions import ConfigurationError

from .queries import declared_queryset, model_of

_VALUES: Final[tuple[tuple[type[Any], type[Any]], ...]] = (
    (models.BooleanField, bool),
    (models.IntegerField, int),
    (models.FloatField, float),
    (models.DecimalField, Decimal),
    (models.DateTimeField, datetime),
    (models.DateField, date),
    (models.TimeField, time),
    (models.DurationField, timedelta),
    (models.UUIDField, UUID),
    (models.BinaryField, bytes),
    (models.CharField, str),
    (models.TextField, str),
    (models.FileField, str),
    (models.FilePathField, str),
    (models.GenericIPAddressField, str),
)
"""Fields and what ``QuerySet.values()`` gives of them; of two that fit the first one counts."""


def row_type_of(cls: Any) -> type[Any]:
    """Return a frozen dataclass with the ``fields`` of a dataset, and the types that the fields of its model have.

    ``Any`` where that is not known: annotations, ``JSONField``, fields of other packages that convert what they read.
    Raises ``ConfigurationError``.
    """
    queryset = None if cls.queryset is None and cls.model is not None else declared_queryset(cls)
    model = model_of(cls.model) if queryset is None else queryset.model
    listed = [(name, _type_of(model, name)) for name in dict.fromkeys(cls.fields)]
    try:
        made = dataclasses.make_dataclass(
            cls.__name__ + "Row",
            listed,
            frozen=True,
            slots=True,
            namespace={"__doc__": f"A row of the dataset {cls.name}.", "__module__": cls.__module__},
        )
    except (TypeError, ValueError) as error:  # a keyword
        raise ConfigurationError(f"dataset {cls.origin}: typed: {error}") from None
    made.__module__, made.__qualname__ = cls.__module__, f"{cls.__qualname__}.row_type"  # where pickle finds it
    return made


def _type_of(model: type[Model], path: str) -> Any:
    field: Any = None
    current: Any = model
    nullable = False
    try:
        for part in path.split("__"):
            field = current._meta.pk if part == "pk" else current._meta.get_field(part)
            # Of relations that lead here there may be none, or several.
            nullable = nullable or field.null or (field.auto_created and not field.concrete) or bool(field.many_to_many)
            current = field.related_model
    except (FieldDoesNotExist, AttributeError):  # an annotation, or a part of a value
        return Any
    while current is not None:  # the key of a related object
        field = getattr(field, "target_field", None) or current._meta.pk
        current = field.related_model
    if hasattr(field, "from_db_value") and not type(field).__module__.startswith("django."):
        return Any
    found = next((value for kind, value in _VALUES if isinstance(field, kind)), None)
    if found is None:
        return Any
    return found | None if nullable else found
