"""What is checked of a :class:`.dataset.ModelDataset` when it is declared. No database is asked.

``cls`` is the class that declares one, ``base`` is :class:`.dataset.ModelDataset`, which imports this module.
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import FieldDoesNotExist, FieldError
from django.db.models import Model, QuerySet

from django_etcdaero.exceptions import ConfigurationError

from .queries import declared_queryset, model_of


def check_options(cls: Any, base: Any) -> None:
    """Refuse what can be told without the models. Raises ``ConfigurationError``."""

    def refuse(what: str) -> None:
        raise ConfigurationError(f"dataset {cls.origin}: {what}")

    for option in ("fields", "order_by", "select_related", "prefetch_related"):
        value: Any = getattr(cls, option)
        if not isinstance(value, list | tuple):
            refuse(f"{option} = {value!r}, expected a list or tuple")
    for option in ("fields", "select_related"):
        if not all(isinstance(name, str) for name in getattr(cls, option)):
            refuse(f"{option} = {getattr(cls, option)!r}, expected names")
    if not isinstance(cls.key_field, str) or not cls.key_field:
        refuse(f"key_field = {cls.key_field!r}, expected the name of a field, such as 'pk'")
    if cls.queryset is not None and not isinstance(cls.queryset, QuerySet):
        refuse(f"queryset = {cls.queryset!r}, expected a QuerySet")
    if cls.model is not None and not isinstance(cls.model, str | type):
        refuse(f"model = {cls.model!r}, expected a model or 'app.Model'")
    if not isinstance(cls.changes_by, str):
        refuse(f"changes_by = {cls.changes_by!r}, expected the name of a field, such as 'updated_at'")
    named = cls.tombstones
    if named != () and not (isinstance(named, list | tuple) and len(named) == 3 and all(map(_is_name, named[1:]))):
        refuse(f"tombstones = {named!r}, expected a model, its field with the key, and its field with the time")
    if named and not cls.changes_by:
        refuse("has tombstones and no changes_by")
    if cls.load is not base.load:
        return
    own_queryset, serializes = cls.get_queryset is not base.get_queryset, cls.serialize is not base.serialize
    if cls.model is None and cls.queryset is None and not own_queryset:
        refuse("has no model, no queryset and no get_queryset()")
    if bool(cls.fields) is serializes:
        refuse(
            "has fields and serialize(): one of them says what a row is"
            if serializes
            else "has neither fields nor serialize(instance): set fields = (...) to what a row is to have"
        )
    if cls.fields and (cls.select_related or cls.prefetch_related):
        refuse("select_related and prefetch_related are for serialize(); fields takes names such as 'category__name'")
    if cls.fields and cls.row_type is None:  # an instance may have more, such as properties
        missing = [name for name in cls.indexes if name not in cls.fields]
        if missing:
            refuse(f"indexes has {missing[0]!r}, and no row will: fields has {', '.join(cls.fields)}")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value != ""


def check_models(cls: Any, base: Any) -> None:
    """Refuse a model that has no objects, and fields that do not exist. Raises ``ConfigurationError``.

    What a ``get_queryset()`` of the class's own returns is not looked at before a load.
    """
    if cls.get_queryset is not base.get_queryset or cls.load is not base.load:
        return
    step = "model"
    try:
        if isinstance(cls.model, type) and issubclass(cls.model, Model):
            _refuse_without_objects(cls.model)
        queryset = declared_queryset(cls)
        step = "key_field"
        queryset.values(cls.key_field)
        step = "fields"
        queryset.values(*cls.fields)
        step = "changes_by"
        if cls.changes_by:
            queryset.values(cls.changes_by)
        step = "tombstones"
        if cls.tombstones:
            model, key, when = cls.tombstones
            model_of(model)._base_manager.values(key, when)
        step = "order_by"
        if cls.order_by:
            queryset.order_by(*cls.order_by)
        step = "select_related"
        for path in cls.select_related:
            _follow(queryset.model, path)
    except (FieldError, FieldDoesNotExist, TypeError, AttributeError, ConfigurationError) as error:
        raise ConfigurationError(f"dataset {cls.origin}: {step}: {error}") from None


def _refuse_without_objects(model: type[Model]) -> None:
    if model._meta.abstract:
        raise ConfigurationError(f"{model.__qualname__} is abstract and has no objects: name a model derived from it")
    if model._meta.swapped:
        raise ConfigurationError(f"{model.__qualname__} is replaced by {model._meta.swapped}: name that one")


def _follow(model: type[Any], path: str) -> None:
    for part in path.split("__"):
        field = model._meta.get_field(part)
        if field.related_model is None:
            raise ConfigurationError(f"{part!r} of {model.__qualname__} leads to no other model")
        model = field.related_model
