"""What there is to say about a dataset in the cluster, from what the stores tell."""

from __future__ import annotations

import enum

from django_etcdaero.datasets.declared import Declared
from django_etcdaero.datasets.state.overview import Overview


class Condition(enum.StrEnum):
    """Something that is the case; the value says it in words. Several may be at once."""

    NEVER_PUBLISHED = "never published"
    HANGING = "a load hangs"
    FAILED = "failed since"
    """The last load failed; what was published before is still served."""
    OVERDUE = "overdue"
    """The source was last read more than a period ago."""
    WARNING = "something is odd"
    """Another project publishes under the same prefix, or a clock is wrong."""
    PINNED = "pinned"
    REFRESHING = "refreshing"
    REQUESTED = "requested"
    """Somebody asked for a load that has not been answered."""
    VALID = "valid"
    """A version is published and nothing is wrong with it."""

    @property
    def gravity(self) -> int:
        """2: somebody should look at it; 1: it is good to know; 0: all is well."""
        return _GRAVITY.get(self, 0)


_GRAVITY = {
    Condition.NEVER_PUBLISHED: 2,
    Condition.HANGING: 2,
    Condition.FAILED: 2,
    Condition.OVERDUE: 1,
    Condition.WARNING: 1,
    Condition.PINNED: 1,
}


def conditions(each: Overview, declared: Declared[object, object]) -> tuple[Condition, ...]:
    """Return what is the case, the gravest first; never nothing."""
    stored = each.stored
    period = None if declared.refresh_every is None else declared.refresh_every.total_seconds()
    late = period is not None and each.age is not None and each.age > period
    told = {
        Condition.NEVER_PUBLISHED: stored.current is None,
        Condition.HANGING: bool(each.overdue),
        Condition.FAILED: each.failure is not None,
        Condition.OVERDUE: late,
        Condition.WARNING: bool(each.warnings),
        Condition.PINNED: stored.pin is not None,
        Condition.REFRESHING: each.holder is not None,
        Condition.REQUESTED: stored.pending is not None,
    }
    found = tuple(condition for condition, is_so in told.items() if is_so)
    if any(condition.gravity > 0 and condition is not Condition.PINNED for condition in found):
        return found
    return (Condition.VALID, *found)
