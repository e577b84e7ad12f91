"""How much history a cluster keeps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.utils.translation import gettext_noop

from django_etcdaero.doctor.checking import Facts, Verdict, check, info, ok, warning
from django_etcdaero.doctor.subjects import EtcdCluster

from .facts import HISTORY

UNCOMPACTED: Final = 10_000
"""Revisions after which a store that was never compacted is told."""
MANY: Final = 5_000_000
"""Revisions that nobody wants to keep."""
FEW: Final = 100
"""Revisions with which watches that were interrupted cannot go on."""

AUTOMATIC: Final = "run etcd with --auto-compaction-mode=periodic --auto-compaction-retention=1h"


@check(
    "etcd.compaction",
    "whether history is compacted",
    of=EtcdCluster,
    needs=(HISTORY,),
    why=gettext_noop(
        "etcd keeps what every key ever was until it is compacted, and compacts nothing by default: the database grows "
        "until the quota is used up."
    ),
)
def compaction(facts: Facts) -> Iterator[Verdict]:
    history = facts[HISTORY]
    if history.oldest <= 1 and history.newest >= UNCOMPACTED:
        yield warning(f"never: all {history.newest:,} revisions are kept", AUTOMATIC)
    elif history.kept >= MANY:
        yield warning(f"{history.kept:,} revisions are kept", AUTOMATIC)
    else:
        yield ok(f"{history.kept:,} of {history.newest:,} revisions are kept")


@check(
    "etcd.reach",
    "how far back one can look",
    of=EtcdCluster,
    needs=(HISTORY,),
    why=gettext_noop(
        "A watch that was interrupted goes on where it was only if the history still reaches there, else all is read "
        "anew; and what a key was before can be seen and restored only that far back."
    ),
)
def reach(facts: Facts) -> Iterator[Verdict]:
    history = facts[HISTORY]
    if history.oldest > 1 and history.kept < FEW:
        yield info(
            f"only {history.kept} revisions are kept, back to {history.oldest:,}",
            "keep an hour: --auto-compaction-mode=periodic --auto-compaction-retention=1h",
        )
    else:
        yield ok(f"to revision {history.oldest:,} of {history.newest:,}")
