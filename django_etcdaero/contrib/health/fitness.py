"""Whether this process is fit: what its datasets say, and whether their reader comes round. Asks no store."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from django_etcdaero import health_settings
from django_etcdaero.datasets.read.live import live_state
from django_etcdaero.datasets.registry import datasets
from django_etcdaero.datasets.state.status import DatasetStatus, State
from django_etcdaero.runtime import runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitness:
    """A dataset in this process."""

    status: DatasetStatus
    required: bool
    """Whether the process is unfit without it."""
    fit: bool
    """Whether it can be read: loaded, and not older than its ``max_stale``."""

    @property
    def name(self) -> str:
        """Of the dataset."""
        return self.status.name

    @property
    def reason(self) -> str:
        """Why it is not fit; empty: it is. Without the text of an error, which may be for no stranger's eyes."""
        if self.fit:
            return ""
        if self.status.state is State.STALE:
            return "its source has not been read for longer than max_stale"
        refusal = runtime.reader_refusal()
        return "it is not loaded in this process" if refusal is None else "no reader runs in this process"


def fitness(names: Collection[str] | None = None) -> list[Fitness]:
    """Return how each dataset does, ordered by name; ``names``: those that are required, as the setting has them.

    Lets the reader start where it starts at the first use, so that a process becomes fit by being asked. Never waits.
    """
    if names is None:
        names = health_settings.read().REQUIRED
    runtime.ensure_reader()
    return [
        Fitness(
            status=dataset.status(),
            required=dataset.required if names is None else name in names,
            fit=live_state(dataset).readable,
        )
        for name, dataset in sorted(datasets.items())
    ]


def unfit(names: Collection[str] | None = None) -> list[Fitness]:
    """Return the datasets that make the process unfit."""
    return [each for each in fitness(names) if each.required and not each.fit]
