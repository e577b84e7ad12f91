"""Whether datasets are published, fresh and whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.utils.translation import gettext_noop

from django_etcdaero.datasets.registry import datasets as declared
from django_etcdaero.datasets.state.overview import WRONG, Overview
from django_etcdaero.doctor.checking import Facts, Verdict, check, error, info, ok, warning
from django_etcdaero.doctor.subjects import Alias
from django_etcdaero.doctor.words import against_here, size, some, span

from .state import DATASETS, LOST, STORED

PERIODS: Final = 3
"""Periods after which the last load is told to be long ago."""
MANY: Final = 10
"""Times the size of the current version: more that waits to expire is told."""
FEW_BYTES: Final = 64 << 20


@check(
    "datasets.published",
    "whether each dataset has a version",
    of=Alias,
    needs=(DATASETS,),
    why=gettext_noop("Reading a dataset that was never published raises DatasetNotReady."),
)
def published(facts: Facts) -> Iterator[Verdict]:
    found = facts[DATASETS]
    missing = [each.name for each in found.overviews if each.version is None]
    for name, problem in found.senseless.items():
        yield error(
            f"the state of {name} makes no sense: {problem}", f"python manage.py etcdaero_refresh {name} --force"
        )
    if missing:
        yield error(
            f"nothing was published of {some(missing)}", f"python manage.py etcdaero_refresh {' '.join(missing)}"
        )
    there = len(found.overviews)
    yield ok(f"{there} of {there} datasets" if there else "no dataset uses this alias")


@check(
    "datasets.fresh",
    "how long ago sources were read",
    of=Alias,
    needs=(DATASETS,),
    why=gettext_noop(
        "Old rows mean that nobody refreshes, or that the source or the store refuses. Beyond max_stale reading raises "
        "DatasetStale."
    ),
)
def fresh(facts: Facts) -> Iterator[Verdict]:
    for each in facts[DATASETS].overviews:
        dataset, age = declared.get(each.name), each.age
        if dataset is None or age is None:
            continue
        said = f"the source of {each.name} was last read {span(age)} ago"
        remedy = "python manage.py etcdaero_refresh --loop, as a service on each host"
        if dataset.max_stale is not None and age > dataset.max_stale.total_seconds():
            yield error(f"{said}; its max_stale is {span(dataset.max_stale.total_seconds())}", remedy)
        elif dataset.refresh_every is not None and age > PERIODS * dataset.refresh_every.total_seconds():
            yield warning(f"{said}; its period is {span(dataset.refresh_every.total_seconds())}", remedy)
    yield ok("as their periods ask for")


@check(
    "datasets.failures",
    "loads that failed",
    of=Alias,
    needs=(DATASETS,),
    why=gettext_noop("What readers have stays as it was until a load succeeds."),
)
def failures(facts: Facts) -> Iterator[Verdict]:
    failed = [(each, each.failure) for each in facts[DATASETS].overviews if each.failure is not None]
    for each, failure in failed:
        yield warning(
            f"the last load of {each.name} failed on {failure.host}/{failure.pid} ({failure.failures} in a row): "
            f"{failure.error}",
            f"mend the source; python manage.py etcdaero_refresh {each.name} --force",
        )
    yield ok("none")


@check(
    "datasets.hanging",
    "loads that take longer than they may",
    of=Alias,
    needs=(DATASETS,),
    why=gettext_noop("A load that hangs was given up, and still has a thread and a connection."),
)
def hanging(facts: Facts) -> Iterator[Verdict]:
    found = facts[DATASETS]
    loads = [(each.name, load) for each in found.overviews for load in each.overdue]
    for name, load in loads:
        yield error(
            f"{name} is being loaded by {load.host}/{load.pid} for {span(max(0.0, found.at - load.since))}",
            f"see what it waits for (py-spy dump --pid {load.pid} on {load.host}), then restart that process",
        )
    yield ok("none")


@check(
    "datasets.pinned",
    "datasets that are held on a version",
    of=Alias,
    needs=(DATASETS,),
    why=gettext_noop("While a dataset is pinned refreshes go to the history only: it is easily forgotten."),
)
def pinned(facts: Facts) -> Iterator[Verdict]:
    held = [(each, each.stored.pin) for each in facts[DATASETS].overviews if each.stored.pin is not None]
    for each, pin in held:
        reason = f": {pin.reason}" if pin.reason else ""
        since = span(max(0.0, facts[DATASETS].at - pin.at))
        yield info(
            f"{each.name} is held on version {pin.version} for {since}{f' by {pin.by}' if pin.by else ''}{reason}",
            f"python manage.py etcdaero_unpin {each.name}",
        )
    yield ok("none")


@check(
    "datasets.prefix",
    "whether another project publishes under this prefix",
    of=Alias,
    needs=(DATASETS,),
    why=gettext_noop("Two projects that share stores and a PREFIX publish over each other."),
)
def prefix(facts: Facts) -> Iterator[Verdict]:
    others = [each for each in facts[DATASETS].overviews if each.other_project is not None]
    for each in others:
        yield warning(
            f"{each.name} was published by another project ({each.other_project})",
            "give each deployment a PREFIX of its own; if they are one, the same PROJECT",
        )
    yield ok("none is seen")


@check(
    "datasets.clocks",
    "clocks of the hosts that load",
    of=Alias,
    needs=(DATASETS,),
    why=gettext_noop("When a load is due and how old rows are is told by clocks of hosts."),
)
def clocks(facts: Facts) -> Iterator[Verdict]:
    wrong = [each for each in facts[DATASETS].overviews if abs(each.clock_skew) >= WRONG]
    for each in wrong:
        yield warning(
            f"the clock of {_loader(each)} is {against_here(each.clock_skew)}",
            "chronyc tracking, on both",
        )
    yield ok(f"within {WRONG} s, as far as is known")


@check(
    "datasets.garbage",
    "replaced versions that are still to expire",
    of=Alias,
    needs=(DATASETS,),
    why=gettext_noop("Each load that changes all rows leaves a whole version in the record store for GARBAGE_TTL."),
)
def garbage(facts: Facts) -> Iterator[Verdict]:
    for each in facts[DATASETS].overviews:
        current = each.stored.current
        if current is not None and each.expiring_bytes > max(FEW_BYTES, MANY * current.stored_bytes):
            yield info(
                f"{size(each.expiring_bytes)} of {each.name}, of which one version has {size(current.stored_bytes)}",
                "load less often, or lower GARBAGE_TTL",
            )
    yield ok("little")


@check(
    "datasets.whole",
    "whether all records of current versions are there",
    of=Alias,
    needs=(LOST,),
    why=gettext_noop(
        "A process that starts cannot load a version of which a record is missing. Those that run serve what "
        "they have, "
        "and ask for a repair."
    ),
)
def whole(facts: Facts) -> Iterator[Verdict]:
    lost = facts[LOST]
    for name in sorted({*lost.missing, *lost.mortal}):
        missing, mortal = lost.missing.get(name, 0), lost.mortal.get(name, 0)
        if missing or mortal:
            said = f"{missing} records of {name} are missing" if missing else f"{mortal} records of {name} will expire"
            yield error(said, f"python manage.py etcdaero_refresh {name} --force")
    yield ok(f"{lost.looked_at} datasets looked at")


@check(
    "datasets.leftover",
    "datasets that no code declares",
    of=Alias,
    needs=(STORED,),
    why=gettext_noop("They stay for ever. During a rolling deployment the former schema is one of them."),
)
def leftover(facts: Facts) -> Iterator[Verdict]:
    left = [f"{each.name} (schema {each.schema})" for each in facts[STORED] if not each.declared]
    if left:
        first = next(each for each in facts[STORED] if not each.declared)
        remedy = f"python manage.py etcdaero_forget {first.name} --schema {first.schema}"
        using = f" --using {facts.subject.settings.alias}" if facts.subject.settings.alias != "default" else ""
        yield info(f"{some(left)}", f"{remedy}{using}, if no code of another process declares it")
    else:
        yield ok("none")


def _loader(each: Overview) -> str:
    checked = each.stored.checked
    return checked.host if checked is not None else "another host"
