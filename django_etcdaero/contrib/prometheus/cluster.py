"""What is so in the cluster, read from the stores when Prometheus asks.

It is read within a time limit, whatever is down; what could not be read has no sample, and ``etcdaero_store_up`` tells
which store did not answer. Nothing is labelled with a process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from django_etcdaero.datasets.registry import datasets
from django_etcdaero.datasets.state.overview import Overview, versions_held
from django_etcdaero.datasets.state.status import State
from django_etcdaero.inspection.cluster_status import ClusterStatus, ask
from django_etcdaero.system.clocks import monotonic


class Fact(NamedTuple):
    """One number about each dataset."""

    name: str
    meaning: str
    value: Callable[[Overview], float | None]
    """``None``: there is none, so no sample."""


def _period(each: Overview) -> float | None:
    every = datasets[each.name].refresh_every
    return None if every is None else every.total_seconds()


def _held_since(each: Overview) -> float | None:
    return None if each.holder is None or each.holder.since is None else each.holder.since.timestamp()


FACTS: Final = (
    Fact("etcdaero_dataset_version", "Version that is announced.", lambda each: each.version),
    Fact(
        "etcdaero_dataset_rows",
        "Rows of the announced version.",
        lambda each: each.stored.current.rows if each.stored.current else None,
    ),
    Fact(
        "etcdaero_dataset_bytes",
        "Stored bytes of the announced version.",
        lambda each: each.stored.current.stored_bytes if each.stored.current else None,
    ),
    Fact(
        "etcdaero_dataset_published_timestamp_seconds",
        "When the announced version was published.",
        lambda each: each.stored.current.published_at if each.stored.current else None,
    ),
    Fact(
        "etcdaero_dataset_loaded_timestamp_seconds",
        "When the source was last read successfully.",
        lambda each: each.loaded_at,
    ),
    Fact("etcdaero_dataset_refresh_every_seconds", "How often the source is to be read.", _period),
    Fact(
        "etcdaero_dataset_failures",
        "Loads that failed since the last one that did not.",
        lambda each: each.failure.failures if each.failure else 0,
    ),
    Fact(
        "etcdaero_dataset_failure_timestamp_seconds",
        "When the last load failed, if it did.",
        lambda each: each.failure.at if each.failure else None,
    ),
    Fact("etcdaero_dataset_pinned", "Whether readers are held on a version.", lambda each: bool(each.stored.pin)),
    Fact("etcdaero_dataset_hanging_loads", "Loads that hang: given up, and not ended.", lambda each: len(each.overdue)),
    Fact(
        "etcdaero_dataset_expiring_bytes",
        "Bytes of replaced versions until they expire.",
        lambda each: each.expiring_bytes,
    ),
    Fact("etcdaero_dataset_locked", "Whether a process refreshes.", lambda each: each.holder is not None),
    Fact("etcdaero_dataset_locked_timestamp_seconds", "Since when a process refreshes, if one does.", _held_since),
)
"""What is told of each dataset, with the label ``dataset``."""

_HELD: Final = ("current", "other", "none")


class ClusterCollector(Collector):
    """A collector for a registry; ``timeout`` is how many seconds all stores together may take to answer."""

    def __init__(self, *, timeout: float = 2.0) -> None:
        self._timeout = timeout

    def describe(self) -> list[Metric]:
        """Return the metrics without samples: registering asks no store."""
        return _Families().all()

    def collect(self) -> Iterator[Metric]:
        """Ask the stores."""
        started = monotonic()
        status = ask(self._timeout)
        families = _Families()
        families.add_stores(status)
        for each in status.overviews:
            families.add_dataset(each, status)
        families.took.add_metric([], max(0.0, monotonic() - started))
        yield from families.all()


_registered: ClusterCollector | None = None


def register(*, timeout: float) -> None:
    """Put a collector into the default registry, in the place of an earlier one."""
    global _registered
    if _registered is not None:
        REGISTRY.unregister(_registered)
    _registered = ClusterCollector(timeout=timeout)
    REGISTRY.register(_registered)


def registered() -> ClusterCollector | None:
    """Return the collector in the default registry."""
    return _registered


class _Families:
    """The metrics of one scrape."""

    def __init__(self) -> None:
        self.up = GaugeMetricFamily(
            "etcdaero_store_up",
            "Whether a store answers (kv or records); of others nothing is known.",
            None,
            ["alias", "store"],
        )
        self.processes = GaugeMetricFamily(
            "etcdaero_processes", "Processes that are registered as readers.", None, ["alias"]
        )
        self.facts = [GaugeMetricFamily(each.name, each.meaning, None, ["dataset"]) for each in FACTS]
        self.refresher = InfoMetricFamily(
            "etcdaero_dataset_refresher", "The host of the process that refreshes.", labels=["dataset"]
        )
        self.held = GaugeMetricFamily(
            "etcdaero_dataset_processes",
            "Processes by what they hold: the announced version (current), another one, none yet.",
            None,
            ["dataset", "holds"],
        )
        self.states = GaugeMetricFamily(
            "etcdaero_dataset_processes_in_state", "Processes by their state.", None, ["dataset", "state"]
        )
        self.took = GaugeMetricFamily(
            "etcdaero_cluster_scrape_seconds", "How long the stores took to answer.", None, []
        )

    def all(self) -> list[Metric]:
        return [self.up, self.processes, *self.facts, self.refresher, self.held, self.states, self.took]

    def add_stores(self, status: ClusterStatus) -> None:
        for each in status.aliases:
            away = {problem.store for problem in each.problems if problem.dataset is None}
            kv_up = away <= {"RECORDS"}
            self.up.add_metric([each.alias, "kv"], kv_up)
            if kv_up:
                self.up.add_metric([each.alias, "records"], "RECORDS" not in away)
            if kv_up and each.processes is not None:
                self.processes.add_metric([each.alias], len(each.processes))

    def add_dataset(self, each: Overview, status: ClusterStatus) -> None:
        for fact, family in zip(FACTS, self.facts, strict=True):
            value = fact.value(each)
            if value is not None:
                family.add_metric([each.name], float(value))
        if each.holder is not None:
            self.refresher.add_metric([each.name], {"host": each.holder.host})
        dataset = datasets[each.name]
        readers = status.readers_of(dataset.using)
        held = versions_held(dataset, readers)
        current = held.pop(each.version, 0) if each.version is not None else 0
        none = held.pop(None, 0)
        for holds, count in zip(_HELD, (current, sum(held.values()), none), strict=True):
            self.held.add_metric([each.name, holds], count)
        states = [one.states.get(each.name) for one in readers if one.schemas.get(each.name) == dataset.schema]
        for state in State:
            self.states.add_metric([each.name, str(state)], states.count(str(state)))
