"""Changes of objects ask for loads of the datasets that depend on them: the option ``refresh_on``.

For each model named there the signals of all models are followed that share a table with it: proxies, parents and
children; and those of its many-to-many relations, from either side. A load is asked for after the transaction of the
change was committed, on the connection that the signal names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from django.apps import apps
from django.db import router, transaction
from django.db.models import Model
from django.db.models.signals import m2m_changed, post_delete, post_save

from django_etcdaero.datasets.dataset import Dataset
from django_etcdaero.datasets.registry import datasets
from django_etcdaero.exceptions import ConfigurationError, EncodeError

from .asking import NO_KEYS, asker
from .dataset import ModelDataset
from .queries import model_of

_dependents: dict[type[Model], dict[str, Dataset[Any, Any]]] = {}
"""By sender of signals: the datasets that depend on it, by name."""


def watch() -> None:
    """Follow the models of all datasets, also of those that are declared later. For when Django is set up.

    Raises ``ConfigurationError`` for models and fields that do not exist.
    """
    datasets.follow(_connect)


def model_changed(*models: type[Model] | str, using: str | None = None) -> None:
    """Ask for a load of every dataset whose ``refresh_on`` names one of ``models``, after the commit.

    For changes that send no signals: ``QuerySet.update()``, ``bulk_create()``, ``bulk_update()``, SQL. ``using`` is the
    database of the transaction; by default that to which the model is written. Many calls are one request, and no store
    is waited for. Raises ``ConfigurationError`` for what is no model.
    """
    for named in models:
        model = model_of(named)
        _ask_after_commit(model, router.db_for_write(model) if using is None else using)


def _connect(dataset: Dataset[Any, Any]) -> None:
    try:
        models = [model_of(named) for named in dataset.refresh_on]
    except ConfigurationError as error:
        raise ConfigurationError(f"dataset {dataset.origin}: refresh_on: {error}") from None
    if isinstance(dataset, ModelDataset):
        dataset.check_models()
    for sender in {sender for model in models for sender in _family(model)}:
        _dependents.setdefault(sender, {})[dataset.name] = dataset
        post_save.connect(_changed, sender=sender, dispatch_uid=_UID)
        post_delete.connect(_deleted, sender=sender, dispatch_uid=_UID)
        for through in _relations(sender):
            _dependents.setdefault(through, {})[dataset.name] = dataset
            m2m_changed.connect(_relation_changed, sender=through, dispatch_uid=_UID)


_UID = "django_etcdaero.model_datasets"


def _family(model: type[Model]) -> Iterator[type[Model]]:
    """Yield the models whose objects are (parts of) objects of ``model``: signals name the class that was saved."""
    base = model if model._meta.abstract else model._meta.concrete_model or model
    for other in apps.get_models(include_auto_created=True, include_swapped=True):
        concrete = other._meta.concrete_model or other
        if issubclass(concrete, base) or issubclass(base, concrete):
            yield other


def _relations(model: type[Model]) -> Iterator[type[Model]]:
    """Yield the tables between ``model`` and those to which it has many-to-many relations, whoever declares them."""
    for field in model._meta.get_fields(include_hidden=True):
        if field.many_to_many:
            relation: Any = field if field.auto_created else field.remote_field
            through = getattr(relation, "through", None)
            if through is not None:
                yield through


def _changed(sender: type[Model], using: str, **kwargs: Any) -> None:
    _ask_after_commit(sender, using)


def _deleted(sender: type[Model], instance: Any, using: str, **kwargs: Any) -> None:
    """Ask for the key of an object that is gone, too, where only changes are loaded: no field of it tells any more."""
    from django_etcdaero.datasets.publish.position import key_text

    from .changes_by import key_of

    keys = {}
    for name, dataset in _dependents.get(sender, {}).items():
        if isinstance(dataset, ModelDataset) and dataset.changes_by:
            key = key_of(dataset, sender, instance)
            if key is not None:
                with suppress(EncodeError):  # no row has it
                    keys[name] = key_text(key)
    _ask_after_commit(sender, using, keys)


def _relation_changed(sender: type[Model], action: str, pk_set: set[Any] | None, using: str, **kwargs: Any) -> None:
    if action.startswith("post_") and pk_set != set():
        _ask_after_commit(sender, using)


def _ask_after_commit(sender: type[Model], using: str, keys: Mapping[str, str] = NO_KEYS) -> None:
    dependents = _dependents.get(sender)
    if not dependents:
        return
    affected = [dataset for name, dataset in dependents.items() if datasets.get(name) is dataset]
    connection = transaction.get_connection(using)
    if connection.in_atomic_block or connection.get_autocommit():
        transaction.on_commit(partial(asker.mark, affected, keys), using=using, robust=True)
    else:  # commits are made by hand, and nobody tells of them
        asker.mark(affected, keys)
