"""The class of datasets whose source is a queryset."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from django_etcdaero.datasets.dataset import Dataset

if TYPE_CHECKING:
    from django.db.models import Model, QuerySet

    from django_etcdaero.datasets.changes import Changes

K = TypeVar("K")
V = TypeVar("V")

MODEL_OPTIONS = (
    "model",
    "queryset",
    "key_field",
    "fields",
    "order_by",
    "select_related",
    "prefetch_related",
    "changes_by",
    "tombstones",
)
"""The attributes of such a class, beside the options of every dataset."""


class ModelDataset(Dataset[K, V]):
    """A dataset of the objects of a model: subclass it, give it a ``name``, a ``model`` and ``fields``.

    Instead of ``fields`` it may have a method ``serialize(instance)``, and instead of ``model`` a ``queryset`` or
    ``get_queryset()``. ``ModelDataset[K, V]``: the types of keys and rows, as reading gives them. A wrong declaration
    is a ``ConfigurationError`` when the module is imported, or when Django is set up if that comes later.
    """

    model: ClassVar[type[Model] | str | None] = None
    """The model, or ``"app.Model"``: all its objects."""
    queryset: ClassVar[QuerySet[Any] | None] = None
    """What is loaded, if not all objects; each load evaluates it anew."""
    key_field: ClassVar[str] = "pk"
    """The field whose value is the key of a row; ``"category__code"`` for that of a related object."""
    fields: ClassVar[Sequence[str]] = ()
    """The fields that a row has, a dict: as ``QuerySet.values()`` takes them, so ``"category__name"`` too."""
    order_by: ClassVar[Sequence[Any]] = ()
    """As for ``QuerySet.order_by()``; without it the order is that of the queryset."""
    select_related: ClassVar[Sequence[str]] = ()
    """With ``serialize()``: objects that are read along with each, as for ``QuerySet.select_related()``."""
    prefetch_related: ClassVar[Sequence[Any]] = ()
    """With ``serialize()``: lookups that are read for many objects together."""
    changes_by: ClassVar[str] = ""
    """A field that says when an object changed last, such as ``"updated_at"``, or a number that grows with each commit:
    then only changes are loaded. Needs ``ordered = False``."""
    tombstones: ClassVar[tuple[type[Model] | str, str, str] | tuple[()]] = ()
    """With ``changes_by``: a model with an object for each one that was deleted, its field with the key, and the one
    that says when."""
    ordered = True

    @classmethod
    def _check_declaration(cls) -> None:
        super()._check_declaration()
        from django.apps import apps

        from .checking import check_options

        check_options(cls, ModelDataset)
        if apps.models_ready:
            cls.check_models()

    @classmethod
    def check_models(cls) -> None:
        """Refuse a model or a field that does not exist. Raises ``ConfigurationError``."""
        from .checking import check_models

        check_models(cls, ModelDataset)

    def get_queryset(self) -> QuerySet[Any]:
        """Return what is loaded: ``queryset``, or all objects of ``model``. Runs in the refreshing process only."""
        from .queries import declared_queryset

        return declared_queryset(type(self))

    def serialize(self, instance: Any) -> Any:
        """Return the row of one object. Optional: without it rows have the ``fields``."""
        raise NotImplementedError(f"{type(self).__qualname__} has no serialize()")

    def load(self) -> Iterator[tuple[K, Any]]:
        """Read the queryset, some thousand objects at a time."""
        from . import queries

        return queries.rows_of(self, queries.in_order(self, queries.checked(self, self.get_queryset())))

    def change_cursor(self) -> Any:
        """Return the greatest value of ``changes_by``, tombstones included."""
        from . import changes_by

        return changes_by.cursor(self)

    def load_changes(self, since: Any) -> Changes[K] | None:
        """Read the objects that have changed since, by ``changes_by``."""
        from . import changes_by

        return changes_by.changes(self, since) if self.changes_by else None

    def load_keys(self, keys: Collection[K]) -> Iterator[tuple[K, Any]]:
        """Read the objects with these keys."""
        from . import changes_by

        return changes_by.of_keys(self, keys)

    @classmethod
    def loads_changes(cls) -> bool:
        """Tell whether it has ``changes_by``, or a ``load_changes()`` of its own."""
        return bool(cls.changes_by) or cls.load_changes is not ModelDataset.load_changes

    @classmethod
    def loads_keys(cls) -> bool:
        """Tell whether it has ``changes_by``, or a ``load_keys()`` of its own."""
        return bool(cls.changes_by) or cls.load_keys is not ModelDataset.load_keys

    def _named_key(self, key: Any) -> str:
        return f"{super()._named_key(key)}, the value of {self.key_field!r},"
