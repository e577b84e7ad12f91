"""What a dataset declares about itself: all that publishing and reading need to know of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from django_etcdaero.system.acting import acts

from .changes import Changes
from .layout import Layout

if TYPE_CHECKING:  # starting must stay cheap
    from .validators import Validator

K = TypeVar("K")
V = TypeVar("V")

OPTIONS = (
    "refresh_every",
    "request_every",
    "load_timeout",
    "schema",
    "using",
    "keep",
    "required",
    "first_read_timeout",
    "max_stale",
    "rows",
    "row_type",
    "validators",
    "ordered",
    "indexes",
    "refresh_on",
    "full_load_every",
    "changes_overlap",
)
"""The attributes of a class, and the arguments of ``@dataset``, that say how it is refreshed and read."""


class Declared(Generic[K, V]):
    """The declaration of a dataset."""

    name = ""
    """``[a-z0-9_.-]+``; part of keys and records."""
    refresh_every: ClassVar[timedelta | None] = None
    """Time between the beginnings of two loads; ``None``: only on request."""
    request_every: ClassVar[timedelta | None] = None
    """Least time between the beginnings of two loads that were asked for. ``None``: of those that a service makes, 5
    seconds, or twice as long as the last one took if that is longer."""
    load_timeout: ClassVar[timedelta | Literal["auto"] | None] = "auto"
    """Longest time from the beginning of a load until its rows can be announced; then the lock is given up, and what
    the load still gives is refused. ``None``: no limit. ``"auto"``: two periods, 30 seconds at least; without a period
    one hour."""
    schema: ClassVar[int] = 1
    """Raise it when the shape of the rows changes: old and new code then refresh and read what is theirs."""
    using: ClassVar[str] = "default"
    """Alias in ``settings.ETCDAERO``."""
    keep: ClassVar[int] = 5
    """Versions to keep for a rollback, the current one included."""
    required: ClassVar[bool] = True
    """Whether a process that does not have it counts as unhealthy."""
    first_read_timeout = 5.0
    """Seconds that reading may wait for the first version."""
    max_stale: ClassVar[timedelta | None] = None
    """Longest time since the source was last read, after which reading raises ``DatasetStale``; ``None``: never."""
    rows: ClassVar[Literal["frozen", "plain"]] = "frozen"
    """What dicts and lists in rows are when they are read: ``"frozen"`` ones refuse to be changed, ``"plain"`` ones are
    ordinary, and shared by all who read them all the same."""
    row_type: ClassVar[type[Any] | None] = None
    """A dataclass or NamedTuple to make of each row. What its fields hold is as ``rows`` says."""
    validators: ClassVar[Iterable[Validator]] = ()
    """Callables ``(old, new)`` that may refuse freshly loaded rows: see :mod:`.validators`."""
    ordered: ClassVar[bool] = False
    """Whether iteration goes through the rows in the order in which ``load()`` gave them."""
    indexes: ClassVar[Sequence[str]] = ()
    """Fields of the rows by whose values rows are found, with ``by()``."""
    refresh_on: ClassVar[Iterable[type[Any] | str]] = ()
    """Django models, classes or ``"app.Model"``: a load is asked for when objects of them were changed."""
    full_load_every: ClassVar[timedelta | None] = timedelta(days=1)
    """With ``load_changes()``: longest time between the beginnings of two full loads, which correct what changes have
    missed; ``None``: only when one is asked for."""
    changes_overlap: ClassVar[timedelta | None] = None
    """With ``load_changes()`` and cursors that are datetimes: how much earlier than the cursor changes are read from,
    for those that were committed late."""
    origin: ClassVar[str] = ""

    @acts
    def load(self) -> Mapping[K, Any] | Iterable[tuple[K, Any]]:
        """Read the source: return a mapping, or yield ``(key, row)`` pairs. Runs in the refreshing process only.

        What it gives for a row is what ``V`` is made of when there is a ``row_type``, so the rows are not of type ``V``
        here.
        """
        raise NotImplementedError(f"{type(self).__qualname__} has no load()")

    @acts
    def load_changes(self, since: Any) -> Changes[K] | None:
        """Read what has changed since a cursor; ``None``: load everything. Optional.

        ``since`` is the cursor of what is current: that of the last changes, or of :meth:`change_cursor` before a full
        load. Runs in the refreshing process only.
        """
        return None

    @acts
    def change_cursor(self) -> Any:
        """Return where the source stands. With :meth:`load_changes`; called before each full load."""
        raise NotImplementedError(f"{type(self).__qualname__} has no change_cursor()")

    @acts
    def load_keys(self, keys: Collection[K]) -> Mapping[K, Any] | Iterable[tuple[K, Any]]:
        """Read the rows of some keys, for ``refresh(keys=…)``: those that it does not give are deleted. Optional."""
        raise NotImplementedError(f"{type(self).__qualname__} has no load_keys()")

    @classmethod
    def _loads_changes(cls) -> bool:
        """Tell whether it has a ``load_changes()``."""
        return cls.load_changes is not Declared.load_changes

    @classmethod
    def _loads_keys(cls) -> bool:
        """Tell whether it has a ``load_keys()``."""
        return cls.load_keys is not Declared.load_keys

    def prepare(self, rows: Mapping[K, V]) -> Any:
        """Build an index of the rows, off to the side, in every process; it becomes ``.index``. Optional."""
        return None

    def _named_key(self, key: K) -> str:
        """Return what an error calls a key."""
        return f"the key {key!r}"

    def layout(self, prefix: str) -> Layout:
        """Return the names of the dataset's keys and records under an alias's prefix."""
        return Layout(prefix=prefix, name=self.name, schema=self.schema)
