"""A panel for django-debug-toolbar: what a request reads of datasets, and what it asks of stores and caches.

``DEBUG_TOOLBAR_PANELS`` has it as ``"django_etcdaero.contrib.debug_toolbar.EtcdAeroPanel"``. The first request for
which it is enabled puts functions before the methods of datasets and caches that note what is called; nothing does
without the panel.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .extras import missing

try:
    from debug_toolbar.panels import Panel
except ImportError as error:
    raise missing(__name__, "django-debug-toolbar", "debug-toolbar") from error

from django_etcdaero import tracing
from django_etcdaero.cache.backend import EtcdAeroCache
from django_etcdaero.datasets.read.live import LiveDataset, live_state
from django_etcdaero.datasets.registry import datasets
from django_etcdaero.inspection.value_forms import visible
from django_etcdaero.keyvalue.interception import key_of
from django_etcdaero.system.clocks import monotonic

MOST_CALLS: Final = 500
"""Calls that are shown of a request; all are counted."""

_LONGEST: Final = 120
"""Characters of a key that are shown."""

READS: Final = (
    *("__getitem__", "__contains__", "__iter__", "__len__", "get", "keys", "values", "items"),
    *("snapshot", "by", "get_many", "sequence"),
)
_CACHE_CALLS: Final = (
    *("get", "set", "add", "get_or_set", "touch", "delete", "clear", "has_key", "incr", "decr"),
    *("get_many", "set_many", "delete_many", "invalidate_tags"),
)
CACHE_CALLS: Final = tuple(name for each in _CACHE_CALLS for name in (each, f"a{each}") if hasattr(EtcdAeroCache, name))


class Notes:
    """What one request does. Threads that work for it note at the same time."""

    def __init__(self) -> None:
        self.reads: Counter[str] = Counter()
        self.versions: dict[str, set[int]] = {}
        self.calls: list[dict[str, Any]] = []
        self.count = 0
        self.seconds = 0.0
        """Of calls that are not part of others."""
        self._mutex = threading.Lock()

    def read(self, dataset: LiveDataset[Any, Any]) -> None:
        loaded = live_state(dataset).loaded
        with self._mutex:
            self.reads[dataset.name] += 1
            if loaded is not None:
                self.versions.setdefault(dataset.name, set()).add(loaded.version)

    @contextmanager
    def call(self, to: str, call: str, what: str) -> Iterator[None]:
        """Note a call; those to stores that a cache makes are counted in that of the cache."""
        outer = _inside.get()
        noted: dict[str, Any] = {
            "to": to,
            "call": call,
            "what": what,
            "inner": 0 if to == "cache" else None,
            "error": "",
        }
        token = _inside.set(noted)
        started = monotonic()
        try:
            yield
        except Exception as error:
            noted["error"] = type(error).__name__
            raise
        finally:
            took = max(0.0, monotonic() - started)
            noted["milliseconds"] = took * 1000
            _inside.reset(token)
            with self._mutex:
                if outer is None:
                    self.count += 1
                    self.seconds += took
                    if len(self.calls) < MOST_CALLS:
                        self.calls.append(noted)
                elif outer["inner"] is not None:
                    outer["inner"] += 1


_notes: ContextVar[Notes | None] = ContextVar("notes", default=None)
_inside: ContextVar[dict[str, Any] | None] = ContextVar("inside", default=None)
"""The call that is being made."""


class EtcdAeroPanel(Panel):
    """The panel."""

    title = nav_title = "django-etcdaero"
    template = "django_etcdaero/debug_toolbar.html"
    is_async = True

    _mine: Notes | None = None

    @property
    def nav_subtitle(self) -> str:
        """Sum it up for the side bar."""
        stats = self.get_stats()
        reads, calls = stats.get("reads", 0), stats.get("count", 0)
        parts = [
            ngettext("%(count)d read", "%(count)d reads", reads) % {"count": reads},
            ngettext("%(count)d call in %(time).2f ms", "%(count)d calls in %(time).2f ms", calls)
            % {"count": calls, "time": stats.get("milliseconds", 0.0)},
        ]
        return ", ".join(parts)

    def enable_instrumentation(self) -> None:
        """Note from now on what this request does."""
        _put_up()
        self._mine = Notes()
        _notes.set(self._mine)

    def disable_instrumentation(self) -> None:
        """Note no more."""
        _notes.set(None)

    def generate_stats(self, request: Any, response: Any) -> None:
        """Keep what was noted, as values that JSON has: the history stores them."""
        notes = self._mine
        if notes is None:
            return
        found = []
        for name, reads in sorted(notes.reads.items()):
            status = datasets[name].status() if name in datasets else None
            found.append(
                {
                    "name": name,
                    "reads": reads,
                    "versions": ", ".join(map(str, sorted(notes.versions.get(name, ())))) or _("none"),
                    "rows": None if status is None else status.rows,
                    "state": "" if status is None else str(status.state),
                }
            )
        self.record_stats(
            {
                "datasets": found,
                "calls": notes.calls,
                "count": notes.count,
                "left_out": notes.count - len(notes.calls),
                "reads": notes.reads.total(),
                "milliseconds": notes.seconds * 1000,
            }
        )

    def generate_server_timing(self, request: Any, response: Any) -> None:
        """Tell the browser how long stores and caches took."""
        self.record_server_timing("stores", "django-etcdaero", self.get_stats().get("milliseconds", 0.0))


@functools.cache
def _put_up() -> Callable[[], None]:
    """Put the functions before the methods, once; return what takes them away."""
    inside = ExitStack()
    for name in READS:
        inside.callback(_replace(LiveDataset, name, _noting_reads(getattr(LiveDataset, name))))
    for name in CACHE_CALLS:
        inside.callback(_replace(EtcdAeroCache, name, _noting_calls(name, getattr(EtcdAeroCache, name))))
    inside.callback(
        tracing.observe(
            kv=lambda alias, engine: lambda call, argument: _noting("KV", call, key_of(argument)),
            records=lambda alias, store: lambda call, argument: _noting("records", call, argument),
        )
    )
    return inside.close


def _replace(owner: type, name: str, function: Callable[..., Any]) -> Callable[[], None]:
    before = vars(owner).get(name)
    setattr(owner, name, function)
    return lambda: delattr(owner, name) if before is None else setattr(owner, name, before)


def _noting(to: str, call: str, what: object) -> AbstractContextManager[object]:
    notes = _notes.get()
    return nullcontext() if notes is None else notes.call(to, call, _shown(what))


def _noting_reads(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def read(self: LiveDataset[Any, Any], *arguments: Any, **options: Any) -> Any:
        notes = _notes.get()
        if notes is not None:
            notes.read(self)
        return method(self, *arguments, **options)

    return read


def _noting_calls(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: EtcdAeroCache, *arguments: Any, **options: Any) -> Any:
        with _noting("cache", name, arguments[0] if arguments else options.get("key")):
            return method(self, *arguments, **options)

    @functools.wraps(method)
    async def acall(self: EtcdAeroCache, *arguments: Any, **options: Any) -> Any:
        with _noting("cache", name, arguments[0] if arguments else options.get("key")):
            return await method(self, *arguments, **options)

    return acall if inspect.iscoroutinefunction(method) else call


def _shown(what: object) -> str:
    """Return what is shown of a key or of several; never a value."""
    if what is None:
        return ""
    if isinstance(what, bytes):
        what = what.decode(errors="backslashreplace")
    if isinstance(what, str):
        shown = visible(what[:_LONGEST])
        return shown if len(what) <= _LONGEST else f"{shown}…"
    if not isinstance(what, Collection):  # an iterator is not for us to use up
        return ""
    first = next(iter(what), None)
    return f"{_shown(first)}, … ({len(what)})" if len(what) > 1 else _shown(first)
