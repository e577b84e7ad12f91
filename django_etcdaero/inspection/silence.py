"""Since when stores have not answered what operators asked: as long as this process has asked in vain.

An etcd client knows that of its servers and tells it with its errors. Of other stores it is known from the questions of
pages themselves: the first one since the last answer that was not answered. (Commands tell when they asked.)
"""

from __future__ import annotations

import time

from django_etcdaero.exceptions import ClusterError, DeadlineExceeded, StoreBusy

_SILENCE = (ClusterError, DeadlineExceeded, StoreBusy)
_since: dict[tuple[str, str], float] = {}
"""By alias and store, for as many as the settings name. Set and popped by single steps of the interpreter."""


def note(alias: str, store: str | None, error: Exception) -> None:
    """Take note of what a store failed of. ``store`` as in :class:`~django_etcdaero.inspection.problem.Problem`."""
    if store is not None and isinstance(error, _SILENCE):
        _since.setdefault((alias, store), time.time())


def answered(alias: str, store: str | None) -> None:
    """Take note that a store did answer."""
    if store is not None:
        _since.pop((alias, store), None)


def silent_since(alias: str, store: str | None, type: str) -> float | None:  # noqa: A002
    """Return since when a store has not answered that failed of an error of this type, seconds since the epoch."""
    if store is None or type not in {each.__name__ for each in _SILENCE}:
        return None
    return _since.get((alias, store))
