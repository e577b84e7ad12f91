"""Something that could not be read, as pages and commands tell it."""

from __future__ import annotations

from dataclasses import dataclass

from django_etcdaero.exceptions import ClusterError, EtcdAeroError

from .silence import note


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that could not be read."""

    alias: str
    store: str | None = None
    """``"KV"`` or ``"RECORDS"``: which of the alias's stores it is; ``None``: neither, or it is not known.
    ``"CACHES"``: the alias is one of that setting."""
    dataset: str | None = None
    """The dataset whose state makes no sense; ``None``: it is about the whole alias."""
    type: str
    """The name of the error's class; empty: something was left out."""
    message: str
    since: float | None = None
    """Since when the store has not answered, seconds since the epoch; ``None``: this process does not know."""

    def __str__(self) -> str:
        if self.store == "CACHES":
            return f"cache {self.alias}: {self.type}: {self.message}"
        where = f"alias {self.alias}" if self.dataset is None else self.dataset
        return ": ".join(filter(None, (where, self.store, self.type, self.message)))


def left_out(keys: int, *, alias: str) -> Problem:
    """Return that so many keys of an alias were not looked through."""
    return Problem(
        alias=alias, store="KV", type="", message=f"{keys:,} keys were not looked through, for there was no more time"
    )


def problem_of(error: Exception, *, alias: str, store: str | None = None, dataset: str | None = None) -> Problem:
    """Return what ``error`` says, without anything that may hold a password."""
    note(alias, store, error)
    since = error.since if isinstance(error, ClusterError) else None
    return Problem(
        alias=alias,
        store=store,
        dataset=dataset,
        type=type(error).__name__,
        message=str(error) if isinstance(error, EtcdAeroError) else repr(error),
        since=None if since is None else since.timestamp(),
    )
